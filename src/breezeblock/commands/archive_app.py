"""`breezeblock archive` on the command line. What it does is in `archive.py`, loaded when called."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from breezeblock import settings
from breezeblock.commands.common_options import Config
from breezeblock.commands.failure import Failed

if TYPE_CHECKING:
    from breezeblock.commands.archive import Place

__all__ = ["archive_app"]

archive_app = typer.Typer(
    help="Backups as they are stored: without the service, and without its database.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

StoreName = Annotated[
    str, typer.Option("--store", metavar="STORE", help="folder:/path, or the NAME of a [backup_stores.NAME].")
]
Key = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="The key of an encrypted archive: 32 bytes, or 64 hex digits."),
]
ArchiveId = Annotated[str, typer.Argument(metavar="ARCHIVE", help="The archive's id: `archive list` shows it.")]
Stored = Annotated[str, typer.Argument(metavar="BACKUP", help="The backup's id, or its manifest's name.")]


@archive_app.command("list")
def archive_list(
    store: StoreName,
    archive: Annotated[str | None, typer.Argument(metavar="ARCHIVE", help="Show the backups of this one.")] = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: Config = None,
) -> None:
    """Show the archives in a store, or the backups in one of them."""
    from breezeblock.commands import archive as command

    found = command.list_archives(_place(store, key, config), archive)
    print(json.dumps(found, indent=1) if as_json else command.told(found))


@archive_app.command("verify")
def archive_verify(
    archive: ArchiveId,
    backup: Stored,
    store: StoreName,
    key: Key = None,
    sample: Annotated[float, typer.Option(min=0, max=100, metavar="PERCENT", help="How much of it to read.")] = 100,
    config: Config = None,
) -> None:
    """Read a backup and check every hash. Exit status 1 when any of it is damaged or gone."""
    from breezeblock.commands import archive as command

    found = command.verify(_place(store, key, config), archive, backup, share=sample / 100)
    for line in command.explained(found.damage):
        print(line)
    print(f"{found.blocks} blocks ({found.bytes} bytes) are well; {found.packs} packs were looked for.")
    if found.damage:
        raise Failed(f"{len(found.damage)} range{'s' * (len(found.damage) > 1)} of the volume cannot be read.")


@archive_app.command("extract")
def archive_extract(
    archive: ArchiveId,
    backup: Stored,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, which is made sparse.")],
    store: StoreName,
    key: Key = None,
    skip: Annotated[
        bool, typer.Option("--skip-damaged", help="Write all the rest, with zeros where something is damaged.")
    ] = False,
    config: Config = None,
) -> None:
    """Write a backup to a raw file, checking every hash."""
    from breezeblock.commands import archive as command

    damage = command.extract(_place(store, key, config), archive, backup, target, skip_damaged=skip)
    for line in command.explained(damage):
        print(line)
    if damage:
        raise Failed(f"{target} has zeros in {len(damage)} place{'s' * (len(damage) > 1)} that could not be read.")


def _place(store: str, key: Path | None, config: Path | None) -> "Place":
    from breezeblock.commands.archive import Place

    return Place(store=store, key_file=key, settings=lambda: settings.load(config, os.environ, {}).settings)
