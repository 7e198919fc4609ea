"""Who else uses a database at this instant, as far as each kind of it can tell.

- SQLite: whoever has it open holds a record lock on its shared memory, and the kernel names the process.
- PostgreSQL: every session of this database that calls itself ours. Anybody may ask for names; a pooler may take them away.
- MariaDB: every session of this database, on this server alone. Without the right PROCESS it shows those of one's own account,
  which is the service's where the settings are its own.
"""

from typing import Final

from sqlalchemy import Connection

from breezeblock.store.turnstile import user_of

__all__ = ["nodes_of_cluster", "others"]

_POSTGRESQL: Final = """
    SELECT pid, application_name, coalesce(host(client_addr), 'a local socket') FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'breezeblock%%' ORDER BY pid
"""
_MARIADB: Final = """
    SELECT ID, USER, HOST FROM information_schema.PROCESSLIST
    WHERE DB = DATABASE() AND ID <> CONNECTION_ID() AND USER <> 'system user' ORDER BY ID
"""
_NODES: Final = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'wsrep_cluster_size'"
_NODE: Final = "SELECT CONCAT(@@hostname, ':', @@port)"


def others(tx: Connection) -> list[str]:
    """Everybody but this session (on SQLite: but this process), for people; empty when nobody is seen."""
    if tx.dialect.name == "sqlite":
        path = tx.exec_driver_sql("PRAGMA database_list").one()[2]
        pid = user_of(path) if path else None
        return [] if pid is None else [f"process {pid}" if pid else "a process of another container"]
    if tx.dialect.name == "postgresql":
        rows = tx.exec_driver_sql(_POSTGRESQL).all()
        return [f"session {pid} ({name}) from {address}" for pid, name, address in rows]
    return [f"session {id_} of {user} from {host}" for id_, user, host in tx.exec_driver_sql(_MARIADB).all()]


def nodes_of_cluster(tx: Connection) -> tuple[str, int]:
    """Which server this is, and how many there are that each know only their own sessions."""
    if tx.dialect.name in ("sqlite", "postgresql"):
        return "", 1
    size = tx.exec_driver_sql(_NODES).scalar()
    return str(tx.exec_driver_sql(_NODE).scalar_one()), max(1, int(size or 1))
