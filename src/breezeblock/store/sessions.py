"""How a session on PostgreSQL or MariaDB (Galera included) is set up, whoever begins it: a pool, or a process without one.

What a session must have, and why (architecture §2):

- Writing transactions run at READ COMMITTED: they lock their rows first, and every later statement must see the present. At
  REPEATABLE READ it would see the past of the first statement that read something. Reading ones run at REPEATABLE READ, which
  on both servers is one snapshot of everything.
- A transaction that is left idle is ended by the server within a third of the ttl: a process that is stopped inside one frees
  its row locks before anybody's lease suffers.
- Waiting for a row lock ends after seconds, and so does every statement.
- On Galera every statement waits until the node has caught up (`wsrep_sync_wait = 7`), so that a miss is not the past.
- MariaDB counts the rows that a statement *matched*, also those that it left equal: the drivers ask for that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "CATCH_UP",
    "DO_NOT_CATCH_UP",
    "MARIADB_STATE",
    "Ask",
    "Limits",
    "mariadb_refusal",
    "prepare_mariadb",
    "prepare_postgresql",
]

Ask = Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]
"""Executes a statement, in which %s marks a value, and returns its rows."""

CATCH_UP: Final = "SET SESSION wsrep_sync_wait = 7"
DO_NOT_CATCH_UP: Final = "SET SESSION wsrep_sync_wait = 0"
_POSTGRESQL_READS_ONLY: Final = "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool"
# The mode, whether it belongs to a cluster, and whether it takes part in it. A node that has lost its cluster answers this as
# well, in sessions that do not wait for the cluster.
MARIADB_STATE: Final = (
    "SELECT @@GLOBAL.read_only, @@GLOBAL.wsrep_on,"
    " (SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'WSREP_READY')"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """After how many seconds the server ends what a session does: a statement, the wait for a row lock, an idle transaction."""

    statement_s: float
    lock_s: float
    idle_s: float


def prepare_postgresql(ask: Ask, limits: Limits, *, reading: bool) -> str | None:
    """Set a session up. Returns why the server would refuse what it is for; None when it would not."""
    settings = {
        "idle_in_transaction_session_timeout": str(_ms(limits.idle_s)),
        "lock_timeout": str(_ms(limits.lock_s)),
        "statement_timeout": str(_ms(limits.statement_s)),
        "timezone": "UTC",
    }
    words = [word for setting in settings.items() for word in setting]
    ask(f"SELECT {', '.join('set_config(%s, %s, false)' for _ in settings)}", words)
    ((reads_only,),) = ask(_POSTGRESQL_READS_ONLY, ())
    return "this server takes no writes: it is a standby, or set to read-only" if reads_only and not reading else None


def prepare_mariadb(ask: Ask, limits: Limits, *, reading: bool, snapshot: bool) -> str | None:
    """Like `prepare_postgresql`. `snapshot`: at REPEATABLE READ; on PostgreSQL each transaction says so itself."""
    settings: dict[str, object] = {
        "tx_isolation": "REPEATABLE-READ" if snapshot else "READ-COMMITTED",
        # Without the last one `SET a = a + 1, b = a` gives b the new a: the one place where MariaDB leaves the standard.
        "sql_mode": "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,SIMULTANEOUS_ASSIGNMENT",
        "time_zone": "+00:00",
        "max_statement_time": limits.statement_s,
        # Whole seconds; 0 would be at once for locks, and never for idle transactions. Settings ask for a ttl of more than 3 s.
        "innodb_lock_wait_timeout": max(1, int(limits.lock_s)),
        "idle_transaction_timeout": max(1, int(limits.idle_s)),
        "wsrep_dirty_reads": 0,
        # Not yet: asked to wait for a cluster that it has lost, a node says of every question that a lock took too long.
        "wsrep_sync_wait": 0,
    }
    # Known to every MariaDB, also to one without a provider, where waiting for the cluster means nothing.
    ask(f"SET {', '.join(f'SESSION {name} = %s' for name in settings)}", tuple(settings.values()))
    (state,) = ask(MARIADB_STATE, ())
    if refusal := mariadb_refusal(*state, reading=reading):
        return refusal
    ask(CATCH_UP, ())
    return None


def mariadb_refusal(read_only: int, clustered: int, ready: str, /, *, reading: bool) -> str | None:
    """Why a MariaDB server would refuse what a session is for, from its answer to MARIADB_STATE; None when it would not."""
    if clustered and ready != "ON":
        return "this Galera node is outside the primary component, or does not have all its data yet"
    return "this server is set to read-only" if read_only and not reading else None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
