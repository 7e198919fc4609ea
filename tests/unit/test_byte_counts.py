"""Bytes that processes count for stores, in memory that outlives them."""

import os
from collections.abc import Iterator

import pytest

from breezeblock.doorbells.tally import Rings, counted_in
from breezeblock.env.byte_counts import ByteCounts, bytes_counted_in

STORES = ("near", "far")
NOTHING = {"read": 0, "stored": 0, "deduplicated": 0, "restored": 0}


@pytest.fixture
def file() -> Iterator[int]:
    made = os.memfd_create("counts")
    yield made
    os.close(made)


def test_each_store_has_its_own(file: int) -> None:
    near, far = (ByteCounts(file, name, stores=STORES) for name in STORES)
    near.add(read=5, stored=3)
    near.add(read=2**40, deduplicated=1)
    far.add(restored=7)

    assert bytes_counted_in(file, stores=STORES) == {
        "near": {"read": 2**40 + 5, "stored": 3, "deduplicated": 1, "restored": 0},
        "far": NOTHING | {"restored": 7},
    }


def test_rings_beside_them_are_left_alone(file: int) -> None:
    """Whoever comes first makes the memory as large as it needs it, and the other finds all of its own."""
    assert bytes_counted_in(file, stores=STORES) == {"near": NOTHING, "far": NOTHING}
    rings = Rings(file)
    ByteCounts(file, "near", stores=STORES).add(read=2**63)
    rings.sent(4)

    assert counted_in(file).rings == {"sent": 4, "failed": 0, "received": 0}
    assert bytes_counted_in(file, stores=STORES)["near"] == NOTHING | {"read": 2**63}


def test_what_comes_after_a_kill_goes_on_counting(file: int) -> None:
    ByteCounts(file, "far", stores=STORES).add(stored=1)
    ByteCounts(file, "far", stores=STORES).add(stored=1)

    assert bytes_counted_in(file, stores=STORES)["far"]["stored"] == 2


def test_without_a_file_it_counts_for_itself() -> None:
    ByteCounts(-1, "near", stores=STORES).add(read=1)


def test_a_machine_without_stores_counts_nothing(file: int) -> None:
    assert bytes_counted_in(file, stores=()) == {}
