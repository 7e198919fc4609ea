"""`breezeblock backend` and `breezeblock cluster` on the command line. What they do is in `places.py`, loaded when called."""

import json
from typing import Annotated, Final

import typer

from breezeblock.commands.common_options import Config, Data, load

__all__ = ["backend_app", "cluster_app"]

backend_app = typer.Typer(help="The backends of this cluster.", no_args_is_help=True, rich_markup_mode=None)
cluster_app = typer.Typer(help="The cluster's name.", no_args_is_help=True, rich_markup_mode=None)

Before = Annotated[str, typer.Argument(metavar="BEFORE", help="The name that the database knows.")]
After = Annotated[str, typer.Argument(metavar="AFTER", help="The name from now on.")]
Backend = Annotated[str, typer.Argument(metavar="NAME", help="The backend's name, without the cluster's.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change, or what is in the way.")]

HEADINGS: Final = ("backend", "nodes", "volumes", "snapshots", "allocated GiB", "state")


@backend_app.command("list")
def backend_list(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: Config = None,
) -> None:
    """Show every backend that has ever reported, and what is on it."""
    chosen = load(config, data).settings
    import msgspec

    from breezeblock.commands import places

    found = places.list_backends(chosen)
    if as_json:
        print(json.dumps(msgspec.to_builtins(found), indent=1))
        return
    from rich.table import Table

    from breezeblock.commands.status_view import console

    table = Table(*HEADINGS)
    for row in places.as_rows(found):
        table.add_row(*row)
    console().print(table)


@backend_app.command("rename")
def backend_rename(
    before: Before, after: After, data: Data = None, dry_run: DryRun = False, config: Config = None
) -> None:
    """Call a backend otherwise. The service is stopped, and the settings have the new name already."""
    from breezeblock.commands import places

    changed = places.rename_backend(load(config, data).settings, before, after, dry_run=dry_run)
    print(places.told(changed, dry_run=dry_run))


@backend_app.command("remove")
def backend_remove(name: Backend, data: Data = None, dry_run: DryRun = False, config: Config = None) -> None:
    """Forget a backend that holds nothing any more. Its storage is not touched."""
    from breezeblock.commands import places

    print(places.told(places.remove_backend(load(config, data).settings, name, dry_run=dry_run), dry_run=dry_run))


@cluster_app.command("rename")
def cluster_rename(
    before: Before, after: After, data: Data = None, dry_run: DryRun = False, config: Config = None
) -> None:
    """Call a cluster otherwise, with all its backends. The service is stopped; service.cluster is changed before its start."""
    from breezeblock.commands import places

    changed = places.rename_cluster(load(config, data).settings, before, after, dry_run=dry_run)
    print(places.told(changed, dry_run=dry_run))
