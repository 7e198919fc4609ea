"""Which backups of a volume stay: the newest of each of the last so many hours, days, weeks, months and years.

The rule that people know from other tools. Periods are those of a calendar, in a zone that is named, and only periods that have
a backup count. What time it is now is not asked: a clock that jumps, or a week in which nothing could be backed up, lets
nothing go.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

__all__ = [
    "UNITS",
    "Candidate",
    "Keep",
    "Unit",
    "Verdict",
    "choose",
    "has_one_now",
    "next_start_us",
    "period_of",
    "shown",
    "zone_named",
]

Unit = Literal["hour", "day", "week", "month", "year"]
# The shortest first.
UNITS: Final[tuple[Unit, ...]] = ("hour", "day", "week", "month", "year")
KEEP_MOST: Final = 100_000

# Instants outside of these are taken for these: a record that was imported may say anything, and calendars end.
_FIRST_US: Final = 0
_LAST_US: Final = int(datetime(9998, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """How many stay, of each kind of period. `zone` is the name of a time zone."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    zone: str = "UTC"

    def by_unit(self) -> dict[Unit, int]:
        """How many periods of each unit, the shortest first."""
        return dict(zip(UNITS, (self.hourly, self.daily, self.weekly, self.monthly, self.yearly), strict=True))

    def shortest(self) -> Unit | None:
        """The shortest period that is asked for; None when it is only a number of backups."""
        return next((unit for unit, count in self.by_unit().items() if count), None)

    def problem(self) -> str | None:
        """What is wrong with it, as a sentence."""
        counts = (self.last, *self.by_unit().values())
        if any(not 0 <= count <= KEEP_MOST for count in counts):
            return f"How many backups stay is a number from 0 to {KEEP_MOST}."
        if not any(counts):
            return (
                "Nothing says what is to stay: expected at least one of last, hourly, daily, weekly, monthly, yearly."
            )
        if zone_named(self.zone) is None:
            return f"There is no time zone {self.zone!r}; expected a name such as UTC or Europe/Berlin."
        return None


class Candidate(NamedTuple):
    """A backup to be decided on. `at_us`: when the data was so."""

    id: str
    at_us: int
    state: Literal["whole", "failed", "making", "unclear"]
    """`failed` has no data to go back to. `making` and `unclear` (in error, but with its data) are nobody's to remove."""


class Verdict(NamedTuple):
    """What becomes of one backup, and why. It stays for all of the reasons."""

    id: str
    stays: bool
    reasons: tuple[str, ...]


def zone_named(name: str) -> ZoneInfo | None:
    """The time zone of that name; None: there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, no name at all, a folder of zones
        return None


def choose(keep: Keep, candidates: Sequence[Candidate]) -> list[Verdict]:
    """What becomes of each backup of one volume, the newest first. Chosen again among those that stay, all of them stay."""
    ordered = sorted(candidates, key=lambda one: (one.at_us, one.id), reverse=True)
    whole = [one for one in ordered if one.state == "whole"]
    reasons = _reasons(keep, whole)
    failed = next((one for one in ordered if one.state in ("whole", "failed")), None)
    verdicts = []
    for one in ordered:
        match one.state:
            case "whole":
                why = reasons[one.id]
                verdicts.append(Verdict(one.id, bool(why), tuple(why) or ("no rule keeps it",)))
            case "failed":
                # The last word on a volume, while it is the last one, tells its owner what is wrong.
                stays = one is failed
                verdicts.append(Verdict(one.id, stays, ("failed, and none is newer" if stays else "failed",)))
            case "making":
                verdicts.append(Verdict(one.id, True, ("being made",)))
            case "unclear":
                verdicts.append(Verdict(one.id, True, ("in error, with its data: for an operator to decide",)))
    return verdicts


def _reasons(keep: Keep, whole: Sequence[Candidate]) -> dict[str, list[str]]:
    """Why each of these stays, the newest first. No reason: it does not."""
    zone = zone_named(keep.zone)
    assert zone is not None, "checked before"
    found: dict[str, list[str]] = {one.id: [] for one in whole}
    if whole:
        found[whole[0].id].append("newest")
    for one in whole[: keep.last]:
        found[one.id].append("last")
    for unit, count in keep.by_unit().items():
        seen: set[str] = set()
        for one in whole:
            if len(seen) == count:
                break
            period = period_of(unit, one.at_us, zone)
            if period not in seen:
                seen.add(period)
                found[one.id].append(f"{unit} {period}")
    return found


def has_one_now(unit: Unit, zone: ZoneInfo, candidates: Sequence[Candidate], now_us: int) -> bool:
    """Whether a backup of the period that it is now is there, or being made."""
    now = period_of(unit, now_us, zone)
    return any(one.state in ("whole", "making") and period_of(unit, one.at_us, zone) == now for one in candidates)


def period_of(unit: Unit, at_us: int, zone: ZoneInfo) -> str:
    """The name of the period that an instant is in. An hour is named with its offset: some come twice a year."""
    local = _local(at_us, zone)
    match unit:
        case "hour":
            return local.isoformat(timespec="hours")
        case "day":
            return f"{local:%Y-%m-%d}"
        case "week":
            year, week, _ = local.isocalendar()
            return f"{year:04}-W{week:02}"
        case "month":
            return f"{local:%Y-%m}"
        case "year":
            return f"{local:%Y}"


def next_start_us(unit: Unit, at_us: int, zone: ZoneInfo) -> int:
    """When the next period begins after an instant."""
    local = _local(at_us, zone)
    if unit == "hour":
        return _us(local.replace(minute=0, second=0, microsecond=0, tzinfo=None) - _offset(local)) + 3_600_000_000
    day = datetime(local.year, local.month, local.day)  # noqa: DTZ001 - the zone comes below
    match unit:
        case "day":
            start = day + timedelta(days=1)
        case "week":
            start = day + timedelta(days=7 - day.weekday())
        case "month":
            start = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        case "year":
            start = day.replace(year=day.year + 1, month=1, day=1)
    return int(start.replace(tzinfo=zone).timestamp()) * 1_000_000


def shown(at_us: int, zone: ZoneInfo) -> str:
    """An instant for people."""
    return _local(at_us, zone).isoformat(" ", "seconds")


def _local(at_us: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=min(max(at_us, _FIRST_US), _LAST_US))).astimezone(zone)


def _offset(local: datetime) -> timedelta:
    offset = local.utcoffset()
    assert offset is not None, "made with a zone"
    return offset


def _us(naive_utc: datetime) -> int:
    return (naive_utc.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
