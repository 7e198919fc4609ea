"""Counting rings in memory that processes share."""

import os

from breezeblock.doorbells.tally import LISTENER, Rings, counted_in


def test_both_ends_of_a_process_count_in_one_file() -> None:
    """It is connected when both are."""
    file = os.memfd_create("rings")
    assert counted_in(file) == ({"sent": 0, "failed": 0, "received": 0}, None)

    bell, listener = Rings(file), Rings(file, end=LISTENER)
    bell.connected(True)
    half = counted_in(file).connected
    listener.connected(True)
    bell.sent(2)
    bell.failed(1)
    listener.received(3)

    assert half is False
    assert counted_in(file) == ({"sent": 2, "failed": 1, "received": 3}, True)


def test_who_follows_a_killed_process_counts_on_and_is_not_connected_yet() -> None:
    """Counters of a place only rise."""
    file = os.memfd_create("rings")
    killed = Rings(file)
    killed.connected(True)
    killed.sent(5)

    Rings(file).sent(1)

    assert counted_in(file) == ({"sent": 6, "failed": 0, "received": 0}, False)
