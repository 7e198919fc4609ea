"""What a PostgreSQL server's settings mean for who keeps volumes in it."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, text

from breezeblock.commands.doctor.capacity import few_connections
from breezeblock.commands.doctor.finding import ERROR, WARNING, Finding, Findings
from breezeblock.settings import Settings
from breezeblock.store.servers import Session

__all__ = ["look"]

_ASKED: Final = (
    "fsync", "full_page_writes", "synchronous_commit", "max_connections", "superuser_reserved_connections",
    "server_encoding", "idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_isolation",
)  # fmt: skip
_SETTINGS: Final = text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)")
_USED: Final = text(
    "SELECT count(*) FROM pg_stat_activity WHERE application_name <> 'breezeblock' AND datname IS NOT NULL"
)
# Shorter than this, and pools would lose their connections between two looks of an idle service.
IDLE_LEAST_MS: Final = 60_000


def look(connection: Connection, settings: Settings, url: str) -> Findings:
    """On a session that was set up as all of ours are."""
    rows = connection.execute(_SETTINGS, {"names": list(_ASKED)})
    found: Mapping[str, str] = {str(row.name): str(row.setting) for row in rows}
    connection.rollback()
    yield from _durable(found, url)
    yield from _session(found, settings, url)
    if found["server_encoding"] != "UTF8":
        yield Finding(
            "database.encoding",
            ERROR,
            f"{url} is encoded in {found['server_encoding']}.",
            "Names and descriptions with letters that it does not know are refused.",
            "Make the database anew: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
        )
    most = int(found["max_connections"]) - int(found["superuser_reserved_connections"])
    others: int = connection.execute(_USED).scalar_one()
    yield from few_connections(settings, url, most=most, others=others, option="max_connections")


def _durable(found: Mapping[str, str], url: str) -> Findings:
    if found["fsync"] != "on":
        yield Finding(
            "database.fsync",
            ERROR,
            f"{url} runs with fsync = {found['fsync']}.",
            "A power cut can destroy the whole database.",
            "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();",
        )
    if found["full_page_writes"] != "on":
        yield Finding(
            "database.full_page_writes",
            ERROR,
            f"{url} runs with full_page_writes = {found['full_page_writes']}.",
            "A page that was half-written in a power cut cannot be repaired.",
            "ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf();",
        )
    if found["synchronous_commit"] == "off":
        yield Finding(
            "database.flush",
            ERROR,
            f"{url} runs with synchronous_commit = off.",
            "After a power cut the server may have forgotten what it had answered, such as that a volume was deleted.",
            "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf(); and look for an ALTER ROLE or ALTER DATABASE "
            "that sets it.",
        )


def _session(found: Mapping[str, str], settings: Settings, url: str) -> Findings:
    limits = Session(ttl_s=settings.nodes.ttl_s).limits
    wanted_ms = round(limits.idle_s * 1000)
    if (
        int(found["idle_in_transaction_session_timeout"]) != wanted_ms
        or found["transaction_isolation"] != "read committed"
    ):
        yield Finding(
            "database.session",
            ERROR,
            f"{url} forgets what a session has set: idle_in_transaction_session_timeout is "
            f"{found['idle_in_transaction_session_timeout']} ms instead of {wanted_ms}, the isolation "
            f"{found['transaction_isolation']} instead of read committed.",
            "A node that is stopped in a transaction would keep its locks, and every lease would suffer.",
            "Most likely a pooler gives each transaction another session: connect to the server itself, or pool by sessions.",
        )
    idle_ms = int(found.get("idle_session_timeout", "0"))
    if 0 < idle_ms < IDLE_LEAST_MS:
        yield Finding(
            "database.idle",
            WARNING,
            f"{url} ends sessions that are idle for {idle_ms / 1000:g} s.",
            "Processes of a quiet service find their connections gone again and again.",
            f"ALTER SYSTEM SET idle_session_timeout = 0, or more than {IDLE_LEAST_MS // 1000} s; SELECT pg_reload_conf();",
        )
