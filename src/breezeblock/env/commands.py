"""Other programs, run to their end: in a process group of their own, within a time, with bounded output, without a shell."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["Commands", "RealCommands", "Said"]

# More of its input than a pipe certainly holds would need somebody to feed it.
INPUT_MOST: Final = 32 << 10
OUTPUT_MOST: Final = 4 << 10
# What a program has written is complete when it ends; a process that it left behind may hold the pipe for ever.
LAST_WORDS_S: Final = 0.5
# How long the end of a killed group is waited for: one that hangs in the kernel is left to init.
REAP_LIMIT_S: Final = 5.0
# Nothing of ours: secrets may be in our environment, and must not be in the program's.
ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Said:
    """How a program ended: its exit status (negative: by that signal; None: killed at its limit), and its last words."""

    status: int | None
    output: str


class Commands(Protocol):
    """Running programs."""

    async def run(self, program: Sequence[str], *, text: bytes, limit_s: float) -> Said:
        """Run a program with `text` on its standard input. OSError when it cannot be started.

        Whatever happens to the caller, all of the program's process group is killed when its time is over.
        """
        ...


class RealCommands:
    """`Commands` on this machine."""

    async def run(self, program: Sequence[str], *, text: bytes, limit_s: float) -> Said:
        """See `Commands`."""
        if len(text) > INPUT_MOST:
            raise OSError(f"more than {INPUT_MOST} bytes of input")
        output = _Tail()
        reading, writing = os.pipe()
        transport: asyncio.BaseTransport | None = None
        try:
            # From here on the reading end belongs to the transport.
            pipe = os.fdopen(reading, "rb", 0)
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: output, pipe)
            try:
                process = await _start(program, text, writing)
            finally:
                os.close(writing)
            return await _finish(process, output, limit_s)
        finally:
            if transport is not None:
                transport.close()


async def _start(program: Sequence[str], text: bytes, output: int) -> asyncio.subprocess.Process:
    reading, writing = os.pipe()
    try:
        try:
            os.write(writing, text)  # fits into the pipe, so it returns at once and whole
        finally:
            os.close(writing)
        return await asyncio.create_subprocess_exec(
            *program, stdin=reading, stdout=output, stderr=output, start_new_session=True, env=ENVIRONMENT, cwd="/"
        )
    finally:
        os.close(reading)


async def _finish(process: asyncio.subprocess.Process, output: "_Tail", limit_s: float) -> Said:
    ending = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({ending}, timeout=limit_s)
        if ending.done():
            await asyncio.wait({output.ended}, timeout=LAST_WORDS_S)
            return Said(process.returncode, output.text())
        return Said(None, output.text())
    finally:
        if not ending.done():
            # Its group exists at least until it is reaped, which only happens in `wait`.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.wait({ending}, timeout=REAP_LIMIT_S)
            ending.cancel()


class _Tail(asyncio.Protocol):
    """The end of what a program writes."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._kept += data
        del self._kept[:-OUTPUT_MOST]

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def text(self) -> str:
        """As a person reads it."""
        return self._kept.decode("utf-8", "replace").strip()
