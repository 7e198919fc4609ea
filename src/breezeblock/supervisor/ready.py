"""When the service is ready: a node of ours has announced what it serves, and a pool was reported."""

import sqlite3
from collections.abc import Collection
from urllib.parse import quote

_SERVED = "SELECT keeper_pid FROM nodes WHERE state = 'up' AND worker_pid IS NOT NULL AND queues_json != '[]'"
_REPORTED = "SELECT EXISTS (SELECT 1 FROM pools WHERE reported_at_us IS NOT NULL)"


def storage_is_ready(database_path: str, keeper_pids: Collection[int]) -> bool:
    """Whether volumes can be made. Opens the database only for this look (see `guard`); False when it is locked."""
    connection = sqlite3.connect(f"file:{quote(database_path)}?mode=ro", uri=True, isolation_level=None)
    try:
        serving = {row[0] for row in connection.execute(_SERVED)}
        return bool(serving & set(keeper_pids)) and bool(connection.execute(_REPORTED).fetchone()[0])
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()


def greeting(endpoint: str, *, data: str) -> str:
    """What `up` prints once: the endpoint, and lines to paste for each client."""
    return f"""
Breezeblock is ready: {endpoint}   (data in {data}; Ctrl-C stops it)
"""
