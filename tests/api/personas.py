"""Every call of the API as every persona, of the project that owns what it names and of another one."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import httpx
import pytest
from tests.api.every_call import OWNED, ROWS, SHARED, Ask, every_call
from tests.api.world import Api

from breezeblock.api.auth import IMPLIED, Asking, Caller, require_same_project
from breezeblock.api.call import Call
from breezeblock.model.ids import ProjectId, UserId

OWN, OTHER = "p1", "p2"
# From whom can do least to whom can do most, so that what is left of a request rarely has to be put right.
PERSONAS: Final = tuple(
    (role, project) for role in ("reader", "member", "manager", "admin") for project in (OTHER, OWN)
)
Persona = tuple[str, str]


class Seen(NamedTuple):
    """What a call asked of the policy, and how each persona was answered."""

    ask: Ask
    rules: tuple[str, ...]
    statuses: dict[Persona, int]


async def by_role(asking: Asking) -> Caller:
    """As an identity service would: the token is `role:project`."""
    role, _, project = asking.headers["x-auth-token"].partition(":")
    require_same_project(asking.url_project, project)
    return Caller(UserId("user"), ProjectId(project), IMPLIED.get(role, frozenset({role})))


def request(api: Api, ask: Ask, persona: Persona, ids: dict[str, str] = OWNED) -> httpx.Response:
    """One request, with what it names of a project's own as `ids` has it."""
    role, project = persona
    path, content = ask.sent(ids | SHARED)
    url = f"/v3/{project}/{path}" if path else "/v3"
    return api(ask.method, url, content=content, token=f"{role}:{project}", version=str(ask.version))


def see_all(api: Api) -> Iterator[Seen]:
    """All calls as all personas."""
    asked: list[str] = []
    permit = Call.permit

    def note(call: Call, rule: str, *told: object) -> None:
        asked.append(rule)
        permit(call, rule, *told)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Call, "permit", note)
        for ask in every_call():
            statuses = {}
            for persona in PERSONAS:
                asked.clear()
                status = request(api, ask, persona).status_code
                statuses[persona] = status
                if (ask.method != "GET" or status != 200) and status not in (403, 404):
                    api.reset(ROWS)
            yield Seen(ask, tuple(dict.fromkeys(asked)), statuses)
