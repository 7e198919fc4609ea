"""Verifications for people: a table of the backups, and what is damaged and affected in lines, which are not cut."""

from collections.abc import Iterator
from typing import Any, Final

from rich.table import Table
from rich.text import Text

Found = dict[str, Any]

STYLES: Final = {"well": "green", "damaged": "bold red", "asked for": ""}
# Of one object; `--json` has all that is kept.
RANGES_SHOWN: Final = 8
BACKUPS_SHOWN: Final = 8


def table(found: list[Found]) -> Table:
    """A row for each backup."""
    shown = Table(title="Backups", title_justify="left", title_style="bold")
    for column in ("backup", "state", "checked", "asked for", "blocks that are well", "packs", "lost bytes"):
        shown.add_column(column, overflow="fold")  # an id that is cut short cannot be pasted
    for one in found:
        percent = one.get("sample_percent")
        shown.add_row(
            one["backup"],
            Text(one["state"], STYLES.get(one["state"], "yellow")),
            one.get("checked_at", ""),
            "" if percent is None else f"{percent:g}%",
            *(str(one.get(key, "")) for key in ("blocks", "packs", "lost_bytes")),
        )
    return shown


def lines(found: list[Found]) -> Iterator[str]:
    """What is wrong, with what is affected."""
    for one in found:
        if one.get("reason"):
            yield f"{one['backup']}: {one['reason']}"
        for lost in one.get("objects", ()):
            yield f"{one['backup']}: {lost['object']}: {lost['what']}"
            yield f"    lost of its volume: {_ranges(lost)}"
            if lost["backups"]:
                also = _some(lost["backups"], BACKUPS_SHOWN, more=lost["more_backups"])
                yield f"    also named by: {also}"
        if unread := one.get("unread_backups"):
            yield f"    perhaps also, since their manifests cannot be read: {_some(unread, BACKUPS_SHOWN)}"


def _ranges(lost: Found) -> str:
    if not lost["bytes"]:
        return "nothing"
    ranges = [f"{one['first']}-{one['last']}" for one in lost["ranges"]]
    return f"{lost['bytes']} bytes: {_some(ranges, RANGES_SHOWN, more=lost['more_ranges'])}"


def _some(texts: list[str], most: int, *, more: int = 0) -> str:
    left = len(texts[most:]) + more
    return ", ".join(texts[:most]) + (f" and {left} more" if left else "")
