"""What operations on backups tell of themselves while they run, and what is counted of them."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.backup.bench import BLOCK, ENV, GIB, NEW_VOLUME, Bench, Died, bench, id_of

from breezeblock.backup.engine import Shares
from breezeblock.protocol.steps import HandedBack
from breezeblock.resources.progress import Told, told_in
from breezeblock.store import tables
from breezeblock.work import pace

MIB = 1024**2


class Counted:
    """Traffic, as numbers."""

    def __init__(self) -> None:
        self.bytes = dict.fromkeys(("read", "stored", "deduplicated", "restored"), 0)

    def add(self, **moved: int) -> None:
        for what, size in moved.items():
            self.bytes[what] += size


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as one:
        one.create_volume()
        yield one


def watched(made: Bench, monkeypatch: pytest.MonkeyPatch, *, first: Callable[[], object] = lambda: None) -> list[Told]:
    """What the oldest operation tells after each transaction, each different thing once. `first` is called after the first."""
    seen: list[Told] = []
    real = made.base.write

    async def write(body: Any) -> Any:
        result = await real(body)
        rows = made.base.rows(tables.operations)
        told = told_in(rows[0]["state_json"]) if rows else None
        if told is not None and told.total and told not in seen:
            seen.append(told)
            if len(seen) == 1:
                first()
        return result

    monkeypatch.setattr(made.base, "write", write)
    return seen


def slow(made: Bench, bytes_per_s: int) -> None:
    made.shelf = replace(made.shelf, shares=Shares(ENV.clock, bytes_per_s=bytes_per_s))


def test_a_long_segment_tells_how_far_it_is(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once with what it has read, not only when its GiB is stored; and how fast it goes, once that is known."""
    monkeypatch.setattr(pace, "TELL_EVERY_S", 0.1)
    monkeypatch.setattr(pace, "RATED_AFTER_S", 0.3)
    made.write(0, random.Random(1).randbytes(16 * MIB))
    slow(made, 20 * MIB)
    seen = watched(made, monkeypatch)
    made.back_up()
    made.work()

    assert made.backup()["status"] == "available"
    done = [told.done for told in seen]
    assert done == sorted(done)
    assert any(0 < one <= 16 * MIB for one in done)
    assert (done[-1], {told.total for told in seen}) == (GIB, {GIB})
    rates = [told.rate for told in seen if told.done <= 16 * MIB and told.rate]
    assert rates and all(MIB // 10 < rate < 60 * MIB for rate in rates)
    made.check()


def test_a_short_backup_saves_nothing_for_it(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it tells goes with the checkpoints that there are: as many transactions as where nothing is told between."""
    made.write(0, random.Random(1).randbytes(BLOCK))
    made.back_up()
    takes = made.work()
    monkeypatch.setattr(pace, "TELL_EVERY_S", 10**6)
    made.write(0, random.Random(2).randbytes(BLOCK))
    made.back_up(id_of(4, 2))

    assert made.work() == takes


def test_one_that_is_cancelled_ends_in_the_middle_of_a_segment(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GiB may take an hour; who deletes the backup by force does not wait for that. This one would take 24 s."""
    monkeypatch.setattr(pace, "TELL_EVERY_S", 0.1)
    made.write(0, random.Random(1).randbytes(24 * MIB))
    slow(made, MIB)
    seen = watched(made, monkeypatch, first=lambda: made.delete(force=True))
    made.back_up()
    began = ENV.clock.boottime()
    made.work()

    assert ENV.clock.boottime() - began < 16
    assert [told.done < 24 * MIB for told in seen] == [True]
    assert made.base.rows(tables.backups) == []
    assert made.volume()["status"] == "available"
    made.check()


def test_one_whose_node_is_drained_is_handed_on_in_the_middle_of_a_segment(
    made: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored of it by then is found again. The node would have taken 24 s to leave."""
    monkeypatch.setattr(pace, "TELL_EVERY_S", 0.1)
    made.write(0, random.Random(1).randbytes(24 * MIB))
    before = made.content()
    limited = made.shelf
    slow(made, MIB)
    made.back_up()
    drained: list[bool] = []
    with monkeypatch.context() as until_then:
        until_then.setattr("tests.backup.bench._never", lambda: bool(drained))
        watched(made, until_then, first=lambda: drained.append(True))
        with pytest.raises(HandedBack):
            made.work()
    made.shelf = limited
    assert (made.backup()["status"], made.base.rows(tables.operations)[0]["owner"]) == ("creating", None)
    made.work()
    made.restore()
    made.work()

    assert made.content(NEW_VOLUME) == before
    made.check()


def test_who_goes_on_tells_what_there_is_and_not_what_there_was(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that takes over begins with the last checkpoint; the rate is its own."""
    monkeypatch.setattr(pace, "RATED_AFTER_S", 0.0)
    made.create_volume(NEW_VOLUME, size_gib=3)

    def die() -> None:
        raise Died

    seen = watched(made, monkeypatch, first=die)
    made.back_up(volume_id=NEW_VOLUME)
    assert made.die(at=0, after=True)
    before = list(seen)
    made.work()

    assert [told.done for told in before] == [GIB]
    assert [told.done for told in seen[1:]] == [2 * GIB, 3 * GIB]
    made.check()


def test_a_restore_tells_what_it_has_written(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each of its checkpoints, of which there is one for each 64 MiB."""
    chance = random.Random(2)
    for offset in range(0, 200 * MIB, 20 * MIB):
        made.write(offset, chance.randbytes(BLOCK))
    made.back_up()
    made.work()
    seen = watched(made, monkeypatch)
    made.restore()
    made.work()

    done = [told.done for told in seen]
    assert len(done) >= 2
    assert done == sorted(done)
    assert {told.total for told in seen} == {GIB}
    assert made.content(NEW_VOLUME) == made.content()


def test_restores_keep_to_their_own_limit(made: Bench) -> None:
    """12 MiB at 16 MiB/s: the last 4 MiB may come when the first 8 have been paid for. Backups do not know of it."""
    made.write(0, random.Random(4).randbytes(12 * MIB))
    made.shelf = replace(made.shelf, spend_restoring=Shares(ENV.clock, bytes_per_s=16 * MIB).spend)
    made.back_up()
    made.work()
    made.restore()
    began = ENV.clock.boottime()
    made.work()

    assert ENV.clock.boottime() - began >= 0.49
    assert made.content(NEW_VOLUME) == made.content()


def test_bytes_are_counted_as_they_go(made: Bench) -> None:
    """Ten blocks, of which five are alike: five and one are new. A second backup stores none of them."""
    traffic = Counted()
    made.shelf = replace(made.shelf, traffic=traffic)
    chance = random.Random(3)
    for number in range(5):
        made.write(number * BLOCK, chance.randbytes(BLOCK))
    made.write(5 * BLOCK, chance.randbytes(BLOCK) * 5)
    made.back_up()
    made.work()

    assert (traffic.bytes["read"], traffic.bytes["deduplicated"]) == (10 * BLOCK, 4 * BLOCK)
    assert 6 * BLOCK < traffic.bytes["stored"] < 7 * BLOCK
    before = dict(traffic.bytes)
    made.back_up(id_of(4, 2), incremental=True)
    made.work()
    assert traffic.bytes["read"] - before["read"] == 10 * BLOCK
    assert traffic.bytes["deduplicated"] - before["deduplicated"] == 10 * BLOCK
    assert traffic.bytes["stored"] == before["stored"]
    made.restore()
    made.work()
    assert traffic.bytes["restored"] == 10 * BLOCK
