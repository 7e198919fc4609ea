"""What is kept of damage is bounded, and says so; what is counted is not."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breezeblock.backup import lost
from breezeblock.backup.engine import Damage
from breezeblock.backup.lost import Losses, text_of

BLOCK = 64 * 1024


def damage(number: int, where: str = "a", blocks: int = 1) -> Damage:
    return Damage(number * BLOCK, (number + blocks) * BLOCK, where, "it is missing")


@settings(max_examples=50, deadline=None)
@given(told=st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abc")), unique_by=lambda one: one[0]))
def test_every_byte_that_is_told_is_kept_once(told: list[tuple[int, str]]) -> None:
    """In order, joined where they touch; also when somebody who goes on tells the last ones again, and through JSON."""
    told.sort()
    losses = Losses()
    for number, where in told:
        losses.add(damage(number, where))
    losses = msgspec.json.decode(msgspec.json.encode(losses), type=Losses)
    for number, where in told[len(told) // 2 :]:
        losses.add(damage(number, where))

    kept = {at // BLOCK for start, end in losses.ranges() for at in range(start, end, BLOCK)}
    assert kept == {number for number, _ in told}
    assert losses.bytes == sum(one.bytes for one in losses.objects) == len(told) * BLOCK
    assert all(before[1] < after[0] for before, after in zip(losses.ranges(), losses.ranges()[1:], strict=False))
    assert bool(losses) == bool(told)


def test_too_many_objects_are_counted_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost, "OBJECTS_MOST", 2)
    losses = Losses()
    for number in range(5):
        losses.add(damage(number, f"object {number}"))

    assert [one.object for one in losses.objects] == ["object 0", "object 1"]
    assert (losses.bytes, losses.more_bytes) == (5 * BLOCK, 3 * BLOCK)
    assert text_of(losses, most=255) == f"{5 * BLOCK} bytes: 0-{2 * BLOCK - 1}, …"


def test_too_many_ranges_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost, "RANGES_MOST", 3)
    losses = Losses()
    for number in range(0, 12, 2):
        losses.add(damage(number))

    (one,) = losses.objects
    assert (len(one.ranges), one.more_ranges, one.bytes) == (3, 3, 6 * BLOCK)
    assert text_of(losses, most=255).endswith(f"{4 * BLOCK}-{5 * BLOCK - 1}, …")


@pytest.mark.parametrize("count", [1, 10, 500])
def test_a_text_is_as_long_as_it_may_be_and_says_what_it_leaves_out(count: int) -> None:
    losses = Losses()
    for number in range(0, 2 * count, 2):
        losses.add(damage(number))
    text = text_of(losses, most=255)

    assert text.startswith(f"{count * BLOCK} bytes: 0-{BLOCK - 1}")
    assert len(text) <= 255
    assert text.endswith("…") == (count > 10)
