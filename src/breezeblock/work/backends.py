"""Failing a backend over to a replication target, as steps.

The request has closed the queue already: nothing of it is claimed until the operation has ended. That is why it does not
wait for what runs: whoever works on the old target has lost its operation with the first step, and stops at its next save.
"""

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from breezeblock.drivers.contract import ObjectName
from breezeblock.env.waiting import NoAnswer, within
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol import queue
from breezeblock.protocol.steps import Operation
from breezeblock.resources import backend_changes, targets
from breezeblock.resources.targets import Published
from breezeblock.work.tools import Working

# How many resources are looked for between two transactions.
BATCH: Final = 100
# How long a storage may take to switch, and to say whether one object is there. The queue is closed meanwhile, and no other
# failover is accepted: a target that hangs must not keep an operator from going back.
SWITCH_LIMIT_S: Final = 600.0
LOOK_LIMIT_S: Final = 60.0

T = TypeVar("T")


async def revoke_others(run: Working) -> None:
    """Take every other operation of the queue from whoever works on it. Repeating it only does so once more."""
    wanted: backend_changes.FailoverBackend = run.payload
    await run.write(backend_changes.revoke_others, queue_name=wanted.queue, row_id=wanted.backend_id)


async def fail_over(run: Working) -> None:
    """Have the storage do it. Whoever repeats this after a crash finds it done, half done, or not begun.

    That it is done is saved: whatever fails from here on, later claims must work where the storage is. If it is done after its
    time, the side that the queue goes on with refuses everything, and the operator's next failover goes on from there; once
    that is done, the driver's contract keeps the late one from changing anything.
    """
    await _within(run, SWITCH_LIMIT_S, run.tools.driver.failover(run.payload.target))
    await run.checkpoint(switched=True)


async def sort_out(run: Working) -> None:
    """See what is there on the target, and let what is not be in `error`. A repeat goes on behind the last batch."""
    wanted: backend_changes.FailoverBackend = run.payload
    driver = run.tools.driver.on(wanted.target)
    for table in targets.TABLES:
        while batch := await run.read(
            targets.published_after, queue=wanted.queue, table=table, after=run.state.get(table, ""), most=BATCH
        ):
            there: list[Published] = []
            missing: list[Published] = []
            for one in batch:
                exists = await _within(run, LOOK_LIMIT_S, driver.exists(ObjectName.parse(one.object_name)))
                (there if exists else missing).append(one)
            await run.write(
                targets.sort_out,
                run.claim,
                there=there,
                missing=missing,
                target=wanted.target,
                now_us=run.tools.clock.now_us(),
            )
            done: dict[str, Any] = {table: batch[-1].row_id}
            await run.checkpoint(**done)


async def _within(run: Working, seconds: float, call: Coroutine[Any, Any, T]) -> T:
    """The answer of a storage; BackendFailed when it takes longer than that."""
    try:
        return await within(run.tools.clock, seconds, call)
    except NoAnswer:
        raise BackendFailed(f"Target {run.payload.target} gave no answer within {seconds:g} s.") from None


FAILOVER_BACKEND = Operation(
    kind=queue.FAILOVER,
    version=1,
    payload=backend_changes.FailoverBackend,
    steps=(revoke_others, fail_over, sort_out),
    finish=backend_changes.finish_failover,
    fail=backend_changes.fail_failover,
)
