"""`breezeblock fence-test NODE`: ask a node's fence agent something harmless, as the fence would call it."""

import asyncio
from typing import Final

from breezeblock.commands.failure import Failed
from breezeblock.env.commands import RealCommands, Said
from breezeblock.env.real import real_env
from breezeblock.node.fence_agent import CUTTING, Target, call, failure
from breezeblock.node.fences import FenceFailed
from breezeblock.settings import Settings

STATUS: Final = "status"
# By the convention of fence agents: the agent works, and the node is off.
IS_OFF: Final = 2


def fence_test(settings: Settings, node: str, *, action: str, agent: str | None) -> str:
    """Call every agent that may have to fence the node, or the one named. Raises Failed when any does not succeed."""
    if action in CUTTING:
        raise Failed(f"action={action} would cut {node} off; a test asks for status, monitor, metadata or list.")
    names = [agent] if agent is not None else _agents(settings)
    if not names:
        raise Failed("No backend has a fence agent: there is no fence_agent in [nodes] or in a backend's section.")
    if unknown := [name for name in names if name not in settings.fences]:
        raise Failed(f"There is no [fences.{unknown[0]}]. There are: {', '.join(settings.fences) or 'none'}.")
    answers = [asyncio.run(_ask(settings, name, node, action)) for name in names]
    told = "\n".join(text for text, _ in answers)
    if not all(succeeded for _, succeeded in answers):
        raise Failed(told)
    return told


def _agents(settings: Settings) -> list[str]:
    return sorted({backend.fence_agent for backend in settings.backends.values() if backend.fence_agent})


async def _ask(settings: Settings, name: str, node: str, action: str) -> tuple[str, bool]:
    agent = settings.fences[name]
    try:
        said: Said = await call(
            agent, Target(node), action=action, name=name, commands=RealCommands(), threads=real_env().threads
        )
    except FenceFailed as failed:
        return failed.reason, False
    if action == STATUS and said.status == IS_OFF:
        return f"agent {name}: answers that {node} is off: {said.output}", True
    if (why := failure(said, name, agent.timeout_s)) is not None:
        return why, False
    return f"agent {name}: {action} of {node} succeeded" + (f": {said.output}" if said.output else ""), True
