"""`breezeblock node check`: ask a node whether it reaches its storage, by an operation that only it can do."""

import asyncio
from typing import Final

import msgspec

from breezeblock.commands.asking import asking
from breezeblock.commands.failure import Failed
from breezeblock.env.contract import Env
from breezeblock.model.ids import OperationId
from breezeblock.protocol.queue import node_queue
from breezeblock.resources import node_checks
from breezeblock.resources.node_checks import Answer, Result
from breezeblock.settings import Settings
from breezeblock.store.run import Store

LOOK_EVERY_S: Final = 0.1


def check(settings: Settings, name: str, *, wait_s: float) -> Result:
    """What the storage of each of its backends says to a node. Raises Failed when there is no answer in time."""
    found = asyncio.run(_check(settings, name, wait_s))
    if found is None:
        raise Failed(f"{name} gave no answer within {wait_s:g} s: `breezeblock node list` shows whether it is up.")
    if found.outcome != "done":
        raise Failed(f"{name} was not asked: {found.detail}")
    return found


def told(name: str, found: Result) -> str:
    """The answers as text, a line for each backend."""
    lines = [_line(answer) for answer in found.answers] or ["It serves no backend."]
    return "\n".join((f"{name} (incarnation {found.incarnation}) has asked the storage of its backends:", *lines))


def as_data(found: Result) -> list[dict[str, object]]:
    """The answers for programs."""
    answers: list[dict[str, object]] = msgspec.to_builtins(found.answers)
    return answers


def _line(answer: Answer) -> str:
    where = answer.queue if answer.target is None else f"{answer.queue}, target {answer.target}"
    if answer.error is not None:
        return f"  {where}: FAILED after {answer.took_ms} ms: {answer.error}"
    return f"  {where}: well, after {answer.took_ms} ms; {answer.free_gib} of {answer.total_gib} GiB free"


async def _check(settings: Settings, name: str, wait_s: float) -> Result | None:
    cluster = settings.service.cluster
    async with asking(settings) as at:
        origin = at.origin(project_id="")
        await at.store.run(node_checks.begin_check, cluster=cluster, node=name, origin=origin)
        at.ring(node_queue(cluster, name))
        return await await_result(at.store, at.env, origin.operation_id, wait_s)


async def await_result(store: Store, env: Env, operation_id: OperationId, wait_s: float) -> Result | None:
    """How the check has ended within so many seconds; None when it has not, and is withdrawn."""
    until = env.clock.boottime() + wait_s
    while (found := await store.read(node_checks.result, operation_id=operation_id)) is None:
        if env.clock.boottime() >= until:
            # Nobody will read the answer: mostly the node ends it without asking its storage, whenever it comes.
            if await store.run(node_checks.withdraw, operation_id=operation_id):
                return None
            return await store.read(node_checks.result, operation_id=operation_id)  # it came just now
        await env.clock.sleep(LOOK_EVERY_S)
    return found
