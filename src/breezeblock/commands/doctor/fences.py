"""Fences: whether every agent can be run, knows the nodes it may have to cut off, and answers."""

import os
from pathlib import Path

from sqlalchemy import select

from breezeblock.commands.database import reading
from breezeblock.commands.doctor.finding import ERROR, NOTE, Finding, Findings
from breezeblock.commands.failure import Failed
from breezeblock.commands.fence_test import STATUS, fence_test
from breezeblock.options import FenceAgent
from breezeblock.settings import Settings
from breezeblock.store import schema
from breezeblock.store.tables import nodes

__all__ = ["look"]


def look(settings: Settings) -> Findings:
    """See `examine`. Every agent is asked for the status of every node that it may have to cut off: nobody is cut off."""
    used = {name: backend.fence_agent for name, backend in settings.backends.items() if "external" in backend.fence}
    for name in sorted(set(used.values())):
        yield from _agent(settings, name, settings.fences[name])
    for name in sorted(set(settings.fences) - set(used.values())):
        yield Finding(
            "fences.unused",
            NOTE,
            f"No backend is fenced by [fences.{name}].",
            "It is never called.",
            f"Name it as the fence_agent of [nodes] or of a backend whose fence has external; or remove [fences.{name}].",
        )
    for name, backend in settings.backends.items():
        if backend.trust_self_fencing:
            yield Finding(
                "fences.trust",
                NOTE,
                f"Backend {name} trusts lost nodes to have stopped, when no other fence proves it.",
                "A node that froze in the middle of a call and wakes up late writes to a volume that another works on.",
                f"Give it a fence agent, and take trust_self_fencing out of [backends.{name}] (docs/howto/fencing.md).",
            )


def _agent(settings: Settings, name: str, agent: FenceAgent) -> Findings:
    program = Path(agent.command[0])
    if not program.is_file() or not os.access(program, os.X_OK):
        how = "is not there" if not program.exists() else "cannot be run by this user"
        yield Finding(
            "fences.command",
            ERROR,
            f"The program of agent {name}, {program}, {how}.",
            "No lost node is cut off, and what it was doing waits until somebody gives their word.",
            f"Install it (Debian: fence-agents), or correct fences.{name}.command.",
        )
        return
    targets = sorted({*agent.nodes, *_known(settings), *settings.own_nodes})
    for node in targets:
        if agent.nodes and node not in agent.nodes:
            yield Finding(
                "fences.node",
                ERROR,
                f"Agent {name} is told nothing about {node}: there is no [fences.{name}.nodes.{node}].",
                f"When {node} is lost it cannot be cut off, and what it was doing waits until somebody gives their word.",
                f"Write [fences.{name}.nodes.{node}] into the settings of all nodes.",
            )
            continue
        try:
            fence_test(settings, node, action=STATUS, agent=name)
        except Failed as failed:
            yield Finding(
                "fences.status",
                ERROR,
                f"Asked for the status of {node}: {failed}",
                f"It will most likely fail as well when {node} is to be cut off.",
                f"Correct the agent's options until `breezeblock fence-test {node} --agent {name}` succeeds.",
            )


def _known(settings: Settings) -> set[str]:
    """The names of all nodes of the cluster that are not gone; none where the database cannot be read."""
    try:
        with reading(settings) as tx:
            if schema.revision_of(tx) is None:
                return set()
            mine = (nodes.c.cluster == settings.service.cluster) & (nodes.c.state != "gone")
            return set(tx.execute(select(nodes.c.name).where(mine)).scalars())
    except Failed:
        return set()
