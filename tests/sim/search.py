"""Search the seeds that find what `mutations.py` takes away.

    .venv/bin/python -m tests.sim.search                      all, from seed 1 on
    .venv/bin/python -m tests.sim.search no_order 500         one, up to that seed
    .venv/bin/python -m tests.sim.search --table              the table of docs/explanation/simulation.md

What it prints goes into FOUND_BY by hand: a rule that is not found any more is to be looked at, not overwritten.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from tests.sim.mutations import FOUND_BY, By

from breezeblock.testing.database import Database
from breezeblock.testing.run import Failed, simulate

Mutation = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Found:
    """A seed in which an invariant fell, and which."""

    seed: int
    fell: str


def find(mutate: Mutation, by: By, seeds: Iterable[int], *, database: Database) -> Found | None:
    """The first seed in which the invariant of a removed rule falls, and which passes with the rule in place."""
    for seed in seeds:
        with pytest.MonkeyPatch.context() as patch:
            mutate(patch)
            fell = _first_violation(seed, database, by.options)
        if fell is not None and fell.startswith(f"{by.fell}:"):
            innocent = _first_violation(seed, database, by.options)
            assert innocent is None, f"seed {seed} fails without the mutation: {innocent}"
            return Found(seed, fell)
    return None


def _first_violation(seed: int, database: Database, options: Mapping[str, Any]) -> str | None:
    try:
        simulate(seed, database=database, brief=True, **options)
    except Failed as failed:
        return str(failed.violations[0])
    return None


def table() -> str:
    """Every rule that is taken away, and the seed that finds it."""
    rows = ["| what happens instead | mutation | falls | found by seed |", "|---|---|---|---|"]
    for mutate, by in FOUND_BY.items():
        what = " ".join(str(mutate.__doc__).split())
        rows.append(f"| {what} | `{mutate.__name__}` | *{by.fell}* | {by} |")
    return "\n".join(rows)


def main(words: list[str]) -> None:
    """The command."""
    if words == ["--table"]:
        print(table())
        return
    names = [word for word in words if not word.isdigit()]
    most = next((int(word) for word in words if word.isdigit()), 500)
    database = Database()
    for mutate, by in FOUND_BY.items():
        if not names or mutate.__name__ in names:
            began = time.monotonic()
            found = find(mutate, by, range(1, most + 1), database=database)
            print(f"{mutate.__name__}: {found} ({time.monotonic() - began:.0f} s)", flush=True)
    database.close()


if __name__ == "__main__":
    main(sys.argv[1:])
