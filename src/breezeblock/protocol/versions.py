"""The version in which an operation is written, while nodes of two releases serve one queue (architecture §10).

A kind has a version of its payload's form. It is declared together with how each form is written in the one before, as far as
that one can say the same; a node reads its newest form and all before it. A request is written in the newest form that every
live node of its queue reads. So whoever is free takes it, of whatever release; and what the old form cannot say is refused,
with the nodes that are to be upgraded, instead of waiting for a node that may never have time.

A node that knows nothing of the kind has no say: it never takes any of it. Where nobody is live, the oldest form that says the
same is right for whoever comes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from breezeblock.model.errors import NotYet
from breezeblock.store.tables import nodes

Rewrite = Callable[[Any], Any | None]
"""A payload in the form of one version -> the same in that of the version before, or None when that cannot say it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of operation as it is written."""

    name: str
    newest: int = 1
    older: tuple[Rewrite, ...] = ()
    """From the newest version down to the second: how its payloads are written in the version before."""
    is_new: bool = False
    """The release before does not know the kind at all: where only its nodes are live, a request for it is refused."""

    def __post_init__(self) -> None:
        assert len(self.older) == self.newest - 1, (
            f"{self.name} says of {len(self.older)} versions how they were before"
        )


def read_by(tx: Connection, *, kind: str, queue: str, own_queue: Callable[[str, str], str]) -> dict[str, int | None]:
    """Which version of a kind the live nodes of a queue read, by their names; None: they do not know the kind.

    Not held. Who comes after this look takes what it reads and leaves the rest, and who was there then reads it. `own_queue`
    names the queue that a node of a cluster has for itself.
    """
    found: dict[str, int | None] = {}
    cluster = queue.partition("@")[0]
    for row in tx.execute(_UP, {"of_cluster": cluster}):
        serves = {*json.loads(row.queues_json), own_queue(cluster, row.name)}
        if queue in serves and (kinds := json.loads(row.kinds_json)):  # else it has not said yet what it knows
            reads, other = kinds.get(kind), found.get(row.name)
            found[row.name] = other if reads is None else min(reads, other or reads)  # a name may have two incarnations
    return found


def written(
    payload: Any, *, version: int, older: tuple[Rewrite, ...], read_by: Mapping[str, int | None]
) -> tuple[int, Any]:
    """The version to write, and the payload in it. `read_by`: which one each live node that knows the kind reads.

    Raises NotYet, naming the nodes that keep it from being written.
    """
    oldest = min((reads for reads in read_by.values() if reads is not None), default=1)
    for rewrite in older:
        if version <= oldest:
            break
        before = rewrite(payload)
        if before is None:
            behind = sorted(name for name, reads in read_by.items() if reads is not None and reads < version)
            if not behind:
                break  # nobody is live; who comes reads it, or leaves it to others
            raise NotYet(
                f"What is asked for needs the newer release of the service on node {', '.join(behind)}, too; "
                "try again when it has been upgraded."
            )
        version, payload = version - 1, before
    return version, payload


def require_a_reader(read_by: Mapping[str, int | None]) -> None:
    """Refuse what nobody who is there knows: they would park it, and know nothing of what that leaves. Raises NotYet."""
    if read_by and all(reads is None for reads in read_by.values()):
        raise NotYet(
            "What is asked for needs the newer release of the service, and no node that could do it has that yet; "
            "try again when one has been upgraded."
        )


_UP: Final[Any] = select(nodes.c.name, nodes.c.queues_json, nodes.c.kinds_json).where(
    nodes.c.cluster == bindparam("of_cluster"), nodes.c.state == "up"
)
