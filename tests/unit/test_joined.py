"""Pieces that are read as one file."""

import io

from hypothesis import given
from hypothesis import strategies as st

from breezeblock.backup.stores.joined import Joined

PIECES = st.lists(st.binary(max_size=9), max_size=9)


@given(PIECES, st.data())
def test_it_is_the_joined_pieces_from_wherever_one_reads(pieces: list[bytes], data: st.DataObject) -> None:
    """A window of them, in reads of any size, after any seek: as a file of these bytes."""
    whole = b"".join(pieces)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    ours, theirs = Joined(pieces, start=start, end=end), io.BytesIO(whole[start:end])

    assert len(ours) == end - start
    for step in data.draw(st.lists(st.tuples(st.integers(0, 40), st.integers(-1, 20)), max_size=9)):
        to, count = step
        assert ours.seek(to) == theirs.seek(to)
        assert ours.read(count) == theirs.read(count)
        assert ours.tell() == theirs.tell()
    assert ours.seek(0, io.SEEK_END) == theirs.seek(0, io.SEEK_END)


def test_without_a_window_it_is_all_of_them() -> None:
    """Also of none."""
    assert Joined([b"ab", b"", b"c"]).read() == b"abc"
    assert Joined([]).read() == b""
