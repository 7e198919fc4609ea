"""Events to a URL: POST of a JSON object with a list of them, signed where a secret is given.

Any answer of 2xx takes all of them. Whatever else comes, or nothing, they are sent again, in the same order: the other side
knows them by their ids. Three answers say that what was sent is wrong or too much, and not that nobody can take it now; all
others may be another one tomorrow, with another secret or another route. A redirect is not followed: the events, and their
signature, are for whom the operator named.
"""

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx
import msgspec

from breezeblock.events.contract import NotTaken, Refused
from breezeblock.model.events import Event

__all__ = ["SIGNATURE", "WebhookReceiver", "signature"]

SIGNATURE: Final = "X-Breezeblock-Signature"
# Bad Request, Content Too Large, Unprocessable Content.
_FINAL: Final = (400, 413, 422)


def signature(secret: bytes, body: bytes) -> str:
    """What stands in the header: the HMAC of the body, so that whoever knows the secret can tell that it is from us."""
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"


class WebhookReceiver:
    """Implements `Receiver`. The secret is read from its file each time: it can be changed without a restart."""

    def __init__(self, url: str, *, secret_file: Path | None, ca_file: Path | None, timeout_s: float) -> None:
        self._url = url
        self._secret_file = secret_file
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._client: httpx.AsyncClient | None = None

    async def send(self, events: Sequence[Event]) -> None:
        """See `Receiver.send`."""
        body = msgspec.json.encode({"events": events})
        headers = {"Content-Type": "application/json", "User-Agent": "breezeblock"}
        if self._secret_file is not None:
            headers[SIGNATURE] = signature(await asyncio.to_thread(_read_secret, self._secret_file), body)
        try:
            answer = await self._open().post(self._url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # What the library says may quote the URL, and a URL may hold a secret.
            raise NotTaken(f"It cannot be reached: {type(error).__name__}.") from error
        if answer.status_code in _FINAL:
            raise Refused(f"It answered {answer.status_code} instead of 2xx.")
        if not answer.is_success:
            raise NotTaken(f"It answered {answer.status_code} instead of 2xx.")

    async def close(self) -> None:
        """See `Receiver.close`."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            try:
                context = ssl.create_default_context(cafile=None if self._ca_file is None else str(self._ca_file))
            except (OSError, ssl.SSLError) as error:
                raise NotTaken("Its ca_file cannot be read.") from error
            self._client = httpx.AsyncClient(timeout=self._timeout_s, verify=context, trust_env=False)
        return self._client


def _read_secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise NotTaken(f"Its secret_file cannot be read: {error.strerror}.") from error
    if not secret:
        raise NotTaken("Its secret_file is empty.")
    return secret
