"""Work that is meant for one node, as steps."""

import asyncio
from typing import Final

import msgspec

from breezeblock.drivers.contract import PoolReport
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


async def _ask(tools: NodeTools, name: str, target: str | None) -> Answer:
    began = tools.clock.boottime()
    error: str | None = None
    pools: tuple[PoolReport, ...] = ()
    try:
        pools = await within(tools.clock, LIMIT_S, _report(tools, name, target))
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


async def _report(tools: NodeTools, name: str, target: str | None) -> tuple[PoolReport, ...]:
    driver = tools.driver(name, target)
    await driver.check(known=True)  # unknown storage would be made ours
    return await driver.report()


CHECK_NODE: Final = Operation(
    kind=node_checks.KIND,
    version=1,
    payload=CheckNode,
    steps=(look,),
    finish=node_checks.finish_check,
    fail=node_checks.fail_check,
)
