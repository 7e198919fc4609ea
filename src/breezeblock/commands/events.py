"""`breezeblock events list | again | remove | exists`: small transactions in a row; whoever dies in between runs it again."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final, Literal

from breezeblock.commands.asking import Asking, asking
from breezeblock.commands.failure import Failed
from breezeblock.protocol import receivers
from breezeblock.resources import usage
from breezeblock.settings import Settings

Unit = Literal["hour", "day", "month", "year"]

# Of each: more than anybody has.
ROUNDS_MOST: Final = 10_000_000


def list_receivers(settings: Settings) -> list[dict[str, Any]]:
    """Every receiver that the database knows. Raises Failed."""

    async def main() -> list[dict[str, Any]]:
        async with asking(settings) as at:
            now_us = at.env.clock.now_us()
            named = await at.store.read(receivers.named)
            return [_shown(one, named, now_us) for one in await at.store.read(receivers.waiting)]

    return asyncio.run(main())


def again(settings: Settings, name: str) -> int:
    """Put back what a receiver has refused. Returns how many events. Raises Failed."""

    async def main() -> int:
        async with asking(settings) as at:
            found = 0
            for _ in range(ROUNDS_MOST):
                moved = await at.store.run(receivers.again, receiver=name)
                found += moved
                if moved < receivers.AT_ONCE:
                    break
            return found

    return asyncio.run(main())


def remove(settings: Settings, name: str, *, dry_run: bool) -> int:
    """Forget a receiver and its events. Returns how many of these. Raises Failed, with what is in the way."""
    if name in settings.events:
        raise Failed(
            f"[events.{name}] is in the settings of this machine: take it out of the settings of every machine first."
        )

    async def main() -> int:
        async with asking(settings) as at:
            if dry_run:
                return await at.store.read(receivers.would_remove, receiver=name)
            found = 0
            for _ in range(ROUNDS_MOST):
                removed = await at.store.run(receivers.remove, receiver=name)
                found += removed.events
                if removed.is_whole:
                    break
            return found

    return asyncio.run(main())


def exists(settings: Settings, *, begins: datetime, ends: datetime, only: str | None) -> dict[str, dict[str, int]]:
    """Tell what there was in a period. Returns how many of each type each receiver was told of now. Raises Failed."""
    chosen = [name for name, one in settings.events.items() if one.type != "nova" and only in (None, name)]
    if not chosen:
        raise Failed(
            f"The settings have no receiver {only} that could be told."
            if only
            else "The settings have no receiver of events."
        )
    begins_us, ends_us = _us(begins), _us(ends)

    async def main() -> dict[str, dict[str, int]]:
        async with asking(settings) as at:
            _check(begins_us, ends_us, at.env.clock.now_us())
            settled_us = ends_us + int(usage.SETTLE_S * 1_000_000)
            await at.env.clock.sleep(max(0.0, (settled_us - at.env.clock.now_us()) / 1_000_000))
            return {name: await _tell(at, name, begins_us=begins_us, ends_us=ends_us) for name in chosen}

    return asyncio.run(main())


def last_period(unit: Unit, now: datetime) -> tuple[datetime, datetime]:
    """The last hour, day, month or year (UTC) that is over."""
    ends = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if unit != "hour":
        ends = ends.replace(hour=0)
    if unit in ("month", "year"):
        ends = ends.replace(day=1)
    if unit == "year":
        ends = ends.replace(month=1)
    before = datetime.fromtimestamp(ends.timestamp() - 1, UTC)
    begins = before.replace(minute=0, second=0)
    if unit != "hour":
        begins = begins.replace(hour=0)
    if unit in ("month", "year"):
        begins = begins.replace(day=1)
    if unit == "year":
        begins = begins.replace(month=1)
    return begins, ends


def told(found: Mapping[str, Mapping[str, int]], *, begins: datetime, ends: datetime) -> str:
    """What was told, in words: a line for each receiver."""
    period = f"{begins.astimezone(UTC):%Y-%m-%d %H:%M:%S} to {ends.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        f"{name}: {', '.join(f'{count} {kind}s' for kind, count in counts.items())}" for name, counts in found.items()
    ]
    return "\n".join([f"Told of {period}, besides what was told before:", *lines])


def as_rows(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The list as texts, a row for each receiver."""
    keys = ("waiting", "aside", "sent", "refused", "dropped")
    return [
        (one["receiver"], ", ".join(one["nodes"]) or "nobody", *(str(one[key]) for key in keys), one["error"] or "")
        for one in found
    ]


async def _tell(at: Asking, name: str, *, begins_us: int, ends_us: int) -> dict[str, int]:
    store = at.store.telling(name)
    period = {"begins_us": begins_us, "ends_us": ends_us, "now_us": at.env.clock.now_us()}
    found = {}
    for kind, _ in usage.COUNTED:
        found[kind] = 0
        for _ in range(ROUNDS_MOST):
            count, is_whole = await store.run(usage.tell_some, receiver=name, resource_type=kind, **period)
            found[kind] += count
            if is_whole:
                break
    return found


def _check(begins_us: int, ends_us: int, now_us: int) -> None:
    """Raises Failed."""
    if ends_us <= begins_us:
        raise Failed("The period ends before it begins: --to must be after --from.", status=2)
    if ends_us > now_us:
        raise Failed("The period is not over yet: --to must not be in the future.", status=2)
    if ends_us < now_us - usage.KEPT_US:
        days = usage.KEPT_US // 86_400_000_000
        raise Failed(
            f"The period ended more than {days} days ago: nobody knows any more whether it was told.", status=2
        )


def _shown(one: receivers.Waiting, named: Mapping[str, list[str]], now_us: int) -> dict[str, Any]:
    row = asdict(one) | {"nodes": named.get(one.receiver, [])}
    oldest_us = row.pop("oldest_us")
    row["oldest_s_ago"] = None if oldest_us is None else round((now_us - oldest_us) / 1_000_000, 1)
    return row


def _us(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)
