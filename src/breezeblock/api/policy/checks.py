"""From a check that oslo.policy has read to a function of what is known, which need not be everything.

A check is asked about a caller and a target, the resource. Most are decided by the caller's roles alone, whatever the
target: such a decision can be remembered. So checks are judged in three values: True, False, and None for "it depends on
the target, which is not known yet". That is also why something is refused here that oslo.policy would take and never (or
always) find true: an attribute that no caller or no resource has.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from oslo_policy import policy as oslo

from breezeblock.api.policy.rules import IS_ADMIN

Judged = bool | None


class Known(NamedTuple):
    """What of a caller and of a target is known when a check is judged. None for a target that is not."""

    roles: frozenset[str]
    """In lower case: roles are the same in any."""
    is_admin: bool
    is_service: bool
    user_id: str
    project_id: str
    target_user: str | None
    target_project: str | None
    is_admin_project: bool = True


Check = Callable[[Known], Judged]


class Names(NamedTuple):
    """The ids that the checks of a file name, filled while it is read. Whoever is not here is like all others."""

    users: set[str]
    projects: set[str]


# Attributes of callers that can be compared with a word; the ids also with the target's.
_ID: Final = {"user_id", "project_id"}
_OF_TARGETS: Final = {"user_id", "project_id", "domain_id"}
# Callers have a token of a project, never of a domain or of the whole system: as oslo.policy shows it, None.
_CONSTANT: Final = {"system_scope": "None", "domain_id": "None"}
_OF_CALLERS: Final = sorted({*_ID, *_CONSTANT, "is_admin", "is_admin_project", "role", "service_roles"})
_ATTRIBUTE: Final = re.compile(r"%\(([^)]*)\)s\Z")
SERVICE_ROLE: Final = "service"


class Reader:
    """Reads the rules of one file: `check` makes the function, `mistakes` says in words why some cannot be."""

    def __init__(self, rules: Mapping[str, Any]) -> None:
        self._rules = rules
        self._made: dict[str, Check] = {}
        self._open: list[str] = []
        self.names = Names(set(), set())
        self.mistakes: list[str] = []
        self._attributes: dict[str, set[str]] = {}

    def check(self, rule: str) -> Check:
        """The function of a rule, made once."""
        if rule not in self._made:
            self._open.append(rule)
            self._attributes[rule] = set()
            self._made[rule] = self._compile(self._rules[rule])
            self._open.pop()
        return self._made[rule]

    def attributes(self, rule: str) -> set[str]:
        """The target's attributes that a rule's check looks at, itself or by other rules."""
        self.check(rule)
        return self._attributes[rule]

    def _compile(self, check: Any) -> Check:
        if isinstance(check, oslo.AndCheck):
            return _both([self._compile(part) for part in check.rules])
        if isinstance(check, oslo.OrCheck):
            return _either([self._compile(part) for part in check.rules])
        if isinstance(check, oslo.NotCheck):
            return _not(self._compile(check.rule))
        if isinstance(check, oslo.RuleCheck):
            return self._reference(check.match)
        if not isinstance(check, oslo.Check):  # "@" and "!"
            verdict = str(check) == "@"
            return lambda known: verdict
        if type(check).__module__ != oslo.RuleCheck.__module__:  # by an extension of oslo.policy
            why = "would ask another server, or code of others, while the request and all others wait; decide by roles instead"
            return self._wrong(f"{check} {why}")
        try:
            return self._leaf(check.kind, check.match)
        except _Wrong as wrong:
            return self._wrong(str(wrong))

    def _reference(self, rule: str) -> Check:
        if rule in self._open:
            return self._wrong(f"it refers to itself, by {' -> '.join([*self._open, rule])}")
        if rule not in self._rules:
            return self._wrong(f"rule:{rule} refers to a rule that there is not")
        made = self.check(rule)
        self._attributes[self._open[-1]] |= self._attributes[rule]
        return made

    def _leaf(self, kind: str, match: str) -> Check:
        attribute = _ATTRIBUTE.match(match)
        if attribute is None:
            if "%(" in match:
                raise _Wrong(
                    f"{kind}:{match} has more than the attribute; expected a word, or %(NAME)s and nothing else"
                )
            return self._word(kind, _plain(kind, match))
        name = attribute[1]
        if name not in _OF_TARGETS:
            raise _Wrong(f"%({name})s is no attribute of a resource here; known: {', '.join(sorted(_OF_TARGETS))}")
        if kind == "role":
            raise _Wrong(f"role:{match} would take a role from a resource, which has none")
        self._attributes[self._open[-1]].add(name)
        return self._compared(kind, name)

    def _word(self, kind: str, word: str) -> Check:
        """A check of the caller alone."""
        literal = _literal(kind)
        if literal is not None:
            same = literal == word
            return lambda known: same
        if kind == "role":
            role = word.lower()
            return lambda known: role in known.roles
        if kind in _CONSTANT:
            same = _CONSTANT[kind] == word
            return lambda known: same
        if kind == "is_admin":
            if self._open[0] == IS_ADMIN:
                raise _Wrong(f"{IS_ADMIN} decides what is_admin:True means, so it cannot ask for it")
            return lambda known: str(known.is_admin) == word
        if kind == "is_admin_project":
            return lambda known: str(known.is_admin_project) == word
        if kind == "service_roles":
            return lambda known: known.is_service and word == SERVICE_ROLE
        if kind == "user_id":
            self.names.users.add(word)
            return lambda known: known.user_id == word
        if kind == "project_id":
            self.names.projects.add(word)
            return lambda known: known.project_id == word
        raise _Wrong(f"{kind} is no attribute of a caller here; known: {', '.join(_OF_CALLERS)}")

    def _compared(self, kind: str, name: str) -> Check:
        """A check of the target, with something of the caller or with a word."""
        literal = _literal(kind)
        if name == "domain_id":  # of no resource
            return lambda known: False
        if literal is not None:
            (self.names.users if name == "user_id" else self.names.projects).add(literal)
            if name == "user_id":
                return lambda known: None if known.target_user is None else known.target_user == literal
            return lambda known: None if known.target_project is None else known.target_project == literal
        if kind != name:
            raise _Wrong(f"{kind}:%({name})s compares different things; expected {name}:%({name})s")
        if name == "user_id":
            return lambda known: None if known.target_user is None else known.target_user == known.user_id
        return lambda known: None if known.target_project is None else known.target_project == known.project_id

    def _wrong(self, why: str) -> Check:
        mistake = f"{self._open[-1]}: {why}"
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)
        return lambda known: False


class _Wrong(Exception):
    """A check that cannot be; the text says why."""


def _plain(kind: str, match: str) -> str:
    """`%%` is a percent sign in a check."""
    try:
        return match % {}
    except (TypeError, ValueError, KeyError) as error:
        raise _Wrong(f"{kind}:{match} has a % that means nothing: write %% for one") from error


def _literal(kind: str) -> str | None:
    """What stands on the left, if it is a value as Python writes it: 'a word', True, 7."""
    try:
        return str(ast.literal_eval(kind))
    except (ValueError, SyntaxError):
        return None


def _both(parts: list[Check]) -> Check:
    def check(known: Known) -> Judged:
        judged: Judged = True
        for part in parts:
            one = part(known)
            if one is False:
                return False
            if one is None:
                judged = None
        return judged

    return check


def _either(parts: list[Check]) -> Check:
    def check(known: Known) -> Judged:
        judged: Judged = False
        for part in parts:
            one = part(known)
            if one is True:
                return True
            if one is None:
                judged = None
        return judged

    return check


def _not(part: Check) -> Check:
    def check(known: Known) -> Judged:
        one = part(known)
        return None if one is None else not one

    return check


def leaves(check: Any) -> Iterator[Any]:
    """The checks that a check is made of."""
    for part in getattr(check, "rules", None) or ([check.rule] if isinstance(check, oslo.NotCheck) else []):
        yield from leaves(part)
    if not isinstance(check, oslo.AndCheck | oslo.OrCheck | oslo.NotCheck):
        yield check
