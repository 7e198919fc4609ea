"""From a URL to a handler: the form of the table of routes, and a look-up that does not grow with it.

Every URL under /v3 is served with and without a project (`/v3/{project_id}/volumes`, `/v3/volumes`). The first part
after /v3 is a project unless it is the first part of a template: a project called "volumes" has to use its id.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from starlette.responses import Response

from breezeblock.api.call import Call
from breezeblock.api.microversions import NEWEST, OLDEST, Version
from breezeblock.api.paging import Filter, Lists
from breezeblock.api.views.shapes import Answer, Shape

Handler = Callable[[Call], Awaitable[Response]]
# The form of a body that its handler reads; or several, each from its version on.
Body = Any | Mapping[Version, Any]


@dataclass(frozen=True, slots=True)
class Action:
    """What one body key of a POST …/action does, from some microversion on. The rest is as in `Route`."""

    handler: Handler
    since: Version = OLDEST
    until: Version = NEWEST
    status: int = 0
    body: Body = None
    answer: Answer | Shape | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one URL; a handler, or actions by body key. The template is what follows /v3[/{project_id}].

    The last four say what the handler does, for the description of the API (`openapi.py`): with which status it succeeds
    (200 for a GET that does not say), which body it reads, which parameters of the query it looks at, and what it answers
    (nothing says that the body is empty).
    """

    method: str
    template: str
    handler: Handler | None = None
    since: Version = OLDEST
    until: Version = NEWEST
    actions: Mapping[str, Action] | None = None
    status: int = 0
    body: Body = None
    query: Lists | Mapping[str, Filter] = field(default_factory=dict)
    answer: Answer | Shape | None = None

    def __post_init__(self) -> None:
        assert (self.handler is None) != (self.actions is None), f"{self.template}: a handler or actions, one of them"


class Match(NamedTuple):
    """A URL that exists: its routes by method, its variables, and its project if it names one."""

    routes: Mapping[str, Route]
    path: dict[str, str]
    url_project: str | None


@dataclass(slots=True)
class _Node:
    literals: "dict[str, _Node]" = field(default_factory=dict)
    wild: "_Node | None" = None
    wild_name: str = ""
    routes: dict[str, Route] = field(default_factory=dict)


PREFIX: Final = "v3"


class Router:
    """A tree of URL parts. A literal part wins over a variable one; there is no way back up, so no backtracking."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        for part in route.template.strip("/").split("/") if route.template.strip("/") else ():
            if part.startswith("{"):
                name = part.strip("{}")
                if node.wild is None:
                    node.wild, node.wild_name = _Node(), name
                assert node.wild_name == name, f"{route.template}: the same place is called {node.wild_name} elsewhere"
                node = node.wild
            else:
                node = node.literals.setdefault(part, _Node())
        assert route.method not in node.routes, f"{route.method} {route.template} is in the table twice"
        node.routes[route.method] = route

    def find(self, path: str) -> Match | None:
        """What a path under /v3 means, or None. `path` is still percent-encoded, so that names may hold slashes."""
        parts = path.removeprefix("/").rstrip("/").split("/")
        if parts[0] != PREFIX:  # nor is //v3: proxies, rates and versions know it by another beginning
            return None
        parts = parts[1:]
        project = None
        if parts and parts[0] not in self._root.literals:
            project = unquote(parts[0])
            parts = parts[1:]
        node, found = self._root, {}
        for part in parts:
            literal = node.literals.get(part)
            if literal is not None:
                node = literal
            elif node.wild is not None and part:
                found[node.wild_name] = unquote(part) if "%" in part else part
                node = node.wild
            else:
                return None
        if not node.routes or (project is not None and not parts):
            return None
        return Match(node.routes, found, project)
