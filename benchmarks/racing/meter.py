"""What a run takes: processor time by who took it, and what the databases were asked, without the synthetic writers' part."""

import operator
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final, Self

from tests.servers.guard import descendants_of

from .sites import Site, connect

WORKER: Final = "worker"
NODE: Final = "node"
_DATABASE: Final = "mariadbd"
_BETWEEN: Final = ("haproxy", "redis-server", "etcd")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
# In /proc/PID/stat, behind the name: user and system time.
_TIMES: Final = slice(11, 13)


@dataclass(frozen=True, slots=True)
class Usage:
    """Amounts since some moment: only differences mean anything. Times in seconds of one processor."""

    workers_s: float = 0.0
    nodes_s: float = 0.0
    """Breezeblock's."""
    databases_s: float = 0.0
    between_s: float = 0.0
    """The balancer, and the services that keep locks."""
    statements: float = 0.0
    """Of all databases together; each COMMIT and ROLLBACK is one."""
    write_sets: float = 0.0
    """Transactions that wrote something and were sent to all databases, to be committed or refused."""

    def __sub__(self, other: Self) -> "Usage":
        return self._by(operator.sub, other)

    def __add__(self, other: Self) -> "Usage":
        return self._by(operator.add, other)

    def __mul__(self, factor: float) -> "Usage":
        return Usage(*(value * factor for value in astuple(self)))

    def _by(self, how: Callable[[float, float], float], other: Self) -> "Usage":
        return Usage(*map(how, astuple(self), astuple(other)))


class Meter:
    """Reads what a run has taken so far, without what the synthetic writers have.

    `written` counts their statements. What one of them takes is found out while nothing else runs (`listen`); without
    that it counts as nothing.
    """

    def __init__(self, at: Site, written: Callable[[], int]) -> None:
        self._connections = [connect(node, wait=False) for node in at.nodes]
        self._kinds: dict[int, str] = {}
        self._written = written
        self._of_a_statement = Usage()

    def listen(self, seconds: float) -> None:
        """Find out what the writers take, who are alone now."""
        before, written = self._read_all(), self._written()
        time.sleep(seconds)
        self._of_a_statement = (self._read_all() - before) * (1 / max(1, self._written() - written))

    def watch(self, pids: Iterable[int], kind: str) -> None:
        """Know more processes of ours."""
        self._kinds |= dict.fromkeys(pids, kind)

    def read(self) -> Usage:
        """Everything until now."""
        return self._read_all() - self._of_a_statement * self._written()

    def _read_all(self) -> Usage:
        statements = write_sets = 0
        for connection in self._connections:
            with connection.cursor() as cursor:
                cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name IN ('Questions', 'wsrep_replicated')")
                told = {str(name).lower(): int(value) for name, value in cursor.fetchall()}
            statements += told["questions"]
            write_sets += told["wsrep_replicated"]
        taken = dict.fromkeys(
            (WORKER, NODE, _DATABASE, *_BETWEEN), 0
        )  # neither servers' guards nor the writers themselves
        for pid in descendants_of(os.getpid()):
            name, ticks = _look_at(pid)
            kind = self._kinds.get(pid, name)
            if kind in taken:
                taken[kind] += ticks
        return Usage(
            workers_s=taken[WORKER] / _TICKS,
            nodes_s=taken[NODE] / _TICKS,
            databases_s=taken[_DATABASE] / _TICKS,
            between_s=sum(taken[name] for name in _BETWEEN) / _TICKS,
            statements=statements,
            write_sets=write_sets,
        )

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()


def _look_at(pid: int) -> tuple[str, int]:
    """The process's name, and the processor time that it has had."""
    try:
        head, _, tail = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return "", 0  # it has ended
    return head.partition("(")[2], sum(int(ticks) for ticks in tail.split()[_TIMES])
