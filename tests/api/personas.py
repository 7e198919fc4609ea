"""Every call of the API as every persona, of the project that owns what it names and of another one."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import httpx
import pytest
from tests.api.every_call import OWNED, ROWS, SHARED, Ask, every_call
from tests.api.world import Api

from breezeblock.api.auth import IMPLIED, Asking, Caller, require_same_project
from breezeblock.api.call import Call
from breezeblock.api.policy import Rights
from breezeblock.model.ids import ProjectId, UserId

OWN, OTHER = "p1", "p2"
# From whom can do least to whom can do most, so that what is left of a request rarely has to be put right.
PERSONAS: Final = tuple(
    (role, project) for role in ("reader", "member", "manager", "admin") for project in (OTHER, OWN)
)
Persona = tuple[str, str]


class Seen(NamedTuple):
    """What a call asked of the policy, and how each persona was answered.

    `rules` are those without which it is refused; `considered` are these and all others that decide about a part of it.
    """

    ask: Ask
    rules: tuple[str, ...]
    considered: frozenset[str]
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
    considered: set[str] = set()
    permit = Call.permit

    def note(call: Call, rule: str, *told: object) -> None:
        asked.append(rule)
        permit(call, rule, *told)  # type: ignore[arg-type]

    def consider(asks: Callable[..., bool]) -> Callable[..., bool]:
        def noted(rights: Rights, rule: str, *told: object) -> bool:
            considered.add(rule)
            return asks(rights, rule, *told)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Call, "permit", note)
        for name, asks in (("allows", Rights.allows), ("judge", Rights.judge), ("may", Rights.may)):
            patch.setattr(Rights, name, consider(asks))
        for ask in every_call():
            statuses = {}
            considered.clear()
            for persona in PERSONAS:
                asked.clear()
                status = request(api, ask, persona).status_code
                statuses[persona] = status
                if (ask.method != "GET" or status != 200) and status not in (403, 404):
                    api.reset(ROWS)
            yield Seen(ask, tuple(dict.fromkeys(asked)), frozenset(considered), statuses)
