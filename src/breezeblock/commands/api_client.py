"""The running service as any client sees it, for commands that people use on hosts without a database.

A request ends in one of three ways, and each is a class: an answer; a refusal, which no repeat changes; or nobody knows, which
a repeat finds out. The last is also what a service says that is not there at the moment.
"""

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from breezeblock.commands.failure import Failed

__all__ = ["Api", "NotNow", "Refused"]

# As `api.answer_timeout_s` may be; who waits no longer has lost nothing.
REQUEST_TIMEOUT_S: Final = 90.0
VERSION: Final = "volume 3.71"
# Not now: the database is away, what is asked for takes longer, or what stands between has no service behind it.
NOT_NOW: Final = (502, 503, 504)
SCHEMES: Final = ("http", "https")
MESSAGE_MAX: Final = 2000


class Refused(Exception):
    """What the service has said no to, and why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class NotNow(Exception):
    """Nobody knows whether it was done; asking again tells."""


class Api:
    """Requests for one project. `url` is where the service is, with or without `/v3`."""

    def __init__(self, url: str, *, project: str, user: str, credentials: Mapping[str, str] | None = None) -> None:
        """Raises Failed for what is no such URL, and for names that no request can carry.

        `credentials` are headers that say who asks, where not everybody is believed.
        """
        at = urlsplit(url)
        if at.scheme not in SCHEMES or not at.hostname:
            raise Failed(f"{url!r} is no URL of a service: expected one such as http://192.0.2.10:8776.", status=2)
        for what, name in (("project", project), ("user", user)):
            if not name.isascii() or not name.isprintable() or (what == "user" and ":" in name):
                raise Failed(f"{name!r} cannot be the id of a {what}: expected printable ASCII characters.", status=2)
        try:
            self.host, self._port = at.hostname, at.port
        except ValueError as error:
            raise Failed(f"{url!r} is no URL of a service: {error}.", status=2) from error
        self.url, self.project = url, project
        self._is_secure = at.scheme == "https"
        self._base = f"{at.path.rstrip('/').removesuffix('/v3')}/v3"
        self._headers = {
            "OpenStack-API-Version": VERSION,
            "X-Auth-Token": f"{user}:{project}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            **(credentials or {}),
        }
        if any(not value.isascii() or not value.isprintable() for value in self._headers.values()):
            raise Failed("OS_TOKEN is no token: expected printable ASCII characters.", status=2)

    @property
    def port(self) -> int:
        """The service's."""
        return self._port or (443 if self._is_secure else 80)

    def get(self, path: str, **query: str) -> Any:
        """Raises Refused, NotNow."""
        return self._ask("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, body: object) -> Any:
        """Raises Refused, NotNow."""
        return self._ask("POST", path, body)

    def put(self, path: str, body: object) -> Any:
        """Raises Refused, NotNow."""
        return self._ask("PUT", path, body)

    def delete(self, path: str) -> Any:
        """Raises Refused, NotNow."""
        return self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        connection = self._connection()
        sent = None if body is None else json.dumps(body)
        try:
            connection.request(method, quote(f"{self._base}/{path}", safe="/?&=%+"), sent, self._headers)
            answer = connection.getresponse()
            status, raw = answer.status, answer.read()
        except ssl.SSLCertVerificationError as error:
            raise Failed(f"{self.url} cannot be trusted: {error.verify_message}.") from error
        except (OSError, http.client.HTTPException) as error:
            raise NotNow(f"{self.url} does not answer: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()
        if status in NOT_NOW:
            raise NotNow(_message(raw) or f"{self.url} answers {status}")
        if status >= 400:
            raise Refused(status, _message(raw) or f"{self.url} answers {status}.")
        try:
            return json.loads(raw) if raw else None
        except ValueError as error:
            raise Failed(f"{self.url} is no block storage service: it answers {raw[:80]!r}.") from error

    def _connection(self) -> http.client.HTTPConnection:
        if self._is_secure:
            return http.client.HTTPSConnection(self.host, self._port, timeout=REQUEST_TIMEOUT_S)
        return http.client.HTTPConnection(self.host, self._port, timeout=REQUEST_TIMEOUT_S)


def _message(raw: bytes) -> str | None:
    """What the body of a refusal says, whatever its outer key is."""
    try:
        (fault,) = json.loads(raw).values()
        return str(fault["message"])[:MESSAGE_MAX]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
