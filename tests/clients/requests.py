"""What the clients ask for: every request, by client, route and the client's own name for it.

The libraries are watched where all of them pass: `Session.request` of keystoneauth, and `requests.get`, which
cinderclient uses to discover versions. Programs are watched by what they print with `--debug`.
"""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final, NamedTuple
from unittest import mock
from urllib.parse import urlsplit

import keystoneauth1.session
import requests
from tests.conformance.answers import Answered, problems

from breezeblock.api import routes
from breezeblock.api.routing import Route, Router

CINDERCLIENT: Final = "cinderclient"
SDK: Final = "openstacksdk"
OPENSTACK: Final = "openstack"
CINDER: Final = "cinder"
CLIENTS: Final = (CINDERCLIENT, SDK, OPENSTACK, CINDER)

# Where in a stack a library's public calls are.
LIBRARIES: Final = {
    "cinderclient.v3": CINDERCLIENT,
    "cinderclient.client": CINDERCLIENT,
    "openstack.block_storage": SDK,
    "openstack.cloud": SDK,
    "openstack.common": SDK,
    "openstack.resource": SDK,
}

_SENT: Final = re.compile(r"REQ: curl .*?-X ([A-Z]+) (\S+)(.*)")
_COMMAND: Final = re.compile(r"command: (.+) -> openstackclient\.")
_BODY: Final = re.compile(r" -d '(.*)'\s*$")
_ANSWERED: Final = re.compile(r"RESP: \[(\d+)\]")

_ROUTER: Final = Router(routes.ROUTES)


def every_call() -> tuple[str, ...]:
    """Every call of the API by name: method, URL and, for an action, its key. In the order of the table of routes."""
    top = [f"{route.method} {path}" for path, route in routes.TOP.items()]
    return (*top, *(name for route in routes.ROUTES for name in _names(route)))


def call_of(method: str, url: str, body: str) -> str | None:
    """The name of the call that a request makes; None for what no route has."""
    path = urlsplit(url).path
    if path in routes.TOP:
        return f"{method} {path}"
    match = _ROUTER.find(path)
    route = match.routes.get(method) if match else None
    if route is None:
        return None
    return f"{_name(route)}: {next(iter(json.loads(body)))}" if route.actions else _name(route)


def _name(route: Route) -> str:
    return f"{route.method} /v3/{route.template}"


def _names(route: Route) -> list[str]:
    return [f"{_name(route)}: {action}" for action in route.actions] if route.actions else [_name(route)]


class Asking(NamedTuple):
    """A call of the API, by a client that has its own name for it."""

    call: str
    client: str
    name: str


@dataclass
class Asked:
    """All that was asked. What was only ever refused proves nothing about the client's understanding of our answers."""

    all: set[Asking] = field(default_factory=set)
    answered: set[Asking] = field(default_factory=set)
    ran: set[tuple[str, str]] = field(default_factory=set)
    """Which commands and functions did their work, as `tests/clients/commands.py` names them."""
    wrong: set[str] = field(default_factory=set)
    """What of the answers to the libraries is not as the API is described."""

    def add(self, client: str, name: str, *, method: str, url: str, body: str, status: int) -> None:
        """Note one request."""
        call = call_of(method, url, body)
        if call is None:
            return
        self.all.add(Asking(call, client, name))
        if status < 400:
            self.answered.add(Asking(call, client, name))

    @property
    def calls(self) -> set[str]:
        """The calls that some client made, and that were answered well."""
        return {asking.call for asking in self.answered}

    def names(self, call: str, client: str) -> list[str]:
        """How the client calls this call of the API.

        Of a call that was answered well at least once, all: whether somebody who waits for the end of a volume ever sees
        it is a matter of luck.
        """
        if not any((one.call, one.client) == (call, client) for one in self.answered):
            return []
        return sorted({one.name for one in self.all if (one.call, one.client) == (call, client)})

    def read_debug(self, client: str, name: str, text: str) -> None:
        """Note the requests that a program printed; `openstack` also prints which of its commands they are for."""
        sent: re.Match[str] | None = None
        for line in text.splitlines():
            command = _COMMAND.match(line)
            name = command[1] if command else name
            found = _SENT.search(line)
            if found:
                sent = found
            answered = _ANSWERED.search(line)
            if answered and sent:
                body = _BODY.search(sent[3])
                url = sent[2].strip("\"'")
                status = int(answered[1])
                self.add(client, name, method=sent[1], url=url, body=body[1] if body else "", status=status)
                sent = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note every request of the libraries in this process."""
        session_request = keystoneauth1.session.Session.request
        plain_get = requests.get

        def request(session: Any, url: str, method: str, **options: Any) -> Any:
            answer = session_request(session, url, method, **options)
            self._note(answer)
            return answer

        def get(url: str, **options: Any) -> Any:
            answer = plain_get(url, **options)
            self._note(answer)
            return answer

        with (
            mock.patch.object(keystoneauth1.session.Session, "request", request),
            mock.patch.object(requests, "get", get),
        ):
            yield

    def _note(self, answer: Any) -> None:
        sent = answer.request
        body = sent.body.decode() if isinstance(sent.body, bytes) else sent.body or ""
        spoken = answer.headers.get("OpenStack-API-Version", "")
        path = urlsplit(sent.url).path
        self.wrong.update(
            problems(Answered(sent.method, path, body.encode(), answer.status_code, answer.content, spoken))
        )
        asker = _asker()
        if asker is None:
            return
        self.add(*asker, method=sent.method, url=sent.url, body=body, status=answer.status_code)


def _asker() -> tuple[str, str] | None:
    """The library that asks, and its outermost call: what a user of it wrote."""
    found = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        client = next((client for prefix, client in LIBRARIES.items() if module.startswith(prefix)), None)
        # What is defined inside a function, or has no name, is a decorator's or a comprehension's.
        if client is not None and "<" not in frame.f_code.co_qualname:
            found = client, _name_of(frame)
        frame = frame.f_back
    return found


def _name_of(frame: FrameType) -> str:
    """The function, with the class that it was called on: for an inherited one not the class that has it."""
    owner = frame.f_locals.get("cls") or type(frame.f_locals.get("self"))
    name = frame.f_code.co_name
    return name if owner is type(None) else f"{owner.__name__}.{name}"
