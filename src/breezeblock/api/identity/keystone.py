"""Callers as Keystone knows them: by a token in `X-Auth-Token`, and perhaps a service's in `X-Service-Token`.

What is decided here is what keystonemiddleware decides in front of Cinder, but for one thing: a token for no project, of the
whole system or of a domain, is refused. Cinder lets it in without a project, to a policy that then finds nothing; here
everything belongs to a project, and a sentence says so.
"""

import re
from collections.abc import Collection
from typing import Final

from breezeblock.api.auth import Asking, Caller, require_same_project
from breezeblock.api.errors import Refused
from breezeblock.api.identity.access_rules import allows
from breezeblock.api.identity.tokens import KeystoneAway, Token, Tokens
from breezeblock.model.ids import ProjectId, UserId

__all__ = ["TOKEN_CHARACTERS_MOST", "Keystone"]

# Far above any kind of token; what is longer reaches nobody.
TOKEN_CHARACTERS_MOST: Final = 8192
_TOKEN: Final = re.compile(rf"[!-~]{{1,{TOKEN_CHARACTERS_MOST}}}\Z")
AWAY_RETRY_S: Final = 5


class Keystone:
    """Implements `Authenticate`."""

    def __init__(self, tokens: Tokens, *, service_roles: Collection[str], sends_to: str) -> None:
        self._tokens = tokens
        self._service_roles = frozenset(service_roles)
        self._challenge = {"WWW-Authenticate": f'Keystone uri="{sends_to}"'}

    async def __call__(self, asking: Asking) -> Caller:
        """See `Authenticate`."""
        try:
            is_service = await self._is_vouched_for(asking)
            token = await self._look_up(asking.headers.get("x-auth-token", ""), expired_too=is_service)
        except KeystoneAway as error:
            raise Refused(
                503,
                "The identity service cannot be asked about this token now; try again.",
                headers={"Retry-After": str(AWAY_RETRY_S)},
            ) from error
        if token is None:
            raise self._refused("The request needs a token of the identity service that is good: X-Auth-Token.")
        # A service that vouches does as its own rules say, which are not about the URLs of this one.
        if token.rules is not None and not is_service and not allows(token.rules, asking.method, asking.path):
            raise self._refused("The application credential of this token has no access rule for this request.")
        if token.project_id is None:
            require_same_project(asking.url_project, "")
            raise Refused(
                403, "The token is for no project, and everything here is a project's: ask for one of a project."
            )
        require_same_project(asking.url_project, token.project_id)
        return Caller(
            UserId(token.user_id),
            ProjectId(token.project_id),
            token.roles,
            is_service=is_service,
            is_admin_project=token.is_admin_project,
        )

    async def _is_vouched_for(self, asking: Asking) -> bool:
        """Whether a service has sent its token along. Raises Refused (401) for one that is bad, or of no service."""
        text = asking.headers.get("x-service-token", "")
        if not text:
            return False
        token = await self._look_up(text)
        if token is None or not token.roles & self._service_roles:
            expected = " or ".join(sorted(self._service_roles))
            raise self._refused(f"X-Service-Token is no good token of a user with the role {expected}.")
        return True

    async def _look_up(self, text: str, *, expired_too: bool = False) -> Token | None:
        text = text.strip()
        return await self._tokens.look_up(text, expired_too=expired_too) if _TOKEN.match(text) else None

    def _refused(self, message: str) -> Refused:
        return Refused(401, message, headers=self._challenge)
