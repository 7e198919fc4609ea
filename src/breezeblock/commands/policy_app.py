"""`breezeblock backup policy` on the command line. What it does is in `backup_policy.py`, loaded when called."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from breezeblock.commands.common_options import Config, Data, load
from breezeblock.commands.failure import Failed

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from breezeblock.commands.backup_policy import Line
    from breezeblock.model.keeping import Keep
    from breezeblock.resources.keeping import Chosen, Rule
    from breezeblock.settings import Settings

__all__ = ["policy_app"]

policy_app = typer.Typer(
    help="Which backups of a volume stay, and when new ones are made.", no_args_is_help=True, rich_markup_mode=None
)

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Project = Annotated[str | None, typer.Option("--project", metavar="ID", help="Only this project's volumes.")]
Volume = Annotated[str | None, typer.Option("--volume", metavar="ID", help="Only this volume.")]
Metadata = Annotated[
    str | None, typer.Option("--metadata", metavar="KEY=VALUE", help="Only volumes that have this metadata.")
]
All = Annotated[bool, typer.Option("--all", help="All volumes (of the project), those with backups that are gone too.")]
Last = Annotated[int, typer.Option("--keep-last", min=0, metavar="N", help="The newest N backups stay.")]
Hourly = Annotated[
    int, typer.Option("--keep-hourly", min=0, metavar="N", help="The newest of each of the last N hours.")
]
Daily = Annotated[int, typer.Option("--keep-daily", min=0, metavar="N", help="The same of days.")]
Weekly = Annotated[int, typer.Option("--keep-weekly", min=0, metavar="N", help="The same of weeks, from Monday on.")]
Monthly = Annotated[int, typer.Option("--keep-monthly", min=0, metavar="N", help="The same of months.")]
Yearly = Annotated[int, typer.Option("--keep-yearly", min=0, metavar="N", help="The same of years.")]
Zone = Annotated[str, typer.Option("--zone", metavar="NAME", help="Whose hours and days: UTC, Europe/Berlin, …")]
Incremental = Annotated[bool, typer.Option("--incremental", help="New ones are incremental where they can be.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The policy's name, which its backups carry.")]
Backup = Annotated[
    bool, typer.Option("--backup", help="Back up what has no backup of this hour (or the shortest period kept).")
]
StoreName = Annotated[str | None, typer.Option("--store", metavar="NAME", help="The store of new ones.")]

STYLES: Final = {"goes": "yellow", "deleted": "yellow", "new": "green", "due": "green", "refused": "bold red"}


@policy_app.command("apply")
def policy_apply(
    project: Project = None,
    volume: Volume = None,
    metadata: Metadata = None,
    everything: All = False,
    last: Last = 0,
    hourly: Hourly = 0,
    daily: Daily = 0,
    weekly: Weekly = 0,
    monthly: Monthly = 0,
    yearly: Yearly = 0,
    zone: Zone = "UTC",
    mark: Annotated[
        str | None,
        typer.Option("--mark", metavar="NAME", help="Only backups made with the same mark; new ones get it."),
    ] = None,
    backup: Backup = False,
    incremental: Incremental = False,
    store: StoreName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    as_json: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Delete the backups that need not stay, and show why the others do. Exit status 1 when anything was refused."""
    chosen = load(config, data).settings
    from breezeblock.commands import backup_policy as command
    from breezeblock.model.keeping import Keep

    rule = _rule(
        chosen,
        _chosen(project, volume, metadata, everything=everything),
        Keep(last=last, hourly=hourly, daily=daily, weekly=weekly, monthly=monthly, yearly=yearly, zone=zone),
        mark=mark,
        only_marked=mark is not None,
        takes=backup,
        incremental=incremental,
        store=store,
    )
    lines = command.apply(chosen, rule, dry_run=dry_run)
    _show(lines, as_json=as_json)
    if refused := sum(line.outcome == command.REFUSED for line in lines):
        raise Failed(f"{refused} request{'s' * (refused > 1)} refused.")


@policy_app.command("set")
def policy_set(
    name: Name,
    project: Project = None,
    volume: Volume = None,
    metadata: Metadata = None,
    everything: All = False,
    last: Last = 0,
    hourly: Hourly = 0,
    daily: Daily = 0,
    weekly: Weekly = 0,
    monthly: Monthly = 0,
    yearly: Yearly = 0,
    zone: Zone = "UTC",
    backup: Backup = False,
    incremental: Incremental = False,
    store: StoreName = None,
    others: Annotated[
        bool, typer.Option("--all-backups", help="Delete others' backups, too: those that users have made by hand.")
    ] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Let the service apply a policy by itself, at the start of each hour (or the shortest period kept)."""
    chosen = load(config, data).settings
    from breezeblock.commands import stored_policies as command
    from breezeblock.model.keeping import Keep

    rule = _rule(
        chosen,
        _chosen(project, volume, metadata, everything=everything),
        Keep(last=last, hourly=hourly, daily=daily, weekly=weekly, monthly=monthly, yearly=yearly, zone=zone),
        mark=name,
        only_marked=not others,
        takes=backup,
        incremental=incremental,
        store=store,
    )
    print(f"The backup policy {name} is applied at {command.set_policy(chosen, rule)} and from then on.")


@policy_app.command("list")
def policy_list(as_json: Json = False, data: Data = None, config: Config = None) -> None:
    """Show the policies that the service applies by itself."""
    from breezeblock.commands import stored_policies as command

    found = command.all_of(load(config, data).settings)
    if as_json:
        print(json.dumps([command.as_data(one) for one in found], indent=1))
        return
    if not found:
        print("There are no backup policies.")
        return
    from breezeblock.commands.status_view import console

    rows = [
        (one.name, *(tell(one) for tell in (command.volumes_of, command.keeps, command.due, command.last)))
        for one in found
    ]
    console().print(_table("Backup policies", ("Name", "Volumes", "Keeps", "Next", "Last"), rows))


@policy_app.command("show")
def policy_show(name: Name, as_json: Json = False, data: Data = None, config: Config = None) -> None:
    """Show all that a policy says, and why its last run was refused what it asked for."""
    from breezeblock.commands import stored_policies as command

    (found,) = command.all_of(load(config, data).settings, name)
    if as_json:
        print(json.dumps(command.as_data(found), indent=1))
        return
    for label, tell in (
        ("volumes", command.volumes_of),
        ("keeps", command.keeps),
        ("makes", command.makes),
        ("next", command.due),
        ("last", command.last),
    ):
        print(f"{label:8} {tell(found) or '(never)'}")
    for line in command.reasons(found):
        print(f"refused  {line}")


@policy_app.command("remove")
def policy_remove(name: Name, data: Data = None, config: Config = None) -> None:
    """Forget a policy. Its backups stay; what it is doing now ends after the volume that it is at."""
    from breezeblock.commands import stored_policies as command

    command.remove(load(config, data).settings, name)
    print(f"The backup policy {name} is removed. Its backups stay.")


@policy_app.command("run")
def policy_run(name: Name, data: Data = None, config: Config = None) -> None:
    """Let the service apply a policy now: within a minute, while any node is up."""
    from breezeblock.commands import stored_policies as command

    command.run_soon(load(config, data).settings, name)
    print(f"The backup policy {name} is due now.")


def _rule(settings: "Settings", chosen: "Chosen", keep: "Keep", *, store: str | None, **said: Any) -> "Rule":
    from breezeblock.commands.backup_policy import store_of
    from breezeblock.resources.keeping import Rule

    where = store_of(settings, store)
    zone = settings.backup_stores[where].availability_zone
    return Rule(chosen=chosen, keep=keep, store=where, availability_zone=zone, **said)


def _show(lines: "list[Line]", *, as_json: bool) -> None:
    import msgspec

    if as_json:
        print(json.dumps(msgspec.to_builtins(lines), indent=1))
        return
    if not lines:
        print("There are no backups, and nothing is due.")
        return
    from rich.text import Text

    from breezeblock.commands.status_view import console

    rows: list[tuple[str | Text, ...]] = []
    for line in lines:
        outcome = Text(line.outcome, STYLES.get(line.outcome, ""))
        known = [text or "" for text in (line.volume_id, line.backup_id, line.name, line.at)]
        rows.append((*known, outcome, "; ".join(line.reasons)))
    console().print(_table("Backups", ("Volume", "Backup", "Name", "Of", "", "Because"), rows))


def _table(title: str, columns: Sequence[str], rows: "Sequence[tuple[str | Text, ...]]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Names are anybody's: what looks like markup in them is text.
        table.add_row(*(one if isinstance(one, Text) else Text(one) for one in row))
    return table


def _chosen(project: str | None, volume: str | None, metadata: str | None, *, everything: bool) -> "Chosen":
    from breezeblock.model.ids import is_canonical_uuid
    from breezeblock.resources.keeping import Chosen

    if sum((volume is not None, metadata is not None, everything)) > 1:
        raise typer.BadParameter("--volume, --metadata and --all say different things; expected one of them")
    if project is None and volume is None and metadata is None and not everything:
        raise typer.BadParameter("which volumes? Expected --volume, --metadata, --project or --all")
    if volume is not None and not is_canonical_uuid(volume):
        raise typer.BadParameter(f"--volume takes the id of a volume, not {volume!r}")
    key, equals, value = (metadata or "").partition("=")
    if metadata is not None and not (key and equals):
        raise typer.BadParameter(f"--metadata takes KEY=VALUE, not {metadata!r}")
    return Chosen(project_id=project, volume_id=volume, metadata=None if metadata is None else (key, value))
