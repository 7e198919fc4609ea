"""The options that every command has, and the settings that they lead to."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from breezeblock import settings

__all__ = ["Config", "Data", "load"]

Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The data folder (service.data_dir).")]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", envvar="BREEZEBLOCK_CONFIG", help="The settings file (TOML).")
]


def load(config: Path | None, data: Path | None, more: Mapping[str, object] | None = None) -> settings.Loaded:
    """The settings in effect: `more` goes before the environment, which goes before the file. Raises SettingsError."""
    return settings.load(config, os.environ, {"service.data_dir": data, **(more or {})})
