"""Query parameters of lists: limit, marker, offset, sort, filters; from text to a `listing.Page`, or to a 400.

Each resource has a table of filters; those that are not public are for administrators only. What a name means that is not
in the table depends on the list, the version and the caller (`Lists`, docs/explanation/lists.md).
"""

import ast
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlencode

import msgspec
from sqlalchemy import Row

from breezeblock.api import bodies
from breezeblock.api.call import Call
from breezeblock.api.microversions import (
    BOOTABLE_FILTER,
    COUNT,
    LIKE_FILTER,
    OLDEST,
    RESOURCE_FILTERS,
    Version,
)
from breezeblock.model.errors import BadRequest
from breezeblock.resources.listing import Condition, Direction, Op, Page

# What all our databases take as a row count, an offset or a size.
NUMBER_MAX: Final = 2**31 - 1
# A filter on metadata or extra specs is a handful of pairs; each is a condition of the query.
PAIRS_MAX: Final = 32
# What `ast.literal_eval` raises for texts that are no literal; TypeError is for a map with a list as its key.
LITERAL_ERRORS: Final = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)
TIME_OPERATORS: Final = ("gt", "gte", "eq", "neq", "lt", "lte")

TRUE: Final = frozenset({"1", "t", "true", "on", "y", "yes"})
FALSE: Final = frozenset({"0", "f", "false", "off", "n", "no"})


LIST_NUMBERS: Final = ("limit", "offset")
LIST_TEXTS: Final = ("marker", "sort", "sort_key", "sort_dir")


class Kind(enum.Enum):
    TEXT = "a text"
    NUMBER = "a whole number"
    FLAG = "true or false"
    TIME = "operators and times, such as gte:2026-01-31T00:00:00,lt:2026-02-01T00:00:00"
    HOST = "a host, a backend or a pool: node, node@backend, node@backend#pool"
    PAIRS = "a map of keys and values, such as {'key': 'value'}"
    NOTHING = "anything: no row has it"


class Filter(NamedTuple):
    """A filter by the name that clients use; `attribute` is the listing's name for it, if it is another."""

    kind: Kind = Kind.TEXT
    public: bool = True
    since: Version = OLDEST
    attribute: str = ""


@dataclass(frozen=True, slots=True)
class Lists:
    """How one resource is listed: the collection's name in URLs, its filters, what it is sorted by, some keys only since then.

    A list answers 400 to filters that it does not know from the version on that it `refuses` them. Before, or where it never
    does, nothing has what is asked for; but lists that `ignore` take no notice of what members say until then. Those that do
    not ignore let members use administrators' filters until then. `own` are parameters that are no filters.
    """

    collection: str
    filters: Mapping[str, Filter]
    sort_keys: frozenset[str]
    sort_aliases: Mapping[str, str]
    sort_since: Mapping[str, Version] = field(default_factory=dict)
    refuses: Version | None = RESOURCE_FILTERS
    ignores: bool = True
    own: Mapping[str, Filter] = field(default_factory=dict)


# No row has an empty id.
NO_ROW: Final = Condition("id", "eq", "")

_NOT_FILTERS: Final = frozenset({*LIST_NUMBERS, *LIST_TEXTS, "with_count", "all_tenants", "all_projects"})


def read(call: Call, lists: Lists) -> Page:
    """The page that the request's query asks for. Raises BadRequest."""
    query = call.query
    counted = call.microversion >= COUNT and flag(query, "with_count")
    everybody = _is_for_everybody(call)
    return Page(
        project_id=None if everybody else call.origin.project_id,
        limit=limit(call),
        marker=query.get("marker"),
        offset=_whole(query.get("offset", "0"), "offset", most=NUMBER_MAX),
        sort=_sort(call, lists),
        where=filters(call, lists, everybody=everybody),
        with_count=counted,
    )


def read_unfiltered(call: Call, lists: Lists) -> Page:
    """The same of what has no filters: whatever else is in the query is not looked at. Raises BadRequest."""
    if call.microversion >= COUNT:
        flag(call.query, "with_count")  # nothing is counted here; but what it may be is the same everywhere
    return Page(
        project_id=None if _is_for_everybody(call) else call.origin.project_id,
        limit=limit(call),
        marker=call.query.get("marker"),
        offset=_whole(call.query.get("offset", "0"), "offset", most=NUMBER_MAX),
        sort=_sort(call, lists),
    )


def read_whole(call: Call) -> Page:
    """The longest page there is, newest first, whatever else the query says. Raises BadRequest."""
    project_id = None if _is_for_everybody(call) else call.origin.project_id
    return Page(project_id=project_id, limit=call.settings.api.max_limit, sort=(("created_at", "desc"),))


def _is_for_everybody(call: Call) -> bool:
    """Whether an administrator asks for what all projects have. Raises BadRequest."""
    asked = [flag(call.query, name) for name in ("all_tenants", "all_projects")]
    return any(asked) and call.origin.is_admin


def limit(call: Call) -> int:
    """How many items at most: what was asked for, but never more than the service gives."""
    most = call.settings.api.max_limit
    return min(_whole(call.query.get("limit", str(most)), "limit"), most)


def next_links(call: Call, lists: Lists, rows: Sequence[Row[Any]], *, detail: bool) -> list[dict[str, str]]:
    """The link to the page after these rows, if they fill theirs: there may be more."""
    if not rows or len(rows) < limit(call):
        return []
    query = urlencode({**call.query, "marker": rows[-1].id})
    path = f"{lists.collection}/detail" if detail else lists.collection
    return [{"rel": "next", "href": f"{call.v3_url}/{path}?{query}"}]


def flag(query: Mapping[str, str], name: str) -> bool:
    """A parameter that is true or false; absent is false. Raises BadRequest."""
    value = query.get(name, "false").strip().lower()
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise BadRequest(f"Invalid {name} = {query[name]!r}: expected true or false.")


def _whole(text: str, name: str, *, most: int | None = None) -> int:
    try:
        value = int(text)
    except ValueError as error:
        raise BadRequest(f"Invalid {name} = {text!r}: expected a whole number.") from error
    if value < 0 or (most is not None and value > most):
        raise BadRequest(f"Invalid {name} = {text}: expected {f'0 to {most}' if most else 'at least 0'}.")
    return value


def sorting(call: Call, lists: Lists, *, default: str) -> tuple[tuple[str, Direction], ...]:
    """What a list that is sorted here, and not by the database, is sorted by. Raises BadRequest."""
    return _sort(call, lists, default=default)


def offset(call: Call) -> int:
    """How many items are left out first. Raises BadRequest."""
    return _whole(call.query.get("offset", "0"), "offset", most=NUMBER_MAX)


def _sort(call: Call, lists: Lists, *, default: str = "created_at") -> tuple[tuple[str, Direction], ...]:
    """`sort=key:dir,key`, or the older sort_key and sort_dir. Without either by the default, the last first."""
    query = call.query
    if "sort" in query:
        if "sort_key" in query or "sort_dir" in query:
            raise BadRequest("The parameters sort_key and sort_dir cannot be used together with sort.")
        asked = [part.partition(":") for part in query["sort"].strip().split(",")]
        pairs = [(key.strip(), direction.strip() or "desc") for key, _, direction in asked]
    else:
        pairs = [(query.get("sort_key", default).strip(), query.get("sort_dir", "desc").strip())]
    result: list[tuple[str, Direction]] = []
    for key, direction in pairs:
        attribute = lists.sort_aliases.get(key, key)
        if attribute not in lists.sort_keys or call.microversion < lists.sort_since.get(key, OLDEST):
            sortable = sorted(one for one in lists.sort_keys if call.microversion >= lists.sort_since.get(one, OLDEST))
            raise BadRequest(f"Invalid sort key {key!r}: expected one of {', '.join(sortable)}.")
        if direction not in ("asc", "desc"):
            raise BadRequest(f"Invalid sort direction {direction!r}: expected asc or desc.")
        if attribute not in (seen for seen, _ in result):
            result.append((attribute, cast(Direction, direction)))
    return tuple(result)


def filters(call: Call, lists: Lists, *, everybody: bool) -> tuple[Condition, ...]:
    """The filters as conditions. Raises BadRequest for values, and from 3.31 for names, that cannot be."""
    conditions: list[Condition] = []
    unknown: list[str] = []
    for name, value in call.query.items():
        if name in _NOT_FILTERS or name in lists.own:
            continue
        like = name.endswith("~") and call.microversion >= LIKE_FILTER
        plain = name.removesuffix("~") if like else name
        found = lists.filters.get(plain)
        if found is None or not _may(call, lists, found) or (like and found.kind not in (Kind.TEXT, Kind.HOST)):
            unknown.append(name)
        elif call.microversion >= found.since and (plain != "project_id" or everybody):  # one's own, whichever is named
            conditions += _conditions(call, name, found.attribute or plain, found.kind, value, like=like)
    return (*conditions, *_unknown(call, lists, unknown))


def _may(call: Call, lists: Lists, found: Filter) -> bool:
    """Whether this caller may use the filter. Before its version it is not looked at."""
    return found.public or call.origin.is_admin or not (lists.ignores or _refuses(call, lists))


def _refuses(call: Call, lists: Lists) -> bool:
    return lists.refuses is not None and call.microversion >= lists.refuses


def _unknown(call: Call, lists: Lists, names: Sequence[str]) -> Sequence[Condition]:
    """What it means to ask for what is not known. Raises BadRequest."""
    if not names:
        return ()
    if _refuses(call, lists):
        raise BadRequest(f"Invalid filters: {', '.join(names)}. Known here: {', '.join(known(call, lists))}.")
    return () if lists.ignores and not call.origin.is_admin else (NO_ROW,)


def known(call: Call, lists: Lists) -> list[str]:
    """The filters that this caller's version of the list has, for this caller."""
    return sorted(
        name for name, one in lists.filters.items() if call.microversion >= one.since and _may(call, lists, one)
    )


def _conditions(call: Call, name: str, attribute: str, kind: Kind, value: str, *, like: bool) -> list[Condition]:
    match kind:
        case Kind.TEXT:
            return [Condition(attribute, "like" if like else "eq", value)]
        case Kind.NUMBER:
            return [Condition(attribute, "eq", _whole(value, name, most=NUMBER_MAX))]
        case Kind.FLAG:
            return [Condition(attribute, "eq", _flag_filter(call, name, value))]
        case Kind.TIME:
            return [_time(name, attribute, part) for part in value.split(",")]
        case Kind.PAIRS:
            return [
                Condition(attribute, "has", f"{_json(key)}:{_json(one)}") for key, one in pairs(name, value).items()
            ]
        case Kind.NOTHING:
            return [NO_ROW]
        case Kind.HOST:
            return [Condition(attribute, "like" if like else "place", value)]


def _flag_filter(call: Call, name: str, value: str) -> bool:
    """From 3.2 on a flag is true or false; before, whatever was not false was true."""
    lowered = value.strip().lower()
    if call.microversion < BOOTABLE_FILTER:
        return lowered != "false"
    if lowered in ("true", "1"):
        return True
    if lowered in ("false", "0"):
        return False
    raise BadRequest(f"Invalid {name} = {value!r}: expected true or false.")


def _time(name: str, attribute: str, part: str) -> Condition:
    """`gte:2026-01-31T00:00:00Z`; a time without a zone is UTC."""
    operator, _, text = part.strip().partition(":")
    if operator not in TIME_OPERATORS:
        raise BadRequest(f"Invalid {name} operator {operator!r}: expected one of {', '.join(TIME_OPERATORS)}.")
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(f"Invalid {name} time {text!r}: expected one such as 2026-01-31T00:00:00.") from error
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return Condition(attribute, cast(Op, operator), int(time.timestamp()) * 1_000_000 + time.microsecond)


def pairs(name: str, text: str) -> dict[str, str]:
    """A map as JSON, or as Python writes it, which is what this API's own client sends. Raises BadRequest."""
    value: Any
    try:
        value = msgspec.json.decode(text)
    except bodies.NOT_JSON:
        try:
            value = ast.literal_eval(text)
        except LITERAL_ERRORS:
            value = None
    if not isinstance(value, dict) or len(value) > PAIRS_MAX or not _is_text(found := _as_texts(value)):
        raise BadRequest(f"Invalid {name} = {text[:80]!r}: expected {Kind.PAIRS.value}, at most {PAIRS_MAX} of them.")
    return found


def _as_texts(value: dict[Any, Any]) -> dict[str, str]:
    return {str(key): str(one) for key, one in value.items()}


def _is_text(found: dict[str, str]) -> bool:
    """Python's literals, unlike JSON, may hold halves of characters, which no database takes."""
    try:
        msgspec.json.encode(found)
    except UnicodeEncodeError:
        return False
    return True


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()
