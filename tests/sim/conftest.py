"""One database for all simulations: its compiled statements are worth keeping, and each run empties it.

What was tried is told at the end, also when all went well: seeds rotate, and a report wants the numbers.
"""

from collections.abc import Iterator

import pytest
from tests.sim.seeds import TOLD

from breezeblock.testing.database import Database


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    database = Database()
    yield database
    database.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Called by pytest after everything else."""
    if TOLD:
        terminalreporter.section("simulated")
    for line in TOLD:
        terminalreporter.write_line(line)
