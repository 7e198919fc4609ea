"""Which backups stay: the rule, by examples and by what must hold of any of them."""

from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from breezeblock.model.keeping import (
    UNITS,
    Candidate,
    Keep,
    choose,
    has_one_now,
    next_start_us,
    period_of,
    zone_named,
)

HOUR_US: Final = 3600 * 1_000_000
DAY_US: Final = 24 * HOUR_US
ZONES: Final = ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "Africa/Cairo")

# Around two changes of clocks, around now, and what only a clock that jumps or a foreign record could say.
instants = st.one_of(
    st.integers(min_value=1_750_000_000, max_value=1_800_000_000),
    st.integers(min_value=1_761_400_000, max_value=1_761_500_000),
    st.sampled_from((-1, 0, 2**40, 2**62 // 1_000_000)),
).map(lambda at_s: at_s * 1_000_000)
candidates = st.lists(
    st.builds(
        Candidate,
        st.uuids().map(str),
        instants,
        st.sampled_from(("whole", "whole", "whole", "failed", "making", "unclear")),
    ),
    max_size=20,
    unique_by=lambda one: one.id,
)
few = st.integers(min_value=0, max_value=5)
keeps = st.builds(
    Keep,
    last=few,
    hourly=few,
    daily=few,
    weekly=few,
    monthly=few,
    yearly=few,
    zone=st.sampled_from(ZONES),
).filter(lambda keep: keep.problem() is None)
zones = st.sampled_from(ZONES).map(ZoneInfo)
units = st.sampled_from(UNITS)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def whole(*texts: str) -> list[Candidate]:
    """Backups that are named as their instants."""
    return [Candidate(text, at(text), "whole") for text in texts]


def staying(keep: Keep, found: list[Candidate]) -> set[str]:
    return {one.id for one in choose(keep, found) if one.stays}


def test_the_newest_of_each_period_stays() -> None:
    """A day without a backup is none of the days that count."""
    found = whole("2026-11-22T01:00", "2026-11-21T23:00", "2026-11-21T01:00", "2026-11-19T05:00", "2026-11-18T05:00")

    assert staying(Keep(daily=3), found) == {"2026-11-22T01:00", "2026-11-21T23:00", "2026-11-19T05:00"}


def test_each_backup_tells_for_what_it_stays() -> None:
    """One may be the newest of several periods."""
    found = whole("2026-11-22T01:00", "2026-11-22T00:30", "2026-11-15T00:00")

    verdicts = choose(Keep(last=1, hourly=2, weekly=2, yearly=1), found)

    assert [one.reasons for one in verdicts] == [
        ("newest", "last", "hour 2026-11-22T01+00:00", "week 2026-W47", "year 2026"),
        ("hour 2026-11-22T00+00:00",),
        ("week 2026-W46",),
    ]
    assert choose(Keep(last=1), found)[2] == ("2026-11-15T00:00", False, ("no rule keeps it",))


def test_a_day_is_the_zones_day() -> None:
    """One in the evening of New York and one in the morning are two days in UTC and one there, or the other way round."""
    found = whole("2026-06-02T03:00", "2026-06-01T20:00")

    assert len(staying(Keep(daily=2), found)) == 2
    assert staying(Keep(daily=2, zone="America/New_York"), found) == {"2026-06-02T03:00"}


def test_an_hour_that_comes_twice_is_two_hours() -> None:
    """When clocks are put back."""
    found = whole("2026-10-25T00:10", "2026-10-25T01:10")

    assert len(staying(Keep(hourly=2, zone="Europe/Berlin"), found)) == 2


def test_a_week_belongs_to_the_year_that_most_of_it_is_in() -> None:
    """Else the days around a new year would be two weeks."""
    found = whole("2027-01-03T10:00", "2026-12-28T10:00")

    assert staying(Keep(weekly=2), found) == {"2027-01-03T10:00"}


def test_what_failed_is_not_counted() -> None:
    """It keeps the place of nothing that one could go back to; the last one stays to tell what is wrong."""
    good, older = whole("2026-11-20T00:00", "2026-11-19T00:00")
    failed = [Candidate(f"failed {day}", at(f"2026-11-{day}T00:00"), "failed") for day in (18, 21, 22)]

    verdicts = {one.id: one for one in choose(Keep(last=2), [good, older, *failed])}

    assert {id_ for id_, one in verdicts.items() if one.stays} == {good.id, older.id, "failed 22"}
    assert verdicts["failed 22"].reasons == ("failed, and none is newer",)
    assert verdicts["failed 18"].reasons == verdicts["failed 21"].reasons == ("failed",)


def test_what_is_being_made_and_what_is_unclear_is_left_alone() -> None:
    """And counts as nothing."""
    found = [
        *whole("2026-11-20T00:00"),
        Candidate("making", at("2026-11-21T00:00"), "making"),
        Candidate("unclear", at("2026-11-22T00:00"), "unclear"),
    ]

    assert staying(Keep(last=1), found) == {"2026-11-20T00:00", "making", "unclear"}


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (Keep(), "at least one of"),
        (Keep(daily=-1), "from 0 to"),
        (Keep(last=10**9), "from 0 to"),
        (Keep(daily=1, zone="Europe/Atlantis"), "'Europe/Atlantis'"),
        (Keep(daily=1, zone="../../etc/passwd"), "no time zone"),
        (Keep(daily=1, zone=""), "no time zone"),
        (Keep(daily=1, zone="Europe"), "no time zone"),
    ],
)
def test_what_cannot_be_meant_is_refused(keep: Keep, said: str) -> None:
    """Nothing to keep, above all: all backups but one would go."""
    problem = keep.problem()

    assert problem is not None
    assert said in problem


def test_the_shortest_period_is_that_of_the_most_frequent_backups() -> None:
    """Of a mere number there is none."""
    assert Keep(daily=1, yearly=1).shortest() == "day"
    assert Keep(last=3).shortest() is None


@settings(max_examples=25, deadline=None)
@given(keep=keeps, found=candidates)
def test_the_newest_whole_backup_always_stays(keep: Keep, found: list[Candidate]) -> None:
    """And whatever is not whole never takes its place."""
    good = [one for one in found if one.state == "whole"]
    assume(good)

    verdicts = choose(keep, found)

    assert max(good, key=lambda one: (one.at_us, one.id)).id in {one.id for one in verdicts if one.stays}
    assert staying(keep, good) == {one.id for one in good} & {one.id for one in verdicts if one.stays}


@settings(max_examples=25, deadline=None)
@given(keep=keeps, found=candidates, data=st.data())
def test_a_second_run_removes_nothing_more(keep: Keep, found: list[Candidate], data: st.DataObject) -> None:
    """Whatever the order in which the rows are read."""
    kept = staying(keep, found)
    shuffled = data.draw(st.permutations(found))

    assert choose(keep, shuffled) == choose(keep, found)
    assert staying(keep, [one for one in shuffled if one.id in kept]) == kept


@settings(max_examples=25, deadline=None)
@given(keep=keeps, found=candidates)
def test_no_more_stay_than_are_asked_for_and_none_is_forgotten(keep: Keep, found: list[Candidate]) -> None:
    """Of each unit the last so many periods that have a backup are there."""
    good = [one for one in found if one.state == "whole"]
    kept = staying(keep, good)
    zone = ZoneInfo(keep.zone)

    assert len(kept) <= max(1, keep.last + sum(keep.by_unit().values()))
    for unit, count in keep.by_unit().items():
        newest_first = sorted(good, key=lambda one: one.at_us, reverse=True)
        periods = list(dict.fromkeys(period_of(unit, one.at_us, zone) for one in newest_first))
        assert set(periods[:count]) <= {period_of(unit, one.at_us, zone) for one in good if one.id in kept}


@settings(max_examples=25, deadline=None)
@given(keep=keeps, found=candidates, late=instants)
def test_one_more_backup_lets_only_older_ones_of_a_full_period_go(
    keep: Keep, found: list[Candidate], late: int
) -> None:
    """A backup that a clock dates into the future or the past is one more, and no others are judged by it alone."""
    good = [one for one in found if one.state == "whole"]
    before = staying(keep, good)

    after = staying(keep, [*good, Candidate("late", late, "whole")])

    assert len(before - after) <= 1 + sum(1 for count in (keep.last, *keep.by_unit().values()) if count)


@settings(max_examples=25, deadline=None)
@given(unit=units, zone=zones, now_us=st.integers(min_value=1_600_000_000, max_value=1_900_000_000))
def test_the_next_period_begins_after_now_and_is_another_one(unit: str, zone: ZoneInfo, now_us: int) -> None:
    """Also where a day has no midnight, or an hour comes twice."""
    now_us *= 1_000_000
    next_us = next_start_us(unit, now_us, zone)  # type: ignore[arg-type]

    assert now_us < next_us <= now_us + 367 * DAY_US
    assert period_of(unit, next_us, zone) != period_of(unit, now_us, zone)  # type: ignore[arg-type]
    assert period_of(unit, next_us - 1, zone) == period_of(unit, now_us, zone)  # type: ignore[arg-type]


def test_a_period_has_its_backup_while_that_is_being_made() -> None:
    """But not by one that failed."""
    zone = zone_named("UTC")
    assert zone is not None
    now_us = at("2026-11-22T10:30")
    making = Candidate("a", at("2026-11-22T10:01"), "making")

    assert has_one_now("hour", zone, [making], now_us)
    assert not has_one_now("hour", zone, [making._replace(state="failed")], now_us)
    assert not has_one_now("hour", zone, whole("2026-11-22T09:59"), now_us)
    assert has_one_now("day", zone, whole("2026-11-22T00:00"), now_us)
