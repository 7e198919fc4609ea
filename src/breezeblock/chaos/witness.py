"""Who was alive and who owned what, as seen from outside, on one clock.

The service's own word is not taken for a process's death: a pidfd is asked every few milliseconds, and what is kept is the
last instant at which the process was certainly still there. So a call that a dead process left unfinished is held against
the service only when that process was seen alive after somebody else had begun.
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from breezeblock.chaos.asked import now
from breezeblock.chaos.database import Database, Reader, Row, Unreachable
from breezeblock.chaos.watching import EVENTS

__all__ = ["Mark", "NodeSeen", "Owned", "Witness"]

LOOK_EVERY_S: Final = 0.01
READ_EVERY_S: Final = 0.04
FIND_EVERY_S: Final = 0.1

# States of nodes from which they do not come back. A successor that holds the lock file takes its predecessor to the last at
# once.
DEAD: Final = ("expired", "fenced", "gone")

_OPERATIONS: Final = "SELECT id, kind, resource_id, owner, epoch FROM operations"
_FENCES: Final = f"{EVENTS} WHERE number > ? AND what IN ('node', 'fenced') ORDER BY number"
# Transactions that are under way at once commit in another order than that of the numbers that they have drawn.
NUMBERS_AT_ONCE: Final = 1000
_NODES: Final = "SELECT incarnation, name, state, fencer, keeper_pid, worker_pid FROM nodes"


@dataclass(frozen=True, slots=True)
class Owned:
    """From `at` on, the operation was seen with this owner and epoch; `gone` when it was in the table no more."""

    at: float
    operation: str
    kind: str
    resource: str
    owner: str | None
    epoch: int
    gone: bool = False


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """From `at` on, the incarnation was seen in this state."""

    at: float
    incarnation: str
    name: str
    state: str
    fencer: str | None
    keeper_pid: int
    worker_pid: int | None


@dataclass(frozen=True, slots=True)
class Mark:
    """Soon before `at` the incarnation came into that state by some node's hand, or was `cut off` by a method."""

    at: float
    incarnation: str
    what: str
    by: str | None


class Witness:
    """A thread that looks."""

    def __init__(self, database: Database, calls: Path) -> None:
        self._database = database
        self._calls = calls
        self._pidfds: dict[tuple[str, int], int] = {}
        self._known: set[str] = set()
        self._now_owned: dict[str, Owned] = {}
        self._now_nodes: dict[str, NodeSeen] = {}
        self._marked: set[int] = set()
        self._ended = threading.Event()
        # Two threads: a database that is stopped must not keep anybody from seeing who is alive.
        self._threads = [
            threading.Thread(target=self._run, args=(look,), name=f"witness-{look.__name__}", daemon=True)
            for look in (self._look_at_processes, self._look_at_rows)
        ]
        self._failed: list[BaseException] = []
        self.last_alive: dict[tuple[str, int], float] = {}
        """(incarnation, pid) of a worker to the last instant at which it was certainly alive."""
        self.owned: list[Owned] = []
        self.nodes: list[NodeSeen] = []
        self.marks: list[Mark] = []

    def start(self) -> None:
        """Look from now on."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Raises what went wrong with looking: a blind witness proves nothing."""
        self._ended.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads), "the witness hangs"
        for pidfd in self._pidfds.values():
            os.close(pidfd)
        if self._failed:
            raise self._failed[0]

    def _run(self, look: Callable[[], None]) -> None:
        try:
            look()
        except BaseException as error:
            self._failed.append(error)
            raise

    def _look_at_processes(self) -> None:
        find_at = 0.0
        while not self._ended.is_set():
            if now() >= find_at:
                self._find()
                find_at = now() + FIND_EVERY_S
            self._ask()
            time.sleep(LOOK_EVERY_S)

    def _look_at_rows(self) -> None:
        """A server that is away is asked again: what it has written down meanwhile is read late, and nothing of it is lost."""
        while not self._ended.is_set():
            with contextlib.suppress(Unreachable), contextlib.closing(self._database.open()) as reader:
                while not self._ended.is_set():
                    self._read(reader)
                    time.sleep(READ_EVERY_S)
            time.sleep(READ_EVERY_S)

    def _find(self) -> None:
        """Each worker has made its file before its first call."""
        for path in self._calls.glob("*.calls"):
            if path.name not in self._known:
                self._known.add(path.name)
                incarnation, pid, _ = path.name.split(".")
                with contextlib.suppress(ProcessLookupError):  # never seen alive: then nothing is said about it
                    self._pidfds[incarnation, int(pid)] = os.pidfd_open(int(pid))

    def _ask(self) -> None:
        for who, pidfd in list(self._pidfds.items()):
            at = now()  # before the question, so that it was alive at that instant for certain
            if select.select([pidfd], [], [], 0)[0]:
                os.close(pidfd)
                del self._pidfds[who]
            else:
                self.last_alive[who] = at

    def _read(self, reader: Reader) -> None:
        found = {row["id"]: tuple(row.values()) for row in reader.rows(_OPERATIONS)}
        at = now()
        for id_, (_, kind, resource, owner, epoch) in found.items():
            before = self._now_owned.get(id_)
            if before is None or (before.owner, before.epoch) != (owner, epoch):
                self._now_owned[id_] = seen = Owned(at, id_, kind, resource, owner, epoch)
                self.owned.append(seen)
        for id_ in self._now_owned.keys() - found.keys():
            last = self._now_owned.pop(id_)
            self.owned.append(Owned(at, id_, last.kind, last.resource, last.owner, last.epoch, gone=True))
        since = max(self._marked, default=0) - NUMBERS_AT_ONCE
        for row in reader.rows(_FENCES, since):
            if row["number"] not in self._marked:
                self._marked.add(row["number"])
                self._mark(at, row)
        for row in reader.rows(_NODES):
            seen_node = NodeSeen(at, *row.values())
            known = self._now_nodes.get(seen_node.incarnation)
            if known is None or _changeable(known) != _changeable(seen_node):
                self._now_nodes[seen_node.incarnation] = seen_node
                self.nodes.append(seen_node)

    def _mark(self, at: float, row: Row) -> None:
        if row["what"] == "fenced":
            self.marks.append(Mark(at, row["id"], "cut off", row["before"]))
        elif row["before"] in DEAD:
            self.marks.append(Mark(at, row["id"], row["before"], row["after"]))


def _changeable(node: NodeSeen) -> tuple[object, ...]:
    return node.state, node.fencer, node.worker_pid
