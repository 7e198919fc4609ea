"""Counting requests in memory that several processes share: nothing lost, nothing doubled, nothing half-read."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from breezeblock.api.counts import BUCKETS_S, STATUSES, Answered, RequestCounts

LIST, SHOW = ("GET", "/v3/volumes"), ("GET", "/v3/volumes/{volume_id}")
KINDS = (LIST, SHOW)


@pytest.fixture
def files() -> Iterator[list[int]]:
    """What `up` makes: an empty file in memory for each place."""
    made = [os.memfd_create(f"test-{number}") for number in range(2)]
    yield made
    for file in made:
        os.close(file)


def counting(files: list[int], place: int, kinds: tuple[tuple[str, str], ...] = KINDS) -> RequestCounts:
    counts = RequestCounts(files, place=place)
    counts.begin(kinds)
    return counts


def by_kind(counts: RequestCounts) -> dict[tuple[str, str, int], int]:
    return {(one.method, one.route, one.status): sum(one.buckets) for one in counts.total()}


def test_a_request_is_counted_by_route_status_and_time() -> None:
    """On a bound belongs to that bucket, as Prometheus says: less than or equal."""
    counts = RequestCounts()
    counts.begin(KINDS)

    counts.add(LIST, 200, BUCKETS_S[3])
    counts.add(LIST, 200, 99.0)
    counts.add(LIST, 404, 0.0)

    beyond = len(BUCKETS_S)
    assert list(counts.total()) == [
        Answered(*LIST, 200, tuple(int(number in (3, beyond)) for number in range(beyond + 1)), BUCKETS_S[3] + 99.0),
        Answered(*LIST, 404, (1, *[0] * beyond), 0.0),
    ]


def test_what_matches_no_route_or_has_an_odd_status_is_counted_together() -> None:
    """A scanner makes no series of its own."""
    counts = RequestCounts()
    counts.begin(KINDS)

    counts.add(None, 404, 0.1)
    counts.add(SHOW, 418, 0.1)

    assert 418 not in STATUSES
    assert by_kind(counts) == {("any", "unknown", 404): 1, (*SHOW, 0): 1}


def test_every_process_tells_what_all_have_counted(files: list[int]) -> None:
    """Whoever started first, and whether or not the others have begun."""
    first = counting(files, 0)
    first.add(LIST, 200, 0.1)
    alone = by_kind(first)
    second = counting(files, 1)
    second.add(LIST, 200, 0.1)
    second.add(SHOW, 404, 0.1)

    assert alone == {(*LIST, 200): 1}
    assert by_kind(first) == by_kind(second) == {(*LIST, 200): 2, (*SHOW, 404): 1}


def test_who_follows_a_dead_process_counts_on(files: list[int]) -> None:
    """A counter that fell would be a restart that nobody made."""
    counting(files, 0).add(LIST, 200, 0.1)
    watching = counting(files, 1)

    again = counting(files, 0)
    again.add(LIST, 200, 0.1)

    assert by_kind(again) == by_kind(watching) == {(*LIST, 200): 2}


def test_what_another_release_counts_is_left_out(files: list[int]) -> None:
    """Its cells mean something else. When its place is taken by ours, that one begins at nothing."""
    other = counting(files, 0, kinds=(SHOW, LIST, ("PUT", "/v3/more")))
    other.add(LIST, 200, 0.1)
    ours = counting(files, 1)
    ours.add(LIST, 200, 0.1)
    beside = by_kind(ours)

    counting(files, 0).add(SHOW, 200, 0.1)

    assert beside == {(*LIST, 200): 1}
    assert by_kind(ours) == {(*LIST, 200): 1, (*SHOW, 200): 1}


WRITER = """
import sys
from breezeblock.api.counts import RequestCounts
counts = RequestCounts([int(file) for file in sys.argv[2:]], place=int(sys.argv[1]))
counts.begin((("GET", "/v3/volumes"),))
print("ready", flush=True)
while True:
    counts.add(("GET", "/v3/volumes"), 200, 1.0)
"""


def test_nothing_falls_while_processes_count_and_are_killed(files: list[int]) -> None:
    """Two of them, killed in the middle of it, and two that follow: each reading is at least the one before."""
    reader = RequestCounts(files, place=0)
    readings: list[int] = []
    for _ in range(2):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(WRITER), str(place), *map(str, files)],
                pass_fds=files,
                stdout=subprocess.PIPE,
            )
            for place in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        reader.begin((LIST,))
        for _ in range(300):
            readings.append(sum(sum(one.buckets) for one in reader.total()))
        for writer in writers:
            writer.kill()
            writer.communicate()

    (last,) = reader.total()
    assert readings == sorted(readings)
    assert readings[-1] > 1000
    assert abs(sum(last.buckets) - last.seconds) <= 4  # a kill comes between the two cells at most once each
