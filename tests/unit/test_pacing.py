"""How soon a worker looks by itself."""

import itertools

from breezeblock.node.identity import Limits
from breezeblock.node.pacing import Pacing

LIMITS = Limits(poll_s=2.0, idle_poll_s=7.0)


def pauses(pacing: Pacing, *, connected: bool, most: int = 8) -> list[float]:
    return [pacing.pause_s(connected=connected) for _ in range(most)]


def test_without_work_the_pauses_are_those_of_the_settings() -> None:
    """From the start: many nodes that begin together should not look often together."""
    assert pauses(Pacing(LIMITS), connected=False) == [2.0] * 8
    assert pauses(Pacing(LIMITS), connected=True) == [7.0] * 8


def test_where_nobody_rings_work_makes_the_next_looks_soon() -> None:
    """They get rarer while they find nothing, so all of them together are bounded."""
    pacing = Pacing(LIMITS)
    pacing.found()

    found = pauses(pacing, connected=False)

    assert found == [0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 2.0, 2.0]
    assert [late / soon for soon, late in itertools.pairwise(found)][:5] == [2.0] * 5


def test_while_the_doorbell_is_connected_work_changes_nothing() -> None:
    """The next ring tells. A doorbell that was lost meanwhile is made up for as if it had never been there."""
    pacing = Pacing(LIMITS)
    pacing.found()

    assert pauses(pacing, connected=True, most=2) == [7.0, 7.0]
    assert pauses(pacing, connected=False, most=2) == [0.25, 0.5]


def test_the_pause_of_a_connected_doorbell_is_that_of_others_unless_it_is_given() -> None:
    """So a doorbell makes nothing slower by itself."""
    assert pauses(Pacing(Limits(poll_s=2.0)), connected=True, most=1) == [2.0]
