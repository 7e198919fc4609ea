"""What is measured: how many rows, of how many projects and nodes, and how often."""

import hashlib
from dataclasses import dataclass
from typing import Final, NamedTuple

KINDS: Final = ("postgresql", "mariadb", "sqlite")
PROJECTS: Final = 1_000
# It has a tenth of all volumes; the others share the rest.
BIG: Final = "project-big"
CLUSTERS: Final = 20
# Of ten volumes one has a queued operation, and one a snapshot.
ONE_IN: Final = 10
QUEUED: Final = 3
WITH_SNAPSHOT: Final = 7
ERROR_EVERY: Final = 1_000
APPS: Final = 50
# What only so many volumes of all have in their metadata.
RARE_EVERY: Final = 500
START_US: Final = 1_795_000_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run."""

    sizes: tuple[int, ...]
    nodes: int
    rounds: int
    """How often each thing is done at each size."""
    slow_s: float
    """What takes long is done less often: for so many seconds in all."""
    expiries: int
    load_s: float
    """How long each kind of load lasts."""
    beats_s: float
    """How many heartbeats a second come while latencies are measured once more."""


FULL: Final = Plan(
    sizes=(1_000, 10_000, 100_000, 1_000_000),
    nodes=1_000,
    rounds=300,
    slow_s=2.5,
    expiries=25,
    load_s=6.0,
    beats_s=1_000.0,
)
SMALL: Final = Plan(sizes=(1_000, 10_000), nodes=100, rounds=40, slow_s=0.5, expiries=4, load_s=1.0, beats_s=100.0)
TINY: Final = Plan(sizes=(1_000, 2_000), nodes=40, rounds=6, slow_s=0.1, expiries=2, load_s=0.3, beats_s=40.0)


class Volume(NamedTuple):
    """What the number of a volume says of it. The id is as random as any, and known without a look."""

    id: str
    project: str
    queue: str


def volume(number: int) -> Volume:
    """The same number is always the same volume."""
    digest = hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()
    drawn = int(digest[:16], 16)
    drawn, cluster = divmod(drawn, CLUSTERS)
    drawn, of_big = divmod(drawn, ONE_IN)
    project = f"project-{drawn % (PROJECTS - 1)}" if of_big else BIG
    return Volume(as_uuid(digest), project, queue_of(cluster))


def as_uuid(digest: str) -> str:
    """32 hexadecimal digits as an id."""
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def queue_of(cluster: int) -> str:
    """Each cluster has one backend."""
    return f"cluster-{cluster}@backend"


def incarnation(node: int) -> str:
    """Node 0, 1, 2…: those of one cluster are `CLUSTERS` apart."""
    return f"00000000-0000-4000-8000-{node:012}"


def cluster_of(node: int) -> int:
    """The cluster that a node is in."""
    return node % CLUSTERS
