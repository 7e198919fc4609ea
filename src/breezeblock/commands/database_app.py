"""`breezeblock db` on the command line. What it does is in `database.py` and its neighbours, loaded when called."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from breezeblock import settings
from breezeblock.commands.failure import Failed
from breezeblock.settings import Settings

__all__ = ["db_app"]

db_app = typer.Typer(
    help="The database: its schema, and whether it is sound.", no_args_is_help=True, rich_markup_mode=None
)

Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The data folder (service.data_dir).")]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", envvar="BREEZEBLOCK_CONFIG", help="The settings file (TOML).")
]


@db_app.command("upgrade")
def db_upgrade(data: Data = None, config: Config = None) -> None:
    """Bring the database to this release's schema. `up` does it by itself."""
    chosen = _load(config, data)
    from breezeblock.commands import database

    print(database.upgrade(chosen))


@db_app.command("current")
def db_current(data: Data = None, config: Config = None) -> None:
    """Show the schema's revision."""
    chosen = _load(config, data)
    from breezeblock.commands import database

    print(database.current(chosen))


@db_app.command("check")
def db_check(data: Data = None, config: Config = None) -> None:
    """Look for contradictions in the tables, and between them and the storage. Status 1 when there are any."""
    chosen = _load(config, data)
    from breezeblock.commands.check import check

    found = check(chosen)
    for one in found:
        print(one)
    if found:
        raise Failed(f"{len(found)} problem{'s' * (len(found) > 1)} found.")
    print("No problems found.")


@db_app.command("rebuild")
def db_rebuild(
    stopped: Annotated[
        bool,
        typer.Option(
            "--stopped", help="Every node and every API of the cluster is stopped, also those that came later."
        ),
    ] = False,
    project: Annotated[
        str | None, typer.Option("--project", metavar="ID", help="Whose volumes become that only the storage knows.")
    ] = None,
    user: Annotated[str, typer.Option("--user", metavar="ID", help="And which user's.")] = "admin",
    use: Annotated[
        list[str] | None,
        typer.Option("--use", metavar="OBJECT", help="The object that is meant, where there are several."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="BACKEND=TARGET",
            help="Where a backend that has failed over since is served from; default: back.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make a database that agrees with the storage and the stores of backups, out of an older one or an empty one.

    Status 1 when something is left to decide. It may be repeated.
    """
    chosen = _load(config, data)
    if not stopped:
        raise Failed(
            "Whoever still runs would write to the same storage: stop every node and every API of the cluster, also those "
            "that the database does not know, and say so with --stopped.",
            status=2,
        )
    from breezeblock.commands.rebuild import Owner, Wanted, rebuild

    owner = None if project is None else Owner(project, user)
    outcome = rebuild(chosen, Wanted(owner, frozenset(use or ()), dry_run, _targets(target or ())))
    for one in outcome.changed:
        print(one)
    for one in outcome.undecided:
        print(f"To decide: {one}")
    if not outcome.changed:
        print("The database agrees with the storage.")
    if outcome.undecided:
        raise Failed(f"{len(outcome.undecided)} things are left to decide.")


def _targets(told: Iterable[str]) -> dict[str, str]:
    """By backend, what --target says."""
    targets: dict[str, str] = {}
    for one in told:
        backend, equals, name = one.partition("=")
        if not (backend and equals and name) or backend in targets:
            raise Failed(f"--target {one}: expected BACKEND=TARGET, once for each backend.", status=2)
        targets[backend] = name
    return targets


@db_app.command("recount")
def db_recount(
    project: Annotated[str, typer.Argument(metavar="PROJECT_ID", help="Whose accounts.")],
    data: Data = None,
    config: Config = None,
) -> None:
    """Charge a project for what it has. It may run beside a running service."""
    chosen = _load(config, data)
    from breezeblock.commands.recount import recount

    wrong = recount(chosen, project)
    for one in wrong:
        print(one)
    print(f"{len(wrong)} account{'s' * (len(wrong) != 1)} of project {project} corrected.")


def _load(config: Path | None, data: Path | None) -> Settings:
    return settings.load(config, os.environ, {"service.data_dir": data}).settings
