"""How one becomes somebody for Swift: by its own first protocol (TempAuth, radosgw), or by Keystone's third."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec

from breezeblock.backup.contract import StoreRefused, StoreUnavailable
from breezeblock.backup.stores.credentials import read_credentials

__all__ = ["Login", "Session"]

_FIRST: Final = ("user", "key")
_PASSWORD: Final = ("username", "password", "project_name")
_APPLICATION: Final = ("application_credential_id", "application_credential_secret")
_DOMAINS: Final = ("user_domain_name", "project_domain_name")
_DEFAULT_DOMAIN: Final = "Default"
_SERVICE: Final = "object-store"


@dataclass(frozen=True, slots=True)
class Session:
    """Where objects are, and what opens the door."""

    storage_url: str
    token: str

    def __repr__(self) -> str:
        return f"Session({self.storage_url!r})"


class Send(Protocol):
    """Sends a request. Raises the contract's errors when there is no answer."""

    async def __call__(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> httpx.Response: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """`endpoint` is the URL of Keystone when its path ends in v3, and that of the first protocol otherwise."""

    endpoint: str
    credentials_file: Path
    region: str
    interface: str
    store: str

    @property
    def _is_keystone(self) -> bool:
        return urlsplit(self.endpoint).path.rstrip("/").endswith("/v3")

    def read_credentials(self) -> Mapping[str, str]:
        """Blocks."""
        path, store = self.credentials_file, self.store
        if self._is_keystone:
            return read_credentials(path, store=store, one_of=(_PASSWORD, _APPLICATION), may=_DOMAINS)
        return read_credentials(path, store=store, one_of=(_FIRST,))

    async def log_in(self, send: Send, credentials: Mapping[str, str]) -> Session:
        """Raises StoreRefused and StoreUnavailable."""
        if self._is_keystone:
            return await self._by_keystone(send, credentials)
        answer = await send(
            "GET", self.endpoint, headers={"X-Auth-User": credentials["user"], "X-Auth-Key": credentials["key"]}
        )
        self._require_yes(answer)
        storage_url, token = answer.headers.get("X-Storage-Url"), answer.headers.get("X-Auth-Token")
        if not storage_url or not token:
            raise StoreRefused(
                f"Backup store {self.store}: at its endpoint is something else than Swift's authentication."
            )
        return Session(storage_url.rstrip("/"), token)

    async def _by_keystone(self, send: Send, credentials: Mapping[str, str]) -> Session:
        body = msgspec.json.encode({"auth": _identity(credentials)})
        headers = {"Content-Type": "application/json"}
        answer = await send("POST", f"{self.endpoint.rstrip('/')}/auth/tokens", headers=headers, content=body)
        self._require_yes(answer)
        token = answer.headers.get("X-Subject-Token")
        try:
            given = msgspec.json.decode(answer.content, type=_Given)
        except (msgspec.DecodeError, UnicodeDecodeError):
            given = None
        if not token or given is None:
            raise StoreRefused(f"Backup store {self.store}: at its endpoint is something else than Keystone.")
        return Session(self._storage_url(given), token)

    def _storage_url(self, given: "_Given") -> str:
        """Where the catalog says that the objects are."""
        for service in given.token.catalog:
            if service.type != _SERVICE:
                continue
            for endpoint in service.endpoints:
                if endpoint.interface == self.interface and self.region in ("", endpoint.region):
                    return endpoint.url.rstrip("/")
        where = f" in region {self.region}" if self.region else ""
        raise StoreRefused(
            f"Backup store {self.store}: Keystone knows no {self.interface} endpoint of the type {_SERVICE}{where}."
        )

    def _require_yes(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if answer.is_success:
            return
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise StoreRefused(f"Backup store {self.store} does not accept the credentials.")
        if (status >= 500 and status != HTTPStatus.NOT_IMPLEMENTED) or status in (408, 429, 498):
            raise StoreUnavailable(f"Backup store {self.store}: its authentication failed with {status}.")
        raise StoreRefused(
            f"Backup store {self.store}: its authentication refused with {status}; is its endpoint right?"
        )


class _Endpoint(msgspec.Struct):
    url: str
    interface: str
    region: str | None = None


class _Service(msgspec.Struct):
    type: str
    endpoints: list[_Endpoint] = []


class _Token(msgspec.Struct):
    catalog: list[_Service] = []


class _Given(msgspec.Struct):
    """What of Keystone's answer matters."""

    token: _Token


def _identity(credentials: Mapping[str, str]) -> Mapping[str, Any]:
    """As Keystone wants to be told who one is, and in which project."""
    if _APPLICATION[0] in credentials:
        told = {"id": credentials[_APPLICATION[0]], "secret": credentials[_APPLICATION[1]]}
        return {"identity": {"methods": ["application_credential"], "application_credential": told}}
    user = {
        "name": credentials["username"],
        "password": credentials["password"],
        "domain": {"name": credentials.get("user_domain_name", _DEFAULT_DOMAIN)},
    }
    project = {
        "name": credentials["project_name"],
        "domain": {"name": credentials.get("project_domain_name", _DEFAULT_DOMAIN)},
    }
    return {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}
