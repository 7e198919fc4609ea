"""Callers by name and password (RFC 7617), as the keystoneauth plugin `http_basic` sends them with every request.

bcrypt takes a tenth of a second of a processor on purpose. So whoever was found good is remembered for a while, under a keyed
hash of name and password whose key this process has drawn for itself, and only as long as the file has the same hash: a changed
password is asked for at once. Everybody else is hashed, on two threads, after the wait that failures before have earned.
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import bcrypt
import structlog

from breezeblock.api.auth import Asking, Caller, require_no_page, require_same_project
from breezeblock.api.errors import Refused
from breezeblock.api.identity.brakes import Brakes, TooManyAttempts
from breezeblock.api.identity.remembered import Crowded, Flights, Remembered
from breezeblock.api.identity.users import Unreadable, User, Users, read_users
from breezeblock.env.contract import Clock, Ids, Threads
from breezeblock.model.ids import ProjectId, UserId

__all__ = ["HttpBasic", "UserFiles"]

log = structlog.get_logger(__name__)

CHALLENGE: Final[Mapping[str, str]] = {"WWW-Authenticate": 'Basic realm="Breezeblock"'}
LOOK_EVERY_S: Final = 1.0
REMEMBERED_MOST: Final = 10_000
# Attempts of all kinds at once, those included that wait; and those for which a thread is at it, or will be at once. More is no
# single user's doing, and nothing that he could mend: 503, and not 429.
ATTEMPTS_MOST: Final = 1024
HASHED_MOST: Final = 64
BUSY_RETRY_S: Final = 1
# All that bcrypt reads; every other implementation leaves out the rest without a word, as does the one that made the hash.
PASSWORD_BYTES_MOST: Final = 72
_NAME_MOST: Final = 255
_WRONG: Final = "The request needs the name and the password of a user (HTTP Basic): they are missing or wrong."


class UserFiles:
    """The users of two files, read again when one of them has changed; one that cannot be read leaves the last good ones."""

    def __init__(self, passwords: Path, users: Path, *, clock: Clock, threads: Threads) -> None:
        self._files = (passwords, users)
        self._clock = clock
        self._threads = threads
        self._users: Users | None = None
        self._signs: object = None
        self._look_at: float | None = None
        self._looking = asyncio.Lock()

    async def read(self) -> Users | None:
        """As they are, but for a second. None: they could never be read."""
        if self._is_time_to_look():
            async with self._looking:
                if self._is_time_to_look():  # nobody else has looked while this one waited
                    self._take(await self._threads.run(self._look))
                    self._look_at = self._clock.boottime() + LOOK_EVERY_S
        return self._users

    def _is_time_to_look(self) -> bool:
        return self._look_at is None or self._clock.boottime() >= self._look_at

    def _look(self) -> tuple[object, Users | Unreadable] | None:
        """On a thread: the files' signs and what is in them. None: they are the same as last time."""
        signs = tuple(_sign(file) for file in self._files)  # before reading: what changes meanwhile is read next time
        if signs == self._signs:
            return None
        try:
            return signs, read_users(*self._files)
        except Unreadable as error:
            return signs, error

    def _take(self, found: tuple[object, Users | Unreadable] | None) -> None:
        if found is None:
            return
        self._signs, users = found
        if isinstance(users, Unreadable):
            log.error("identity.users_unreadable", reason=str(users), in_use=self._users is not None)
            return
        self._users = users
        log.info("identity.users_read", users=len(users.by_name))
        if users.without_a_table or users.without_a_password:
            log.warning(
                "identity.users_in_one_file",
                only_with_password=users.without_a_table,
                only_in_users=users.without_a_password,
            )


def _sign(file: Path) -> tuple[int, ...] | str:
    """What differs whenever a file has changed."""
    try:
        found = file.stat()
    except OSError as error:
        return type(error).__name__
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class _Good(NamedTuple):
    hash: str
    until: float


class HttpBasic:
    """Implements `Authenticate`."""

    def __init__(self, files: UserFiles, *, clock: Clock, ids: Ids, threads: Threads, cache_s: float) -> None:
        self._files = files
        self._clock = clock
        self._threads = threads
        self._cache_s = cache_s
        self._brakes = Brakes(clock)
        self._key = f"{ids.uuid()}{ids.uuid()}".replace("-", "").encode()
        self._good: Remembered[bytes, _Good] = Remembered(most=REMEMBERED_MOST)
        self._flights: Flights[bytes, User | Refused] = Flights(most=ATTEMPTS_MOST)
        self._hashed = 0

    async def __call__(self, asking: Asking) -> Caller:
        """See `Authenticate`."""
        # A browser that was told a password once sends it along with whatever any page asks of us.
        require_no_page(asking.headers, "Pages in browsers are not answered: passwords are for clients of this API.")
        given = _credentials(asking.headers.get("authorization", ""))
        if given is None:
            raise Refused(401, _WRONG, headers=dict(CHALLENGE))
        users = await self._files.read()
        if users is None:
            raise Refused(
                503, "Users cannot be told apart now; the service's log says why.", headers={"Retry-After": "5"}
            )
        name, password = given
        user = users.by_name.get(name)
        digest = hashlib.blake2b(name.encode() + b"\0" + password, key=self._key).digest()
        good = self._good.get(digest)
        now = self._clock.boottime()
        if user is not None and good is not None and good.hash == user.hash and now < good.until:
            # Whoever is at work stays so: guesses at the same name are not to keep him out when this lapses.
            self._good.put(digest, good._replace(until=now + self._cache_s))
        else:
            user = await self._verified(users, name, password, digest, asking.address)
        require_same_project(asking.url_project, user.project)
        return Caller(UserId(user.name), ProjectId(user.project), user.roles, quotas=users.quotas)

    async def _verified(self, users: Users, name: str, password: bytes, digest: bytes, address: str) -> User:
        """Raises Refused: 401 for a wrong password, 429 after too many of them, 503 when too much is to be hashed."""
        try:
            found = await self._flights.join(digest, lambda: self._verify(users, name, password, digest, address))
        except Crowded as error:
            raise _busy() from error
        if isinstance(found, Refused):
            # One answer for all who wait; an exception that several raise would be a heap of their tracebacks.
            raise Refused(found.status, found.message, headers=found.headers)
        return found

    async def _verify(self, users: Users, name: str, password: bytes, digest: bytes, address: str) -> User | Refused:
        try:
            await self._brakes.begin(user=name, address=address)
        except TooManyAttempts as error:
            message = "Too many wrong passwords for this user, or from this address; try again later."
            return Refused(429, message, headers={"Retry-After": str(max(1, round(error.retry_after_s)))})
        users = await self._files.read() or users  # it may have waited long, and the user be gone since
        user = users.by_name.get(name)
        if self._hashed >= HASHED_MOST:
            self._brakes.take_back(user=name, address=address)
            return _busy()
        self._hashed += 1
        try:
            is_right = await self._threads.run(_checking(password, user.hash if user else users.nobodys_hash))
        finally:
            self._hashed -= 1
        if user is None or not is_right:
            # A name that nobody has may be a password, typed into the wrong field.
            log.warning("identity.wrong_password", user=name if user else None, address=address)
            return Refused(401, _WRONG, headers=dict(CHALLENGE))
        self._brakes.succeeded(user=name, address=address)
        self._good.put(digest, _Good(user.hash, self._clock.boottime() + self._cache_s))
        return user


def _busy() -> Refused:
    message = "Too many passwords are being verified; try again."
    return Refused(503, message, headers={"Retry-After": str(BUSY_RETRY_S)})


def _checking(password: bytes, hash_: str) -> Callable[[], bool]:
    return lambda: bcrypt.checkpw(password[:PASSWORD_BYTES_MOST], hash_.encode())


def _credentials(header: str) -> tuple[str, bytes] | None:
    """Name and password, or None for what is not of that form."""
    scheme, _, coded = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(coded.strip(), validate=True).partition(b":")
        text = name.decode()
    except (binascii.Error, ValueError):
        return None
    if not colon or not 0 < len(text) <= _NAME_MOST or "\0" in text:
        return None
    return text, password
