"""The other ways to change a status: each worker has one, with a connection of its own through HAProxy.

All use the sessions of Breezeblock (`servers.open_server`), so that no difference in the table comes from a setting: READ
COMMITTED, `wsrep_sync_wait = 7`, matched rows counted.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.store.dialects import translate
from breezeblock.store.servers import Session, open_server
from breezeblock.store.tables import volumes

from .plan import AVAILABLE, DELETING, PATIENCE_S, RETRY_S
from .sites import Site

if TYPE_CHECKING:
    from tooz.coordination import CoordinationDriver
    from tooz.locking import Lock

_SWAP = (
    update(volumes)
    .where(volumes.c.id == bindparam("row_id"), volumes.c.status == bindparam("expected"))
    .values(status=bindparam("wanted"), name=bindparam("mark"))
)
_SET = (
    update(volumes)
    .where(volumes.c.id == bindparam("row_id"))
    .values(status=bindparam("wanted"), name=bindparam("mark"))
)
_LOOK = select(volumes.c.status).where(volumes.c.id == bindparam("row_id"))
_LOOK_AT_ALL = select(volumes.c.status, volumes.c.name).where(volumes.c.id == bindparam("row_id"))
_LOOK_LOCKING = _LOOK.with_for_update()


class TookTooLong(Exception):
    """A row was not to be had."""


class Solution(Protocol):
    """One worker's way. Both calls return when the row is changed, whatever it takes."""

    retries: int
    """How often a transaction was run again after a deadlock or a failed certification."""

    def acquire(self, row_id: str, mark: str) -> None: ...

    def release(self, row_id: str, mark: str) -> None: ...

    def close(self) -> None: ...


Attempt = Callable[[Connection, str, str, str, str], bool]
"""One transaction: row, expected status, wanted status and mark; whether the row was as expected and is changed."""


def swap(tx: Connection, row_id: str, expected: str, wanted: str, mark: str) -> bool:
    """Compare and swap: one statement."""
    values = {"row_id": row_id, "expected": expected, "wanted": wanted, "mark": mark}
    return tx.execute(_SWAP, values).rowcount > 0


def select_for_update(tx: Connection, row_id: str, expected: str, wanted: str, mark: str) -> bool:
    """Lock the row where that works (on one node), look, change."""
    if tx.execute(_LOOK_LOCKING, {"row_id": row_id}).scalar() != expected:
        return False
    tx.execute(_SET, {"row_id": row_id, "wanted": wanted, "mark": mark})
    return True


def look_then_set(tx: Connection, row_id: str, expected: str, wanted: str, mark: str) -> bool:
    """No protection at all: for whoever doubts that the verification would notice."""
    if tx.execute(_LOOK, {"row_id": row_id}).scalar() != expected:
        return False
    tx.rollback()
    tx.execute(_SET, {"row_id": row_id, "wanted": wanted, "mark": mark})
    return True


def set_anyhow(tx: Connection, row_id: str, expected: str, wanted: str, mark: str) -> bool:
    """For who does not protect: somebody else may have given the row back already."""
    tx.execute(_SET, {"row_id": row_id, "wanted": wanted, "mark": mark})
    return True


class Retrying:
    """Try until it works: again after 10 ms when the row is not as expected, and when the transaction was refused."""

    def __init__(self, at: Site, attempt: Attempt) -> None:
        self.retries = 0
        self._attempt = attempt
        self._engine = open_server(at.url, Session(connections=1), reading=False)
        self._transact(look_then_set, "", "", "", "")  # connects, and finds nothing

    def acquire(self, row_id: str, mark: str) -> None:
        """See `Solution`."""
        self.change(row_id, AVAILABLE, DELETING, mark)

    def release(self, row_id: str, mark: str) -> None:
        """See `Solution`."""
        self.change(row_id, DELETING, AVAILABLE, mark)

    def change(self, row_id: str, expected: str, wanted: str, mark: str) -> None:
        """Raises TookTooLong."""
        give_up_at = time.monotonic() + PATIENCE_S
        while not self.once(row_id, expected, wanted, mark):
            if time.monotonic() > give_up_at:
                raise TookTooLong(f"{row_id} does not become {expected}")
            time.sleep(RETRY_S)

    def once(self, row_id: str, expected: str, wanted: str, mark: str) -> bool:
        """One transaction."""
        return self._transact(self._attempt, row_id, expected, wanted, mark)

    def _transact(self, attempt: Attempt, row_id: str, expected: str, wanted: str, mark: str) -> bool:
        with self._engine.connect() as tx:
            committing = False
            try:
                changed = attempt(tx, row_id, expected, wanted, mark)
                committing = True
                tx.commit()
            except Exception as error:
                named = translate(error, committing=committing)
                if isinstance(named, Contended):
                    tx.rollback()
                    self.retries += 1
                    return False
                if not isinstance(named, (Ambiguous, Unavailable)):
                    raise
                tx.invalidate()
            else:
                return changed
        # The connection was lost, perhaps after the commit. A mark is written once only, so the row tells.
        return self._is_changed(row_id, wanted, mark)

    def _is_changed(self, row_id: str, wanted: str, mark: str) -> bool:
        with contextlib.suppress(SQLAlchemyError), self._engine.connect() as tx:
            found = tx.execute(_LOOK_AT_ALL, {"row_id": row_id}).one_or_none()
            tx.rollback()
            return found == (wanted, mark)
        return False

    def close(self) -> None:
        """See `Solution`."""
        self._engine.dispose()


class Unprotected(Retrying):
    """Looks, and then writes. Implements `Solution`."""

    def __init__(self, at: Site) -> None:
        super().__init__(at, look_then_set)

    def release(self, row_id: str, mark: str) -> None:
        """See `Solution`."""
        while not self._transact(set_anyhow, row_id, DELETING, AVAILABLE, mark):
            time.sleep(RETRY_S)


class Locked:
    """The same under a lock of tooz: around each attempt, or around the whole from acquire to release."""

    def __init__(self, at: Site, *, url: str, member: str, whole: bool) -> None:
        from tooz import coordination

        self._whole = whole
        self._plain = Retrying(at, swap if whole else select_for_update)
        self._coordinator: CoordinationDriver = coordination.get_coordinator(url, member.encode())
        self._coordinator.start()
        self._locks: dict[str, Lock] = {}

    @property
    def retries(self) -> int:
        """See `Solution`."""
        return self._plain.retries

    def acquire(self, row_id: str, mark: str) -> None:
        """See `Solution`."""
        if self._whole:
            self._take(row_id)
        self._change(row_id, AVAILABLE, DELETING, mark)

    def release(self, row_id: str, mark: str) -> None:
        """See `Solution`."""
        self._change(row_id, DELETING, AVAILABLE, mark)
        if self._whole:
            self._let_go(row_id)

    def _change(self, row_id: str, expected: str, wanted: str, mark: str) -> None:
        if self._whole:
            self._plain.change(row_id, expected, wanted, mark)
            return
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            with self._held(row_id):
                if self._plain.once(row_id, expected, wanted, mark):
                    return
            if time.monotonic() > give_up_at:
                raise TookTooLong(f"{row_id} does not become {expected}")
            time.sleep(RETRY_S)

    @contextlib.contextmanager
    def _held(self, row_id: str) -> Iterator[None]:
        self._take(row_id)
        yield
        self._let_go(row_id)

    def _take(self, row_id: str) -> None:
        if row_id not in self._locks:
            self._locks[row_id] = self._coordinator.get_lock(row_id.encode())
        give_up_at = time.monotonic() + PATIENCE_S
        while not self._locks[row_id].acquire():  # it waits, and may come back without when it has waited for long
            if time.monotonic() > give_up_at:
                raise TookTooLong(f"the lock of {row_id}")

    def _let_go(self, row_id: str) -> None:
        if not self._locks[row_id].release():
            raise TookTooLong(f"the lock of {row_id} was lost while it was held")

    def close(self) -> None:
        """See `Solution`."""
        self._coordinator.stop()
        self._plain.close()


QUEUED: Final = "breezeblock"
UNPROTECTED: Final = "unprotected"
_ATTEMPTS: Final[dict[str, Attempt]] = {
    "for_update": select_for_update,
    "compare_and_swap": swap,
}
# Which service keeps the lock, and whether around the whole operation.
_LOCKS: Final = {
    "file_change": ("file", False),
    "file_whole": ("file", True),
    "redis_change": ("redis", False),
    "redis_whole": ("redis", True),
    "etcd_change": ("etcd", False),
    "etcd_whole": ("etcd", True),
}
NAMES: Final = ("for_update", "compare_and_swap", *_LOCKS, QUEUED)
# A lock of etcd around each change is left out of the whole table: alone it takes as long as all the rest.
USUAL: Final = tuple(name for name in NAMES if name != "etcd_change")
NEED_SERVICES: Final = frozenset(name for name, (kind, _) in _LOCKS.items() if kind != "file")


def open_solution(name: str, at: Site, *, member: str) -> Solution:
    """One worker's own."""
    if name == UNPROTECTED:
        return Unprotected(at)
    if (attempt := _ATTEMPTS.get(name)) is not None:
        return Retrying(at, attempt)
    kind, whole = _LOCKS[name]
    urls = {"file": f"file://{at.folder}/locks", "redis": at.redis_url, "etcd": at.etcd_url}
    return Locked(at, url=urls[kind], member=member, whole=whole)
