"""What a request says of where its volume is to be: beside other volumes, away from them, or where a query holds.

Hints are those of the Block Storage service (`OS-SCH-HNT:scheduler_hints`): `same_host` and `different_host` name volumes,
and `query` is a JSON text such as `["and", [">", "$free_capacity_gb", 10], ["=", "$volume_backend_name", "fast"]]`. What it
calls a host is a pool here.

Volumes that are not there, or not the caller's, are nowhere: nothing is beside them, and everything is away from them.

What a volume is near to is read, not held: it may be gone the moment after, as after any placement.
"""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import is_uuid
from breezeblock.model.origin import Origin
from breezeblock.store.tables import volumes

__all__ = ["NO_HINTS", "Hints", "read_hints"]

# What is read and what is walked through is bounded: it comes from users.
VOLUMES_MOST: Final = 100
QUERY_MOST: Final = 4096
DEPTH_MOST: Final = 16

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hints:
    """Hints as far as they say anything. `None`: there is no such hint."""

    same: frozenset[str] | None = None
    """Pools of which it has to be one."""
    different: frozenset[str] = frozenset()
    """Pools of which it must not be one."""
    query: tuple[Any, ...] | None = None

    def refusal(self, pool_name: str, values: Callable[[], Values]) -> str | None:
        """Why a pool is not as hinted, as part of a sentence; None when it is. `values` are what a query may ask about."""
        if self.same is not None and pool_name not in self.same:
            return "holds none of the volumes in same_host"
        if pool_name in self.different:
            return "holds one of the volumes in different_host"
        if self.query is not None and not _holds(self.query, values()):
            return "does not meet the query"
        return None


NO_HINTS: Final = Hints()


def read_hints(tx: Connection, asked: Mapping[str, Any], *, origin: Origin) -> Hints:
    """What a request hints at. Other keys say nothing here. Raises BadRequest. One statement, or none."""
    if not asked:
        return NO_HINTS
    if asked.get("local_to_instance") is not None:
        raise BadRequest(
            "Invalid scheduler hint local_to_instance: no compute service is configured here that could tell where an "
            "instance is. Leave it out, or use same_host."
        )
    same, different = (_ids(asked, key) for key in ("same_host", "different_host"))
    pools = _pools(tx, [*(same or ()), *(different or ())], origin)
    return Hints(
        same=None if not same else frozenset(pools[id_] for id_ in same if id_ in pools),
        different=frozenset(pools[id_] for id_ in different or () if id_ in pools),
        query=_query(asked.get("query")),
    )


def _ids(asked: Mapping[str, Any], key: str) -> list[str] | None:
    value = asked.get(key)
    if value is None:
        return None
    ids = [value] if isinstance(value, str) else value
    if not isinstance(ids, list) or not all(isinstance(one, str) and is_uuid(one) for one in ids):
        raise BadRequest(f"Invalid scheduler hint {key} = {str(value)[:80]!r}: expected the id of a volume, or a list.")
    if len(ids) > VOLUMES_MOST or len(set(ids)) != len(ids):
        raise BadRequest(f"Invalid scheduler hint {key}: expected at most {VOLUMES_MOST} volumes, each of them once.")
    return [_canonical(one) for one in ids]


def _canonical(text: str) -> str:
    digits = text.replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _pools(tx: Connection, ids: Sequence[str], origin: Origin) -> dict[str, str]:
    if not ids:
        return {}
    seen = _ANYBODYS if origin.is_admin else _OWN
    rows = tx.execute(seen, {"ids": sorted(set(ids)), "project": origin.project_id})
    return {row.id: row.pool_name for row in rows}


_ANYBODYS: Final[Any] = select(volumes.c.id, volumes.c.pool_name).where(
    volumes.c.id.in_(bindparam("ids", expanding=True)),
    volumes.c.tombstone.is_(False),
    volumes.c.pool_name.is_not(None),
)
_OWN: Final[Any] = _ANYBODYS.where(volumes.c.project_id == bindparam("project"))

# --- queries --------------------------------------------------------------------------------------------------------


def _first_with_each(test: Callable[[Any, Any], bool]) -> Callable[[Sequence[Any]], bool]:
    def holds(terms: Sequence[Any]) -> bool:
        return len(terms) > 1 and all(_try(test, terms[0], other) for other in terms[1:])

    return holds


def _try(test: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    try:
        return bool(test(left, right))
    except TypeError:
        return False  # a text is neither more nor less than a number


_COMMANDS: Final[Mapping[str, Callable[[Sequence[Any]], Any]]] = {
    "=": _first_with_each(operator.eq),
    "<": _first_with_each(operator.lt),
    ">": _first_with_each(operator.gt),
    "<=": _first_with_each(operator.le),
    ">=": _first_with_each(operator.ge),
    "in": lambda terms: len(terms) > 1 and terms[0] in terms[1:],
    "not": lambda terms: [not one for one in terms],
    "or": any,
    "and": all,
}


def _query(text: Any) -> tuple[Any, ...] | None:
    """A query that can be asked. Raises BadRequest."""
    if text is None or text == "":
        return None
    if not isinstance(text, str) or len(text) > QUERY_MOST:
        raise BadRequest(f"Invalid scheduler hint query: expected a list as a JSON text of at most {QUERY_MOST}.")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"Invalid scheduler hint query = {text[:80]!r}: it is no JSON.") from error
    return None if found == [] else _checked(found, depth=0)


def _checked(query: Any, *, depth: int) -> tuple[Any, ...]:
    if not isinstance(query, list) or depth > DEPTH_MOST or not query or query[0] not in tuple(_COMMANDS):
        known = ", ".join(_COMMANDS)
        raise BadRequest(
            f"Invalid scheduler hint query at {str(query)[:80]!r}: expected a list that begins with one of {known}, "
            f"nested at most {DEPTH_MOST} deep."
        )
    terms = [_checked(one, depth=depth + 1) if isinstance(one, list) and one else one for one in query[1:]]
    return (query[0], *terms)


def _holds(query: tuple[Any, ...], values: Values) -> bool:
    found = _ask(query, values)
    return any(found) if isinstance(found, list) else bool(found)


def _ask(query: tuple[Any, ...], values: Values) -> Any:
    terms = [_term(one, values) for one in query[1:]]
    return _COMMANDS[query[0]]([one for one in terms if one is not None])


def _term(term: Any, values: Values) -> Any:
    """A value; of a text that begins with `$` what it names, as `$capabilities.disk`. None is left out by whoever compares."""
    if isinstance(term, tuple):
        return _ask(term, values)
    if term == []:
        return True  # as an empty query
    if not isinstance(term, str) or not term.startswith("$"):
        return term or None if isinstance(term, str) else term
    value: Any = values
    for part in term[1:].split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
