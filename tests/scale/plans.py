"""What each database says of how it would execute a statement: whether it reads all of a big table."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa
from tests.scale.statements import Statement

__all__ = ["BIG", "explain"]

# The tables that grow with what people keep here, or with what they do. All others are as many rows as operators have things.
BIG: Final = frozenset(
    {
        "volumes",
        "snapshots",
        "operations",
        "operation_locks",
        "operation_log",
        "tx_done",
        "messages",
        "backups",
        "packs",
        "transfers",
        "attachments",
        "volume_groups",
        "group_volume_types",
        "group_snapshots",
    }
)
# Under which other names a statement has its tables.
_ALIAS: Final = re.compile(r"(\w+) (?:AS )?(mine|earlier)\b")
_PREFIX: Final = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN (FORMAT JSON) ", "mariadb": "EXPLAIN "}


class _Explained(Exception):
    """Instead of the statement itself."""

    def __init__(self, text: str, rows: Sequence[Any]) -> None:
        super().__init__(text)
        self.text = text
        self.rows = rows


def explain(connection: sa.Connection, statement: Statement) -> list[str]:
    """The big tables that are read from end to end, each with how. The statement is not executed."""
    kind = connection.dialect.name

    def ask(connection: sa.Connection, cursor: Any, text: str, values: Any, context: Any, many: bool) -> None:
        cursor.execute(_PREFIX[kind] + text, values)
        raise _Explained(text, cursor.fetchall())

    sa.event.listen(connection, "before_cursor_execute", ask)
    try:
        connection.execute(statement.element, statement.values)
    except _Explained as explained:
        return list(_READERS[kind](explained.rows, explained.text))
    finally:
        sa.event.remove(connection, "before_cursor_execute", ask)
    raise AssertionError("it was executed")


def _is_page(text: str) -> bool:
    """Whether it may follow an index from its beginning: it takes the first few, in order."""
    return " ORDER BY " in text.replace("\n", " ") and "LIMIT" in text


def _big(name: str, text: str) -> bool:
    aliases = {alias: table for table, alias in _ALIAS.findall(text)}
    return aliases.get(name, name) in BIG


def _sqlite(rows: Sequence[Any], text: str) -> Iterator[str]:
    sorts = any("TEMP B-TREE" in row[3] for row in rows)
    for row in rows:
        words = row[3].split()
        if words[0] == "SCAN" and _big(words[1], text) and not ("INDEX" in words and _is_page(text) and not sorts):
            yield row[3]


def _postgresql(rows: Sequence[Any], text: str) -> Iterator[str]:
    found = rows[0][0]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    nodes = list(_walk(plan))
    sorts = any("Sort" in node["Node Type"] for node in nodes)
    for node in nodes:
        if not _big(node.get("Relation Name", ""), text):
            continue
        how = node["Node Type"]
        by_index = "Index" in how and ("Index Cond" in node or (_is_page(text) and not sorts))
        if not by_index and how not in ("ModifyTable", "Bitmap Heap Scan", "LockRows", "Tid Scan"):
            yield f"{how} on {node['Relation Name']}"


def _walk(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _walk(child)


def _mariadb(rows: Sequence[Any], text: str) -> Iterator[str]:
    # id, select_type, table, type, possible_keys, key, key_len, ref, rows, Extra
    sorts = any("filesort" in (row[9] or "") for row in rows)
    for row in rows:
        if _big(row[2] or "", text) and (row[3] == "ALL" or (row[3] == "index" and (sorts or not _is_page(text)))):
            yield f"{row[3]} on {row[2]}"


_READERS: Final = {"sqlite": _sqlite, "postgresql": _postgresql, "mariadb": _mariadb}
