"""Objects in a container of Swift, by plain HTTP.

Swift's own client would need threads, a second library of HTTP and, for Keystone, a third; what is needed of it is six
requests. Identities are in `swift_login.py`.

A listing of Swift may lag behind what was stored or removed a moment ago, by seconds as a rule. What is asked for by its key
is never behind, as long as a key is not given twice.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx
import msgspec
import structlog

from breezeblock.backup.contract import Buffer, ObjectMissing, Stored, StoreRefused, StoreUnavailable
from breezeblock.backup.stores.keys import check_key, check_prefix, check_size, is_key
from breezeblock.backup.stores.swift_login import Login, Session
from breezeblock.env.contract import Threads

__all__ = ["Container", "SwiftStore", "explained"]

log = structlog.get_logger(__name__)

# Swift's usual limit (max_file_size), and radosgw's. Above it an object would have to be of segments.
_MAX_OBJECT_BYTES: Final = 5 << 30
# The most that one answer lists.
PAGE: Final = 10_000
_CONNECT_S: Final = 10.0
_CONNECTIONS: Final = 32
_PROBE: Final = "breezeblock-check"
# How OpenSSL says that nobody vouches for the server, which no repeat changes.
_UNTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"
_RATE_LIMITED: Final = 498  # Swift's own

_DENIED: Final = "denies access to container {container}."
_QUOTA: Final = "takes no object of that size, or has used up its quota."
# Answers that stay what they are however often one asks; of the others, those below 500 stay as well.
STAYS: Final[Mapping[int, str]] = {
    401: "does not accept its own token: the credentials were accepted, but are good for nothing here.",
    403: _DENIED,
    404: "has no container {container}.",
    405: "does not offer what is needed.",
    412: "takes no container or object of that name.",
    413: _QUOTA,
    501: "does not offer what is needed.",
}
PASSES: Final[Mapping[int, str]] = {
    408: "waited too long for our data.",
    409: "is busy with another request for the same thing.",
    422: "received something else than was sent.",
    429: "is overloaded and asks to be left alone for a while.",
    _RATE_LIMITED: "is overloaded and asks to be left alone for a while.",
    499: "lost the connection before it had all data.",
    507: "has no space left on the disks that it tried.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """Where a container is, and who may use it. `prefix` is put before each key, with a slash."""

    endpoint: str
    container: str
    credentials_file: Path
    prefix: str = ""
    region: str = ""
    interface: str = "public"
    ca_file: Path | None = None
    timeout_s: float = 60.0


class _Listed(msgspec.Struct):
    """Of an object in a listing."""

    name: str
    bytes: int


class SwiftStore:
    """`contract.ObjectStore` says what each method promises."""

    def __init__(self, at: Container, *, name: str, threads: Threads, page: int = PAGE) -> None:
        self._at = at
        self._name = name
        self._threads = threads
        self._page_size = page
        self._prefix = f"{at.prefix}/" if at.prefix else ""
        self._login = Login(
            endpoint=at.endpoint,
            credentials_file=at.credentials_file,
            region=at.region,
            interface=at.interface,
            store=name,
        )
        self._lock = asyncio.Lock()
        self._client: httpx.AsyncClient | None = None
        self._session: Session | None = None

    @property
    def max_object_bytes(self) -> int:
        return _MAX_OBJECT_BYTES

    async def check(self, *, known: bool = False) -> None:
        there = await self._ask_container()
        if there.status_code == HTTPStatus.NOT_FOUND and not known:
            await self._must("PUT", None)
            log.info("store.initialised", store=self._name, container=self._at.container)
        elif not there.is_success:
            raise self._explained(there.status_code, "check")
        await self._must("PUT", _PROBE)
        await self.delete(_PROBE)  # another node's check may have done it

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        check_size(parts, at_most=self.max_object_bytes, store=self._name)
        await self._must("PUT", key, parts=parts)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        assert offset >= 0 and (length is None or length >= 0)
        check_key(key)
        if length == 0:
            await self.size(key)  # no range says this, and the object may be missing
            return b""
        headers = {}
        if offset or length is not None:
            headers["Range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
        answer = await self._must("GET", key, headers=headers, or_else=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        # A range that begins behind the end cannot be satisfied.
        return b"" if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE else answer.content

    async def size(self, key: str) -> int:
        check_key(key)
        answer = await self._must("HEAD", key)
        return int(answer.headers["Content-Length"])

    async def delete(self, key: str) -> None:
        check_key(key)
        try:
            await self._must("DELETE", key)
        except ObjectMissing:
            return

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        """See the contract: page by page."""
        check_prefix(prefix)
        params = {"format": "json", "limit": str(self._page_size), "prefix": self._prefix + prefix}
        while True:
            answer = await self._must("GET", None, params=params)
            page = self._read_page(answer.content) if answer.status_code != HTTPStatus.NO_CONTENT else ()
            if not page:  # not when one is short: a server may have a lower limit than we ask for
                return
            for found in page:
                key = found.name.removeprefix(self._prefix)
                if is_key(key):
                    yield Stored(key, found.bytes)
            params["marker"] = page[-1].name

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _read_page(self, content: bytes) -> Sequence[_Listed]:
        try:
            return msgspec.json.decode(content, type=list[_Listed])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # the second for text that is not UTF-8
            raise StoreUnavailable(f"Backup store {self._name} gave a listing that cannot be read.") from error

    # Requests.

    async def _must(
        self,
        method: str,
        key: str | None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        parts: Sequence[Buffer] = (),
        or_else: int = 0,
    ) -> httpx.Response:
        """An answer that says yes, or `or_else`. Raises ObjectMissing and the contract's errors."""
        answer = await self._ask(method, key, params=params, headers=headers, parts=parts)
        if answer.is_success or answer.status_code == or_else:
            return answer
        if answer.status_code == HTTPStatus.NOT_FOUND and key is not None and method != "PUT":
            # The container may be what is missing: the answer is the same.
            container = await self._ask_container()
            if container.is_success:
                raise ObjectMissing(key)
            answer = container
        raise self._explained(answer.status_code, f"{method} {'object' if key else 'container'}")

    async def _ask_container(self) -> httpx.Response:
        """Whether it is there. Not by HEAD, to which Swift may send a body that nobody expects, and spoil the connection."""
        return await self._ask("GET", None, params={"limit": "1"})

    async def _ask(
        self,
        method: str,
        key: str | None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        parts: Sequence[Buffer] = (),
    ) -> httpx.Response:
        """Any answer. A token that has expired is renewed once."""
        session = await self._logged_in(None)
        path = quote(self._at.container) + ("" if key is None else "/" + self._prefix + key)
        sent = {"Content-Length": str(sum(map(len, parts)))} if method == "PUT" else {}
        for renewed in (False, True):
            answer = await self._send(
                method,
                f"{session.storage_url}/{path}",
                params=params,
                headers={**(headers or {}), **sent, "X-Auth-Token": session.token},
                content=_each(parts) if parts else None,
            )
            if answer.status_code != HTTPStatus.UNAUTHORIZED or renewed:
                break
            session = await self._logged_in(session)
        return answer

    async def _logged_in(self, former: Session | None) -> Session:
        """The session, or a new one when it is still the `former`. One task logs in, the others wait for it."""
        async with self._lock:
            if self._session is None or self._session is former:
                try:
                    credentials = await self._threads.run(self._login.read_credentials)
                    self._session = await self._login.log_in(self._send, credentials)
                except (StoreRefused, StoreUnavailable) as error:
                    self._session = None
                    log.warning("store.call_failed", store=self._name, call="log in", told=str(error))
                    raise
            return self._session

    async def _send(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: "bytes | AsyncIterator[bytes] | None" = None,
    ) -> httpx.Response:
        try:
            if self._client is None:
                self._client = await self._threads.run(self._new_client)
            return await self._client.request(method, url, params=params, headers=headers, content=content)
        except httpx.InvalidURL as error:
            raise StoreRefused(f"Backup store {self._name} says that its objects are at a URL that is none.") from error
        except httpx.HTTPError as error:
            kind = type(error).__name__
            log.warning("store.call_failed", store=self._name, call=method, error=kind)
            if _UNTRUSTED in str(error):
                says = "has a certificate that nobody vouches for here; ca_file may name who does."
                raise StoreRefused(f"Backup store {self._name} {says}") from error
            raise StoreUnavailable(f"Backup store {self._name} does not answer ({kind}).") from error

    def _new_client(self) -> httpx.AsyncClient:
        at = self._at
        try:
            trusted = ssl.create_default_context(cafile=None if at.ca_file is None else str(at.ca_file))
        except OSError as error:  # an SSLError is one
            raise StoreRefused(f"Backup store {self._name}: its ca_file cannot be used ({error.strerror}).") from error
        return httpx.AsyncClient(
            verify=trusted,
            timeout=httpx.Timeout(at.timeout_s, connect=min(_CONNECT_S, at.timeout_s)),
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
        )

    def _explained(self, status: int, call: str) -> StoreUnavailable | StoreRefused:
        told = explained(status, store=self._name, container=self._at.container)
        log.warning("store.call_failed", store=self._name, call=call, error=str(status), told=str(told))
        return told


async def _each(parts: Sequence[Buffer]) -> AsyncIterator[bytes]:
    """The parts one after the other: nobody joins them."""
    for part in parts:
        yield part if isinstance(part, bytes) else bytes(part)


def explained(status: int, *, store: str, container: str) -> StoreUnavailable | StoreRefused:
    """An answer that says no, as users and operators read it."""
    if status in STAYS:
        return StoreRefused(f"Backup store {store} {STAYS[status].format(container=container)}")
    if status in PASSES:
        return StoreUnavailable(f"Backup store {store} {PASSES[status]}")
    if status >= 500:
        return StoreUnavailable(f"Backup store {store} failed with {status}.")
    return StoreRefused(f"Backup store {store} refused with {status}.")
