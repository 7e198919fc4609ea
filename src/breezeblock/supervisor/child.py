"""One child process: started with its brief, its output appended to a log, watched until it ends."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence

import structlog

from breezeblock.settings import PREFIX
from breezeblock.supervisor.folder import DataFolder

log = structlog.get_logger(__name__)


class Child:
    """A running process of ours. Its pid stays its own until `ended` has returned: nobody else reaps it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process

    @classmethod
    async def start(
        cls, name: str, module: str, *, brief: str, folder: DataFolder, pass_files: Sequence[int] = ()
    ) -> "Child":
        """Start `python -m module`. In a session of its own, so that Ctrl-C in a terminal reaches only the supervisor."""
        output = folder.open_log(name)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=pass_files,
                env=_environment(os.environ),
                start_new_session=True,
            )
        finally:
            os.close(output)
        assert process.stdin is not None
        process.stdin.write(brief.encode())
        process.stdin.close()
        log.info("child.started", child=name, pid=process.pid)
        return cls(name, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    async def ended(self) -> int:
        """Wait for its end; returns the exit status, negative for a signal."""
        return await self._process.wait()

    def ask_to_leave(self) -> None:
        """SIGTERM: finish what is under way and go."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: works on stopped processes, too."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a child inherits. Not the options: it is told all of them in its brief, and what is in the environment of a
    process may be read, passed on and printed by everything that it starts."""
    return {name: value for name, value in environ.items() if not (name.startswith(PREFIX) and "__" in name)}
