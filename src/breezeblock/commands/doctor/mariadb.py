"""What the settings of a MariaDB server, or of a Galera node, mean for who keeps volumes in it."""

import re
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, text

from breezeblock.commands.doctor.capacity import few_connections
from breezeblock.commands.doctor.finding import ERROR, WARNING, Finding, Findings
from breezeblock.settings import Settings
from breezeblock.store.servers import Session

__all__ = ["judge_cluster", "look"]

_GLOBAL: Final = text("SELECT LOWER(variable_name), variable_value FROM information_schema.global_variables")
_SESSION: Final = text("SELECT LOWER(variable_name), variable_value FROM information_schema.session_variables")
_STATUS: Final = text(
    "SELECT LOWER(variable_name), variable_value FROM information_schema.global_status"
    " WHERE variable_name LIKE 'WSREP%' OR variable_name = 'THREADS_CONNECTED'"
)
_CHARSET: Final = text(
    "SELECT default_character_set_name FROM information_schema.schemata WHERE schema_name = DATABASE()"
)
IDLE_LEAST_S: Final = 60
_UNSAFE_QUORUM: Final = re.compile(r"pc\.(ignore_sb|ignore_quorum)\s*=\s*(true|yes|1)", re.IGNORECASE)

Values = Mapping[str, str]


def look(connection: Connection, settings: Settings, url: str) -> Findings:
    """On a session that was set up as all of ours are."""
    of_server, of_session, status = (
        {str(name): str(value) for name, value in connection.execute(asked)} for asked in (_GLOBAL, _SESSION, _STATUS)
    )
    charset: str | None = connection.execute(_CHARSET).scalar()
    connection.rollback()
    clustered = of_server.get("wsrep_on") == "ON"
    yield from _durable(of_server, url)
    yield from _session(of_session, settings, url, clustered=clustered)
    if charset != "utf8mb4":
        yield Finding(
            "database.encoding",
            ERROR,
            f"{url} has the character set {charset}.",
            "Names with letters that it does not know are refused or spoilt.",
            "ALTER DATABASE … CHARACTER SET utf8mb4, before the first start; afterwards a dump and a fresh database.",
        )
    if clustered:
        yield from judge_cluster(of_server, status, url)
    # What is connected now are others, and ourselves if the service runs: it is asked for what is left beside all of ours.
    yield from few_connections(
        settings, url, most=int(of_server["max_connections"]), others=0, option="max_connections"
    )


def _durable(found: Values, url: str) -> Findings:
    if (flush := found["innodb_flush_log_at_trx_commit"]) != "1":
        yield Finding(
            "database.flush",
            ERROR,
            f"{url} runs with innodb_flush_log_at_trx_commit = {flush}.",
            "A power cut takes back what was answered in the second before; on Galera, one of all nodes at once.",
            "SET GLOBAL innodb_flush_log_at_trx_commit = 1, and write it into the server's configuration.",
        )
    if found.get("log_bin") == "ON" and found.get("sync_binlog") != "1":
        yield Finding(
            "database.binlog",
            WARNING,
            f"{url} writes a binary log with sync_binlog = {found.get('sync_binlog')}.",
            "After a power cut a replica may have what the server has not, or lack what it has.",
            "SET GLOBAL sync_binlog = 1, and write it into the server's configuration.",
        )
    if found.get("innodb_doublewrite", "ON").upper() == "OFF":
        yield Finding(
            "database.doublewrite",
            WARNING,
            f"{url} runs with innodb_doublewrite = OFF.",
            "A page that was half-written in a power cut cannot be repaired, unless the filesystem writes whole pages only.",
            "Take innodb_doublewrite out of the server's configuration, and start it again.",
        )


def _session(found: Values, settings: Settings, url: str, *, clustered: bool) -> Findings:
    limits = Session(ttl_s=settings.nodes.ttl_s).limits
    wanted = {"tx_isolation": "READ-COMMITTED", "idle_transaction_timeout": str(max(1, int(limits.idle_s)))}
    if clustered:
        wanted["wsrep_sync_wait"] = "7"
    isolation = found.get("tx_isolation", found.get("transaction_isolation", ""))
    have = {**found, "tx_isolation": isolation}
    if wrong := [
        f"{name} is {have.get(name)} instead of {value}" for name, value in wanted.items() if have.get(name) != value
    ]:
        yield Finding(
            "database.session",
            ERROR,
            f"{url} forgets what a session has set: {', '.join(wrong)}.",
            "A node that is stopped in a transaction would keep its locks, or read the past.",
            "Most likely a proxy gives each transaction another session: connect to the server itself, or by a proxy of TCP.",
        )
    if int(found["wait_timeout"]) < IDLE_LEAST_S:
        yield Finding(
            "database.idle",
            WARNING,
            f"{url} ends sessions that are idle for {found['wait_timeout']} s.",
            "Processes of a quiet service find their connections gone again and again.",
            f"SET GLOBAL wait_timeout = 28800, or at least {IDLE_LEAST_S}, and write it into the server's configuration.",
        )


def judge_cluster(found: Values, status: Values, url: str) -> Findings:
    """What a Galera node says of its cluster."""
    size = int(status.get("wsrep_cluster_size", "0"))
    if status.get("wsrep_cluster_status") != "Primary" or status.get("wsrep_ready") != "ON":
        yield Finding(
            "galera.primary",
            ERROR,
            f"{url} is a Galera node that takes no part: its status is {status.get('wsrep_cluster_status')}.",
            "It answers no question; processes go on to the next URL.",
            "Look at its network and its log; start it again when the other nodes are together.",
        )
    elif size < 3 or size % 2 == 0:
        yield Finding(
            "galera.size",
            WARNING,
            f"The Galera cluster of {url} has {size} node{'s' * (size != 1)} now.",
            "When half of it is lost there is no majority, and everything stops until it is back.",
            "Three nodes, or five; or an arbitrator (garbd) beside an even number, which this cannot see.",
        )
    if _UNSAFE_QUORUM.search(found.get("wsrep_provider_options", "")):
        yield Finding(
            "galera.quorum",
            ERROR,
            f"{url} goes on without a majority (pc.ignore_sb or pc.ignore_quorum).",
            "Two halves of a cluster both take writes, and no two nodes know the same volumes.",
            "Take both out of wsrep_provider_options.",
        )
