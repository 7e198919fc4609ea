"""`breezeblock node check`: ask a node whether it reaches its storage, by an operation that only it can do."""

import asyncio
import getpass
from typing import Final

import msgspec

from breezeblock import wiring
from breezeblock.commands.failure import Failed
from breezeblock.doorbells.tally import Rings
from breezeblock.env.contract import Env
from breezeblock.env.real import real_env
from breezeblock.model.errors import Ambiguous, NotFound, Unavailable
from breezeblock.model.ids import MessageId, OperationId, ProjectId, UserId
from breezeblock.model.origin import Origin
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
    env = real_env()
    opened = wiring.open_database(settings, env)
    bell = wiring.open_bell(settings, env, Rings())
    origin = _origin(env)
    try:
        await opened.store.run(node_checks.begin_check, cluster=settings.service.cluster, node=name, origin=origin)
        bell.ring(node_queue(settings.service.cluster, name))
        return await await_result(opened.store, env, origin.operation_id, wait_s)
    except NotFound as refused:
        raise Failed(refused.message) from refused
    except (Ambiguous, Unavailable) as error:
        raise Failed(f"The database cannot be used now: {error}") from error
    finally:
        opened.lane.close()


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


def _origin(env: Env) -> Origin:
    return Origin(
        project_id=ProjectId(""),
        user_id=UserId(getpass.getuser()),
        is_admin=True,
        request_id=f"req-{env.ids.uuid()}",
        at_us=env.clock.now_us(),
        operation_id=OperationId(env.ids.uuid()),
        message_id=MessageId(env.ids.uuid()),
    )
