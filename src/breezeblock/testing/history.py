"""The history of a run: what was told while it went on, as lines for byte-by-byte comparison and as data for pictures.

Every entry has a kind. `note` says nothing more; those below carry data, under these names:

run        faults, fence                  the begin of the run
phase      -                              faults have stopped; all has settled, or never did
start      -                              a process begins
end        -                              a process is gone, for whatever reason
identity   incarnation                    which row of `nodes` a keeper's process is
request    number, call, operation, resource
answer     number, answer                 accepted, answered, refused or unavailable
fault      fault, number, target, seconds what was done to whom ("*": everybody), for how long; see `faults.py`
refused    incarnation                    the storage refuses this one from now on
enqueued   operation, operation_kind, places {resource: seq}
owned      operation, owner, epoch        owner is an incarnation, or None
ended      operation, operation_kind, outcome
status     table, resource, before, after
node       incarnation, before, after
effect     call, name, tokens {resource: (seq, epoch)}
waits      operation                      for a driver's lock
resumed    resource, name                 a copy goes on from a checkpoint of an earlier claim
guest      name                           somebody else wrote to an attached volume
log        event                          a line of the services' own log
violation  invariant
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from breezeblock.testing.loop import PROCESS

__all__ = ["Entry", "History", "Tell"]


class Entry(NamedTuple):
    """One thing that happened. `at` is the loop's time, `process` whose doing it was, where that is known."""

    at: float
    process: str | None
    kind: str
    text: str
    data: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.at:.6f} {self.text}"


class Tell(Protocol):
    """How the parts of a run add to its history."""

    def __call__(self, line: str, *, kind: str = "note", process: str | None = None, **data: Any) -> None:
        """Add an entry. Without a `process` it is the one that is running, if any."""
        ...


class History:
    """Collects entries. Implements `Tell`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.entries: list[Entry] = []

    def __call__(self, line: str, *, kind: str = "note", process: str | None = None, **data: Any) -> None:
        """See `Tell`."""
        if process is None:
            running = PROCESS.get()
            process = None if running is None else running.name
        self.entries.append(Entry(self._now(), process, kind, line, data))
