"""Who is asking. `Authenticate` is what every way of finding out looks like; here is the one that believes everyone. The
others are in `identity/`.

As without an identity service elsewhere in this API's world, a token is `user:project`, and *every* caller is an
administrator: whoever reaches the port rules. That is why such a server listens on this machine only (settings).
A token without a colon (clients made for an identity service send what they have) counts as none, and no token is the
administrator of the project in the URL, or of the default project where the URL has none.
"""

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from breezeblock.api.errors import Refused
from breezeblock.model.ids import ProjectId, UserId
from breezeblock.settings_auth import is_loopback

ADMIN: Final = UserId("admin")
SOMEBODY: Final = UserId("somebody")
ID_CHARACTERS_MAX: Final = 255
SHOWN_CHARACTERS: Final = 40
_PORT: Final = re.compile(r":[0-9]*\Z")


# What each role lets its holder do besides its own: identity services write all of them into a token.
IMPLIED: Final[Mapping[str, frozenset[str]]] = {
    "admin": frozenset({"admin", "manager", "member", "reader"}),
    "manager": frozenset({"manager", "member", "reader"}),
    "member": frozenset({"member", "reader"}),
    "reader": frozenset({"reader"}),
}


class Caller(NamedTuple):
    """Somebody who was believed. What the roles allow is the policy's to say."""

    user_id: UserId
    project_id: ProjectId
    roles: frozenset[str]
    is_service: bool = False
    """Whether another service of the cloud vouches for the request (a valid X-Service-Token)."""
    quotas: Mapping[str, Mapping[str, int]] = MappingProxyType({})
    """Limits instead of the configured ones, by project and resource, of all projects of which identity knows some: an
    administrator's request changes what others have. What was set by the API wins."""
    is_admin_project: bool = True
    """Whether it is a project of administrators. Any is, unless an identity service that names one says otherwise."""


class Asking(NamedTuple):
    """What of a request tells who makes it."""

    headers: Mapping[str, str]
    """By lower-case name."""
    url_project: str | None
    default_project: str
    address: str
    """Where the request came from, without a port; empty if that is not known."""
    method: str = "GET"
    path: str = ""


class Authenticate(Protocol):
    """One way of finding out who asks. Raises Refused: 401 for nobody that is known, 503 when nobody can say now."""

    async def __call__(self, asking: Asking) -> Caller: ...


class BelieveEveryone:
    """Implements `Authenticate`: the caller is whom the token names.

    On the machine of whoever develops, any page that is open in a browser can send requests to this one. It tells where it is
    from if it is of another site. If it is of a name whose owner lets it mean 127.0.0.1 after the page was loaded, it is of our
    own to the browser, and it can read the answers, too; but it has come by that name.
    """

    def __init__(self, hosts: Collection[str] = ()) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, asking: Asking) -> Caller:
        """Raises Refused: 400 when the URL names another project, 403 for a page in a browser."""
        self._require_no_page(asking.headers)
        user, colon, project = asking.headers.get("x-auth-token", "").partition(":")
        if not colon or not user or not project:
            return Caller(ADMIN, ProjectId(asking.url_project or asking.default_project), IMPLIED["admin"])
        require_same_project(asking.url_project, project)
        return Caller(UserId(user), ProjectId(project), IMPLIED["admin"])

    def _require_no_page(self, headers: Mapping[str, str]) -> None:
        require_no_page(
            headers, "Pages in browsers are not answered while every caller is believed: set auth.strategy."
        )
        host = headers.get("host", "")
        name = _PORT.sub("", host).lower()
        if host and not is_loopback(name) and name not in self._hosts:  # no browser leaves it out
            shown = host if len(host) <= SHOWN_CHARACTERS else host[:SHOWN_CHARACTERS] + "…"
            raise Refused(
                403,
                f"The API was asked for as {shown!r}, which need not be this machine's name: while every caller is believed, "
                "that may be a page in a browser. Ask for 127.0.0.1 or localhost, have the name in auth.hosts, or set "
                "auth.strategy.",
            )


def require_no_page(headers: Mapping[str, str], message: str) -> None:
    """Raise Refused (403) for what a page in a browser has asked for.

    A browser says `none` of what its user has asked for by hand, and what is no browser says nothing.
    """
    if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
        raise Refused(403, message)


def somebody(asking: Asking) -> Caller:
    """Who asks for what anybody may know, outside /v3."""
    return Caller(SOMEBODY, ProjectId(asking.default_project), IMPLIED["reader"])


def require_storable(caller: Caller) -> None:
    """Both ids are kept with what the caller makes. Raises Refused (400) for such as no database could keep."""
    for what, id_ in (("project", caller.project_id), ("user", caller.user_id)):
        if len(id_) > ID_CHARACTERS_MAX or "\0" in id_:
            shown = id_[:SHOWN_CHARACTERS] + "…"
            raise Refused(
                400,
                f"The id of a {what} has at most {ID_CHARACTERS_MAX} characters, none of them U+0000: {shown!r} is none.",
            )


def require_same_project(url_project: str | None, project: str) -> None:
    """A URL may name no other project than the token's, not even for administrators."""
    if url_project is not None and url_project != project:
        raise Refused(400, f"Malformed request URL: its project is {url_project!r}, and the token's is {project!r}.")
