"""From a caller to what it may do. What was decided is remembered: a request usually costs two look-ups."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from breezeblock.api.auth import IMPLIED, Caller
from breezeblock.api.policy.book import FILE_CHARACTERS_MAX, Book, PolicyError, defaults, read_book
from breezeblock.api.policy.checks import Judged, Known
from breezeblock.api.policy.rules import RULES, WORDS
from breezeblock.env.contract import Env

log = structlog.get_logger(__name__)

# Callers that differ in what a policy asks about: roles, and the users and projects that it names. Real clouds have dozens.
REMEMBERED_MOST: Final = 1024
LOOK_S: Final = 1.0
# Whoever a policy does not name is somebody else, and that is all that is remembered of them. No id has this character.
_SOMEBODY: Final = "\0"


class Target(NamedTuple):
    """Whose the resource is that a request is about."""

    project_id: str
    user_id: str


class Rights:
    """What one caller may do. The same object for all who may do the same, so that answers can be prepared by it."""

    def __init__(self, book: Book, *, is_admin: bool, decided: Mapping[str, Judged]) -> None:
        self._book = book
        self._decided = decided
        self.is_admin = is_admin
        """Whether all projects' rows are shown."""
        self.asks_for_owners = any(decided[rule] is None for rule, one in RULES.items() if one.of_one)
        """Whether some decision depends on whose the resource is."""

    def may(self, rule: str) -> bool:
        """Whether the rule lets this caller, whosoever the resource. One that is not in the table is a mistake of ours."""
        return self._decided[rule] is True

    def allows(self, rule: str, caller: Caller, target: Target | None) -> bool:
        """Whether the rule lets this caller do it to that target; without one to what is its own."""
        decided = self._decided[rule]
        if decided is not None:
            return decided
        own = target or Target(caller.project_id, caller.user_id)
        return self.judge(rule, caller, own)

    def judge(self, rule: str, caller: Caller, target: Target) -> bool:
        """The same, not remembered: for targets that may be another project's."""
        known = Known(
            roles=frozenset(role.lower() for role in caller.roles),
            is_admin=self.is_admin,
            is_service=caller.is_service,
            user_id=caller.user_id,
            project_id=caller.project_id,
            target_user=target.user_id,
            target_project=target.project_id,
            is_admin_project=caller.is_admin_project,
        )
        return self._book.checks[rule](known) is True

    def expected(self, rule: str) -> str:
        """Whom a rule lets: in words if it is Cinder's, otherwise as the file has it, with the rule that it refers to."""
        text = self._book.entries[rule].text
        name = text.removeprefix("rule:")
        meant = self._book.entries.get(name) if name != text else None
        if text in WORDS and meant is not None and not meant.from_file:
            return f"{WORDS[text]} ({text})"
        return f"{text}, which is {meant.text}" if meant else text


class _Like(NamedTuple):
    """What a policy asks of a caller: whoever is the same in it has the same rights."""

    roles: frozenset[str]
    is_service: bool
    is_admin_project: bool
    user_id: str
    project_id: str


class Policy:
    """From a caller to rights, by the defaults or by a file that is read again when it has changed."""

    def __init__(self, *, env: Env | None = None, file: Path | None = None) -> None:
        """Raises PolicyError with all mistakes of the file, each led by its path."""
        self._env, self._file = env, file
        # What was read last, whether it could be used or not, and what was told of it.
        self._text = ""
        self._told: tuple[str, ...] = ()
        self._look_at = 0.0
        self._looks = False
        self._take(defaults())
        if file is not None:
            assert env is not None, "a file is looked at by a clock"
            self._text, book = load(file)
            self._take(book)

    @property
    def book(self) -> Book:
        return self._book

    def rights(self, caller: Caller) -> Rights:
        """What a caller may do now."""
        like = _Like(
            caller.roles,
            caller.is_service,
            caller.is_admin_project,
            caller.user_id if caller.user_id in self._book.names.users else _SOMEBODY,
            caller.project_id if caller.project_id in self._book.names.projects else _SOMEBODY,
        )
        found = self._remembered.get(like)
        return self._decide(like) if found is None else found

    async def refresh(self) -> None:
        """Read the file again if a second has gone by. One that cannot be used is told once, and the last good one stays."""
        if self._file is None or self._env is None or self._looks or self._env.clock.boottime() < self._look_at:
            return
        # One look at a time, and the others go on meanwhile: of two, the one that has read first could be taken last.
        self._looks = True
        try:
            await self._look(self._file, self._env)
        finally:
            self._looks = False
            self._look_at = self._env.clock.boottime() + LOOK_S

    async def _look(self, file: Path, env: Env) -> None:
        try:
            text = await env.threads.run(lambda: _read(file))
            if text != self._text:
                self._text = text
                self._take(read_book(text))
                log.info("policy.reloaded", file=str(file), warnings=self._book.warnings)
        except PolicyError as error:
            if error.mistakes != self._told:
                self._told = error.mistakes
                log.error("policy.refused", file=str(file), mistakes=error.mistakes, note="the last good policies stay")

    def _take(self, book: Book) -> None:
        self._book = book
        self._told = ()
        self._forget()

    def _forget(self) -> None:
        self._remembered: dict[_Like, Rights] = {}
        self._alike: dict[tuple[bool, tuple[Judged, ...]], Rights] = {}

    def _decide(self, like: _Like) -> Rights:
        known = _known(self._book, like)
        is_admin = known.is_admin
        decided = {rule: self._book.checks[rule](known) for rule in RULES}
        if len(self._remembered) >= REMEMBERED_MOST:
            self._forget()
        same = (is_admin, tuple(decided.values()))
        rights = self._alike.setdefault(same, Rights(self._book, is_admin=is_admin, decided=decided))
        self._remembered[like] = rights
        return rights


def persona_of(book: Book, rule: str) -> dict[str, str]:
    """What a rule, of the table or of a file alone, says to each of the usual roles: yes, no, or that it depends."""
    said = {True: "yes", False: "no", None: "depends on the resource"}
    found = {}
    for persona, roles in IMPLIED.items():
        known = _known(book, _Like(roles, False, True, _SOMEBODY, _SOMEBODY))
        found[persona] = said[book.checks[rule](known)]
    return found


def _known(book: Book, like: _Like) -> Known:
    """What is known before any resource is. Administrators are shown rows of all projects, others those of their own."""
    lower = frozenset(role.lower() for role in like.roles)
    known = Known(
        lower, False, like.is_service, like.user_id, like.project_id, None, None, is_admin_project=like.is_admin_project
    )
    if book.is_admin(known):
        return known._replace(is_admin=True)
    return known._replace(target_project=like.project_id)


def load(file: Path) -> tuple[str, Book]:
    """A file of policies that can be used. Raises PolicyError, each mistake led by the file's path."""
    try:
        text = _read(file)
        return text, read_book(text)
    except PolicyError as error:
        raise PolicyError(f"{file}: {mistake}" for mistake in error.mistakes) from error


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(FILE_CHARACTERS_MAX + 1)  # one more than is taken: it may be a device without an end
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError([f"it cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    if not text.strip():
        # As it is for an instant while it is written, and for long on a full disk: every restriction would be gone.
        raise PolicyError(["it is empty: write {} for the defaults alone"])
    return text
