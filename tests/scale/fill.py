"""Rows of the big tables, so many that a database's planner takes them seriously."""

from typing import Any

import sqlalchemy as sa
from tests.scale.plans import BIG

from breezeblock.store.tables import metadata

__all__ = ["fill"]

START_US = 1_795_000_000_000_000
NODES = 40


def fill(tx: sa.Connection, rows: int) -> None:
    """In every big table `rows`, of some projects, pools and queues, most of them at rest, and some nodes. Then the planner is
    told, where servers tell it by themselves."""
    tables = {**dict.fromkeys(BIG, rows), "nodes": NODES, "node_backends": NODES}
    for name, count in sorted(tables.items()):
        table = metadata.tables[name]
        for start in range(0, count, 1000):
            tx.execute(sa.insert(table), [_row(table, number) for number in range(start, min(count, start + 1000))])
        if tx.dialect.name != "sqlite":
            tx.exec_driver_sql(f"ANALYZE TABLE {name}" if tx.dialect.name == "mariadb" else f"ANALYZE {name}")


def _row(table: sa.Table, number: int) -> dict[str, Any]:
    id_ = f"{number:036}"
    given: dict[str, Any] = {
        "id": id_,
        "incarnation": id_,
        "state": "gone" if number % 40 == 0 else "up",
        "fenced_by": "storage" if number % 40 == 0 else None,
        "operation_id": id_,
        "resource_id": id_,
        "volume_id": f"{number // 2:036}",
        "group_id": f"{number // 2:036}",
        "project_id": f"project-{number % 50}",
        "queue": f"breezeblock@backend-{number % 20}",
        "pool_name": f"breezeblock@backend-{number % 20}#pool",
        "status": "creating" if number % 100 == 0 else "available",
        "owner": f"{number % 40:036}" if number % 4 == 0 else None,
        "object_name": f"{id_}.1.1",
        "volume_type_id": f"{number % 30:036}",
        "charged_type_id": f"{number % 30:036}",
    }
    row: dict[str, Any] = {}
    for column in table.columns:
        if column.name in given:
            row[column.name] = given[column.name]
        elif column.name.endswith("_us"):
            row[column.name] = START_US + number
        elif not column.nullable and column.default is None and column.server_default is None:
            row[column.name] = "" if isinstance(column.type, sa.String) else number % 2
    return row
