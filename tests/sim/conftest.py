"""One database for all simulations: its compiled statements are worth keeping, and each run empties it."""

from collections.abc import Iterator

import pytest

from breezeblock.testing.database import Database


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    database = Database()
    yield database
    database.close()
