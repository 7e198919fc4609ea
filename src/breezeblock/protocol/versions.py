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

    def __post_init__(self) -> None:
        assert len(self.older) == self.newest - 1, (
            f"{self.name} says of {len(self.older)} versions how they were before"
        )


def read_by(tx: Connection, *, kind: str, queue: str, own_queue: Callable[[str, str], str]) -> dict[str, int]:
    """Which version of a kind the live nodes of a queue read, by their names: those that know the kind at all.

    Not held. Who comes after this look takes what it reads and leaves the rest, and who was there then reads it. `own_queue`
    names the queue that a node of a cluster has for itself.
    """
    found: dict[str, int] = {}
    cluster = queue.partition("@")[0]
    for row in tx.execute(_UP, {"of_cluster": cluster}):
        serves = {*json.loads(row.queues_json), own_queue(cluster, row.name)}
        reads = json.loads(row.kinds_json).get(kind)
        if reads is not None and queue in serves:
            found[row.name] = min(reads, found.get(row.name, reads))  # a name may have two incarnations
    return found


def written(payload: Any, *, version: int, older: tuple[Rewrite, ...], read_by: Mapping[str, int]) -> tuple[int, Any]:
    """The version to write, and the payload in it. `read_by`: which one each live node that knows the kind reads.

    Raises NotYet, naming the nodes that keep it from being written.
    """
    oldest = min(read_by.values(), default=1)
    for rewrite in older:
        if version <= oldest:
            break
        before = rewrite(payload)
        if before is None:
            behind = sorted(name for name, reads in read_by.items() if reads < version)
            if not behind:
                break  # nobody is live; who comes reads it, or leaves it to others
            raise NotYet(
                f"What is asked for needs the newer release of the service on node {', '.join(behind)}, too; "
                "try again when it has been upgraded."
            )
        version, payload = version - 1, before
    return version, payload


_UP: Final[Any] = select(nodes.c.name, nodes.c.queues_json, nodes.c.kinds_json).where(
    nodes.c.cluster == bindparam("of_cluster"), nodes.c.state == "up"
)
