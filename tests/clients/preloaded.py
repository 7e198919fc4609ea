"""Runs one of the clients' programs many times, for `tests/clients/programs.py`: `python -P preloaded.py NAME`.

Nearly all that such a program does is to import itself, for one to three seconds. This process has done that once, and each
run is a fork of it: what an installed script would call, with arguments, streams and an end of its own, and nothing in
it from the run before. It reads a JSON text a line, and answers each with one.
"""

import contextlib
import gc
import importlib.metadata
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import IO, Any

# The groups of modules that the program would import until it knows its command: those that begin so.
COMMANDS = {"openstack": "openstack.", "cinder": "cinderclient."}


def serve(program: str) -> None:
    """Until the other side closes its end."""
    (script,) = importlib.metadata.entry_points(group="console_scripts", name=program)
    main = script.load()
    installed = [one for package in importlib.metadata.distributions() for one in package.entry_points]
    for command in installed:
        if command.group.startswith(COMMANDS[program]):
            with contextlib.suppress(ImportError):  # of what is not installed here: the program does without it too
                command.load()
    _know_distributions()
    # What is there stays: a run that looked through it for garbage would first make a copy of nearly all of it.
    gc.collect()
    gc.freeze()
    while line := sys.stdin.buffer.readline():
        print(json.dumps(run(program, main, **json.loads(line))), flush=True)


def _know_distributions() -> None:
    """To say in its help which package a command is from, each run of `openstack` would read the files of all packages."""
    with contextlib.suppress(ImportError, AttributeError):  # of another release, which does without
        from cliff import command

        command._get_distributions_by_modules()


def run(program: str, main: Callable[[], Any], *, words: list[str], typed: str, limit_s: float) -> dict[str, Any]:
    """How it ended, and what it wrote."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(typed.encode())
        given.seek(0)
        child = os.fork()
        if child == 0:
            _become(program, main, words, (given, out, err), limit_s)
        _, status = os.waitpid(child, 0)
        written = []
        for file in (out, err):
            file.seek(0)
            written.append(file.read().decode())
    return {"returncode": os.waitstatus_to_exitcode(status), "stdout": written[0], "stderr": written[1]}


def _become(
    program: str, main: Callable[[], Any], words: list[str], streams: tuple[IO[bytes], ...], limit_s: float
) -> None:
    """The program itself; it never returns. One that hangs is ended by its alarm."""
    status: Any = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream.fileno(), number)
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        sys.stdin = os.fdopen(0)  # the one we have may hold lines that are not meant for it
        sys.argv = [program, *words]
        try:
            status = main()
        except SystemExit as ended:
            status = ended.code
        except BaseException:  # as an interpreter would
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    serve(sys.argv[1])
