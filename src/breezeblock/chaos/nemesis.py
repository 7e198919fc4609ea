"""Carries out the plan on the processes and the storage that are there."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from breezeblock.chaos.asked import now
from breezeblock.chaos.cluster import Cluster
from breezeblock.chaos.plan import NEEDS_NETWORK, NEEDS_SERVERS, NEEDS_STORAGE, STORE_AWAY, Fault
from breezeblock.chaos.servers import Member, PrivateServers
from breezeblock.chaos.service import is_running

__all__ = ["Nemesis", "Strike", "missing_kinds"]

LOOK_EVERY_S: Final = 0.02
AIM_MOST_S: Final = 30.0
TRIES_MOST: Final = 20
TRY_AGAIN_AFTER_S: Final = 1.0
# A server may have to share its processors while it starts.
REPAIRED_S: Final = 400.0


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that was carried out, on the clock of all records. `until` is when it ended; 0 for those that do not last.

    `fatal` says that the victim did not live to see the end: it was killed, by us or by the service that had given it up.
    """

    at: float
    kind: str
    name: str
    pids: tuple[int, ...]
    until: float = 0.0
    amount: float = 0.0
    fatal: bool = False


@dataclass
class _Aiming:
    """A process that is watched for the moment in which it is to be stopped."""

    stopper: subprocess.Popen[bytes]
    fault: Fault
    name: str
    pids: tuple[int, ...]


@dataclass
class _Lasting:
    """What has to be taken back, and when."""

    until: float
    strike: Strike
    take_back: Callable[[], None]
    aside: bool = False
    """Whether taking it back takes its time, in which other faults go on."""
    repair: "Future[None] | None" = None


def missing_kinds(cluster: Cluster, kinds: Collection[str]) -> frozenset[str]:
    """Of some kinds of faults those that cannot be had here."""
    found = NEEDS_STORAGE if cluster.disk is None else frozenset()
    found |= frozenset({"clock jump"}) if cluster.clocks is None else frozenset()
    found |= NEEDS_NETWORK if cluster.network is None else frozenset()
    return found & frozenset(kinds)


class Nemesis:
    """A thread that strikes as planned. Never `up` itself: it is what stands for the machine's own init."""

    def __init__(self, cluster: Cluster, plan: Sequence[Fault]) -> None:
        self._service = cluster.service
        self._plan = plan
        self._disk = cluster.disk
        self._clocks = cluster.clocks
        self._servers = cluster.servers
        self._network = cluster.network
        self._backups = cluster.backups
        self._aside = ThreadPoolExecutor(4, thread_name_prefix="repair")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nemesis", daemon=True)
        self._lasting: list[_Lasting] = []
        self._aiming: list[_Aiming] = []
        self._failed: list[BaseException] = []
        self.strikes: list[Strike] = []
        self.missed: Counter[str] = Counter()
        self._tries: Counter[tuple[str, int]] = Counter()

    def start(self) -> None:
        """Begin; the plan's instants count from here."""
        self._thread.start()

    def stop(self) -> None:
        """Nothing is stopped, full, read-only or off its time afterwards."""
        self._ended.set()
        self._thread.join(REPAIRED_S)
        assert not self._thread.is_alive(), "the nemesis hangs"
        if self._failed:
            raise self._failed[0]

    def counts(self) -> dict[str, int]:
        """How often each kind struck."""
        return dict(sorted(Counter(strike.kind for strike in self.strikes).items()))

    def _run(self) -> None:
        try:
            self._carry_out()
        except BaseException as error:
            self._failed.append(error)
            raise
        finally:
            for aiming in self._aiming:
                aiming.stopper.wait(AIM_MOST_S)
            self._hit_what_was_aimed_at()
            while self._lasting:
                self._take_back(float("inf"))
                time.sleep(LOOK_EVERY_S)
            self._aside.shutdown()

    def _carry_out(self) -> None:
        began, left = now(), list(self._plan)
        while not self._ended.is_set():
            while left and began + left[0].at_s <= now():
                fault = left.pop(0)
                if not self._strike(fault):
                    left += self._again(fault)
                    left.sort()
            self._hit_what_was_aimed_at()
            self._take_back(now())
            time.sleep(LOOK_EVERY_S)
        self.missed.update(fault.kind for fault in left)

    def _again(self, fault: Fault) -> list[Fault]:
        """What found no victim tries a little later, some times: a storage with a stopped writer cannot become read-only."""
        if self._tries[fault.kind, fault.victim] >= TRIES_MOST:
            self.missed[fault.kind] += 1
            return []
        self._tries[fault.kind, fault.victim] += 1
        return [replace(fault, at_s=fault.at_s + TRY_AGAIN_AFTER_S)]

    def _take_back(self, until: float) -> None:
        """What is over by then; and stops whose victims are dead already."""
        for one in list(self._lasting):
            pids = one.strike.pids
            dead = bool(pids) and one.strike.kind.startswith("stop") and not any(is_running(pid) for pid in pids)
            if not dead and one.until > until:
                continue
            if one.aside and one.repair is None:
                one.repair = self._aside.submit(one.take_back)
            if one.repair is None or one.repair.done():
                self._lasting.remove(one)
                one.take_back() if one.repair is None else one.repair.result()
                self.strikes.remove(one.strike)
                self.strikes.append(replace(one.strike, until=now(), fatal=dead))

    def _last(self, strike: Strike, seconds: float, take_back: Callable[[], None], *, aside: bool = False) -> None:
        self.strikes.append(strike)
        self._lasting.append(_Lasting(strike.at + seconds, strike, take_back, aside))

    def _continue(self, pids: Sequence[int]) -> None:
        """Those that no other stop still holds."""
        held = {pid for one in self._lasting if one.strike.kind.startswith("stop") for pid in one.strike.pids}
        for pid in pids:
            if pid not in held and is_running(pid):
                _signal(pid, signal.SIGCONT)

    # --- what is done -----------------------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> bool:
        """Whether there was anything to strike at."""
        if fault.kind == "full disk" or fault.kind == "read-only storage":
            return self._strike_storage(fault)
        if fault.kind == "clock jump":
            return self._jump(fault)
        if fault.kind == STORE_AWAY:
            return self._take_store_away(fault)
        way, _, what = fault.kind.partition(" ")
        if what == "database":
            return self._strike_database(fault, way)
        if what == "broker":
            return self._strike_broker(fault, way)
        if fault.kind in NEEDS_NETWORK:
            return self._cut(fault, way, what)
        if what == "in a transaction":
            return self._stop_in_transaction(fault)
        name, pids = self._victim(what, fault)
        if not pids:
            return False
        hit = Strike(now(), fault.kind, name, pids, fatal=way == "kill")
        sent = [_signal(pid, signal.SIGKILL if way == "kill" else signal.SIGSTOP) for pid in pids]
        if not any(sent):
            return False
        if way == "stop":
            self._last(hit, fault.seconds, lambda: self._continue(pids))
        else:
            self.strikes.append(hit)
        return True

    def _victim(self, what: str, fault: Fault) -> tuple[str, tuple[int, ...]]:
        """A process of that kind, or both of a node, that is there now."""
        told = self._service.told
        found: list[tuple[str, tuple[int, ...]]]
        if what == "api":
            found = [(one["name"], (one["pid"],)) for one in told.get("api", []) if one["pid"]]
        else:
            found = []
            for name, keeper in sorted(self._service.keeper_pids.items()):
                worker = self._service.worker_pid(name)
                pids = {"keeper": (keeper,), "worker": (worker,), "node": (worker, keeper)}[what]
                if all(pids):
                    found.append((name, tuple(pid for pid in pids if pid is not None)))
        return found[fault.victim % len(found)] if found else ("", ())

    def _stop_in_transaction(self, fault: Fault) -> bool:
        """A worker, or sometimes an API process or a keeper, at a moment when it holds the database's write lock."""
        what = ("worker", "worker", "api", "keeper")[fault.part % 4]
        name, pids = self._victim(what, fault)
        if not pids:
            return False
        # By a process of its own: asking for locks drops those of the asker, and this one reads the database.
        database = str(self._service.data / "breezeblock.db")
        stopper = subprocess.Popen([sys.executable, "-m", "breezeblock.chaos.stopper", database, str(pids[0])])
        self._aiming.append(_Aiming(stopper, fault, name, pids))
        return True

    def _hit_what_was_aimed_at(self) -> None:
        for one in [one for one in self._aiming if one.stopper.poll() is not None]:
            self._aiming.remove(one)
            if one.stopper.returncode == 0:
                hit = Strike(now(), one.fault.kind, one.name, one.pids)
                self._last(hit, one.fault.seconds, functools.partial(self._continue, one.pids))
            else:
                self.missed[one.fault.kind] += 1

    def _strike_storage(self, fault: Fault) -> bool:
        """One at a time: filling what is read-only says nothing."""
        disk = self._disk
        if disk is None or any(one.strike.kind in NEEDS_STORAGE for one in self._lasting):
            return False
        hit = Strike(now(), fault.kind, "storage", ())
        if fault.kind == "full disk":
            disk.fill()
            self._last(hit, fault.seconds, disk.empty)
            return True
        if not disk.read_only():
            return False
        self._last(hit, fault.seconds, disk.writable)
        return True

    def _take_store_away(self, fault: Fault) -> bool:
        """As if it were not mounted. One that nobody has used yet would be begun anew meanwhile, as the next that is empty."""
        away = self._backups.with_name(f"{self._backups.name}-away")
        if away.exists() or not any(self._backups.glob("*/packs/*")):
            return False
        self._backups.rename(away)
        strike = Strike(now(), fault.kind, "store of backups", ())
        self._last(strike, fault.seconds, lambda: self._bring_store_back(away))
        return True

    def _bring_store_back(self, away: Path) -> None:
        assert not self._backups.exists(), "a store that was away was begun anew"
        away.rename(self._backups)

    def _strike_database(self, fault: Fault, way: str) -> bool:
        """One at a time: of three that are a cluster, the other two go on."""
        servers = self._servers
        if not servers.databases or any(one.strike.kind in NEEDS_SERVERS for one in self._lasting):
            return False
        names = sorted(servers.databases)
        name = names[fault.victim % len(names)]
        hit = Strike(now(), fault.kind, name, ())
        if way == "kill":
            servers.databases[name].kill()
            self._last(hit, fault.seconds, servers.databases[name].start, aside=True)
        elif way == "stop":
            servers.databases[name].pause()
            self._last(hit, fault.seconds, functools.partial(_go_on, servers, name), aside=True)
        else:
            servers.members[name].isolate(True)
            self._last(hit, fault.seconds, functools.partial(_let_back, servers.members[name]), aside=True)
        return True

    def _strike_broker(self, fault: Fault, way: str) -> bool:
        broker = self._servers.broker
        if broker is None or any(one.strike.name == "broker" for one in self._lasting):
            return False
        hit = Strike(now(), fault.kind, "broker", ())
        if way == "kill":
            broker.kill()
        else:
            broker.pause()
        self._last(hit, fault.seconds, broker.start if way == "kill" else broker.resume, aside=True)
        return True

    def _cut(self, fault: Fault, way: str, what: str) -> bool:
        """A host loses the servers, or, half cut, does not reach them or does not hear them."""
        name, pids = self._victim(what, fault)
        network = self._network
        if (
            network is None
            or not pids
            or any(one.strike.kind in NEEDS_NETWORK and one.strike.name == name for one in self._lasting)
        ):
            return False
        whole, first = way == "cut", fault.part % 2 == 0
        hit = Strike(now(), fault.kind, name, pids)
        network.cut(name, sent=whole or first, heard=whole or not first)
        self._last(hit, fault.seconds, lambda: network.heal(name))
        return True

    def _jump(self, fault: Fault) -> bool:
        name, pids = self._victim("keeper", fault)
        clocks = self._clocks
        if not pids or clocks is None or not clocks.set(pids[0], fault.amount):
            return False

        def back() -> None:
            clocks.set(pids[0], 0.0)

        self._last(Strike(now(), fault.kind, name, pids, amount=fault.amount), fault.seconds, back)
        return True


def _go_on(servers: PrivateServers, name: str) -> None:
    """A member that was stopped for long was left behind by the others, and has to come back."""
    servers.databases[name].resume()
    if name in servers.members:
        servers.members[name].wait_ready()


def _let_back(member: Member) -> None:
    member.isolate(False)
    member.wait_ready()


def _signal(pid: int, number: signal.Signals) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
