"""Log levels that operators set while services run: what was said, and what each process tells of itself.

All that was said is one row, which every process reads every few seconds: so a process that starts later, or could not reach
the database, obeys as well. What several words say about one logger is settled by their order; the last counts.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from breezeblock.model.errors import BadRequest
from breezeblock.resources.services import BACKUP, SCHEDULER, VOLUME, list_services
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import log_levels, log_reports

API: Final = "cinder-api"
# Of services; what stands for all of them is the empty text.
BINARIES: Final = (SCHEDULER, VOLUME, BACKUP, API)
# Words that are kept at the same time: each process reads all of them, and a keeper is sent them in one line.
SAID_MOST: Final = 32
# A process tells anew what it has; one that has not done so for three times as long is not there any more.
REPORT_EVERY_S: Final = 60.0
_SILENT_US: Final = int(3 * REPORT_EVERY_S * 1_000_000)
_ALL: Final = "all"


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A word: of which services on which host or cluster the loggers whose names begin so write from which level on."""

    binary: str
    server: str
    prefix: str
    level: str

    def covers(self, other: "Said") -> bool:
        """Whether nothing is left of an earlier word."""
        return (
            self.binary in ("", other.binary)
            and self.server in ("", other.server)
            and other.prefix.startswith(self.prefix)
        )


class Who(NamedTuple):
    """A process as operators know it: the services that it is, and the names of its host."""

    binaries: frozenset[str]
    servers: frozenset[str]

    def is_meant_by(self, said: Said) -> bool:
        return (not said.binary or said.binary in self.binaries) and (not said.server or said.server in self.servers)


class Report(NamedTuple):
    """The loggers of a service and their levels."""

    binary: str
    host: str
    levels: Mapping[str, str]


# --- what operators say -----------------------------------------------------------------------------------------------


def say(tx: Connection, *, said: Said) -> None:
    """Keep one more word. Raises BadRequest: too many. Two first ones at once meet at the key, and one runs again."""
    there = update(log_levels).where(log_levels.c.id == _ALL)
    if tx.execute(there.values(op_seq=log_levels.c.op_seq + 1)).rowcount == 0:
        tx.execute(insert(log_levels).values(id=_ALL, op_seq=1, said_json="[]"))
    before = read(tx)[1]
    kept = [*(one for one in before if not said.covers(one)), said]
    if len(kept) > SAID_MOST:
        raise BadRequest(
            f"Invalid prefix {said.prefix!r}: {SAID_MOST} levels are set already; set one for a shorter prefix, or for all "
            "services, which replaces those that it covers."
        )
    tx.execute(there.values(said_json=msgspec.json.encode(kept).decode()))


def read(tx: Connection) -> tuple[int, Sequence[Said]]:
    """All that was said, in order, and its number: the same number is the same words. One statement."""
    row = tx.execute(select(log_levels.c.op_seq, log_levels.c.said_json).where(log_levels.c.id == _ALL)).first()
    return (0, ()) if row is None else (row.op_seq, msgspec.json.decode(row.said_json, type=list[Said]))


def call_otherwise(tx: Connection, called: Callable[[str], str | None]) -> int:
    """Keep what was said when hosts and clusters are called otherwise, or are none any more (None). Returns how many words."""
    there = update(log_levels).where(log_levels.c.id == _ALL)
    if tx.execute(there.values(op_seq=log_levels.c.op_seq + 1)).rowcount == 0:
        return 0
    before = read(tx)[1]
    by_now = [(said, called(said.server) if said.server else "") for said in before]
    kept = [msgspec.structs.replace(said, server=server) for said, server in by_now if server is not None]
    tx.execute(there.values(said_json=msgspec.json.encode(kept).decode()))
    return sum(said.server != server for said, server in by_now)


def forget_host(tx: Connection, *, binary: str, host: str) -> None:
    """Forget what the processes of a host have told."""
    tx.execute(delete(log_reports).where(log_reports.c.binary == binary, log_reports.c.host == host))


# --- what processes tell ----------------------------------------------------------------------------------------------


def report(tx: Connection, *, process_id: str, binary: str, host: str, levels: Mapping[str, str]) -> None:
    """Tell which levels the loggers of a process have. Forgets who has not told anything for a day."""
    values = {"levels_json": json.dumps(dict(levels)), "reported_at_us": db_now_us()}
    mine = update(log_reports).where(log_reports.c.id == process_id)
    if tx.execute(mine.values(**values)).rowcount == 0:
        tx.execute(insert(log_reports).values(id=process_id, binary=binary, host=host, **values))
    silent = select(log_reports.c.id).where(log_reports.c.reported_at_us < db_now_us() - 24 * 3600 * 1_000_000)
    if ids := tx.execute(silent).scalars().all():
        tx.execute(delete(log_reports).where(log_reports.c.id.in_(ids)))


def reports(
    tx: Connection, *, binary: str, server: str, prefix: str, own_cluster: str, default_zone: str
) -> list[Report]:
    """The levels of every live service that is meant, by binary and host. Five statements.

    What a service says of itself may be some seconds old. Placement is done by API processes, so what they have is the
    scheduler's; and whoever makes volumes makes backups.
    """
    told = _told(tx, prefix)
    of_apis = [(API, host, {host}, levels) for (of, host), levels in told.items() if of == API]
    schedules = [one for _, _, _, levels in of_apis for one in levels][:1]
    found = list(of_apis)
    for service in list_services(tx, own_cluster=own_cluster, default_zone=default_zone):
        if not service.up:
            continue
        node = service.host.rpartition("@")[0]
        if service.binary == SCHEDULER:
            found.append((SCHEDULER, service.host, {service.host}, schedules))
            continue
        levels = told.get((VOLUME, node), [])
        found.append((VOLUME, service.host, {service.host, service.queue or "", node}, levels))
        if (BACKUP, node) not in (one[:2] for one in found):
            found.append((BACKUP, node, {node}, levels))
    wanted = [
        Report(of, host, levels)
        for of, host, names, several in found
        for levels in several
        if binary in ("", of) and (not server or server in names)
    ]
    return sorted(wanted, key=lambda one: (one.binary, one.host))


def _told(tx: Connection, prefix: str) -> dict[tuple[str, str], list[dict[str, str]]]:
    """What live processes say, by binary and host. Those of one host say the same, but for a few seconds after a change.

    A node has one worker at a time: what the one before said, which was killed, is over when its successor says something.
    """
    told = log_reports.c.reported_at_us
    fresh = select(log_reports).where(told >= db_now_us() - _SILENT_US).order_by(told, log_reports.c.id)
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in tx.execute(fresh).mappings():
        levels = {name: one for name, one in json.loads(row["levels_json"]).items() if name.startswith(prefix)}
        several = found.setdefault((row["binary"], row["host"]), [])
        if row["binary"] == VOLUME:
            several.clear()
        if levels not in several:
            several.append(levels)
    return found
