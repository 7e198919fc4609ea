"""The command line: names, options, and how refusals look. What commands do is in `commands/`, loaded when called.

Exit status: 0 done · 1 refused, or problems were found · 2 wrong usage or settings · 130 interrupted.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from breezeblock import __version__, settings
from breezeblock.commands.access_app import access_app
from breezeblock.commands.archive_app import archive_app
from breezeblock.commands.attach_app import attach, detach
from breezeblock.commands.backup_app import backup_app
from breezeblock.commands.common_options import Config, Data, load
from breezeblock.commands.database_app import db_app
from breezeblock.commands.events_app import events_app
from breezeblock.commands.failure import Failed
from breezeblock.commands.places_app import backend_app, cluster_app

WATCH_EVERY_S: Final = 1.0
DRAIN_WAIT_S: Final = 90.0
CHECK_WAIT_S: Final = 30.0

app = typer.Typer(
    name="breezeblock",
    help="Block storage behind the OpenStack Block Storage API v3.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
node_app = typer.Typer(
    help="Look at nodes, take them out, bring them back.", no_args_is_help=True, rich_markup_mode=None
)
config_app = typer.Typer(help="The settings in effect.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(node_app, name="node")
app.add_typer(db_app, name="db")
app.add_typer(config_app, name="config")
app.add_typer(archive_app, name="archive")
app.add_typer(backup_app, name="backup")
app.add_typer(backend_app, name="backend")
app.add_typer(cluster_app, name="cluster")
app.add_typer(events_app, name="events")
app.add_typer(access_app, name="policy")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The node's name, such as node-1.")]
Lost = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The node's name; or, for one that nobody has expired, the id of its incarnation, which `status` shows.",
    ),
]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def up(
    data: Data = None,
    port: Annotated[int | None, typer.Option(help="The API's port (api.port); 0 takes a free one.")] = None,
    nodes: Annotated[int | None, typer.Option(help="How many nodes to run here (nodes.count).")] = None,
    workers: Annotated[int | None, typer.Option(help="How many API processes (api.workers).")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on (api.host).")] = None,
    only: Annotated[
        str | None, typer.Option(metavar="api|nodes", help="Run this part; the other is another service's.")
    ] = None,
    config: Config = None,
) -> None:
    """Run the whole service on this machine, or one part of it, until Ctrl-C."""
    if only not in (None, "api", "nodes"):
        raise typer.BadParameter("--only takes api or nodes")
    if (only == "api" and nodes is not None) or (only == "nodes" and workers is not None):
        raise typer.BadParameter("--only api runs no --nodes, and --only nodes no --workers")
    workers, nodes = 0 if only == "nodes" else workers, 0 if only == "api" else nodes
    chosen = load(
        config,
        data,
        {"api.port": port, "nodes.count": nodes, "api.workers": workers, "api.host": host},
    ).settings
    from breezeblock.supervisor import up as supervisor
    from breezeblock.supervisor.folder import InUse

    try:
        status = supervisor.run(chosen, os.environ)
    except (supervisor.CannotStart, InUse) as error:
        raise Failed(str(error)) from error
    raise typer.Exit(status)


@app.command()
def status(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    watch: Annotated[bool, typer.Option(help="Show it again every second, until Ctrl-C.")] = False,
    config: Config = None,
) -> None:
    """Show what runs, what waits, and what went over to another node. Also works while the service is down."""
    chosen = load(config, data).settings
    from breezeblock.commands.status import gather

    if as_json:
        _show_json(lambda: gather(chosen), watch=watch)
        return
    from breezeblock.commands.status_view import console, render

    if not watch:
        console().print(render(gather(chosen)))
        return
    import time

    from rich.live import Live

    with Live(render(gather(chosen)), console=console(), auto_refresh=False, screen=sys.stdout.isatty()) as live:
        while True:
            time.sleep(WATCH_EVERY_S)
            live.update(render(gather(chosen)), refresh=True)


def _show_json(gather: "Callable[[], dict[str, object]]", *, watch: bool) -> None:
    """One document; or, watching, one a line."""
    if not watch:
        print(json.dumps(gather(), indent=1))
        return
    import time

    while True:
        print(json.dumps(gather()), flush=True)
        time.sleep(WATCH_EVERY_S)


@app.command("fence-test")
def fence_test(
    name: Name,
    data: Data = None,
    action: Annotated[str, typer.Option(help="What to ask the agent: status, monitor, list or metadata.")] = "status",
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only this [fences.NAME].")] = None,
    config: Config = None,
) -> None:
    """Ask the fence agents of a node for its status, as a fence would call them. Cuts nobody off."""
    chosen = load(config, data).settings
    from breezeblock.commands.fence_test import fence_test

    print(fence_test(chosen, name, action=action, agent=agent))


@app.command()
def sim(
    seed: Annotated[int | None, typer.Option(help="Replay this one.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 1,
    minutes: Annotated[float | None, typer.Option(min=0, help="For how long, instead of how many.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="In how many processes; by default one for each core.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Of one seed the whole history, as it was told.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw one seed; of one that fails, what is left.")
    ] = None,
    faults: Annotated[str | None, typer.Option(metavar="N,N", help="Of one seed only these faults.")] = None,
    requests: Annotated[str | None, typer.Option(metavar="N,N", help="Of one seed only these requests.")] = None,
) -> None:
    """Run whole clusters in one process, with every interleaving and fault drawn from a seed."""
    from breezeblock.testing.batch import Left
    from breezeblock.testing.batch import main as simulate

    try:
        left = Left.read(faults, requests)
    except ValueError as error:
        raise typer.BadParameter("--faults and --requests take numbers with commas between them") from error
    if (full or html is not None or left is not None) and (runs > 1 or minutes is not None):
        raise typer.BadParameter("--full, --html, --faults, --requests show one seed; leave out --runs and --minutes")
    if left is not None and seed is None:
        raise typer.BadParameter("--faults and --requests are numbers in the run of one --seed")
    raise typer.Exit(simulate(seed=seed, runs=runs, minutes=minutes, jobs=jobs, full=full, html=html, left=left))


@app.command()
def chaos(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long the faults go on.")] = 2.0,
    seed: Annotated[int | None, typer.Option(help="What the plan of faults and requests is drawn from.")] = None,
    nodes: Annotated[int, typer.Option(min=3, max=16, help="How many nodes.")] = 3,
    apis: Annotated[int, typer.Option(min=2, max=16, help="How many API processes.")] = 2,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the report goes; default a new folder.")
    ] = None,
    fence: Annotated[
        str | None,
        typer.Option(metavar="kill|external|storage", help="How a lost node is fenced; default by the seed."),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            metavar="node-kill|node-stop|broker-crash|broker-down|database-down",
            help="This fault alone, with its fixed counts and times.",
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="sqlite|postgresql|mariadb|galera", help="What it runs on; servers are its own. Default sqlite."
        ),
    ] = None,
    doorbell: Annotated[
        str,
        typer.Option(
            metavar="auto|datagram|postgresql|rabbitmq", help="What tells nodes of work; a broker is its own, too."
        ),
    ] = "auto",
) -> None:
    """Run a private cluster of real processes under load and faults, check what is left, and write a report."""
    from breezeblock.commands.chaos import chaos as wreak

    print(
        wreak(
            minutes=minutes,
            seed=seed,
            nodes=nodes,
            apis=apis,
            out=out,
            fence=fence,
            scenario=scenario,
            database=database,
            doorbell=doorbell,
        )
    )


@app.command()
def healthy(data: Data = None, config: Config = None) -> None:
    """Whether what `up` runs on this data folder is ready and answers: status 0 or 1, for the health checks of containers."""
    from breezeblock.supervisor.folder import DataFolder

    folder = DataFolder(load(config, data).settings.service.data_dir.absolute())
    if reason := folder.unwell():
        raise Failed(f"Not healthy: {reason}.")
    print("Healthy.")


@app.command()
def doctor(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART", help="Only machine, folders, clocks, database, doorbell, fences; may be repeated."
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Look whether this machine can run what its settings say, and say what to do. Status 1 when something must be done."""
    from breezeblock import logs
    from breezeblock.commands.doctor import examine

    if unknown := set(part or ()) - set(examine.CHECKS):
        raise typer.BadParameter(
            f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(examine.CHECKS)}"
        )
    logs.configure("warning", "console")  # what is found is said here, and on standard output there is nothing else
    found = examine.examine(config, os.environ, {"service.data_dir": data}, parts=part or ())
    print(json.dumps(examine.as_data(found, part or ()), indent=1) if as_json else examine.told(found))
    if any(one.level == "error" for one in found):
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


app.command()(attach)
app.command()(detach)

# --- node -------------------------------------------------------------------------------------------------------------


@node_app.command("list")
def node_list(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: Config = None,
) -> None:
    """Show every node that is not gone, and those taken out."""
    chosen = load(config, data).settings
    from breezeblock.commands.status import gather

    found = gather(chosen)["nodes"]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    from breezeblock.commands.status_view import console, nodes_table

    console().print(nodes_table(found))


@node_app.command("drain")
def node_drain(
    name: Name,
    data: Data = None,
    wait: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for it.")] = DRAIN_WAIT_S,
    config: Config = None,
) -> None:
    """Take a node out: it hands back what it was doing. It stays out, after restarts too, until `node resume`."""
    chosen = load(config, data).settings
    from breezeblock.commands import node

    print(node.drain(chosen, name, wait_s=wait))


@node_app.command("resume")
def node_resume(name: Name, data: Data = None, config: Config = None) -> None:
    """Let a drained node work again."""
    chosen = load(config, data).settings
    from breezeblock.commands import node

    print(node.resume(chosen, name))


@node_app.command("fence")
def node_fence(
    name: Lost,
    data: Data = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="I am certain that it writes no more.")] = False,
    config: Config = None,
) -> None:
    """Give your word that a lost node is dead, where the service found no proof. Wrong words destroy data."""
    chosen = load(config, data).settings
    from breezeblock.commands import node

    print(node.fence(chosen, name, confirmed=confirm))


@node_app.command("remove")
def node_remove(
    name: Name,
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, or what is in the way.")] = False,
    config: Config = None,
) -> None:
    """Forget a node that is dead for certain, with what was said about its services."""
    chosen = load(config, data).settings
    from breezeblock.commands import places

    print(places.told(places.remove_node(chosen, name, dry_run=dry_run), dry_run=dry_run))


@node_app.command("check")
def node_check(
    name: Name,
    data: Data = None,
    wait: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for it.")] = CHECK_WAIT_S,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: Config = None,
) -> None:
    """Ask a node to look at the storage of its backends, now. Nothing is changed. Exit status 1 when any does not answer."""
    chosen = load(config, data).settings
    from breezeblock.commands import node_check as command

    found = command.check(chosen, name, wait_s=wait)
    print(json.dumps(command.as_data(found), indent=1) if as_json else command.told(name, found))
    if any(answer.error is not None for answer in found.answers):
        raise typer.Exit(1)


@node_app.command("events")
def node_events(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this node's.")] = None,
    data: Data = None,
    most: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="The newest so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: Config = None,
) -> None:
    """Show what happened to nodes, newest first: expired, fenced and how, fences that failed, an operator's word."""
    chosen = load(config, data).settings
    from breezeblock.commands.status import events

    found = events(chosen, name=name, most=most)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    from breezeblock.commands.status_view import console, events_table

    console().print(events_table(found))


# --- config -----------------------------------------------------------------------------------------------------------


@config_app.command("show")
def config_show(data: Data = None, config: Config = None) -> None:
    """Print every setting in effect, and where it came from. Secrets are hidden."""
    print(settings.render_effective(load(config, data)), end="")


@config_app.command("check")
def config_check(data: Data = None, config: Config = None) -> None:
    """Say whether the settings can be used, and all that is wrong with them."""
    load(config, data)
    print("The settings can be used.")


def main() -> None:
    """The entry point. Mistakes of ours keep their traceback; everybody else's become a line."""
    try:
        app()
    except settings.SettingsError as error:
        _end("The settings cannot be used:\n" + "\n".join(f"  {problem}" for problem in error.problems), 2)
    except Failed as error:
        _end(str(error), error.status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the interpreter's last flush is quiet
        sys.exit(1)


def _end(text: str, status: int) -> None:
    print(f"breezeblock: {text}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
