"""The two tables of kinds agree: how requests write them, and how nodes run them."""

import pytest

from breezeblock.protocol.versions import Kind
from breezeblock.resources.kinds import KINDS
from breezeblock.work.catalogue import CATALOGUE


def test_nodes_run_the_version_that_requests_write() -> None:
    """A kind that is missing on one side belongs into `resources/kinds.py`, or into `work/catalogue.py`."""
    assert {name: kind.newest for name, kind in KINDS.items()} == {
        name: operation.version for name, operation in CATALOGUE.items()
    }


def test_every_version_says_how_it_was_written_before() -> None:
    with pytest.raises(AssertionError, match="paint"):
        Kind("paint", newest=3, older=(lambda payload: payload,))
