"""What is damaged in an archive, by objects, and what of a volume cannot be read for that. Bounded, and JSON by msgspec."""

from typing import Final

import msgspec

from breezeblock.backup.read import Damage

__all__ = ["Losses", "Lost", "text_of"]

# What is kept of one backup's damage: it goes through rows of the database. Bytes are counted in any case.
OBJECTS_MOST: Final = 200
RANGES_MOST: Final = 5_000


class Lost(msgspec.Struct, kw_only=True):
    """A damaged or missing object, and the ranges of bytes of the volume that are lost with it, in order and apart."""

    object: str
    what: str
    bytes: int = 0
    ranges: list[tuple[int, int]] = []
    more_ranges: int = 0
    """How many are not among them."""
    backups: list[str] = []
    """The other backups that name this object, as far as they were looked for."""
    more_backups: int = 0


class Losses(msgspec.Struct, kw_only=True):
    """All that is known to be damaged of one backup. Without lost bytes its data can be read all the same."""

    objects: list[Lost] = []
    bytes: int = 0
    more_bytes: int = 0
    """Of objects that are not among these."""

    def __bool__(self) -> bool:
        return bool(self.objects)

    def note(self, where: str, what: str) -> Lost | None:
        """An object that is not what was stored; None when there are too many to keep. The first word on each counts."""
        for lost in self.objects:
            if lost.object == where:
                return lost
        if len(self.objects) >= OBJECTS_MOST:
            return None
        self.objects.append(Lost(object=where, what=what))
        return self.objects[-1]

    def add(self, damage: Damage) -> None:
        """A range that cannot be read. Those of an object come by rising offset; what was told before counts once."""
        lost = self.note(damage.where, damage.what)
        size = damage.end - damage.start
        if lost is None:
            self.bytes += size
            self.more_bytes += size
            return
        if lost.ranges and damage.start < lost.ranges[-1][1]:
            return
        self.bytes += size
        lost.bytes += size
        if lost.ranges and lost.ranges[-1][1] == damage.start:
            lost.ranges[-1] = (lost.ranges[-1][0], damage.end)
        elif sum(len(one.ranges) for one in self.objects) < RANGES_MOST:
            lost.ranges.append((damage.start, damage.end))
        else:
            lost.more_ranges += 1

    def ranges(self) -> list[tuple[int, int]]:
        """What is lost of the volume, in order, as far as it is kept: ranges that touch are one."""
        found: list[tuple[int, int]] = []
        for start, end in sorted(one for lost in self.objects for one in lost.ranges):
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(end, found[-1][1]))
            else:
                found.append((start, end))
        return found


def text_of(losses: Losses, *, most: int) -> str:
    """The lost ranges as text of at most so many characters: first and last byte of each, and how much there is in all."""
    ranges = [f"{start}-{end - 1}" for start, end in losses.ranges()]
    whole = f"{losses.bytes} bytes: {', '.join(ranges)}"
    is_all = not losses.more_bytes and not any(lost.more_ranges for lost in losses.objects)
    if is_all and len(whole) <= most:
        return whole
    while ranges and len(f"{losses.bytes} bytes: {', '.join(ranges)}, …") > most:
        # Halved first: there may be thousands, of which a line takes some ten.
        del ranges[len(ranges) // 2 if len(ranges) > 64 else -1 :]
    return f"{losses.bytes} bytes: {', '.join([*ranges, '…'])}"
