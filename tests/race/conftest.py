"""What the race tests share: real services on temporary folders, and crowds that hang up whatever happens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import databases
from tests.race.asking import Crowd, CrowdOf
from tests.service import Service, running_service

__all__ = ["crowd_of", "running_service"]


@pytest.fixture
def crowd_of() -> Iterator[CrowdOf]:
    """A crowd for a service; its connections are closed after the test."""
    crowds: list[Crowd] = []

    def gather(service: Service) -> Crowd:
        crowds.append(Crowd(service))
        return crowds[-1]

    yield gather
    for crowd in crowds:
        crowd.close()


@pytest.fixture
def race_urls(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """An empty database: a file, or one on the servers of the run."""
    if databases.urls():
        with databases.fresh_database() as urls:
            yield urls
    else:
        yield (f"sqlite:///{tmp_path}/race.db",)
