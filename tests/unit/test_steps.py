"""The executor: from a checkpoint to the end, whatever happens on the way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.store.given import ME, NOW_US, OTHER, QUEUE, Base, in_virtual_time, note, virtual_env

from breezeblock.env.contract import Env
from breezeblock.model.errors import BackendFailed, Contended, Fenced, Unavailable
from breezeblock.protocol import membership, queue
from breezeblock.protocol.queue import Claim, Job, Lock
from breezeblock.protocol.steps import Failure, HandedBack, Operation, Run, execute
from breezeblock.store.run import Store
from breezeblock.store.tables import operation_log, operations


@dataclass
class Right:
    """This process's right to work, as the test has it. Implements `steps.Lease`."""

    lapses: int = 0
    is_lost: bool = False
    waits: int = 0

    def is_open(self) -> bool:
        return not self.is_lost

    async def wait_open(self) -> None:
        self.waits += 1
        self.is_lost = False


@dataclass
class Work:
    """An operation whose steps note that they ran, and go wrong as told: step -> what it raises, once each."""

    base: Base
    errors: dict[str, list[Callable[[], None]]] = field(default_factory=dict)
    did: list[str] = field(default_factory=list)
    right: Right = field(default_factory=Right)
    is_leaving: bool = False
    database_errors: list[Exception] = field(default_factory=list)
    env: Env = field(default_factory=virtual_env)

    async def write(self, body: Callable[[Connection], Any]) -> Any:
        """`run.Lane` before the base's own, which goes wrong as told."""
        if self.database_errors:
            raise self.database_errors.pop(0)
        return await self.base.write(body)

    read = write

    def go_wrong(self, step: str, *what: Callable[[], None]) -> None:
        self.errors.setdefault(step, []).extend(what)

    def _step(self, name: str) -> Any:
        async def step(run: Run[Any, Any]) -> None:
            self.did.append(name)
            if self.errors.get(name):
                self.errors[name].pop(0)()
            if name == "copy":
                await run.checkpoint(copied=run.state.get("copied", 0) + 1)

        step.__name__ = name
        return step

    @property
    def operation(self) -> Operation:
        return Operation(
            kind="copy",
            version=1,
            payload=dict,
            steps=tuple(map(self._step, ("make", "copy", "publish"))),
            finish=self._finish,
            undo=tuple(map(self._step, ("withdraw", "drop"))),
            fail=self._fail,
        )

    def _finish(self, tx: Connection, claim: Claim, payload: Any, state: dict[str, Any], *, now_us: int) -> None:
        self.did.append("finish")
        queue.close(tx, claim, outcome="done", detail=str(state), now_us=now_us)

    def _fail(
        self, tx: Connection, claim: Claim, payload: Any, state: dict[str, Any], *, failure: Failure, now_us: int
    ) -> None:
        self.did.append("fail")
        queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)

    def enqueued(self) -> str:
        job = Job("copy", 1, QUEUE, "volume", "v", {})
        return self.base.enqueue(Lock("v", 1, exclusive=True), job=job)

    def run(self, claim: Claim) -> None:
        """Execute a claim to whatever end it comes to."""

        async def main() -> None:
            store = Store(self, self.env)
            run: Run[Any, Any] = Run(claim, {}, None, store, leaving=lambda: self.is_leaving)
            await execute(self.operation, run, store, self.right, lambda: NOW_US)

        in_virtual_time(main())

    @property
    def outcome(self) -> tuple[str, str]:
        (entry,) = self.base.rows(operation_log)
        return entry["outcome"], entry["detail"]

    @property
    def saved(self) -> tuple[str, str | None, str]:
        (row,) = self.base.rows(operations)
        return row["direction"], row["step"], row["state_json"]


@pytest.fixture
def work() -> Iterator[Work]:
    base = Base()
    base.node(ME)
    base.node(OTHER)
    yield Work(base)
    base.close()


def crash() -> None:
    """As if the process died: nothing of ours may catch it."""
    raise SystemExit


def storage_fails() -> None:
    raise BackendFailed("No space left.", detail_id="full")


def test_steps_run_in_their_order_and_then_the_finish(work: Work) -> None:
    """With what they have saved on the way."""
    work.run(work.base.claim(work.enqueued()))

    assert work.did == ["make", "copy", "publish", "finish"]
    assert work.outcome == ("done", "{'copied': 1}")


@pytest.mark.parametrize(
    ("died_in", "repeated"),
    [
        ("make", ["make", "copy", "publish", "finish"]),
        ("copy", ["copy", "publish", "finish"]),
        ("publish", ["publish", "finish"]),
    ],
)
def test_who_claims_it_next_repeats_the_step_in_flight(work: Work, died_in: str, repeated: list[str]) -> None:
    """Nothing before it is done again."""
    work.go_wrong(died_in, crash)
    id_ = work.enqueued()
    with pytest.raises(SystemExit):
        work.run(work.base.claim(id_))
    work.did.clear()

    work.run(work.base.claim(id_))

    assert work.did == repeated
    assert work.outcome[0] == "done"


def test_what_a_step_saved_is_there_for_the_next_claim(work: Work) -> None:
    """The checkpoint inside the copy counts, and the repeat goes on from it."""
    work.go_wrong("publish", crash)
    id_ = work.enqueued()
    with pytest.raises(SystemExit):
        work.run(work.base.claim(id_))

    assert work.saved == ("do", "publish", '{"copied":1}')


def test_a_failure_turns_back_and_undoes(work: Work) -> None:
    """The message of the storage is what the log and the user get."""
    work.go_wrong("copy", storage_fails)

    work.run(work.base.claim(work.enqueued()))

    assert work.did == ["make", "copy", "withdraw", "drop", "fail"]
    assert work.outcome == ("failed", "No space left.")


def test_the_direction_is_saved_before_anything_is_undone(work: Work) -> None:
    """The process dies in the first compensating step: nobody does the work again that is being undone."""
    work.go_wrong("copy", storage_fails)
    work.go_wrong("withdraw", crash)
    id_ = work.enqueued()
    with pytest.raises(SystemExit):
        work.run(work.base.claim(id_))
    saved = work.saved
    work.did.clear()

    work.run(work.base.claim(id_))

    assert saved[:2] == ("undo", "withdraw")
    assert work.did == ["withdraw", "drop", "fail"]
    assert work.outcome == ("failed", "No space left.")


def test_undoing_goes_on_where_it_was(work: Work) -> None:
    """Its steps are saved as the others are."""
    work.go_wrong("copy", storage_fails)
    work.go_wrong("drop", crash)
    id_ = work.enqueued()
    with pytest.raises(SystemExit):
        work.run(work.base.claim(id_))
    work.did.clear()

    work.run(work.base.claim(id_))

    assert work.did == ["drop", "fail"]


def test_where_undoing_fails_the_operation_ends_all_the_same(work: Work) -> None:
    """With the first failure's message: that is what the user asked about."""
    work.go_wrong("copy", storage_fails)
    work.go_wrong("withdraw", lambda: _fail("Still no."))

    work.run(work.base.claim(work.enqueued()))

    assert work.did == ["make", "copy", "withdraw", "fail"]
    assert work.outcome == ("failed", "No space left.")


def _fail(message: str) -> None:
    raise BackendFailed(message)


@pytest.mark.parametrize("how", ["the gate is shut", "it was shut and is open again"])
def test_an_error_seen_while_the_lease_was_lost_repeats_the_step(work: Work, how: str) -> None:
    """It may be the fence that made the storage refuse us: that says nothing about the work."""

    def lapse() -> None:
        work.right.lapses += 1
        work.right.is_lost = how == "the gate is shut"
        storage_fails()

    work.go_wrong("copy", lapse, lapse)

    work.run(work.base.claim(work.enqueued()))

    assert work.did == ["make", "copy", "copy", "copy", "publish", "finish"]
    assert (work.outcome[0], work.right.waits) == ("done", 2)


def test_an_error_after_the_lapse_is_one(work: Work) -> None:
    """The repeat ran under an unbroken lease and failed again."""

    def lapse() -> None:
        work.right.lapses += 1
        storage_fails()

    work.go_wrong("copy", lapse, storage_fails)

    work.run(work.base.claim(work.enqueued()))

    assert work.did == ["make", "copy", "copy", "withdraw", "drop", "fail"]


def test_a_lapse_while_undoing_repeats_that_step(work: Work) -> None:
    """The same on the way back."""

    def lapse() -> None:
        work.right.lapses += 1
        storage_fails()

    work.go_wrong("copy", storage_fails)
    work.go_wrong("drop", lapse)

    work.run(work.base.claim(work.enqueued()))

    assert work.did == ["make", "copy", "withdraw", "drop", "drop", "fail"]


def cancel(work: Work) -> None:
    work.base.run(queue.cancel_earlier, resource_id="v")


def test_an_operation_cancelled_in_the_queue_does_none_of_its_work(work: Work) -> None:
    """It is undone as any other, and ends as cancelled."""
    id_ = work.enqueued()
    cancel(work)

    work.run(work.base.claim(id_))

    assert work.did == ["withdraw", "drop", "fail"]
    assert work.outcome[0] == "cancelled"


def test_a_running_one_stops_at_its_next_save(work: Work) -> None:
    """Here the checkpoint inside the copy."""
    work.go_wrong("copy", lambda: cancel(work))

    work.run(work.base.claim(work.enqueued()))

    assert work.did == ["make", "copy", "withdraw", "drop", "fail"]
    assert work.outcome[0] == "cancelled"


def test_one_that_has_done_all_its_work_finishes(work: Work) -> None:
    """Cancelled in its last step, after its last save: the Finish decides about the status."""
    work.go_wrong("publish", lambda: cancel(work))

    work.run(work.base.claim(work.enqueued()))

    assert work.did == ["make", "copy", "publish", "finish"]


def test_who_goes_back_because_of_a_failure_is_not_cancelled_as_well(work: Work) -> None:
    """The cancel comes while it undoes: its outcome stays."""
    work.go_wrong("copy", storage_fails)
    work.go_wrong("withdraw", lambda: cancel(work))

    work.run(work.base.claim(work.enqueued()))

    assert work.did == ["make", "copy", "withdraw", "drop", "fail"]
    assert work.outcome == ("failed", "No space left.")


def test_a_leaving_process_hands_it_back_at_a_checkpoint(work: Work) -> None:
    """The next claim goes on from there, and no attempt is counted."""
    work.go_wrong("copy", lambda: setattr(work, "is_leaving", True))
    id_ = work.enqueued()
    with pytest.raises(HandedBack):
        work.run(work.base.claim(id_))
    handed_back, work.is_leaving = work.base.row(operations, id_), False

    again = work.base.claim(id_, OTHER)
    work.run(again)

    assert (handed_back["owner"], handed_back["state_json"], again.attempt) == (None, '{"copied":1}', 0)
    assert work.outcome == ("done", "{'copied': 2}")


def test_a_leaving_process_hands_back_what_is_being_undone(work: Work) -> None:
    """Right after the direction was saved."""
    work.is_leaving = True
    work.go_wrong("make", storage_fails)
    with pytest.raises(HandedBack):
        work.run(work.base.claim(work.enqueued()))

    assert work.saved[:2] == ("undo", "withdraw")


def expired(work: Work) -> None:
    work.base.run(membership.expire, incarnation=ME, heartbeat=1, fencer=OTHER, note=note())


@pytest.mark.parametrize("step", ["make", "copy", "publish"])
def test_a_node_that_was_expired_stops_at_its_next_write(work: Work, step: str) -> None:
    """It neither finishes nor fails the operation: that is the survivor's."""
    work.go_wrong(step, lambda: expired(work))

    with pytest.raises(Fenced):
        work.run(work.base.claim(work.enqueued()))

    assert work.base.rows(operation_log) == []
    assert "withdraw" not in work.did


def test_a_failure_of_a_node_that_was_expired_is_nobodys(work: Work) -> None:
    """The storage refuses because of the fence, before the lapse was seen: turning back cannot be saved."""

    def fenced_off() -> None:
        expired(work)
        storage_fails()

    work.go_wrong("copy", fenced_off)

    with pytest.raises(Fenced):
        work.run(work.base.claim(work.enqueued()))

    assert "withdraw" not in work.did


def test_an_outage_of_the_database_pauses_and_fails_nothing(work: Work) -> None:
    """However long: each save waits until it is certain."""
    claim = work.base.claim(work.enqueued())
    work.database_errors = [Unavailable("away"), Contended("lost")] * 100

    work.run(claim)

    assert work.did == ["make", "copy", "publish", "finish"]


def test_a_write_of_a_step_holds_only_while_the_operation_is_ours(work: Work) -> None:
    """What it did in its transaction is taken back with it."""
    id_ = work.enqueued()
    claim = work.base.claim(id_)
    expired(work)

    async def main() -> None:
        run: Run[Any, Any] = Run(claim, {}, None, Store(work, work.env), leaving=lambda: False)
        await run.write(lambda tx: queue.cancel_earlier(tx, resource_id="v"))

    with pytest.raises(Fenced):
        in_virtual_time(main())

    assert not work.base.row(operations, id_)["cancel"]
