"""The benchmark of scale in its smallest form: it runs, its rows are consistent, and a page comes of it."""

import asyncio
import dataclasses
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from scaling import filling, loads, page, plot
from scaling.acts import world
from scaling.latency import Samples, figure, measure
from scaling.plan import TINY
from scaling.results import Of, Results, read
from scaling.sites import Site, site

from breezeblock.store.check import problems

SIZES = (500, 1_000)
PLAN = dataclasses.replace(TINY, sizes=SIZES, nodes=20, rounds=3, load_s=0.2)


async def measured(at: Site, size: int) -> Samples:
    with world(at.url, str(at.folder), connections=2) as here:
        return await measure(here, PLAN, size)


def contradictions(at: Site) -> list[str]:
    engine = filling.opened(at)
    with engine.connect() as tx:
        found = problems(tx)
    engine.dispose()
    return found


@pytest.mark.timeout(120)
def test_scale_is_measured_on_consistent_rows(tmp_path: Path) -> None:
    """Filled in two steps, everything done at each of them, and claims by several processes: no row contradicts another."""
    found, filled = Of(), 0
    with site("sqlite") as at:
        filling.begin(at, PLAN)
        for size in SIZES:
            filling.grow(at, range(filled, size))
            filling.settle(at)
            filled = size
            samples = asyncio.run(measured(at, size))
            found.figures[size] = {name: figure(values) for name, values in samples.items()}
        found.loads["operations"] = loads.bear(at, PLAN, "operations", filled)
        assert contradictions(at) == []
    assert set(found.figures[SIZES[-1]]) == set(page.WORDS)
    assert found.loads["operations"].per_second > 0

    results = Results(
        {"date": "today", "minutes": 1.0, "load": 0.5, "nodes": PLAN.nodes, "rounds": PLAN.rounds}, {"sqlite": found}
    )
    results.write(tmp_path / "scale.json")
    again = read(tmp_path / "scale.json")

    assert again == results
    assert page.text(again).count("| claim an operation") == 2
    assert plot.picture(again, plot.PICTURES["requests"]).count("<polyline") == len(plot.PICTURES["requests"])
