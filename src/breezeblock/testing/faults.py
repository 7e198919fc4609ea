"""What goes wrong, drawn from the seed: each run switches on a random subset, so that faults also meet alone.

crash      kill -9 of a keeper, a worker, an API or a whole node, at any await
reboot     a machine boots: all that runs on it, and all that is on its way from it to the storage, is over at once
stop       SIGSTOP for 0.1 s up to several ttl, and a late awakening
lost       a commit happened and its answer was lost; a transaction lost against another one
cut        a process, or all of a node, does not reach the database for a while, or is not reached by its answers; slowness
outage     nobody reaches the database for a while
evict      an operator declares a node lost that is well
storage    a storage call fails with EIO or ENOSPC, without having done anything, or all, or a part of it; copies that stop
           short of what was asked; the storage is full for a while; slowness
fence      a fence fails, is slow, succeeds after it was given up, or succeeds and says that it failed
burst      for a while every other transaction loses against another one
late       a write lands seconds after its call, although its process was killed or stopped meanwhile
rename     a node comes back under another name, so that nobody takes it for its predecessor
twin       a second node under the name of one that runs
slow       a process's ways to and from the database take seconds
drain      SIGTERM to a keeper: its node hands back what it has and leaves
upgrade    nodes begin with an older release, and are drained and replaced one by one
backend    a backend's storage fails altogether for a while
array      the active side of an array that replicates fails, or does not answer, for a while
lag        the database node of a process is behind the others: where transactions overlap, they see what was there when they
           came and no more, and come late, or not at all when it does not catch up
store      the store of backups does not answer for a while, or to a call; its answers are lost; what was sent to it lands later
           than its sender believed, or lived
bell       a ring of the doorbell is lost, heard twice, or so late that later ones overtake it; or all are lost for a while
clock      the wall clock of a machine, or of the database, jumps by minutes, and is set right again after a while
poison     some operations bring down each worker that works on them (a property of those, not a fault that ends)

Each kind has a rate of its own, drawn for the run: what happens once meets other things than what happens all the time.
"""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from random import Random
from typing import Any, Final

from breezeblock.testing.database import BACK, THERE
from breezeblock.testing.history import Tell
from breezeblock.testing.loop import Process
from breezeblock.testing.virtual import VirtualClock

__all__ = ["KINDS", "Faults"]

KINDS: Final = (
    *("crash", "stop", "lost", "cut", "storage", "fence", "burst", "rename", "late", "outage", "evict", "twin", "slow"),
    *("poison", "drain", "upgrade", "backend", "array", "clock", "bell", "reboot", "lag", "store"),
)
# What becomes of a fence: after how long it works, and whether it says so. Fencers give up after 30 s.
FAILS: Final = "fails"
FATES: Final = {
    FAILS: (0.0, False),
    "is slow": (2.0, True),
    "is late": (40.0, True),
    "works and says that it failed": (0.5, False),
}
# Storage calls of which a part may be done.
DIVISIBLE: Final = ("create", "grow", "copy_range", "write_at")
RATES: Final = (0.3, 1.0, 1.0, 3.0)
BOTH_WAYS: Final = (THERE, BACK)
LOST: Final = {THERE: ": requests are lost, answers come", BACK: ": requests arrive, answers are lost"}


@dataclass
class Faults:
    """Which faults are on, how often they strike, and what of them is under way. Implements `database.Weather`."""

    random: Random
    tell: Tell
    on: frozenset[str] = frozenset()
    pace_s: float = 0.002
    storage_pace_s: float = 0.01
    store_paces_s: Sequence[float] = ()
    """How far away from the store of backups a process may be; as far as from the storage if nothing is said."""
    late_most_s: float = 4.0
    overlap_most_s: float = 0.0
    rates: Mapping[str, float] = field(default_factory=dict)
    """How often each kind strikes, in proportion to its usual rate."""
    without: Container[int] = ()
    """Numbers of faults that are drawn and do not strike: how a run is repeated with fewer of them."""
    _number: int = 0
    _cut_until: dict[tuple[str, str], float] = field(default_factory=dict)
    """(process, way) -> until when nothing passes there."""
    _slow_until: dict[str, tuple[float, float]] = field(default_factory=dict)
    _broken_until: dict[str, float] = field(default_factory=dict)
    _poisonous: dict[str, str] = field(default_factory=dict)
    _burst_until: float = float("-inf")
    _silent_until: float = float("-inf")
    _full_until: float = float("-inf")
    _store_away_until: float = float("-inf")
    _store_pace_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def draw(cls, random: Random, tell: Tell) -> "Faults":
        """A random subset; now and then all of them, and now and then none."""
        shape = random.random()
        if shape < 0.05:
            on: frozenset[str] = frozenset()
        elif shape < 0.25:
            on = frozenset(KINDS)
        else:
            share = random.choice((0.15, 0.3, 0.6))
            on = frozenset(kind for kind in KINDS if random.random() < share)
        return cls(
            random=random,
            tell=tell,
            on=on,
            pace_s=random.choice((0.0005, 0.002, 0.01)),
            storage_pace_s=random.choice((0.005, 0.1, 0.6)),
            overlap_most_s=random.choice((0.0, 0.0, 0.05, 1.0)),
            rates={kind: random.choice(RATES) for kind in KINDS},
        )

    def _comes(self, kind: str, probability: float) -> bool:
        """Whether a fault of this kind is to strike now."""
        return kind in self.on and self.random.random() < probability * self.rates.get(kind, 1.0)

    def stop(self) -> None:
        """Nothing goes wrong any more. Who is cut off, or stopped, stays so until its time is over."""
        self.on = frozenset()
        self._burst_until = self._full_until = self._silent_until = self._store_away_until = float("-inf")

    def strikes(self, kind: str, text: str, **data: Any) -> bool:
        """Every single fault asks here, after its draws and before its effect: gets its number, is told, or is suppressed.

        `data` for pictures: `target` (a process, a node, or "*" for all) and `seconds` (how long it lasts).
        """
        self._number += 1
        if self._number in self.without:
            return False
        self.tell(text, kind="fault", fault=kind, number=self._number, **data)
        return True

    # --- the database -----------------------------------------------------------------------------------------------

    def delay_s(self, process: Process) -> float:
        slow = self._comes("cut", 0.01)
        seconds = self.random.expovariate(1.0)
        until, extra_s = self._slow_until.get(process.name, (0.0, 0.0))
        if until > asyncio.get_running_loop().time():
            return self.random.uniform(0.5, 1.0) * extra_s
        if slow and self.strikes("cut", f"a way to or from the database takes {seconds:.2f} s", seconds=seconds):
            return seconds
        return seconds * self.pace_s

    def is_cut(self, process: Process, way: str) -> bool:
        now = asyncio.get_running_loop().time()
        return max(self._cut_until.get((process.name, way), 0.0), self._cut_until.get(("*", way), 0.0)) > now

    def cut(self, name: str, seconds: float, *, kind: str = "cut", ways: Sequence[str] = BOTH_WAYS) -> None:
        """Take the database away from a process, or from all ("*")."""
        what = "" if len(ways) > 1 else LOST[ways[0]]
        text = f"cut {name} from the database for {seconds:.2f} s{what}"
        if self.strikes(kind, text, target=name, seconds=seconds):
            until = asyncio.get_running_loop().time() + seconds
            for way in ways:
                self._cut_until[name, way] = max(until, self._cut_until.get((name, way), 0.0))

    def draw_ways(self) -> Sequence[str]:
        """Which of the two ways a cut takes away."""
        return self.random.choice((BOTH_WAYS, BOTH_WAYS, (THERE,), (BACK,)))

    def cut_later(self, name: str, after_s: float, *, for_s: float) -> None:
        """The same, but not yet: what was slow is gone in the end."""

        def cut() -> None:
            if self.on:
                self.cut(name, for_s, kind="slow")

        asyncio.get_running_loop().call_later(after_s, cut, context=Context())

    def hang_s(self, process: Process) -> tuple[float, bool]:
        """Never longer than an outage that hits everybody: what hangs beyond it would be this process's trouble alone."""
        now = asyncio.get_running_loop().time()
        seconds = self.random.choice((0.001, 0.05, 1.0, 4.0))
        if any(self._cut_until.get((process.name, way), 0.0) > now for way in BOTH_WAYS):
            return seconds, True
        return min(seconds, max(0.001, self._cut_until.get(("*", THERE), 0.0) - now)), False

    def contended(self, process: Process) -> bool:
        if self._burst_until > asyncio.get_running_loop().time():
            return self.random.random() < 0.5  # belongs to the burst, which has its own number
        if self._comes("lost", 0.03):
            return self.strikes("lost", f"a transaction of {process.name} is contended", target=process.name)
        return False

    def burst(self, seconds: float) -> None:
        """Let every other transaction lose for a while."""
        if self.strikes("burst", f"transactions are contended for {seconds:.2f} s", target="*", seconds=seconds):
            self._burst_until = asyncio.get_running_loop().time() + seconds

    def overlap_s(self) -> float:
        """Never more than a third of a ttl: then servers end a transaction whose client says nothing."""
        if self.random.random() < 0.05:
            return self.random.uniform(0.0, self.overlap_most_s)
        return self.random.expovariate(1.0) * self.pace_s * 4 if self.random.random() < 0.4 else 0.0

    def evicts(self, process: Process) -> bool:
        if not process.works or process.incarnation is None or not self._comes("evict", 0.01):
            return False
        text = f"declare {process.name} lost while a transaction of it is open"
        return self.strikes("evict", text, target=process.name)

    def slow_down(self, process: Process, seconds: float, *, extra_s: float) -> None:
        """Let every way of a process to and from the database take up to `extra_s`, for a while."""
        text = f"{process.name} is {extra_s:.2f} s away from the database for {seconds:.2f} s"
        if self.strikes("slow", text, target=process.name, seconds=seconds):
            self._slow_until[process.name] = asyncio.get_running_loop().time() + seconds, extra_s

    def lag_s(self, process: Process) -> float:
        """Mostly short; now and then longer than a transaction waits for it."""
        if not self._comes("lag", 0.1):
            return 0.0
        seconds = self.random.expovariate(1.0) * self.random.choice((0.1, 0.3, 0.3, 2.0))
        text = f"the database node of {process.name} is {seconds:.2f} s behind"
        return seconds if self.strikes("lag", text, target=process.name, seconds=seconds) else 0.0

    def loses_answer(self, process: Process) -> bool:
        """Now and then nobody can be asked afterwards either, for longer than a retry lasts."""
        if self._comes("lost", 0.06):
            lost = self.strikes("lost", f"the commit's answer to {process.name} is lost", target=process.name)
            if "cut" in self.on and self.random.random() < 0.3:
                self.cut(process.name, self.random.uniform(10.0, 25.0), ways=self.draw_ways())
            return lost
        return False

    def stops_before_commit(self, process: Process) -> float:
        """For how long a process is stopped with a commit on its way; 0 for not at all."""
        if process.works and self._comes("stop", 0.02):
            return self.random.choice((0.5, 3.6, 4.2, 10.0))
        return 0.0

    # --- the doorbell -----------------------------------------------------------------------------------------------

    def rings(self, listener: Process, queue: str) -> Sequence[float]:
        """How often, and how much later, a process hears a ring."""
        if self._silent_until > asyncio.get_running_loop().time():
            return ()  # belongs to the silence, which has its own number
        if not self._comes("bell", 0.3):
            return (0.0,)
        later_s = self.random.uniform(0.0, 3.0)
        fate, heard = self.random.choice(
            (("lost", ()), ("heard twice", (0.0, later_s)), (f"on its way for {later_s:.2f} s", (later_s,)))
        )
        text = f"a ring for {queue} to {listener.name} is {fate}"
        return heard if self.strikes("bell", text, target=listener.name) else (0.0,)

    def silence_bell(self, seconds: float) -> None:
        """Let nobody hear a ring for a while."""
        if self.strikes("bell", f"the doorbell is silent for {seconds:.2f} s", target="*", seconds=seconds):
            self._silent_until = asyncio.get_running_loop().time() + seconds

    # --- clocks -----------------------------------------------------------------------------------------------------

    def jump_clock(self, name: str, set_clock: Callable[[float], None], *, by_s: float, seconds: float) -> None:
        """Set a wall clock wrong for a while."""
        text = f"the wall clock of {name} jumps by {by_s:+.0f} s for {seconds:.2f} s"
        if self.strikes("clock", text, target=name, seconds=seconds):
            set_clock(by_s)
            asyncio.get_running_loop().call_later(seconds, set_clock, -by_s, context=Context())

    # --- the fence ---------------------------------------------------------------------------------------------------

    async def fence(self, fencer: Process, work: Callable[[], Awaitable[bool]]) -> bool:
        """Carry out what a fence has been asked for. Returns whether its answer is that it worked.

        What is slow goes on although its fencer has given it up, or has died: in nobody's context.
        """
        is_cut = self._cut_fencer(fencer)
        if not self._comes("fence", 0.5):
            return await work()
        # A failure that cannot be told is the worst: the row goes on to say that this node sees to the fence.
        fate = FAILS if is_cut and self.random.random() < 0.7 else self.random.choice(tuple(FATES))
        seconds, says_so = FATES[fate]
        if not self.strikes("fence", f"a fence by {fencer.name} {fate}", target=fencer.name, seconds=seconds):
            return await work()
        if fate == FAILS:
            return False

        async def carry_out() -> bool:
            await VirtualClock().sleep(seconds)
            return await work()

        way = asyncio.get_running_loop().create_task(carry_out(), context=Context())
        way.add_done_callback(lambda done: done.exception(), context=Context())
        return await asyncio.shield(way) and says_so

    def oversleep_s(self, fencer: Process) -> float:
        """How much longer a fence waits that does nothing but wait."""
        self._cut_fencer(fencer)
        if not self._comes("fence", 0.5):
            return 0.0
        seconds = self.random.choice((2.0, 40.0))
        text = f"a fence by {fencer.name} waits {seconds:.0f} s longer"
        return seconds if self.strikes("fence", text, target=fencer.name, seconds=seconds) else 0.0

    def _cut_fencer(self, fencer: Process) -> bool:
        """Now and then a fencer cannot say afterwards what came of it, for longer than a retry lasts."""
        if not self._comes("cut", 0.15):
            return False
        self.cut(fencer.name, self.random.uniform(16.0, 25.0), ways=self.draw_ways())
        return True

    # --- the storage ------------------------------------------------------------------------------------------------

    async def before_storage(self, process: Process, call: str, path: PurePosixPath, changes: bool) -> None:
        """Awaited at the begin of each storage call."""
        if self.random.random() < 0.3:
            await VirtualClock().sleep(self.random.expovariate(1.0) * self.storage_pace_s)
        now = asyncio.get_running_loop().time()
        if self.is_broken(path.parts[1]):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        if changes and self._poison(process, call, path):
            await asyncio.get_running_loop().create_future()  # its next line would run, else
        if self._comes("storage", 0.01):
            seconds = self.random.uniform(0.5, 8.0)
            text = f"{process.name}: {call} {path.name} takes {seconds:.2f} s"
            if self.strikes("storage", text, target=process.name, seconds=seconds):
                await VirtualClock().sleep(seconds)
        if changes and self._full_until > now:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if changes and self._comes("storage", 0.03):
            number = self.random.choice((errno.EIO, errno.ENOSPC))
            text = f"{process.name}: {call} {path.name} fails with {errno.errorcode[number]}"
            if self.strikes("storage", text, target=process.name):
                raise OSError(number, os.strerror(number), str(path))

    def fate_of_effect(self, process: Process, call: str, path: PurePosixPath) -> tuple[float, OSError | None]:
        """In the moment in which an effect lands: what share of it does, and what the caller hears if not how much that was."""
        if call == "copy_range" and self._comes("storage", 0.1):
            share = self.random.random()
            text = f"{process.name}: {call} {path.name} stops short after {share:.0%}"
            if self.strikes("storage", text, target=process.name):
                return share, None
        if self._comes("storage", 0.03):
            share = self.random.choice((1.0, self.random.random())) if call in DIVISIBLE else 1.0
            number = self.random.choice((errno.EIO, errno.ENOSPC)) if share < 1.0 else errno.EIO
            text = f"{process.name}: {call} {path.name} fails with {errno.errorcode[number]} after {share:.0%} of it was done"
            if self.strikes("storage", text, target=process.name):
                return share, OSError(number, os.strerror(number), str(path))
        return 1.0, None

    def break_backend(self, name: str, seconds: float) -> None:
        """Let every call of a backend fail for a while."""
        if self.strikes("backend", f"backend {name} fails for {seconds:.2f} s", target=name, seconds=seconds):
            self._broken_until[name] = asyncio.get_running_loop().time() + seconds

    def is_broken(self, backend: str) -> bool:
        """Whether a backend fails now."""
        return self._broken_until.get(backend, 0.0) > asyncio.get_running_loop().time()

    def _poison(self, process: Process, call: str, path: PurePosixPath) -> bool:
        """Kill whoever changes a poisonous resource, by any call or by one. Such a one stays so: no fault of the moment."""
        resource = path.name.partition(".")[0]
        if resource not in self._poisonous:
            calls = self.random.choice(("every", "every", "create", "copy_range", "rename", "grow", "remove"))
            drawn = self._comes("poison", 0.1) and len(resource) == 36
            drawn = drawn and self.strikes("poison", f"{resource} is poison to {calls} call", target=resource)
            self._poisonous[resource] = calls if drawn else ""
        if self._poisonous[resource] in ("every", call) and process.works and process.alive:
            self.tell(f"{resource} brings {process.name} down", kind="note")
            process.kill()
            return True
        return False

    def late_s(self, process: Process) -> float:
        """How much later than its call a write lands; it is on its way then, whatever becomes of its process."""
        if self._comes("late", 0.05):
            later_s = self.random.uniform(0.05, self.late_most_s)
            text = f"a write of {process.name} is on its way for {later_s:.2f} s"
            if self.strikes("late", text, target=process.name, seconds=later_s):
                return later_s
        return 0.0

    # --- the store of backups ---------------------------------------------------------------------------------------

    def take_store(self, seconds: float) -> None:
        """Let the store of backups answer nobody for a while."""
        if self.strikes("store", f"the store of backups is away for {seconds:.2f} s", target="*", seconds=seconds):
            self._store_away_until = asyncio.get_running_loop().time() + seconds

    def store_delay_s(self, process: Process, call: str, key: str) -> float:
        if self._comes("store", 0.02):
            seconds = self.random.uniform(0.5, 8.0)
            if self.strikes("store", f"{process.name}: {call} {key} takes {seconds:.2f} s", target=process.name):
                return seconds
        if process.name not in self._store_pace_s:
            self._store_pace_s[process.name] = self.random.choice(self.store_paces_s or (self.storage_pace_s,))
        pace_s = self._store_pace_s[process.name]
        return self.random.expovariate(1.0) * pace_s if self.random.random() < 0.5 else 0.0

    def store_refuses(self, process: Process, call: str, key: str) -> bool:
        if self._store_away_until > asyncio.get_running_loop().time():
            return True  # belongs to the outage, which has its own number
        refused = self._comes("store", 0.03)
        return refused and self.strikes("store", f"{process.name}: {call} {key} is not answered", target=process.name)

    def store_late_s(self, process: Process, call: str, key: str) -> float:
        """Longer than its sender waits, now and then."""
        if self._comes("store", 0.06):
            later_s = self.random.choice((0.5, 3.0, 12.0)) * self.random.uniform(0.1, 1.0)
            text = f"{process.name}: {call} {key} is on its way for {later_s:.2f} s"
            if self.strikes("store", text, target=process.name, seconds=later_s):
                return later_s
        return 0.0

    def store_loses_answer(self, process: Process, call: str, key: str) -> bool:
        lost = self._comes("store", 0.04)
        return lost and self.strikes(
            "store", f"{process.name}: the answer to {call} {key} is lost", target=process.name
        )

    def fill(self, seconds: float) -> None:
        """Let the storage be full for a while."""
        if self.strikes("storage", f"the storage is full for {seconds:.2f} s", target="*", seconds=seconds):
            self._full_until = asyncio.get_running_loop().time() + seconds

    async def right_before_effect(self, stop_node: Callable[[float], None]) -> None:
        """Between the guard's yes and the system call: the worst place to be stopped, so it happens here on purpose, too."""
        if self._comes("stop", 0.02):
            stop_node(self.random.choice((0.5, 4.0, 10.0)))
            await VirtualClock().sleep(0.0)
        elif self.random.random() < 0.1:
            await VirtualClock().sleep(self.random.expovariate(1.0) * 0.002)

    def crashes_after_save(self, process: Process) -> bool:
        """Between two steps: the checkpoint is saved, and whoever saved it never hears of it."""
        text = f"crash {process.name} after its save"
        return process.works and self._comes("crash", 0.1) and self.strikes("crash", text, target=process.name)
