"""Asking Keystone whose a token is, as a service user of its own. Everything here blocks, and runs on a thread."""

import re
import threading
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from keystoneauth1 import exceptions, session
from keystoneauth1.identity import v3
from msgspec import Struct

from breezeblock.api.identity.tokens import AccessRule, KeystoneAway, Token
from breezeblock.options_auth import Auth

__all__ = ["KeystoneClient"]

log = structlog.get_logger(__name__)

# By it Keystone knows that whoever asks keeps to the rules of application credentials; it calls their tokens bad otherwise.
_RULES_ARE_KEPT: Final = {"OpenStack-Identity-Access-Rules": "1"}
# Not found is its word for a bad token; the others are what servers in front of it say to one that is too long, or none at all.
_BAD: Final = (400, 404, 413, 414, 431)
# Of one question whether it is there at all; the caller has waited for `timeout_s` by then.
PROBE_S: Final = 3.0
_V3: Final = re.compile(r"/v3/*\Z")
_MICROSECONDS: Final = 1_000_000


class _Named(Struct, frozen=True):
    id: str


class _Role(Struct, frozen=True):
    name: str


class _Rule(Struct, frozen=True):
    service: str
    method: str
    path: str


class _Credential(Struct, frozen=True):
    access_rules: list[_Rule] | None = None


class _Token(Struct, frozen=True):
    user: _Named
    expires_at: datetime
    project: _Named | None = None
    roles: list[_Role] = []
    application_credential: _Credential | None = None
    is_admin_project: bool = True
    """Only a Keystone that has a project of administrators says it: elsewhere any may be."""


class _Answer(Struct, frozen=True):
    token: _Token


class KeystoneClient:
    """One for a process. Logs in when it is first needed, and again when Keystone has forgotten who it is."""

    def __init__(self, chosen: Auth) -> None:
        self._chosen = chosen
        self._base = f"{_V3.sub('', chosen.auth_url.rstrip('/'))}/v3"
        verify: bool | str = str(chosen.ca_file) if chosen.ca_file is not None else not chosen.insecure
        self._session = session.Session(verify=verify, timeout=chosen.timeout_s, app_name="breezeblock")
        self._plugin: Any = None
        self._changing = threading.Lock()

    def validate(self, text: str, expired_too: bool) -> Token | None:
        """Whose a token is; None if it is bad. Raises KeystoneAway."""
        plugin = self._log_in()
        self._own_token(plugin)  # what goes wrong in logging in is by no fault of the caller's token
        try:
            answer = self._ask(plugin, text, "&allow_expired=1" if expired_too else "")
        except exceptions.Unauthorized as error:
            self._log_out(plugin)
            raise self._refuses_us("its name or its password is wrong") from error
        except (exceptions.ClientException, OSError) as error:
            raise self._away(plugin, type(error).__name__) from error
        status = int(answer.status_code)
        if status in _BAD:
            return None
        if status in (401, 403):
            self._log_out(plugin)
            why = (
                "it may not validate tokens: it needs the role service" if status == 403 else "its login does not hold"
            )
            raise self._refuses_us(why)
        if status != 200:
            raise self._away(plugin, f"answered {status}")
        return _read(answer.content)

    def _ask(self, plugin: Any, text: str, options: str = "", **more: Any) -> Any:
        """What Keystone says of a token."""
        # Its 401 here is about us, not about the token. The session logs in again then, and asks once more.
        return self._session.get(
            f"{self._base}/auth/tokens?nocatalog{options}",
            auth=plugin,
            headers={"X-Subject-Token": text, **_RULES_ARE_KEPT},
            raise_exc=False,
            log=False,
            **more,
        )

    def _own_token(self, plugin: Any) -> str:
        """The token of our service user, which is a new one if need be. Raises KeystoneAway."""
        try:
            return str(plugin.get_token(self._session))
        except exceptions.Unauthorized as error:
            self._log_out(plugin)
            raise self._refuses_us("its name or its password is wrong") from error
        except (exceptions.ClientException, OSError) as error:  # OSError: there is no ca_file
            raise KeystoneAway(f"{self._base}: {type(error).__name__}") from error

    def _away(self, plugin: Any, reason: str) -> KeystoneAway:
        """Whether it says nothing of this token alone, or of any: it is asked about one that is known to be good, our own.

        Servers in front of Keystone break connections, or answer 502, for what is too long for them; Keystone itself may
        fail at one domain's users. Whoever sends such a token would otherwise cut off all others.
        """
        return KeystoneAway(f"{self._base}: {reason}", for_all=not self._knows_our_own(plugin))

    def _knows_our_own(self, plugin: Any) -> bool:
        try:
            own = self._own_token(plugin)
            answer = self._ask(plugin, own, timeout=min(PROBE_S, self._chosen.timeout_s))
        except (KeystoneAway, exceptions.ClientException, OSError):
            return False
        return int(answer.status_code) == 200

    def _refuses_us(self, why: str) -> KeystoneAway:
        chosen = self._chosen
        who = f"{chosen.username} of {chosen.user_domain_name} in the project {chosen.project_name}"
        return KeystoneAway(f"{self._base} refuses our service user ({who}): {why}")

    def _log_in(self) -> Any:
        with self._changing:
            if self._plugin is None:
                chosen = self._chosen
                self._plugin = v3.Password(
                    self._base,
                    username=chosen.username,
                    password=self._password(),
                    user_domain_name=chosen.user_domain_name,
                    project_name=chosen.project_name,
                    project_domain_name=chosen.project_domain_name,
                    include_catalog=False,
                )
            return self._plugin

    def _log_out(self, plugin: Any) -> None:
        """The next one reads the password anew. Whoever was refused before may find another one logged in since."""
        with self._changing:
            if self._plugin is plugin:
                self._plugin = None

    def _password(self) -> str:
        file = self._chosen.password_file
        if file is None:
            return self._chosen.password
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise KeystoneAway(f"auth.password_file {file} cannot be read: {type(error).__name__}") from error


def _read(content: bytes) -> Token:
    try:
        told = msgspec.json.decode(content, type=_Answer).token
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise KeystoneAway(
            "what answers there is not Keystone: the description of a token is not in its form"
        ) from error
    credential = told.application_credential
    rules = None if credential is None or credential.access_rules is None else credential.access_rules
    return Token(
        user_id=told.user.id,
        project_id=None if told.project is None else told.project.id,
        roles=frozenset(role.name for role in told.roles),
        expires_at_us=int(told.expires_at.timestamp() * _MICROSECONDS),
        rules=None if rules is None else tuple(AccessRule(one.service, one.method, one.path) for one in rules),
        is_admin_project=told.is_admin_project,
    )
