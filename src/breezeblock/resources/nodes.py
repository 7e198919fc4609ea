"""Fencing by an operator's word: which incarnations it is about, and what it changes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, or_, select

from breezeblock.env import machine
from breezeblock.env.contract import Env
from breezeblock.model.errors import Conflict, NotFound
from breezeblock.model.ids import Incarnation
from breezeblock.protocol import membership
from breezeblock.protocol.node_events import Note
from breezeblock.store.tables import nodes

RISK: Final = """\
Fencing by hand is your word that {name} writes to storage no more and never will: that its machine is off, or every one of
its processes is gone. If it is only unreachable, it may still be writing, and the operations that others take over then
will destroy data. What to look at first: is the machine powered off? Does `breezeblock status` show a fence error?"""


@dataclass(frozen=True, slots=True)
class Incarnated:
    """What is needed of a node row to fence it by hand."""

    incarnation: Incarnation
    name: str
    state: str
    boot_id: str
    lock_path: str
    lock_id: str


def to_fence(tx: Connection, *, cluster: str, name: str) -> list[Incarnated]:
    """The expired incarnations of a node; or, when there are none, those that pass for live (`refuse_unnamed` comes next).

    `name` may be the id of an incarnation: then it is that one. Raises NotFound.
    """
    columns = (nodes.c.incarnation, nodes.c.name, nodes.c.state, nodes.c.boot_id, nodes.c.lock_path, nodes.c.lock_id)
    named = (nodes.c.cluster == cluster) & or_(nodes.c.name == name, nodes.c.incarnation == name)
    query: Any = select(*columns).where(named, nodes.c.state.in_(("up", "draining", "expired")))
    rows = [Incarnated(*row) for row in tx.execute(query.order_by(nodes.c.incarnation))]
    if not rows:
        raise NotFound(f"There is nothing to fence: no incarnation of {name} is up, draining or expired.")
    return [row for row in rows if row.state == "expired"] or rows


def refuse_unnamed(name: str, found: list[Incarnated]) -> None:
    """Who passes for live is fenced under its own name only. Raises Conflict.

    The operator may have seen an expired incarnation that was fenced since, while the machine came back: the name alone would
    then mean the new one, which works.
    """
    live = [one for one in found if one.state != "expired" and one.incarnation != name]
    if live:
        ids = ", ".join(one.incarnation for one in live)
        raise Conflict(
            f"{name} is {live[0].state}: nobody has expired it. If you are certain that this very incarnation of it writes "
            f"no more, name the incarnation instead of the node: {ids}."
        )


async def refuse_the_living(env: Env, found: list[Incarnated]) -> None:
    """On its own machine nobody's word is needed: the lock file tells, and it outweighs the operator. Raises Conflict."""
    here = await env.threads.run(machine.boot_id)
    for one in found:
        if one.boot_id != here or not await env.threads.run(Path(one.lock_path).exists):
            continue
        if not await env.processes.nobody_holds(one.lock_path, one.lock_id):
            hint = f"stop it with `breezeblock node drain {one.name}`, or kill the processes that hold {one.lock_path}"
            raise Conflict(f"{one.name} runs on this machine and is not dead: {hint}.")


def confirm(tx: Connection, *, found: list[Incarnated], notes: list[Note]) -> dict[Incarnation, tuple[str, ...]]:
    """Fence them by the word that the notes carry, one each. Returns the queues of each that was not fenced before."""
    fenced = {}
    for one, note in zip(found, notes, strict=True):
        queues = membership.confirm_fenced(tx, incarnation=one.incarnation, note=note)
        if queues is not None:
            fenced[one.incarnation] = queues
    return fenced
