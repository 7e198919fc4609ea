"""`breezeblock backup verify | checks | restore` on the command line. What they do is in `verify.py` and `restore.py`."""

import json
from typing import Annotated

import typer

from breezeblock.commands.common_options import Config, Data, load
from breezeblock.commands.failure import Failed

__all__ = ["checks", "restore", "verify"]

AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Project = Annotated[str | None, typer.Option("--project", metavar="ID", help="Only this project's.")]


def verify(
    backups: Annotated[list[str] | None, typer.Argument(metavar="BACKUP", help="The ids of backups.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All backups that are available.")] = False,
    project: Project = None,
    sample: Annotated[
        float,
        typer.Option(
            min=0, max=100, metavar="PERCENT", help="How much to read; with 0 only whether all packs are there."
        ),
    ] = 100,
    wait: Annotated[bool, typer.Option(help="Wait for the results.")] = True,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Let nodes read backups and check every hash. Exit status 1 when any is damaged, or was not looked at."""
    if every == bool(backups):
        raise typer.BadParameter("name the backups, or give --all")
    if project is not None and not every:
        raise typer.BadParameter("--project goes with --all")
    chosen = load(config, data).settings
    from breezeblock.commands import verify as command

    found = command.verify(chosen, backups or None, project_id=project, share=sample / 100, wait=wait)
    _show(found, as_json=as_json)
    bad = [one for one in found if one["state"] not in (command.WELL, command.ASKED)]
    if bad:
        raise Failed(f"{len(bad)} of {len(found)} backups are damaged, or were not looked at wholly.")


def checks(
    project: Project = None,
    most: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="The newest so many.")] = 50,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show the verifications that have ended in the last month, newest first, and what they found."""
    chosen = load(config, data).settings
    from breezeblock.commands import verify as command

    _show(command.checks(chosen, project_id=project, most=most), as_json=as_json)


def restore(
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="The backup's id.")],
    volume: Annotated[str | None, typer.Option("--volume", metavar="ID", help="Replace what this volume has.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Make a new volume of this name.")] = None,
    skip: Annotated[
        bool, typer.Option("--skip-damaged", help="Restore all the rest, with zeros where something is damaged.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait for the end.")] = True,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Restore a backup for its project, to a volume or to a new one. Exit status 1 when anything of it was lost."""
    if volume is not None and name is not None:
        raise typer.BadParameter("--volume and --name are two different things to restore to")
    chosen = load(config, data).settings
    from breezeblock.commands import restore as command

    found = command.restore(chosen, backup, volume_id=volume, name=name, skip_damaged=skip, wait=wait)
    print(json.dumps(found, indent=1) if as_json else command.told(found))
    if found["lost_bytes"]:
        raise Failed(f"{found['lost_bytes']} bytes of the volume are zeros that could not be read.")


def _show(found: "list[dict[str, object]]", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=1))
        return
    from breezeblock.commands.status_view import console
    from breezeblock.commands.verify_view import lines, table

    console().print(table(found))
    for line in lines(found):
        print(line)
