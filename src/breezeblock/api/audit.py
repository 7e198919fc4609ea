"""Who asked for what: one line for each request that changes something or tries to, in the words of CADF.

A line has the caller, the rule that the request needed, its route, what it was about, and what came of it; never a body, a
query or a header, where secrets may be. It is written when the answer is known and before it is sent: who has been
answered is in the log. A process that dies in between leaves a change without a line; the operation's own row and its
events name the request.
"""

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import structlog

from breezeblock.options import Audit as AuditSettings

__all__ = ["Audit", "Entry", "FileAudit", "LogAudit", "open_audit"]

log = structlog.get_logger(__name__)

TYPE_URI: Final = "http://schemas.dmtf.org/cloud/audit/1.0/event"
# What CADF calls the methods that we take. An action's URL is a POST, whatever its key says.
ACTIONS: Final = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
_HAPPENED: Final = 400
_PATH_MOST: Final = 1024
# Any word is a method to HTTP, which bounds a request's line alone.
_METHOD_MOST: Final = 32


class _Asked(Protocol):
    """What of a call (`call.Call`) is written down."""

    @property
    def caller(self) -> Any: ...

    @property
    def origin(self) -> Any: ...

    @property
    def path(self) -> Any: ...

    rule: str
    action: str


class Audit(Protocol):
    """Where lines go."""

    async def write(self, line: dict[str, Any]) -> None:
        """Write one line. Never fails: a request is not refused because its line cannot be written; the log says so."""
        ...


@dataclass(slots=True)
class Entry:
    """One request, as far as it got: without a call it was refused before anybody knew who asked."""

    method: str
    path: str
    request_id: str
    at_us: int
    address: str
    route: str = ""
    call: _Asked | None = None

    def line(self, *, status: int, body: bytes) -> dict[str, Any]:
        """What is written down. Of the answer's body only the id of what was made."""
        call = self.call
        target: dict[str, Any] = {"route": self.route, "path": self.path[:_PATH_MOST]}
        initiator: dict[str, Any] = {"host": {"address": self.address}}
        action = ACTIONS.get(self.method, "unknown")
        if call is not None:
            origin = call.origin
            roles = sorted(call.caller.roles)
            initiator |= {"id": origin.user_id, "project_id": origin.project_id, "roles": roles}
            target |= {"ids": {name: value[:_PATH_MOST] for name, value in call.path.items()}}
            if call.action:
                action = f"update/{call.action}"
            if status < _HAPPENED and (made := _made(body)):
                target["created"] = made
        happened = status < _HAPPENED
        return {
            "typeURI": TYPE_URI,
            "eventType": "activity",
            "eventTime": datetime.fromtimestamp(self.at_us / 1_000_000, UTC).isoformat(),
            "id": self.request_id,
            "action": action,
            "rule": "" if call is None else call.rule,
            "outcome": "success" if happened else "failure",
            "reason": {"reasonType": "HTTP", "reasonCode": str(status)},
            "initiator": initiator,
            "target": target,
            "method": self.method[:_METHOD_MOST],
            "request_id": self.request_id,
        }


class LogAudit:
    """Implements `Audit`: lines of the service's own log, each named `audit`."""

    async def write(self, line: dict[str, Any]) -> None:
        """See `Audit.write`."""
        log.info("audit", audit=line)


class FileAudit:
    """Implements `Audit`: JSON lines at the end of a file that several processes write to, each line by one write.

    The file is opened by its name each time, so that whoever rotates logs only has to move it away.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def write(self, line: dict[str, Any]) -> None:
        """See `Audit.write`."""
        text = msgspec.json.encode(line) + b"\n"
        try:
            await asyncio.to_thread(self._append, text)
        except OSError as error:
            # Nothing is lost without a word: the line goes where all other lines go.
            log.error("audit.not_written", path=str(self._path), reason=error.strerror, audit=line)

    def _append(self, text: bytes) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            written = os.write(file, text)
            if written < len(text):
                os.write(file, b"\n")  # the next line is one of its own
        finally:
            os.close(file)
        if written < len(text):
            raise OSError(0, "the line was cut short")


def open_audit(chosen: AuditSettings) -> Audit | None:
    """The configured audit log; None where none is kept."""
    if chosen.to == "file":
        assert chosen.file is not None, "settings of an audit log without a file were accepted"
        return FileAudit(chosen.file)
    return LogAudit() if chosen.to == "log" else None


class _Named(msgspec.Struct):
    id: str


def _made(body: bytes) -> dict[str, str]:
    """Kinds and ids of what an answer's body is about: `{"volume": {"id": …}}`."""
    try:
        outer = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    found = {}
    for kind, inner in outer.items():
        try:
            found[kind] = msgspec.json.decode(inner, type=_Named).id
        except msgspec.DecodeError:
            continue  # a list, or something without an id
    return found
