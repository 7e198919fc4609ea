"""What the service's processes are started with in the place of Python: each gets its clock and its host, then it is Python."""

import shlex
import stat
import sys
from pathlib import Path
from typing import Final

from breezeblock.chaos.clock import Clocks
from breezeblock.chaos.network import Network

__all__ = ["interpreter"]

# Keepers, and with them their workers, get a clock file named after their process id.
CLOCK: Final = """
if [ "$2" = breezeblock.processes.keeper ]; then
    head -c 8 /dev/zero > {folder}/$$
    export LD_PRELOAD={library} BREEZEBLOCK_CHAOS_CLOCK={folder}/$$
fi
"""
# A process has the name of its log.
HOST: Final = """
name=$(readlink "/proc/$$/fd/1"); name=${{name##*/}}; name=${{name%.log}}
if [ -e {folder}/"$name" ]; then
    exec nsenter --net={folder}/"$name" {python} "$@"
fi
"""


def interpreter(folder: Path, clocks: Clocks | None, network: Network | None) -> Path:
    """Python itself, where there is nothing to be given."""
    if clocks is None and network is None:
        return Path(sys.executable)
    path, python = folder / "python", _word(sys.executable)
    clock = "" if clocks is None else CLOCK.format(folder=_word(clocks.folder), library=_word(clocks.library))
    host = "" if network is None else HOST.format(folder=_word(network.folder), python=python)
    path.write_text(f'#!/bin/sh\n{clock}{host}exec {python} "$@"\n', encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _word(path: str | Path) -> str:
    """A path as one word for the shell, whatever is in it: the folder of a run is the user's."""
    return shlex.quote(str(path))
