"""The command line."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from breezeblock import settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """Breezeblock."""


@app.command()
def up(
    data: Annotated[Path | None, typer.Option(help="The data folder.")] = None,
    host: Annotated[str | None, typer.Option()] = None,
    port: Annotated[int | None, typer.Option()] = None,
    nodes: Annotated[int | None, typer.Option()] = None,
    workers: Annotated[int | None, typer.Option()] = None,
    config: Annotated[Path | None, typer.Option()] = None,
) -> None:
    """Run."""
    from breezeblock.supervisor.up import run

    overrides: dict[str, Any] = {
        "service.data_dir": data,
        "api.host": host,
        "api.port": port,
        "api.workers": workers,
        "nodes.count": nodes,
    }
    loaded = settings.load(config, os.environ, overrides)
    sys.exit(run(loaded.settings))


def main() -> None:
    """Entry."""
    app()


if __name__ == "__main__":
    main()
