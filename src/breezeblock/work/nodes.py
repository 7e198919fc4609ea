"""Work that is meant for one node, as steps."""

import asyncio
from typing import Final

import msgspec

from breezeblock.drivers.contract import Driver, PoolReport
from breezeblock.env.waiting import NoAnswer, within
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol import queue
from breezeblock.protocol.steps import Operation, Run
from breezeblock.resources import node_checks
from breezeblock.resources.node_checks import ANSWERS, Answer, CheckNode
from breezeblock.work.tools import GIB, NodeTools

# A storage that hangs must not keep the answers of the others.
LIMIT_S: Final = 15.0

WorkingOnNode = Run[CheckNode, NodeTools]


async def look(run: WorkingOnNode) -> None:
    """Ask the storage of each backend whether it is there and ours, and how much is free. Nothing is made or changed."""
    _, targets = await run.read(queue.storage)
    answers = await asyncio.gather(*(_ask(run.tools, name, targets.get(name)) for name in run.tools.queues))
    run.state[ANSWERS] = msgspec.to_builtins(answers)


class Probes:
    """The looks at storages that are under way in this process: one for each at most.

    One that hangs holds a thread for as long as it hangs, and threads are what the work on healthy storages needs: who asks
    again waits for the same answer.
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, str | None], asyncio.Task[tuple[PoolReport, ...]]] = {}

    async def report(self, driver: Driver, name: str, target: str | None) -> tuple[PoolReport, ...]:
        """What the storage of a queue says, on a target. Raises BackendFailed."""
        probe = self._under_way.get((name, target))
        if probe is None:
            probe = asyncio.ensure_future(_report(driver))
            self._under_way[name, target] = probe
            probe.add_done_callback(lambda done: self._ended(name, target, done))
        return await asyncio.shield(probe)

    def _ended(self, name: str, target: str | None, done: "asyncio.Task[tuple[PoolReport, ...]]") -> None:
        del self._under_way[name, target]
        if not done.cancelled():
            done.exception()  # nobody may wait for it any more


async def _report(driver: Driver) -> tuple[PoolReport, ...]:
    await driver.check(known=True)  # unknown storage would be made ours
    return await driver.report()


async def _ask(tools: NodeTools, name: str, target: str | None) -> Answer:
    began = tools.clock.boottime()
    error: str | None = None
    pools: tuple[PoolReport, ...] = ()
    try:
        pools = await within(tools.clock, LIMIT_S, tools.report(name, target))
    except BackendFailed as failed:
        error = failed.message
    except NoAnswer:
        error = f"It gave no answer within {LIMIT_S:g} s."
    return Answer(
        queue=name,
        target=target,
        took_ms=round((tools.clock.boottime() - began) * 1000),
        error=error,
        free_gib=sum(pool.free_bytes for pool in pools) // GIB,
        total_gib=sum(pool.total_bytes for pool in pools) // GIB,
    )


CHECK_NODE: Final = Operation(
    kind=node_checks.KIND,
    version=1,
    payload=CheckNode,
    steps=(look,),
    finish=node_checks.finish_check,
    fail=node_checks.fail_check,
)
