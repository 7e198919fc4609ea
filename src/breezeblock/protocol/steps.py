"""An operation as a sequence of named, idempotent steps, and what runs it from its checkpoint to its Finish.

    claimed ──▶ do: step, save, step, save, … ──▶ finish
                 │ BackendFailed, Cancelled
                 ▼
                undo: saved first, then step, save, … ──▶ fail

A process may die between any two lines here. Whoever claims the operation next starts at the saved step and repeats it;
that is why every step is safe to repeat, and why the direction is saved before the first compensating step runs.
"""

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection

from breezeblock.model.errors import BackendFailed, Cancelled, Rejected
from breezeblock.protocol import queue
from breezeblock.protocol.queue import DO, UNDO, Claim
from breezeblock.store.run import Store

P = TypeVar("P")
T = TypeVar("T")
R = TypeVar("R")
A = ParamSpec("A")

log = structlog.get_logger(__name__)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an operation did not do what was asked. `message` is for the user."""

    message: str
    detail_id: str
    outcome: str = "failed"
    """failed, cancelled (by a later request) or parked (nobody could run it)."""


class Lease(Protocol):
    """What the executor asks about this process's right to work."""

    @property
    def lapses(self) -> int:
        """How often the right was lost since the start: unchanged means it held throughout."""
        ...

    def is_open(self) -> bool:
        """Whether storage calls may start now."""
        ...

    async def wait_open(self) -> None:
        """Return once they may. Raises Fenced when they never will."""
        ...


class HandedBack(Exception):
    """The operation was given back in good order because this process is leaving."""


class Run(Generic[P, T]):
    """One operation while it runs here: what it is to do, how far it got, and the tools it works with."""

    def __init__(self, claim: Claim, payload: P, tools: T, store: Store, *, leaving: Callable[[], bool]) -> None:
        self.claim = claim
        self.payload = payload
        self.tools = tools
        self.state: dict[str, Any] = msgspec.json.decode(claim.state_json)
        self.direction = claim.direction
        self.step = claim.step
        self.failure: Failure | None = (
            msgspec.json.decode(claim.failure_json, type=Failure) if claim.failure_json else None
        )
        self._store = store
        self._leaving = leaving

    async def checkpoint(
        self, *, progress: bool = True, also: Callable[[Connection], None] | None = None, **changes: Any
    ) -> None:
        """Merge `changes` into the state and save it: what came before is never done again.

        `also` writes what belongs to the state and is kept in rows of its own, in the same transaction.

        Without `progress` the next claim begins where this one did: an operation that brings its node down each time after
        saving only that has got nowhere, and is parked at the poison limit as if it had saved nothing.

        Raises Fenced (lost to a survivor), Cancelled, or HandedBack; all of them pass through a step untouched.
        """
        self.state |= changes
        await self._save(progress=progress, also=also)

    async def record(self, **changes: Any) -> None:
        """As `checkpoint`, by an operation that has gone too far to be cancelled. Raises Fenced, or HandedBack."""
        self.state |= changes
        await self._save(cancellable=False)

    async def advance(self, *, direction: str, step: str | None) -> None:
        """Save that `step` is the next one to run."""
        self.direction, self.step = direction, step
        await self._save()

    async def write(self, f: Callable[Concatenate[Connection, A], R], *args: A.args, **kwargs: A.kwargs) -> R:
        """Run `f` in a transaction that holds only while the operation is ours. Raises Fenced."""

        def guarded(tx: Connection) -> R:
            result = f(tx, *args, **kwargs)
            queue.guard(tx, self.claim)
            return result

        return await self._store.insist(_ours_or_fenced, self.claim, guarded)

    async def note(self, f: Callable[Concatenate[Connection, A], R], *args: A.args, **kwargs: A.kwargs) -> R:
        """As `write`, of what is done in each claim anew: it is no progress. Raises Fenced."""

        def guarded(tx: Connection) -> R:
            result = f(tx, *args, **kwargs)
            queue.guard(tx, self.claim, progress=False)
            return result

        return await self._store.insist(_ours_or_fenced, self.claim, guarded)

    async def write_saving(
        self, changes: Mapping[str, Any], f: Callable[Concatenate[Connection, A], R], *args: A.args, **kwargs: A.kwargs
    ) -> R:
        """Run `f`, and merge `changes` into the state, in one transaction: no repeat does again what this one has done.

        Raises Fenced, Cancelled.
        """
        state = self.state | dict(changes)

        def saved(tx: Connection) -> R:
            result = f(tx, *args, **kwargs)
            queue.save(
                tx,
                self.claim,
                direction=self.direction,
                step=self.step,
                state_json=msgspec.json.encode(state).decode(),
            )
            return result

        result = await self._store.insist(_ours_or_fenced, self.claim, saved)
        self.state = state
        return result

    async def read(self, f: Callable[Concatenate[Connection, A], R], *args: A.args, **kwargs: A.kwargs) -> R:
        """Read what the operation's locks keep from changing. A database outage of any length pauses it."""
        return await self._store.insist_read(f, *args, **kwargs)

    async def _save(
        self, *, progress: bool = True, cancellable: bool = True, also: Callable[[Connection], None] | None = None
    ) -> None:
        save = functools.partial(
            queue.save,
            claimed=self.claim,
            progress=progress,
            cancellable=cancellable,
            direction=self.direction,
            step=self.step,
            state_json=msgspec.json.encode(self.state).decode(),
            failure_json=msgspec.json.encode(self.failure).decode() if self.failure else None,
        )

        def saved(tx: Connection) -> None:
            save(tx)  # first: it holds the operation
            if also is not None:
                also(tx)

        await self._store.insist(saved)
        if self._leaving():
            await self._store.insist(queue.hand_back, self.claim)
            raise HandedBack(self.claim.operation_id)


Step = Callable[[Run[Any, Any]], Awaitable[None]]


class Finish(Protocol):
    """The transaction that ends an operation well: resource, accounts, `queue.close`. May run twice."""

    def __call__(self, tx: Connection, claim: Claim, payload: Any, state: dict[str, Any], *, now_us: int) -> None: ...


class Fail(Protocol):
    """The transaction that ends an operation that did not do its work: error state, accounts undone, user message."""

    def __call__(
        self, tx: Connection, claim: Claim, payload: Any, state: dict[str, Any], *, failure: Failure, now_us: int
    ) -> None: ...


@dataclass(frozen=True)
class Operation:
    """A kind of operation, declared: its payload's type, its steps, its compensation, and the two ways it ends."""

    kind: str
    version: int
    payload: type[Any]
    steps: tuple[Step, ...]
    finish: Finish
    fail: Fail
    undo: tuple[Step, ...] = ()
    is_patient: bool = False
    """It may wait for hours, for something that is not the backend's storage: so it never takes all slots of a backend."""


async def execute(
    operation: Operation, run: Run[Any, Any], store: Store, lease: Lease, now_us: Callable[[], int]
) -> None:
    """Take an operation from its checkpoint to its end. Raises Fenced or HandedBack: then it is somebody else's.

    Any other exception that leaves here is a mistake in a step; the worker turns it into a failure by `give_up`.
    """
    if run.direction == DO:
        try:
            if run.claim.cancel and _can_turn_back(operation, run.claim):
                raise Cancelled(run.claim.operation_id)
            await _walk(operation.steps, run, lease, direction=DO)
            finish = functools.partial(
                operation.finish, claim=run.claim, payload=run.payload, state=run.state, now_us=now_us()
            )
            await store.insist(_ours_or_fenced, run.claim, finish)
            return
        except Cancelled:
            failure = Failure(
                message="The request was cancelled by a later one.", detail_id="cancelled", outcome="cancelled"
            )
        except BackendFailed as error:
            failure = Failure(message=error.message, detail_id=error.detail_id)
        await turn_back(operation, run, failure)
    await compensate(operation, run, store, lease, now_us)


def _can_turn_back(operation: Operation, claim: Claim) -> bool:
    """Whether a cancelled operation may still end as if it had not begun.

    One without a compensation (a deletion) that an earlier claim may have half done goes on to its end: else a volume would
    remain whose object is gone.
    """
    return bool(operation.undo) or claim.epoch == 1


async def turn_back(operation: Operation, run: Run[Any, Any], failure: Failure) -> None:
    """Save that the operation now goes back, and why. From here on nobody does its work any more."""
    log.warning("operation.failing", reason=failure.message, outcome=failure.outcome)
    run.failure = failure
    await run.advance(direction=UNDO, step=_name(operation.undo[0]) if operation.undo else None)


async def compensate(
    operation: Operation, run: Run[Any, Any], store: Store, lease: Lease, now_us: Callable[[], int]
) -> None:
    """Undo what was half done, and end the operation in its error state."""
    assert run.failure is not None
    try:
        await _walk(operation.undo, run, lease, direction=UNDO)
    except BackendFailed as error:
        # The storage refuses even this. The resource ends in its error state all the same, and what is left under its id
        # goes when it is deleted.
        log.warning("operation.undo_failed", reason=error.message)
    await fail(operation, run, store, run.failure, now_us=now_us())


async def fail(operation: Operation, run: Run[Any, Any], store: Store, failure: Failure, *, now_us: int) -> None:
    """End an operation in its error state. Raises Fenced."""
    ending = functools.partial(
        operation.fail, claim=run.claim, payload=run.payload, state=run.state, failure=failure, now_us=now_us
    )
    await store.insist(_ours_or_fenced, run.claim, ending)


def _ours_or_fenced(tx: Connection, claim: Claim, f: Callable[[Connection], R]) -> R:
    """What `f` does; and when it cannot, because a survivor has ended the operation and its rows have gone, that says so.

    Resources are locked before the operation, in everybody's order: so the row that `f` misses may be missed first.
    """
    try:
        return f(tx)
    except Rejected:
        queue.guard(tx, claim)
        raise


async def _walk(steps: tuple[Step, ...], run: Run[Any, Any], lease: Lease, *, direction: str) -> None:
    names = [_name(step) for step in steps]
    first = names.index(run.step) if run.step in names else 0
    for position, step in enumerate(steps[first:], start=first):
        if position > first:
            await run.advance(direction=direction, step=names[position])
        await _until_it_counts(step, run, lease)


async def _until_it_counts(step: Step, run: Run[Any, Any], lease: Lease) -> None:
    """Run a step; an error seen while the lease was lost says nothing about the work, so the step runs again.

    If the node was expired meanwhile, its next save raises Fenced; a fence that made the storage refuse us must never
    become a failed operation.
    """
    while True:
        lapses = lease.lapses
        try:
            return await step(run)
        except BackendFailed as error:
            if lease.is_open() and lease.lapses == lapses:
                raise
            log.info("step.repeated_after_lapse", step=_name(step), reason=error.message)
        await lease.wait_open()


def _name(step: Step) -> str:
    return str(step.__name__)
