"""Every call that the Block Storage API v3 has, and what this service makes of it.

Which calls there are is data (tests/conformance/calls.json), taken from the API's own description by
scripts/read_description.py; what is served, the table of routes says.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from breezeblock.api.microversions import NEWEST, Version
from breezeblock.api.openapi import statuses
from breezeblock.api.routes import ROUTES
from breezeblock.api.routing import Action, Route

_VARIABLE = re.compile(r"\{[^}]*\}")


class Call(NamedTuple):
    """One call: a method of a URL, in which `{}` stands for any variable, and the key of an action, if it is one."""

    method: str
    url: str
    action: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


class Waiting(NamedTuple):
    """Calls (a pattern) that are not served yet, and what they wait for."""

    pattern: str
    part: str

    def covers(self, call: Call) -> bool:
        """Whether it is one of them."""
        return re.fullmatch(self.pattern, str(call)) is not None


class Row(NamedTuple):
    """A line of the table: a call, the version in which it appeared, how it succeeds here, and what is to be said."""

    call: Call
    since: Version
    statuses: tuple[int, ...]
    note: str


class Served(NamedTuple):
    """How a call is answered here when all is well."""

    statuses: tuple[int, ...]
    since: Version
    until: Version


def known_calls(folder: Path) -> dict[Call, Version]:
    """Every call of the API, with the version in which it appeared."""
    facts = json.loads((folder / "calls.json").read_text(encoding="utf-8"))
    return {Call(one["method"], one["url"], one["action"]): _version(one["since"]) for one in facts}


def waiting(folder: Path) -> list[Waiting]:
    """What is not served yet, and why."""
    return [Waiting(*one) for one in json.loads((folder / "waiting.json").read_text(encoding="utf-8"))]


def refused(folder: Path) -> dict[str, str]:
    """The calls that are served and always refused, with the reason."""
    found: dict[str, str] = json.loads((folder / "refused.json").read_text(encoding="utf-8"))
    return found


def served_calls(routes: Iterable[Route] = ROUTES) -> dict[Call, Served]:
    """Every call that the table of routes has."""
    found: dict[Call, Served] = {}
    for route in routes:
        url = plain(route.template)
        if route.actions is None:
            found[Call(route.method, url)] = Served(statuses(route), route.since, route.until)
        for key, action in (route.actions or {}).items():
            found[Call(route.method, url, key)] = _action(route, action)
    return found


def plain(template: str) -> str:
    """A URL's template without the names of its variables."""
    return _VARIABLE.sub("{}", template)


def rows(folder: Path) -> list[Row]:
    """The table for people: every call there is, and every one that only this service has."""
    calls, served, reasons, parts = known_calls(folder), served_calls(), refused(folder), waiting(folder)
    found = []
    for call in sorted({*calls, *served}, key=lambda call: (call.url, call.action, call.method)):
        here = served.get(call)
        if here is None:
            part = next((one.part for one in parts if one.covers(call)), "nobody knows what for")
            found.append(Row(call, calls[call], (), f"not yet: waits for {part}"))
        elif call not in calls:
            found.append(Row(call, here.since, here.statuses, "only here"))
        elif str(call) in reasons:
            found.append(Row(call, calls[call], (400,), f"always refused: {reasons[str(call)]}"))
        else:
            differs = here.since != calls[call] or here.until != NEWEST
            found.append(Row(call, calls[call], here.statuses, f"here from {here.since}" if differs else ""))
    return found


def _action(route: Route, action: Action) -> Served:
    return Served(
        (action.status,) if action.status else (), max(route.since, action.since), min(route.until, action.until)
    )


def _version(text: Any) -> Version:
    major, _, minor = str(text).partition(".")
    return Version(int(major), int(minor))
