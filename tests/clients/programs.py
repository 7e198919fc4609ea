"""The programs `openstack` and `cinder`, as people run them in a shell."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tests.clients.commands import ran_by_openstack
from tests.clients.requests import CINDER, OPENSTACK, Asked

PRELOADED: Final = Path(__file__).with_name("preloaded.py")
LIMIT_S: Final = 60.0
_BEGINS: Final = re.compile(r"^[\[{]", re.MULTILINE)


class Programs:
    """Runs them against one service, without a configuration or an identity service."""

    def __init__(self, endpoint: str, project: str, asked: Asked, home: Path, stack: ExitStack) -> None:
        self._stack = stack
        self._started: dict[str, subprocess.Popen[str]] = {}
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
        done = self.run_cinder(*words)
        assert done.returncode == 0, f"cinder {' '.join(words)}\n{done.stderr[-3000:]}"
        return done.stdout

    def run_cinder(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of `cinder`, which may fail."""
        return self._run(CINDER, self._cinder_environ, words)

    def cinder_together(self, *commands: tuple[str, ...]) -> list[str]:
        """The same for several commands. The output of each."""
        return [self.cinder(*words) for words in commands]

    def together(self, *commands: tuple[str, ...]) -> list[Any]:
        """Run several commands that answer in one `openstack` that reads them from its input."""
        done = self._feed(tuple((*words, "-f", "json") for words in commands))
        answers = list(_documents(done.stdout))
        assert len(answers) == len(commands), f"{commands}\n{done.stdout}\n{done.stderr[-3000:]}"
        return answers

    def tell_together(self, *commands: tuple[str, ...]) -> None:
        """The same for commands that print nothing. Whether they worked is for the test to find out."""
        self._feed(commands)

    def _feed(self, commands: tuple[tuple[str, ...], ...]) -> "subprocess.CompletedProcess[str]":
        return self._run(OPENSTACK, self._environ, (), "".join(f"{shlex.join(words)}\n" for words in commands))

    def _run(
        self, program: str, environ: dict[str, str], words: tuple[str, ...], typed: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        if program not in self._started:
            self._started[program] = self._start(program, environ)
        to, back = self._started[program].stdin, self._started[program].stdout
        assert to is not None
        assert back is not None
        to.write(json.dumps({"words": ["--debug", *words], "typed": typed, "limit_s": LIMIT_S}) + "\n")
        to.flush()
        done = subprocess.CompletedProcess([program, *words], **json.loads(back.readline()))
        self._asked.read_debug(program, words[0] if words else "", done.stderr)
        if program == OPENSTACK:
            self._asked.ran |= {(OPENSTACK, name) for name in ran_by_openstack(done.stderr)}
        elif done.returncode == 0:
            self._asked.ran.add((program, words[0]))
        return done

    def _start(self, program: str, environ: dict[str, str]) -> "subprocess.Popen[str]":
        """As `preloaded.py` says."""
        pipe = subprocess.PIPE
        return self._stack.enter_context(
            subprocess.Popen(
                # Without its own folder among those that modules are looked for in: a neighbour is called `requests`.
                [sys.executable, "-P", str(PRELOADED), program],
                env=environ,
                stdin=pipe,
                stdout=pipe,
                text=True,
            )
        )


def _documents(text: str) -> Iterator[Any]:
    """The JSON texts among what a program printed."""
    decoder = json.JSONDecoder()
    at = 0
    while found := _BEGINS.search(text, at):
        document, at = decoder.raw_decode(text, found.start())
        yield document
