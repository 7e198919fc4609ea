"""The cache of what is where: right or empty, whatever happens to its file."""

import sqlite3
import threading
import uuid
from pathlib import Path

import pytest

from breezeblock.backup.known import MOST_LEFT_BEHIND, Known
from breezeblock.backup.packs import Entry, Place


def entry(number: int, offset: int = 32) -> Entry:
    return Entry(number.to_bytes(32, "big"), offset, 100, 200, 1)


def pack() -> str:
    return str(uuid.uuid4())


def test_it_finds_what_was_added_in_packs_that_are_kept() -> None:
    """And nothing of others."""
    known, one, two = Known(None), pack(), pack()
    known.add([(one, [entry(1)]), (two, [entry(2, 99)])])

    assert known.keep([two]) == []
    assert known.find([entry(1).hash, entry(2).hash]) == {entry(2).hash: Place(two, 99, 100, 200, 1)}


def test_two_writers_share_a_file_and_see_their_own_packs_only(tmp_path: Path) -> None:
    """Both have the same block, each in a pack that the other may not refer to."""
    path = tmp_path / "a.known"
    mine, yours = pack(), pack()
    first, second = Known(path), Known(path)
    first.add([(mine, [entry(1, 50)])])
    second.add([(yours, [entry(1, 60)])])

    assert first.find([entry(1).hash])[entry(1).hash].pack == mine
    assert second.find([entry(1).hash])[entry(1).hash].pack == yours
    first.close()
    second.close()


def test_it_survives_a_restart(tmp_path: Path) -> None:
    """And asks only for what it does not have."""
    path, one, two = tmp_path / "a.known", pack(), pack()
    known = Known(path)
    known.add([(one, [entry(1)])])
    known.close()

    again = Known(path)
    assert again.keep([one, two]) == [two]
    assert entry(1).hash in again.find([entry(1).hash])
    again.close()


@pytest.mark.parametrize("harm", [b"", b"this is no database at all" * 500, None])
def test_a_file_that_is_no_database_is_thrown_away(harm: bytes | None, tmp_path: Path) -> None:
    """Or one whose middle is gone: everything is asked for again, and the next start has a good file."""
    path, one = tmp_path / "a.known", pack()
    known = Known(path)
    known.add([(one, [entry(number) for number in range(5000)])])
    known.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes(len(whole) - 100) if harm is None else harm)

    again = Known(path)
    assert again.keep([one]) == [one]
    again.add([(one, [entry(1)])])
    assert entry(1).hash in again.find([entry(1).hash])
    again.close()


def test_a_file_of_another_version_is_begun_anew(tmp_path: Path) -> None:
    """A release may change its tables."""
    path = tmp_path / "a.known"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE packs (something INTEGER)")
        database.execute("PRAGMA user_version = 99")
    database.close()

    known, one = Known(path), pack()
    known.add([(one, [entry(1)])])
    assert entry(1).hash in known.find([entry(1).hash])
    known.close()


def test_what_is_left_of_packs_that_are_gone_is_removed(tmp_path: Path) -> None:
    """Not at once, and not never."""
    path = tmp_path / "a.known"
    known = Known(path)
    for number in range(MOST_LEFT_BEHIND + 1):
        known.add([(pack(), [entry(number)])])
    known.keep([])
    known.close()

    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM blocks").fetchone() == (0,)
    database.close()


def test_many_threads_may_use_it(tmp_path: Path) -> None:
    """Some find while others add."""
    known = Known(tmp_path / "a.known")
    wrong: list[int] = []

    def work(first: int) -> None:
        for number in range(first, first + 50):
            known.add([(pack(), [entry(number)])])
            if entry(number).hash not in known.find([entry(number).hash]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(1000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known.close()

    assert wrong == []
