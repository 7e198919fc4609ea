"""All rules with the checks that are in effect: the defaults, and what a file has instead of some of them."""

import functools
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import yaml
from oslo_policy import policy as oslo

from breezeblock.api.policy.checks import Check, Known, Names, Reader, leaves
from breezeblock.api.policy.rules import BASE, FORMERLY, IS_ADMIN, NOT_ASKED, RULES

# Far above what a file with all rules has.
FILE_CHARACTERS_MAX: Final = 1_000_000
_WORD_ENDS: Final = re.compile(r"[\s()]+")
_OPERATORS: Final = ("and", "or", "not")


class PolicyError(Exception):
    """A file of policies that cannot be used. `mistakes` has all that is wrong with it."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class Entry(NamedTuple):
    """One rule as it is in effect: its check in words, and whether a file says so."""

    text: str
    from_file: bool


class Book(NamedTuple):
    """Rules, ready to be judged."""

    entries: Mapping[str, Entry]
    checks: Mapping[str, Check]
    names: Names
    warnings: tuple[str, ...]

    def is_admin(self, known: Known) -> bool:
        """Whether a caller sees the rows of all projects."""
        return self.checks[IS_ADMIN](known) is True


@functools.cache
def defaults() -> Book:
    """The rules without any file."""
    return read_book("")


def read_book(text: str) -> Book:
    """The rules with those of a file instead of some. Raises PolicyError with everything that is wrong with it."""
    try:
        return _book(_parse(text))
    except RecursionError as error:
        raise PolicyError(["it is nested too deep, or its rules refer to each other in too long a chain"]) from error


def _book(given: Mapping[str, str]) -> Book:
    warnings = list(_odd(given))
    mistakes: list[str] = []
    texts = {**BASE, **{name: rule.check for name, rule in RULES.items()}}
    mine: dict[str, str] = {}
    for name, check in given.items():
        for new in FORMERLY.get(name, (name,)):
            if new == name or new not in given:
                mine[new] = check
    texts |= mine
    trees = {name: _read(name, check, mistakes) for name, check in texts.items()}
    reader = Reader(trees)
    reader.check(IS_ADMIN)  # before all others: what it refers to must not ask for what it decides
    checks = {name: reader.check(name) for name in trees}
    mistakes += reader.mistakes
    mistakes += [
        f"{name}: it is not about one resource of which a user is known, so its check cannot name %(user_id)s"
        for name, rule in RULES.items()
        if not rule.has_user and "user_id" in reader.attributes(name)
    ]
    if reader.attributes(IS_ADMIN):
        mistakes.append(f"{IS_ADMIN}: it is about the caller alone, so its check cannot name a resource's attribute")
    if mistakes:
        raise PolicyError(mistakes)
    entries = {name: Entry(check, name in mine) for name, check in texts.items()}
    return Book(entries, checks, reader.names, tuple(warnings))


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # it has no types
    """YAML as oslo.policy reads it, but for a key that is there twice: the first one would silently not hold."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise PolicyError([f"line {key.start_mark.line + 1}: {key.value} is there twice"])
                seen.add(key.value)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def _parse(text: str) -> dict[str, Any]:
    if len(text) > FILE_CHARACTERS_MAX:
        raise PolicyError([f"it has {len(text)} characters: expected at most {FILE_CHARACTERS_MAX}"])
    try:
        found = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError) as error:  # of a date that is none it is ValueError
        raise PolicyError([f"it is not YAML: {' '.join(str(error).split())}"]) from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise PolicyError([f"expected a mapping of rules to checks, not a {type(found).__name__}"])
    mistakes = [
        f"{name!r}: expected the name of a rule and a check, both texts, not {check!r}"[:500]
        for name, check in found.items()
        if not isinstance(name, str) or not isinstance(check, str)
    ]
    if mistakes:
        raise PolicyError(mistakes)
    return found


def _odd(given: Mapping[str, str]) -> Iterable[str]:
    referred = {word for check in given.values() for word in _WORD_ENDS.split(check)}
    for name in given:
        if name in NOT_ASKED:
            yield f"{name}: nothing here asks it: {NOT_ASKED[name]}"
        elif name in FORMERLY:
            yield f"{name}: it is now {', '.join(FORMERLY[name])}, which have its check unless they have their own"
        elif name not in RULES and name not in BASE and f"rule:{name}" not in referred:
            yield f"{name}: there is no such rule, and no other refers to it"


def _read(name: str, text: str, mistakes: list[str]) -> Any:
    """The check that oslo.policy makes of a text."""
    tree = _tree(text)
    words = [word for word in (part.lstrip("(").rstrip(")") for part in text.split()) if word]
    wanted = [word for word in words if word.lower() not in _OPERATORS]
    found = [str(leaf) for leaf in leaves(tree)] if words else []
    if len(found) != len(wanted) or found.count("!") != wanted.count("!"):
        mistakes.append(
            f"{name}: {text!r} cannot be read; expected checks such as role:NAME or rule:NAME, and, or, not, ( )"
        )
    return tree


@functools.lru_cache(maxsize=1024)  # most rules have one of three texts
def _tree(text: str) -> Any:
    """As oslo.policy reads it. What it cannot read becomes "never", which it tells to its log; here it is a mistake."""
    logger = logging.getLogger("oslo_policy._parser")
    was, logger.disabled = logger.disabled, True
    try:
        return oslo.RuleDefault("any", text).check
    finally:
        logger.disabled = was
