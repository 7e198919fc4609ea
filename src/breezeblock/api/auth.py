"""Who is asking. Today everyone is believed; `Authenticate` is the place where an identity service will stand.

As without an identity service elsewhere in this API's world, a token is `user:project`, and *every* caller is an
administrator: whoever reaches the port rules. That is why such a server listens on this machine only (settings).
A token without a colon (clients made for an identity service send what they have) counts as none, and no token is the
administrator of the project in the URL, or of the default project where the URL has none.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from breezeblock.api.errors import Refused
from breezeblock.model.ids import ProjectId, UserId

ADMIN: Final = UserId("admin")
ID_CHARACTERS_MAX: Final = 255
SHOWN_CHARACTERS: Final = 40


class Caller(NamedTuple):
    user_id: UserId
    project_id: ProjectId
    is_admin: bool


# (lower-case headers, project in the URL, default project) -> caller; raises Refused.
Authenticate = Callable[[Mapping[str, str], str | None, str], Caller]


def believe_everyone(headers: Mapping[str, str], url_project: str | None, default_project: str) -> Caller:
    """The caller that the token names. Raises Refused (400) when the URL names another project."""
    user, colon, project = headers.get("x-auth-token", "").partition(":")
    if not colon or not user or not project:
        return Caller(ADMIN, ProjectId(url_project or default_project), is_admin=True)
    require_same_project(url_project, project)
    return Caller(UserId(user), ProjectId(project), is_admin=True)


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
