"""Ranges: joined, cut to what is allowed, and to segments."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from breezeblock.backup.packs import BLOCK_BYTES, SEGMENT_BYTES
from breezeblock.backup.pieces import joined, piece_runs, within
from breezeblock.backup.write import _blocks_changed

ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)))


def members(runs: list[tuple[int, int]]) -> set[int]:
    return {number for start, end in runs for number in range(start, end)}


@given(ranges)
def test_joined_ranges_are_the_same_in_order_and_apart(runs: list[tuple[int, int]]) -> None:
    """Whatever they were: empty, the wrong way round, one in another."""
    made = joined(runs)

    assert members(made) == members(runs)
    assert all(before[1] < after[0] for before, after in pairwise(made))


@given(ranges, ranges)
def test_what_is_within_is_in_both(runs: list[tuple[int, int]], allowed: list[tuple[int, int]]) -> None:
    """And nothing else."""
    made = within(joined(runs), joined(allowed))

    assert members(made) == members(runs) & members(allowed)
    assert sum(end - start for start, end in made) == len(members(made))


@given(ranges)
def test_pieces_are_all_of_it_and_never_cross_their_borders(runs: list[tuple[int, int]]) -> None:
    """A piece has 64 blocks at most, from a multiple of 64 on."""
    wide = joined([(start * 7, end * 7) for start, end in runs])
    pieces = list(piece_runs(wide))

    assert members([(piece.first, piece.stop) for piece in pieces]) == members(wide)
    assert all(piece.first // 64 == (piece.stop - 1) // 64 for piece in pieces)


@given(st.lists(st.tuples(st.integers(0, 3 * SEGMENT_BYTES), st.integers(1, 5 * BLOCK_BYTES)), max_size=6))
def test_changed_bytes_are_found_in_their_segment(changes: list[tuple[int, int]]) -> None:
    """Each byte at the edges of a range is in a block that is read, in the segment that it is in."""
    size = 3 * SEGMENT_BYTES + 5 * BLOCK_BYTES
    changed = joined([(start, min(size, start + length)) for start, length in changes])
    wanted = {number for start, end in changed for number in range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES))}
    per_segment = SEGMENT_BYTES // BLOCK_BYTES

    found = {
        block + number * per_segment
        for number in range(4)
        for block in members(_blocks_changed(changed, number, min(SEGMENT_BYTES, size - number * SEGMENT_BYTES)))
    }

    assert found == wanted
