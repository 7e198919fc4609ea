"""On which database server the tests of this run work, and which of many tests it takes.

`BREEZEBLOCK_DATABASE` names the kind of server: it is started before tests are collected, as some are about servers alone.
Without BREEZEBLOCK_SPREAD the run's seed draws how the nodes of a cluster are used.

`BREEZEBLOCK_PICK=tests/api=40,tests/race=2` takes so many tests below each of these paths, drawn from the run's seed, and of a
test with parameters one case. Of `tests/race=1|tests/clients=4` it takes one alternative and nothing of the others: each kind
of server another one, and the next seed the next. Of `tests/sim/test_teeth.py~3` it takes every third case: three seeds that
follow each other take all of them.
"""

import contextlib
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import pytest
from sqlalchemy import make_url
from tests.databases import SPREAD_BY, SPREADS, spread, urls
from tests.proof import not_here
from tests.servers.__main__ import beside
from tests.servers.database import Address
from tests.servers.haproxy import haproxy
from tests.servers.needed import needed
from tests.servers.packages import Missing

KIND: Final = "BREEZEBLOCK_DATABASE"
PICK: Final = "BREEZEBLOCK_PICK"
SEED: Final = os.environ.get("BREEZEBLOCK_SEED") or str(random.SystemRandom().randrange(2**32))
# Whose turn it is, by kind of server.
ORDER: Final = ("", "postgresql", "mariadb", "galera")
MISSING: Final = pytest.StashKey[str]()
PICKED: Final = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the server that this run is for."""
    if not (kind := os.environ.get(KIND)):
        return
    if not os.environ.get(SPREAD_BY):
        os.environ[SPREAD_BY] = random.Random(f"{SEED}-spread").choice(SPREADS)
    running = contextlib.ExitStack()
    config.add_cleanup(running.close)
    try:
        os.environ |= running.enter_context(beside(kind))
    except Missing as missing:
        config.stash[MISSING] = str(missing)


@pytest.fixture(scope="session", autouse=True)
def database_server(pytestconfig: pytest.Config) -> None:
    """Tests that were meant for a server do not run on something else."""
    if (reason := pytestconfig.stash.get(MISSING, "")) != "":
        not_here(reason)


@pytest.fixture(scope="session")
def database_proxy() -> Iterator[Address | None]:
    """Sends each connection to the next node of the cluster, where the run wants them used in turns."""
    if len(urls()) < 2 or spread() == "own":
        yield None
        return
    at = [make_url(url) for url in urls()]
    with needed(haproxy([Node(str(one.host), one.port or 0) for one in at])) as proxy:
        yield proxy


class Node(NamedTuple):
    """Implements `servers.database.Address`."""

    host: str
    port: int


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take what BREEZEBLOCK_PICK says, and everything below other paths."""
    told = config.stash.setdefault(PICKED, [])
    for path, count in _wanted(os.environ.get(PICK, "")):
        found = [item for item in items if item.nodeid.startswith(path)]
        if count < 0:
            taken = {item for number, item in enumerate(found) if (number + int(SEED)) % -count == 0}
        else:
            taken = set(pick(found, count, seed=f"{SEED}-{os.environ.get(KIND)}-{path}"))
        left = [item for item in found if item not in taken]
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)
        told.append(f"{path}: {len(taken)} of {len(found)}, {_where()}BREEZEBLOCK_SEED={SEED}")
        if count > 0:
            told += [f"  {item.nodeid.removeprefix(path)}" for item in found if item in taken]


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """What was drawn."""
    return config.stash.get(PICKED, [])


def _where() -> str:
    return f"{SPREAD_BY}={spread()}, " if len(urls()) > 1 else ""


def pick(items: Sequence[pytest.Item], count: int, *, seed: str) -> Iterator[pytest.Item]:
    """So many tests at most, one case of each."""
    chance = random.Random(seed)
    cases: Mapping[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        cases[item.nodeid.partition("[")[0]].append(item)
    for name in chance.sample(sorted(cases), min(count, len(cases))):
        yield chance.choice(cases[name])


def _wanted(text: str) -> Iterator[tuple[str, int]]:
    """Paths, and how many of each; less than 0: one in so many, in turn."""
    for one in filter(None, text.split(",")):
        if "~" in one:
            path, _, share = one.partition("~")
            yield path, -int(share)
            continue
        alternatives = one.split("|")
        turn = (int(SEED) + ORDER.index(os.environ.get(KIND, ""))) % len(alternatives)
        for number, alternative in enumerate(alternatives):
            path, _, count = alternative.partition("=")
            yield path, int(count) if number == turn else 0
