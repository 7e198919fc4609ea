"""`breezeblock events` on the command line. What it does is in `events.py`, loaded when called."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

import typer

from breezeblock.commands.common_options import Config, Data, load

__all__ = ["events_app"]

events_app = typer.Typer(help="Receivers of events, and usage for bills.", no_args_is_help=True, rich_markup_mode=None)

Receiver = Annotated[str, typer.Argument(metavar="RECEIVER", help="Its name: that of its section [events.NAME].")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]

HEADINGS: Final = ("receiver", "named by", "waiting", "set aside", "sent", "refused", "dropped", "last error")
FORMS: Final = ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"]


class Period(StrEnum):
    """The last one that is over."""

    hour = "hour"
    day = "day"
    month = "month"
    year = "year"


@events_app.command("list")
def events_list(data: Data = None, as_json: AsJson = False, config: Config = None) -> None:
    """Show every receiver of events, who names it, and what waits for it."""
    chosen = load(config, data).settings
    from breezeblock.commands import events as command

    found = command.list_receivers(chosen)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    from rich.table import Table

    from breezeblock.commands.status_view import console

    table = Table(*HEADINGS)
    for row in command.as_rows(found):
        table.add_row(*row)
    console().print(table)


@events_app.command("again")
def events_again(name: Receiver, data: Data = None, config: Config = None) -> None:
    """Send a receiver once more what it has refused and what was therefore set aside."""
    chosen = load(config, data).settings
    from breezeblock.commands import events as command

    print(f"Events that wait again: {command.again(chosen, name)}.")


@events_app.command("remove")
def events_remove(
    name: Receiver,
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, or what is in the way.")] = False,
    config: Config = None,
) -> None:
    """Forget a receiver that no settings name any more, with what waits for it. Its section is taken out of them first."""
    chosen = load(config, data).settings
    from breezeblock.commands import events as command

    found = command.remove(chosen, name, dry_run=dry_run)
    print(f"{'This would remove' if dry_run else 'Removed'}: receiver {name} and {found} events.")


@events_app.command("exists")
def events_exists(
    begins: Annotated[
        datetime | None, typer.Option("--from", formats=FORMS, help="The first instant of the period, in UTC.")
    ] = None,
    ends: Annotated[datetime | None, typer.Option("--to", formats=FORMS, help="Its end, in UTC.")] = None,
    period: Annotated[Period, typer.Option(help="Instead of both: the last one (UTC) that is over.")] = Period.month,
    receiver: Annotated[
        str | None, typer.Option("--receiver", metavar="NAME", help="Only this one; default all, but Nova.")
    ] = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Tell receivers which volumes, snapshots and backups there were in a period: once, however often this is run."""
    if (begins is None) != (ends is None):
        raise typer.BadParameter("--from and --to belong together")
    chosen = load(config, data).settings
    from breezeblock.commands import events as command
    from breezeblock.env.real import real_env

    if begins is None or ends is None:
        now = datetime.fromtimestamp(real_env().clock.now_us() / 1_000_000, UTC)
        begins, ends = command.last_period(period.value, now)
    begins, ends = begins.replace(tzinfo=UTC), ends.replace(tzinfo=UTC)
    found = command.exists(chosen, begins=begins, ends=ends, only=receiver)
    print(json.dumps(found, indent=1) if as_json else command.told(found, begins=begins, ends=ends))
