"""What several files of these tests start from."""

from collections.abc import Iterator

import pytest
from tests.store.failing_over import Site, two_nodes
from tests.store.given import Base


@pytest.fixture
def base() -> Iterator[Base]:
    """An empty database."""
    base = Base()
    yield base
    base.close()


@pytest.fixture
def site() -> Iterator[Site]:
    """Two nodes and a backend that replicates."""
    with two_nodes() as site:
        yield site
