"""What differs between two files that may share data, from where their data lies."""

from collections.abc import Iterable, Iterator, Sequence

from breezeblock.env.contract import Extent

__all__ = ["differing"]


def differing(old: Sequence[Extent], now: Sequence[Extent], *, start: int, end: int) -> list[tuple[int, int]]:
    """The ranges of bytes within [start, end) whose data may not be the same, in order and apart.

    The same place at the same offset is the same data, and so are two holes. Nothing else is known to be: two places may
    hold equal data, but who compares must read it. Extents of each file come in order and do not overlap.
    """
    found: list[tuple[int, int]] = []
    before, after = _Places(old), _Places(now)
    at = start
    for stop in _edges(old, now, start, end):
        if not _same(before.at(at), after.at(at)):
            if found and found[-1][1] == at:
                found[-1] = (found[-1][0], stop)
            else:
                found.append((at, stop))
        at = stop
    return found


def _edges(old: Iterable[Extent], now: Iterable[Extent], start: int, end: int) -> list[int]:
    """Where anything begins or ends, in order: between two of them nothing changes. The last one is `end`."""
    edges = {edge for extents in (old, now) for extent in extents for edge in extent[:2] if start < edge < end}
    return [*sorted(edges), end] if start < end else []


def _same(old: Extent | None, now: Extent | None) -> bool:
    if old is None or now is None:
        return old is now
    if old.place is None or now.place is None:
        return False
    return old.place - old.start == now.place - now.start


class _Places:
    """The extents of a file, asked for in rising order of offsets."""

    def __init__(self, extents: Sequence[Extent]) -> None:
        self._coming: Iterator[Extent] = iter(extents)
        self._next: Extent | None = next(self._coming, None)

    def at(self, offset: int) -> Extent | None:
        """The extent that holds a byte; None in a hole."""
        while self._next is not None and self._next.end <= offset:
            self._next = next(self._coming, None)
        return self._next if self._next is not None and self._next.start <= offset else None
