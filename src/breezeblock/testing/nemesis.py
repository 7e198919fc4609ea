"""Who strikes: draws at random instants what goes wrong next, and with whom."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from breezeblock.testing.faults import Faults
from breezeblock.testing.loop import Process
from breezeblock.testing.virtual import VirtualClock

__all__ = ["Nemesis", "World"]


class World(Protocol):
    """What the nemesis strikes at."""

    @property
    def processes(self) -> Sequence[Process]: ...

    def declare_lost(self, process: Process) -> None:
        """As an operator does, who expires a node that may be well."""
        ...

    def start_twin(self, name: str) -> None:
        """Start a second node under a name, once."""
        ...

    @property
    def backends(self) -> Sequence[str]: ...

    @property
    def arrays(self) -> Mapping[str, object]:
        """The backends that replicate."""
        ...

    def trouble_array(self, name: str, *, hangs: bool, seconds: float) -> None:
        """Let the active side of one fail or hang for a while."""
        ...

    def reboot(self, process: Process) -> None:
        """Boot the machine on which a process runs."""
        ...

    def set_database_clock(self, seconds: float) -> None:
        """Set the wall clock of the database forwards or backwards."""
        ...

    @property
    def old(self) -> list[str]:
        """Nodes that still run the release before."""
        ...

    def upgrade(self, name: str | None = None) -> None:
        """Replace a node of the release before, or all of them."""
        ...


class Nemesis:
    """Strikes processes at random instants, until told to end."""

    def __init__(
        self,
        faults: Faults,
        *,
        ttl_s: float,
        world: World,
    ) -> None:
        self._world = world
        self._faults = faults
        self._random = faults.random
        self._ttl_s = ttl_s
        self._mean_s = self._random.choice((0.3, 1.0, 3.0))

    async def run(self, until: float) -> None:
        """Strike until the loop's time is `until`. Whoever is stopped then goes on when its time comes."""
        kinds: dict[str, Callable[[], None]] = {
            "crash": self._crash,
            "drain": self._drain,
            "upgrade": self._upgrade,
            "array": self._array,
            "backend": lambda: self._faults.break_backend(
                self._random.choice(self._world.backends), self._random.choice((0.5, 5.0))
            ),
            "bell": lambda: self._faults.silence_bell(self._random.choice((0.2, 2.0, self._ttl_s * 2))),
            "clock": self._clock,
            "reboot": self._reboot,
            "stop": self._stop,
            "cut": self._cut,
            "outage": self._outage,
            "evict": self._evict,
            "twin": self._twin,
            "slow": self._slow,
            "store": lambda: self._faults.take_store(self._random.choice((0.5, 5.0, 30.0))),
            "burst": lambda: self._faults.burst(self._random.choice((0.2, 2.0))),
            "storage": lambda: self._faults.fill(self._random.choice((0.1, 1.0))),
        }
        strikes = {kind: strike for kind, strike in kinds.items() if kind in self._faults.on}
        weights = [self._faults.rates.get(kind, 1.0) for kind in strikes]
        loop = asyncio.get_running_loop()
        while strikes and loop.time() < until:
            await self._sleep(self._random.expovariate(1 / self._mean_s))
            if loop.time() < until:
                self._random.choices(list(strikes.values()), weights)[0]()
        if until > loop.time():
            await self._sleep(until - loop.time())
        self._faults.stop()

    def _sleep(self, seconds: float) -> Awaitable[None]:
        return VirtualClock().sleep(seconds)

    def _victims(self) -> list[Process]:
        """One process, or all of one node."""
        alive = [process for process in self._world.processes if process.alive]
        if not alive:
            return []
        chosen = self._random.choice(alive)
        if self._random.random() < 0.25:
            node = chosen.name.partition(".")[0]
            return [process for process in alive if process.name.partition(".")[0] == node]
        return [chosen]

    def _crash(self) -> None:
        for process in self._victims():
            if self._faults.strikes("crash", f"crash {process.name}", target=process.name):
                process.kill()

    def _reboot(self) -> None:
        for process in self._victims()[:1]:
            node = process.name.partition(".")[0]
            if process.machine is not None and self._faults.strikes(  # else it has not begun yet
                "reboot", f"reboot the machine of {node}", target=node
            ):
                self._world.reboot(process)

    def _drain(self) -> None:
        for process in self._victims():
            if process.on_term is not None and self._faults.strikes(
                "drain", f"tell {process.name} to leave", target=process.name
            ):
                process.on_term()

    def _array(self) -> None:
        hangs, seconds = self._random.random() < 0.5, self._random.choice((1.0, 5.0, 20.0))
        for name in self._world.arrays:
            text = f"array {name} {'hangs' if hangs else 'fails'} for {seconds:.2f} s"
            if self._faults.strikes("array", text, target=name, seconds=seconds):
                self._world.trouble_array(name, hangs=hangs, seconds=seconds)

    def _upgrade(self) -> None:
        if self._world.old:
            name = self._random.choice(self._world.old)
            if self._faults.strikes("upgrade", f"upgrade {name}", target=name):
                self._world.upgrade(name)

    def _stop(self) -> None:
        seconds = self._random.choice((0.1, 0.5, self._ttl_s * 0.9, self._ttl_s * 1.3, self._ttl_s * 3))
        seconds *= self._random.uniform(0.8, 1.2)
        for process in self._victims():
            text = f"stop {process.name} for {seconds:.2f} s"
            if self._faults.strikes("stop", text, target=process.name, seconds=seconds):
                process.stopped_until = max(process.stopped_until, asyncio.get_running_loop().time() + seconds)

    def _clock(self) -> None:
        """What is postponed waits by the database's clock, so that one goes wrong by less than anybody waits at the end."""
        seconds = self._random.choice((0.2, 2.0, 20.0))
        if self._random.random() < 0.2:
            by_s, name, set_clock = self._random.uniform(-60.0, 60.0), "the database", self._world.set_database_clock
            self._faults.jump_clock(name, set_clock, by_s=by_s, seconds=seconds)
            return
        by_s = self._random.choice((-1, 1)) * self._random.uniform(60.0, 900.0)
        for process in self._victims()[:1]:
            machine = process.name.partition(".")[0]
            self._faults.jump_clock(machine, process.set_clock, by_s=by_s, seconds=seconds)

    def _evict(self) -> None:
        keepers = [process for process in self._victims() if process.incarnation is not None and not process.works]
        for process in keepers:
            if self._faults.strikes("evict", f"declare {process.name} lost", target=process.name):
                self._world.declare_lost(process)

    def _twin(self) -> None:
        for process in self._victims():
            if process.incarnation is not None and not process.works:
                name = process.name.partition(".")[0]
                if self._faults.strikes("twin", f"a second {name} is started", target=name):
                    self._world.start_twin(name)

    def _slow(self) -> None:
        extra_s = self._random.uniform(0.2, self._ttl_s * 0.8)
        seconds = self._random.uniform(1.0, self._ttl_s * 3)
        for process in self._victims():
            self._faults.slow_down(process, seconds, extra_s=extra_s)
            if self._random.random() < 0.5:
                self._faults.cut_later(process.name, seconds, for_s=self._ttl_s * 3)

    def _cut(self) -> None:
        seconds = self._random.choice((0.2, 2.0, self._ttl_s * 1.5, self._ttl_s * 6))
        ways = self._faults.draw_ways()
        for process in self._victims():
            self._faults.cut(process.name, seconds, ways=ways)

    def _outage(self) -> None:
        self._faults.cut("*", self._random.choice((0.2, 2.0, self._ttl_s * 1.5, self._ttl_s * 3)), kind="outage")
