"""The model of what volumes hold bites: on made-up histories, and when a copy is spoiled on purpose."""

import asyncio
from pathlib import PurePosixPath
from random import Random

import pytest

from breezeblock.drivers.contract import ObjectName, Progress
from breezeblock.drivers.file import PIECE_BYTES, FileDriver
from breezeblock.testing.contents import GIB, Contents, Resumed, draw_places, mark, read_whole
from breezeblock.testing.database import Database
from breezeblock.testing.memory_files import BLOCK, MemoryFiles
from breezeblock.testing.run import Failed, simulate

VOLUME, CLONE, SNAPSHOT = (f"{n}" * 8 + "-1111-4111-8111-111111111111" for n in "abc")
FILE = PurePosixPath("/volume")
MARK = mark(1, VOLUME, 0)
BLOCK_OF_MARK = MARK + bytes(BLOCK - len(MARK))


def volume() -> Contents:
    contents = Contents()
    contents.enqueued("create_volume", {"volume_id": VOLUME})
    return contents


def on_disk(*pieces: tuple[int, bytes]) -> dict[int, bytes]:
    """What is found in a file of a GiB after these writes."""

    async def run() -> dict[int, bytes]:
        disk = MemoryFiles()
        await disk.create(FILE, size_bytes=GIB)
        for offset, data in pieces:
            await disk.write_at(FILE, offset=offset, data=data)
        return dict(await read_whole(disk, FILE))

    return asyncio.run(run())


def test_what_was_written_is_expected_wherever_it_is() -> None:
    contents = volume()
    places = (0, PIECE_BYTES - 32, 64 * PIECE_BYTES, GIB - len(MARK))
    for place in places:
        contents.wrote(VOLUME, place, MARK)

    assert contents.judge(VOLUME, on_disk(*((place, MARK) for place in places))) is None
    for missing in places:
        assert contents.judge(VOLUME, on_disk(*((place, MARK) for place in places if place != missing))) is not None


def test_a_volume_that_nobody_wrote_to_reads_as_zeros() -> None:
    assert volume().judge(VOLUME, on_disk((5 * BLOCK, bytes(BLOCK)))) is None

    problem = volume().judge(VOLUME, on_disk((5 * BLOCK, b"left by somebody")))

    assert problem == "holds b'left by somebody' in block 5 of 1 with data, not zeros"


def test_a_copy_is_what_its_source_was_when_it_was_asked_for() -> None:
    contents = volume()
    contents.wrote(VOLUME, 0, MARK)
    contents.enqueued("create_snapshot", {"snapshot_id": SNAPSHOT, "volume_id": VOLUME})
    contents.wrote(VOLUME, 0, mark(2, VOLUME, 0))
    contents.enqueued("create_volume", {"volume_id": CLONE, "source_id": SNAPSHOT})

    assert contents.judge(CLONE, {0: BLOCK_OF_MARK}) is None
    assert contents.judge(SNAPSHOT, {0: BLOCK_OF_MARK}) is None
    assert contents.judge(VOLUME, {0: BLOCK_OF_MARK}) is not None
    assert contents.judge(CLONE, {}) is not None


def test_a_revert_that_failed_leaves_one_of_two_and_no_mixture() -> None:
    old, new = on_disk((0, MARK), (8 * PIECE_BYTES, MARK)), on_disk((0, b"new"), (8 * PIECE_BYTES, b"new"))

    def reverted(outcome: str) -> Contents:
        contents = volume()
        for place in (0, 8 * PIECE_BYTES):
            contents.wrote(VOLUME, place, MARK)
        contents.enqueued("create_snapshot", {"snapshot_id": SNAPSHOT, "volume_id": VOLUME})
        for place in (0, 8 * PIECE_BYTES):
            contents.wrote(VOLUME, place, b"new".ljust(len(MARK), b"\0"))
        contents.ended("revert_volume", {"volume_id": VOLUME, "snapshot_id": SNAPSHOT}, outcome=outcome)
        return contents

    assert reverted("done").judge(VOLUME, old) is None
    assert reverted("done").judge(VOLUME, new) is not None
    assert reverted("failed").judge(VOLUME, old) is None
    assert reverted("failed").judge(VOLUME, new) is None
    assert reverted("failed").judge(VOLUME, {**old, 0: new[0]}) is not None
    settled = reverted("cancelled")
    assert settled.judge(VOLUME, new) is None
    assert settled.judge(VOLUME, old) is not None, "what it was found to be it stays"


def test_an_object_may_be_larger_than_its_row_only_after_an_extend_that_failed() -> None:
    contents = volume()
    contents.ended("extend_volume", {"volume_id": VOLUME}, outcome="done")
    assert not contents.may_be_larger(VOLUME)

    contents.ended("extend_volume", {"volume_id": VOLUME}, outcome="failed")
    contents.enqueued("create_volume", {"volume_id": CLONE, "source_id": VOLUME})

    assert contents.may_be_larger(CLONE)


def test_a_copy_goes_on_when_a_later_claim_adds_to_what_an_earlier_one_left() -> None:
    told: list[str] = []
    resumed = Resumed(lambda resource, name: told.append(name))
    part = PurePosixPath(f"/fast/aa/{VOLUME}.1.1.part")

    resumed.on_effect("copy_range", part, {VOLUME: (1, 1)})
    resumed.on_effect("copy_range", part, {VOLUME: (1, 1)})
    assert told == []
    resumed.on_effect("copy_range", part, {VOLUME: (1, 2)})
    assert told == [part.name]
    resumed.on_effect("remove", part, {VOLUME: (1, 3)})
    resumed.on_effect("copy_range", part, {VOLUME: (1, 3)})
    assert told == [part.name], "that one began anew"


def test_guests_write_at_the_begin_in_the_middle_and_at_the_end() -> None:
    drawn = {place for seed in range(100) for place in draw_places(Random(seed), size_gib=2)}

    assert {0, PIECE_BYTES, 2 * GIB - len(MARK)} <= drawn
    assert any(place // PIECE_BYTES != (place + len(MARK) - 1) // PIECE_BYTES for place in drawn)


def test_a_copy_that_goes_on_behind_its_checkpoint_is_found_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was never copied what lies between. Nothing but the comparison of whole objects sees that."""
    usable = FileDriver._usable_progress

    async def too_far(self: FileDriver, target: ObjectName, progress: Progress) -> int:
        start = await usable(self, target, progress)
        return start and start + 64 * PIECE_BYTES

    monkeypatch.setattr(FileDriver, "_usable_progress", too_far)
    for seed in range(60):
        try:
            simulate(seed, database=database, only=["crash"], fence="kill", brief=True)
        except Failed as failed:
            assert failed.violations[0].startswith("Data")
            return
    pytest.fail("60 seeds did not find it")
