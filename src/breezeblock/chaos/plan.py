"""What the nemesis does and when, drawn from a seed before anything runs.

The plan is the same for a seed each time. Whom a fault hits is drawn as a number, too, and becomes a process only when it
strikes: which processes there are then is the service's doing, and real time's.
"""

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["EVERY_KIND", "Fault", "any_seed", "draw", "fence_of", "poison_limit_of", "rates"]

# A minute, for a cluster of three nodes. A rate is a mean; each kind comes at least once.
RATES: Final[Mapping[str, float]] = {
    "kill worker": 5.0,
    "kill keeper": 4.0,
    "kill api": 3.0,
    "kill node": 3.0,
    "stop worker": 4.0,
    "stop keeper": 3.0,
    "stop api": 2.0,
    "stop node": 3.0,
    "stop in a transaction": 2.0,
    "full disk": 0.75,
    "read-only storage": 0.75,
    "clock jump": 2.0,
    "store away": 1.0,
}
EVERY_KIND: Final = tuple(RATES)
# With a database server. What the supervisor does about a writer that is stopped is about SQLite alone.
SERVER_RATES: Final[Mapping[str, float]] = {
    "kill database": 1.5,
    "stop database": 1.5,
}
# With several of them. The others go on.
CLUSTER_RATES: Final[Mapping[str, float]] = {"part database": 1.5}
NEEDS_SERVERS: Final = frozenset({*SERVER_RATES, *CLUSTER_RATES})
# With a broker, which may cost time and nothing else.
BROKER_RATES: Final[Mapping[str, float]] = {"kill broker": 1.5, "stop broker": 1.5}
# On a network: a process loses the servers, or only what it sends to them, or only what it hears of them.
NETWORK_RATES: Final[Mapping[str, float]] = {
    "cut node": 2.0,
    "half-cut node": 2.0,
    "cut api": 1.0,
    "half-cut api": 1.0,
}
NEEDS_NETWORK: Final = frozenset(NETWORK_RATES)
CUTS_API: Final = frozenset({"cut api", "half-cut api"})
ONLY_SQLITE: Final = frozenset({"stop in a transaction"})
# Where a fenced node lives on, what counts is that it was given up and goes on: stops of whole nodes that outlast a lease, and
# few kills, which would end them before.
RATES_LIVING_ON: Final[Mapping[str, float]] = dict(RATES) | {
    "kill worker": 1.0,
    "kill keeper": 1.0,
    "kill node": 1.0,
    "stop node": 8.0,
}
OUTLASTS_A_LEASE_S: Final = (2.5, 12.0)
FULL: Final = "full disk"
NEEDS_STORAGE: Final = frozenset({FULL, "read-only storage"})
STORE_AWAY: Final = "store away"

# After how many lost owners an operation is given up: what happens to be hit often, and hardly anything.
SOON_GIVEN_UP: Final = 2
SELDOM_GIVEN_UP: Final = 40

STOPPED_S: Final = (0.1, 60.0)
STORAGE_FAULT_S: Final = (2.0, 8.0)
# From a hiccup to longer than any lease; then the server is started again, or goes on.
SERVER_FAULT_S: Final = (0.3, 12.0)
CUT_S: Final = (0.3, 20.0)
CLOCK_JUMP_S: Final = (1.0, 3600.0)
CLOCK_HELD_S: Final = (5.0, 30.0)
# Of the run, nothing begins in its first and its last part: the load has to get going, and faults have to be felt.
QUIET_FIRST_S: Final = 2.0
QUIET_LAST_SHARE: Final = 0.03
# After a full disk it takes a report of free space until volumes are made again, and there should be many at the end.
STORAGE_LAST_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing to do. `victim` and `part` choose among what is there then; `amount` is a clock jump in seconds."""

    at_s: float
    kind: str
    victim: int
    part: int
    seconds: float = 0.0
    amount: float = 0.0


def draw(
    seed: int,
    *,
    seconds: float,
    without: frozenset[str] = frozenset(),
    living_on: bool = False,
    database: str = "sqlite",
    broker: bool = False,
) -> tuple[Fault, ...]:
    """The faults of a run in the order of time, those of kinds that cannot be had here left out. `living_on`: nobody kills a
    node for being fenced.

    Each kind has a generator of its own, so that leaving one out changes nothing about the others.
    """
    found: list[Fault] = []
    for kind, rate in rates(database, broker=broker, living_on=living_on).items():
        if kind not in without:
            stopped_s = OUTLASTS_A_LEASE_S if living_on and kind == "stop node" else STOPPED_S
            found += _of_kind(kind, rate, random.Random(f"{seed}-{kind}"), seconds, stopped_s)
    return tuple(sorted(found))


def rates(database: str, *, broker: bool, living_on: bool = False) -> dict[str, float]:
    """How often each kind comes, of those that mean something with such a database, and with a broker or without."""
    found = dict(RATES_LIVING_ON if living_on else RATES)
    if database != "sqlite":
        found = {kind: rate for kind, rate in found.items() if kind not in ONLY_SQLITE}
        found |= {**SERVER_RATES, **NETWORK_RATES}
    return found | (dict(CLUSTER_RATES) if database == "galera" else {}) | (dict(BROKER_RATES) if broker else {})


def _of_kind(
    kind: str, rate: float, chance: random.Random, seconds: float, stopped_s: tuple[float, float]
) -> Iterator[Fault]:
    last = seconds * (1 - (STORAGE_LAST_SHARE if kind in NEEDS_STORAGE else QUIET_LAST_SHARE))
    for _ in range(max(1, _poisson(rate * seconds / 60, chance))):
        yield Fault(
            at_s=round(chance.uniform(min(QUIET_FIRST_S, last), last), 3),
            kind=kind,
            victim=chance.randrange(2**16),
            part=chance.randrange(2**16),
            seconds=round(_lasting(kind, chance, stopped_s), 3),
            amount=round(chance.choice((-1, 1)) * _log_uniform(*CLOCK_JUMP_S, chance), 3)
            if kind == "clock jump"
            else 0.0,
        )


def _lasting(kind: str, chance: random.Random, stopped_s: tuple[float, float]) -> float:
    if kind in NEEDS_NETWORK:
        return _log_uniform(*CUT_S, chance)
    if kind in NEEDS_SERVERS or kind in BROKER_RATES:
        return _log_uniform(*SERVER_FAULT_S, chance)
    if kind.startswith("stop"):
        return _log_uniform(*stopped_s, chance)
    if kind in NEEDS_STORAGE or kind == STORE_AWAY:
        return chance.uniform(*STORAGE_FAULT_S)
    return chance.uniform(*CLOCK_HELD_S) if kind == "clock jump" else 0.0


def _log_uniform(low: float, high: float, chance: random.Random) -> float:
    """Short ones as often as long ones, by their order of magnitude."""
    return math.exp(chance.uniform(math.log(low), math.log(high)))


def _poisson(mean: float, chance: random.Random) -> int:
    count, left = 0, chance.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + chance.expovariate(1.0)
    return count


def any_seed() -> int:
    """One that nobody has chosen."""
    return random.SystemRandom().randrange(2**32)


def poison_limit_of(seed: int) -> int:
    """In most runs deaths of nodes are the harness's doing, not the operation's; in one of three, two of them are its end."""
    return SOON_GIVEN_UP if seed % 3 == 0 else SELDOM_GIVEN_UP


def fence_of(seed: int) -> str:
    """Half of all seeds do without killing on the same machine as the proof of death; half of these without killing at all."""
    return ("kill", "external", "kill", "storage")[seed % 4]
