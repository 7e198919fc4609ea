"""The programs `openstack` and `cinder`, as people run them in a shell."""

import itertools
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from tests.clients.requests import CINDER, OPENSTACK, Asked

BIN: Final = Path(sys.executable).parent
LIMIT_S: Final = 60.0
AT_ONCE: Final = 2


class Programs:
    """Runs them against one service, without a configuration or an identity service."""

    def __init__(self, endpoint: str, project: str, asked: Asked, home: Path) -> None:
        self._asked = asked
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "OS_AUTH_TYPE": "none",
            "OS_ENDPOINT": f"{endpoint}/v3/{project}",
            "OS_VOLUME_API_VERSION": "3.71",
        }
        self._cinder_environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "OS_AUTH_TYPE": "noauth",
            "CINDER_ENDPOINT": f"{endpoint}/v3",
            "OS_ENDPOINT": f"{endpoint}/v3",
            "OS_PROJECT_ID": project,
            "OS_USER_ID": "ann",
            "OS_VOLUME_API_VERSION": "3.71",
        }

    def openstack(self, *words: str) -> Any:
        """Run a command that answers; what it printed, from JSON."""
        return json.loads(self.tell(*words, "-f", "json"))

    def tell(self, *words: str) -> str:
        """Run a command; its output."""
        done = self.run_openstack(*words)
        assert done.returncode == 0, f"openstack {' '.join(words)}\n{done.stderr[-3000:]}"
        return done.stdout

    def run_openstack(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command, which may fail."""
        return self._run(OPENSTACK, self._environ, words)

    def cinder(self, *words: str) -> str:
        """Run a command of `cinder`; its output."""
        done = self._run(CINDER, self._cinder_environ, words)
        assert done.returncode == 0, f"cinder {' '.join(words)}\n{done.stderr[-3000:]}"
        return done.stdout

    def side_by_side(self, *commands: tuple[str, ...]) -> list[Any]:
        """Run commands of `openstack` that do not wait for each other: most of their time is their start."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda words: self.openstack(*words), commands))

    def tell_side_by_side(self, *commands: tuple[str, ...]) -> list[str]:
        """The same for commands that print no JSON."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda words: self.tell(*words), commands))

    def _run(self, program: str, environ: dict[str, str], words: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
        command = [str(BIN / program), "--debug", *words]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        self._asked.read_debug(program, _command(program, words), done.stderr)
        return done


def _command(program: str, words: tuple[str, ...]) -> str:
    """The words of a command before its options and values: `volume type set`."""
    if program == CINDER:
        return words[0]
    return " ".join(itertools.takewhile(str.isalpha, words))
