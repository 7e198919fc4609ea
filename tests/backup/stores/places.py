"""Somewhere to keep objects, whatever is below it: what the tests of the contract are run on."""

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final, Protocol, TypeVar

from tests.servers.radosgw import Radosgw
from tests.servers.swift import Swift

from breezeblock.backup.contract import ObjectStore
from breezeblock.backup.stores.folder import FolderStore
from breezeblock.backup.stores.s3 import Bucket, S3Store
from breezeblock.backup.stores.swift import Container, SwiftStore
from breezeblock.env.contract import Threads
from breezeblock.env.real import RealIds

__all__ = ["MIB", "FolderPlace", "Place", "S3Place", "ServedPlace", "SwiftPlace", "on"]

T = TypeVar("T")

MIB: Final = 1 << 20
# Few, so that a listing of a test has several pages.
_PAGE: Final = 7
# The least that S3 takes.
PART_BYTES: Final = 5 * MIB
# Long for a server on the same machine, short for a test.
TIMEOUT_S: Final = 20.0


class Place(ABC):
    """Empty at the beginning. `store` opens it; two that are open at once are two nodes."""

    @abstractmethod
    def store(self) -> ObjectStore:
        """No call was made yet. For one event loop."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[ObjectStore]:
        """One that was checked, for the length of a block."""
        store = self.store()
        try:
            await store.check()
            yield store
        finally:
            await store.close()


class FolderPlace(Place):
    """A folder. Its parent is there."""

    def __init__(self, threads: Threads, root: Path) -> None:
        self._threads = threads
        self.root: Final = root

    def store(self) -> FolderStore:
        """See `Place`."""
        return FolderStore(self.root, name="here", ids=RealIds(), threads=self._threads)


class Serving(Protocol):
    """A server that can be taken away and brought back."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    def kill(self) -> None: ...
    def start(self) -> None: ...


class ServedPlace(Place):
    """On a server. `endpoint` may be that of a proxy in front of it."""

    secret: ClassVar[str]
    """The owner's."""

    def __init__(self, threads: Threads, server: Serving, folder: Path) -> None:
        self.threads: Final = threads
        self.server: Final = server
        self.credentials_file: Final = folder / "credentials.toml"
        self.prefix = f"test-{uuid.uuid4()}"
        self.bucket = "all-tests"
        self.timeout_s = TIMEOUT_S
        self.ca_file: Path | None = None
        self.endpoint = self.url(server.host, server.port)
        self.login()

    @abstractmethod
    def url(self, host: str, port: int, *, scheme: str = "http") -> str:
        """The endpoint, when the server is reached there."""

    @abstractmethod
    def login(self, secret: str | None = None) -> None:
        """Write the owner's credentials with this secret, or with the right one."""

    @abstractmethod
    def be_somebody_else(self) -> None:
        """Write the credentials of somebody who exists, and owns nothing of this."""


class S3Place(ServedPlace):
    """A bucket."""

    secret = Radosgw.SECRET_KEY

    def url(self, host: str, port: int, *, scheme: str = "http") -> str:
        """See `ServedPlace`."""
        return f"{scheme}://{host}:{port}"

    def login(self, secret: str | None = None) -> None:
        """See `ServedPlace`."""
        self._write(Radosgw.ACCESS_KEY, secret or self.secret)

    def be_somebody_else(self) -> None:
        """See `ServedPlace`."""
        self._write(Radosgw.STRANGER_ACCESS_KEY, Radosgw.STRANGER_SECRET_KEY)

    def _write(self, access: str, secret: str) -> None:
        self.credentials_file.write_text(f'access_key_id = "{access}"\nsecret_access_key = "{secret}"\n')

    def store(self) -> S3Store:
        """See `Place`."""
        at = Bucket(
            bucket=self.bucket,
            prefix=self.prefix,
            endpoint=self.endpoint,
            path_style=True,
            ca_file=self.ca_file,
            credentials_file=self.credentials_file,
            timeout_s=self.timeout_s,
        )
        return S3Store(at, name="there", threads=self.threads, multipart_bytes=PART_BYTES, page=_PAGE)


class SwiftPlace(ServedPlace):
    """A container."""

    secret = Radosgw.SWIFT_KEY

    def __init__(self, threads: Threads, server: Radosgw | Swift, folder: Path) -> None:
        self._users = server
        super().__init__(threads, server, folder)

    def url(self, host: str, port: int, *, scheme: str = "http") -> str:
        """See `ServedPlace`."""
        return f"{scheme}://{host}:{port}/auth/v1.0"

    def login(self, secret: str | None = None) -> None:
        """See `ServedPlace`."""
        self._write(self._users.SWIFT_USER, secret or self._users.SWIFT_KEY)

    def be_somebody_else(self) -> None:
        """See `ServedPlace`."""
        self._write(self._users.READER_USER, self._users.READER_KEY)

    def _write(self, user: str, key: str) -> None:
        self.credentials_file.write_text(f'user = "{user}"\nkey = "{key}"\n')

    def store(self) -> SwiftStore:
        """See `Place`."""
        at = Container(
            endpoint=self.endpoint,
            container=self.bucket,
            credentials_file=self.credentials_file,
            prefix=self.prefix,
            ca_file=self.ca_file,
            timeout_s=self.timeout_s,
        )
        return SwiftStore(at, name="there", threads=self.threads, page=_PAGE)


def on(place: Place, does: Callable[[ObjectStore], Awaitable[T]]) -> T:
    """What it returns, given a checked store."""

    async def whole() -> T:
        async with place.opened() as store:
            return await does(store)

    return asyncio.run(whole())
