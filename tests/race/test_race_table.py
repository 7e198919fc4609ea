"""The benchmark of races, in small: what protects a row is seen to do so, and what does not is found out."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from benchmarks.racing.figures import figures, overlaps
from benchmarks.racing.meter import Usage
from benchmarks.racing.page import targets
from benchmarks.racing.plan import Change, Round
from tests.servers.needed import needed
from tests.servers.packages import PACKAGES, find

ROOT: Final = Path(__file__).resolve().parents[2]
# One row, six workers: who is not protected meets somebody at once.
SMALL: Final = ("--cases", "1x6", "--changes", "3", "--rounds", "1", "--writers", "2", "--listen", "0")
WAYS: Final = ("compare_and_swap", "file_whole", "breezeblock", "unprotected")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Figures by solution, of one run on three Galera nodes."""
    with needed(_installed()):
        return _run(tmp_path_factory)


@contextmanager
def _installed() -> Iterator[None]:
    """What the benchmark starts for these ways. Raises Missing."""
    for package in ("mariadb-server", "galera-4", "rsync", "haproxy"):
        find(PACKAGES[package], package=package)
    yield


def _run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    told = tmp_path_factory.mktemp("races") / "found.json"
    command = [sys.executable, "benchmarks/races.py", *SMALL, "--only", ",".join(WAYS), "--json", str(told)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert told.exists(), done.stdout + done.stderr
    assert done.returncode == 1, "a run in which somebody failed the verification does not end well"
    cells: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))["cases"]["1x6"]
    return cells


@pytest.mark.parametrize("way", WAYS[:-1])
def test_a_protected_row_is_had_by_one_at_a_time(found: dict[str, Any], way: str) -> None:
    """All changes were made, and every node agreed each time."""
    assert found[way]["changes"] == 18
    assert found[way]["failures"] == []


def test_the_verification_finds_out_who_does_not_protect(found: dict[str, Any]) -> None:
    """Looking and then writing lets several have the row at once; the nodes say so, and so do the times."""
    failures = found["unprotected"]["failures"]
    assert any(" instead of " in failure for failure in failures), failures
    assert any("at once" in failure for failure in failures), failures


def change(worker: int, wanted: float, acquired: float, releasing: float, *, row: int = 0) -> Change:
    """Released at once, and never run again."""
    return Change(row, worker, wanted, acquired, acquired, acquired, releasing, releasing, 0, "")


def test_two_who_have_one_row_at_once_are_found() -> None:
    """Also when a third, shorter one lies between."""
    both = [change(1, 0, 1, 9), change(2, 0, 2, 3), change(3, 0, 5, 6)]
    assert overlaps(both) == ["row 0 was held by 1 and 2 at once", "row 0 was held by 1 and 3 at once"]


def test_one_after_the_other_and_different_rows_are_right() -> None:
    """The next may have it at the very instant at which the former begins to let go."""
    assert overlaps([change(1, 0, 1, 2), change(2, 0, 2, 3), change(3, 0, 1, 3, row=1)]) == []


def test_figures_are_about_all_rounds() -> None:
    """Times in milliseconds; the time between rounds does not count."""
    first, second = [change(1, 0.0, 0.1, 1.0)], [change(1, 50.0, 50.3, 51.0)]
    one = figures([Round(first, Usage(workers_s=0.1, statements=4), 3), Round(second, Usage(databases_s=0.5), 4)])
    assert (one.changes, one.retries, one.seconds) == (2, 7, 2.0)
    assert one.acquire_mean == pytest.approx(200)
    assert one.acquire_max == pytest.approx(300)
    assert one.cpu_ms == pytest.approx(300)
    assert one.used.statements == 2
    assert one.unevenness == pytest.approx(1.5)


def test_what_was_reached_follows_from_the_figures() -> None:
    """Ours is the slower one here, with the same longest acquire and twice the retries."""
    one = figures([Round([change(1, 0.0, 0.1, 1.0), change(1, 1.0, 1.2, 2.0)], Usage(), 3)])
    ours = figures([Round([change(1, 0.0, 0.1, 2.0), change(1, 2.0, 2.2, 4.0)], Usage(), 6)])
    lines = targets({"1x2": {"compare_and_swap": one, "breezeblock": ours}}).splitlines()[2:]
    assert [line.rpartition("|")[0].rpartition("| ")[2].strip() for line in lines] == [
        "reached",
        "**missed**",
        "**missed**",
        "reached",
        "**missed**",
    ]
