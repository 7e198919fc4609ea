"""Runs `breezeblock` many times, as `preloaded.py` does, and lets it end in the middle.

To be run as `python -m tests.clients.preloaded_attach`.

Each run is told where. The requests of the commands are counted from 1: a run ends before the nth is sent, when it is sent and
nobody has read its answer, or when its answer was read. What is changed for that is Python's own HTTP client. Or os-brick is
not installed, or connects another path than the service has said, as on another machine; or while it disconnects somebody
writes to the device.
"""

import contextlib
import gc
import http.client
import io
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.clients.preloaded import run

from breezeblock import cli


def serve() -> None:
    """Until the other side closes its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import os_brick.initiator.connector  # noqa: F401
    _refused()
    gc.collect()
    gc.freeze()  # as `preloaded.py` does
    while line := sys.stdin.buffer.readline():
        asked = json.loads(line)
        fault = asked.pop("fault")
        print(json.dumps(run("breezeblock", partial(_program, fault), **asked)), flush=True)


def _refused() -> None:
    """A run in this process, with all that is imported on the way; its end is that there is no such service."""
    sys.argv = ["breezeblock", "attach", "nothing", "--api", "http://127.0.0.1:1"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
        cli.main()


def _program(fault: list[Any] | None) -> None:
    """In a process of its own."""
    match fault:
        case ["without", module]:
            sys.modules[module] = None  # type: ignore[assignment]
        case ["elsewhere", path]:
            from os_brick.initiator.connectors.local import LocalConnector

            LocalConnector.connect_volume = lambda *_: {"type": "local", "path": path}
        case ["intruder", path]:
            from os_brick.initiator.connectors.local import LocalConnector

            LocalConnector.disconnect_volume = lambda *_, **__: _write_if_one_may(path)
        case [("killed" | "interrupted") as how, "before" | "after" | "answered" as where, nth]:
            _end_at(_killed if how == "killed" else _interrupted, where, nth)
    cli.main()


def _end_at(end: Callable[[], None], where: str, nth: int) -> None:
    request, answer = http.client.HTTPConnection.request, http.client.HTTPConnection.getresponse
    count = 0

    def counted(self: http.client.HTTPConnection, *args: Any, **kwargs: Any) -> None:
        nonlocal count
        count += 1
        if (where, count) == ("before", nth):
            end()
        request(self, *args, **kwargs)
        if (where, count) == ("after", nth):
            end()

    def answered(self: http.client.HTTPConnection) -> http.client.HTTPResponse:
        found = answer(self)
        if (where, count) == ("answered", nth):
            end()
        return found

    http.client.HTTPConnection.request = counted  # type: ignore[method-assign]
    http.client.HTTPConnection.getresponse = answered  # type: ignore[method-assign]


def _write_if_one_may(path: str) -> None:
    with contextlib.suppress(PermissionError), Path(path).open("r+b", buffering=0) as device:
        device.write(b"intruder".ljust(512))


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _interrupted() -> None:
    """As Python's handler of SIGINT does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    serve()
