"""Users in two files: an htpasswd file says who has which password, a TOML file what each of them is.

    # passwords, made by `htpasswd -B -C 10 FILE ann`
    ann:$2y$10$...

    # users.toml
    [ann]
    project = "5f0c…"
    roles = ["member"]
    quota = { volumes = 20 }

Who is in one of them alone is nobody. What is wrong is told with names and lines, never with a hash.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from breezeblock.api.auth import IMPLIED
from breezeblock.resources.quota_limits import RESOURCES

__all__ = ["Unreadable", "User", "Users", "read_users"]

# bcrypt, as everybody writes it today: $2x$ is a known mistake, and everything else is of another kind.
_BCRYPT: Final = re.compile(r"\$2[aby]\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53}\Z")
# 2^14 rounds take a processor a second. More would be a way to stop us.
COST_LEAST, COST_MOST = 4, 14
# A text that no password has as its hash, to compare with where there is no user.
_NOBODYS: Final = "." * 53
_NAME_MOST: Final = 255
_QUOTAS: Final = frozenset(RESOURCES)


class Unreadable(Exception):
    """The files cannot be used; why, in a sentence without secrets."""


class _Told(Struct, frozen=True, forbid_unknown_fields=True):
    """A user's table."""

    project: Annotated[str, Meta(min_length=1, max_length=255)]
    roles: list[Annotated[str, Meta(min_length=1, max_length=255)]] = []
    quota: dict[str, Annotated[int, Meta(ge=-1)]] | None = None


class User(Struct, frozen=True):
    """Somebody with a password."""

    name: str
    hash: str
    project: str
    roles: frozenset[str]


class Users(Struct, frozen=True):
    """All of them, and what is compared with the password of somebody who is none of them."""

    by_name: Mapping[str, User]
    nobodys_hash: str
    quotas: Mapping[str, Mapping[str, int]] = {}
    """By project: whoever is in it has the same, and holds for all requests, whosoever they are."""
    without_a_table: tuple[str, ...] = ()
    without_a_password: tuple[str, ...] = ()


def read_users(passwords: Path, users: Path) -> Users:
    """Read both. Raises Unreadable."""
    hashes = dict(_hashes(passwords))
    told = _tables(users)
    costs = [int(hash_[4:6]) for hash_ in hashes.values()]
    return Users(
        by_name={name: _user(name, hashes[name], told[name]) for name in hashes if name in told},
        # As slow as the slowest: how long an answer takes does not tell whether there is such a user.
        nobodys_hash=f"$2b${max(costs, default=COST_LEAST):02d}${_NOBODYS}",
        quotas={one.project: one.quota for one in told.values() if one.quota is not None},
        without_a_table=tuple(sorted(set(hashes) - set(told))),
        without_a_password=tuple(sorted(set(told) - set(hashes))),
    )


def _user(name: str, hash_: str, told: _Told) -> User:
    # An identity service writes implied roles into its tokens; here nobody else does.
    roles = frozenset().union(*(IMPLIED.get(role, frozenset({role})) for role in told.roles))
    return User(name, hash_, told.project, roles)


def _hashes(file: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    # Not by `splitlines`, to which a form feed or U+2028 within a name is an end as well: what follows would be another user.
    for number, line in enumerate(_text(file).split("\n"), start=1):
        line = line.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        name, colon, hash_ = line.partition(":")
        where = f"{file}, line {number}"
        if not colon or not name or len(name) > _NAME_MOST:
            raise Unreadable(f"{where}: expected NAME:HASH, the name of at most {_NAME_MOST} characters")
        if name in found:
            raise Unreadable(f"{where}: the user {name} is there twice")
        match = _BCRYPT.match(hash_)
        if match is None:
            way_out = f"make it anew with htpasswd -B {file} {name}"
            raise Unreadable(f"{where}: the hash of {name} is not of the kind bcrypt ($2a$, $2b$ or $2y$); {way_out}")
        if not COST_LEAST <= int(match["cost"]) <= COST_MOST:
            expected = f"expected one between {COST_LEAST} and {COST_MOST}"
            raise Unreadable(f"{where}: the hash of {name} has the cost {int(match['cost'])}; {expected}")
        found[name] = hash_
    return found


def _tables(file: Path) -> Mapping[str, _Told]:
    try:
        document = tomllib.loads(_text(file))
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(f"{file}: expected TOML: {error}") from error
    found: dict[str, _Told] = {}
    for name, table in document.items():
        try:
            found[name] = msgspec.convert(table, _Told)
        except msgspec.ValidationError as error:
            raise Unreadable(f"{file}, user {name}: {error}") from error
    _require_quotas(file, found)
    return found


def _require_quotas(file: Path, found: Mapping[str, _Told]) -> None:
    """Limits are a project's: two of its users cannot bring different ones."""
    of_project: dict[str, tuple[str, dict[str, int]]] = {}
    for name, told in found.items():
        if told.quota is None:
            continue
        if unknown := sorted(set(told.quota) - _QUOTAS):
            expected = ", ".join(sorted(_QUOTAS))
            raise Unreadable(f"{file}, user {name}: there is no quota called {unknown[0]}; expected one of {expected}")
        other, quota = of_project.setdefault(told.project, (name, told.quota))
        if quota != told.quota:
            raise Unreadable(
                f"{file}, user {name}: its quota is another than that of {other}, and both are in the project "
                f"{told.project}; limits are a project's, so expected the same"
            )


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except OSError as error:
        raise Unreadable(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"{file} is not a text in UTF-8") from error
