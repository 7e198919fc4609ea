"""What only some suite can run is run by it: a test that is skipped everywhere proves nothing."""

import runpy
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
# How a test begins that needs several transactions at once, or a real server.
NEEDS_SERVERS: Final = "not urls(), reason="


def suites() -> dict[str, Any]:
    """The table, by name."""
    run = runpy.run_path(str(ROOT / "scripts" / "run_tests.py"), run_name="run_tests")
    return {suite.name: suite for suite in run["SUITES"]}


def test_what_needs_a_server_runs_on_each() -> None:
    """Without one these tests are skipped."""
    needing = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests" / "store").rglob("test_*.py")
        if NEEDS_SERVERS in " ".join(path.read_text(encoding="utf-8").split()).replace("( not", "(not")
    }

    assert len(needing) > 5
    for kind in ("postgresql", "mariadb", "galera"):
        assert needing - set(suites()[kind].paths) == set()


def test_every_folder_of_tests_is_in_a_suite() -> None:
    """By itself, or by one that it is in."""
    paths = [ROOT / path for suite in suites().values() for path in suite.paths]
    for module in (ROOT / "tests").rglob("test_*.py"):
        assert any(module.is_relative_to(path) for path in paths), module
