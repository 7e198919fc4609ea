"""What several files of these tests start from."""

from collections.abc import Iterator

import pytest
from tests.store.failing_over import Site, two_nodes


@pytest.fixture
def site() -> Iterator[Site]:
    """Two nodes and a backend that replicates."""
    with two_nodes() as site:
        yield site
