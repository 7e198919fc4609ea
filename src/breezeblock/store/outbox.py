"""Events, written by the transaction that they tell of: either all of a change is there, with its events, or none of it.

Where somebody is to be told (`Store(receivers=…)`), each attempt of a transaction has an outbox on its connection. Whoever
changes a status, begins or ends an operation notes it there; the last statements of the attempt write what was noted. Where
nobody is, there is no outbox, and nothing is asked or written.

The order of a resource's events is that of their `op_seq`, which the transaction has raised and holds until it commits: who
sees one event of a resource sees all before it. Ids and times are drawn before the first attempt, so a repeat writes the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import msgspec
from sqlalchemy import Connection, Select, Table, bindparam, func, insert, select

from breezeblock.model.events import ATTACHMENT, BEGUN, ENDED, EXISTS, STATUS, UPDATED, Event
from breezeblock.model.origin import Origin
from breezeblock.store import tables

__all__ = ["Asked", "Outbox", "Post", "attachments_of", "outbox_of"]

_KEY: Final = "breezeblock.outbox"
# Tables that are not called as what they have.
_CALLED: Final = {"volume_groups": "group"}
# Told with what they belong to, as it is told: their rows come and go with its, and some of them are nobody's to see.
_PARTS: Final = frozenset({tables.attachments.name})
# The place of what has no row: after all that its row has told, if there was one.
_AFTER_ALL: Final = 1 << 52
_NAMESPACE: Final = uuid5(NAMESPACE_URL, "breezeblock/events")
DELETED: Final = "deleted"
# A sentence fits; an answer that an operation was asked for, which may be a long list, is nobody's news.
_DETAIL_MOST: Final = 1024
# Nobody outside has any use for these, or may see them: places in lines, names on storage, what connects to a volume.
_KEPT_BACK: Final = frozenset(
    {"op_seq", "tombstone", "object_name", "manifest", "pin", "archive_id", "admin_metadata_json", "charged_type_id"}
    | {"charged_gib", "connector_json", "connection_json", "data_us", "temp_volume_id"}
)
_SECRET: Final = ("password", "secret", "auth_key", "token")
# What of an attachment is told: who has the volume, never how it is connected to it.
_SHOWN: Final = ("id", "instance_uuid", "attached_host", "mountpoint", "attach_mode", "status")


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for what is going on, as far as it is known."""

    request_id: str
    project_id: str
    user_id: str


NOBODY: Final = Asked("", "", "")


@dataclass(frozen=True, slots=True)
class Post:
    """For one transaction: who is to be told of it, and what must not be drawn twice."""

    receivers: Sequence[str]
    tx_id: str
    at_us: int
    origin: Origin | None


@dataclass(slots=True)
class _Noted:
    table: Table | None
    resource_type: str
    resource_id: str
    told: dict[str, Any]
    asked: Asked | None = None
    place: int = 0


class Outbox:
    """What one attempt of a transaction has to tell."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._noted: list[_Noted] = []
        # The last that is known of rows: what a row that is gone by the end of the transaction is told as.
        self._rows: dict[tuple[str, str], Mapping[str, Any]] = {}
        origin = post.origin
        self._asked = NOBODY if origin is None else Asked(origin.request_id, origin.project_id, origin.user_id)

    # --- noting -----------------------------------------------------------------------------------------------------

    def status(self, table: Table, row: Mapping[str, Any], *, before: str | None, after: str, transition: str) -> None:
        """A row's status has changed; `row` is as it is now. `before` is None for a new row."""
        if table.name in _PARTS:
            self._attachment(row, {"before": before, "after": after, "transition": transition})
            return
        self._rows[table.name, row["id"]] = row
        told = {"what": STATUS, "before": before, "after": after, "transition": transition}
        self._noted.append(_Noted(table, type_of(table), row["id"], told))

    def _attachment(self, row: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Told of its volume, whose row is held by whoever changes an attachment."""
        if not row["bare"]:
            more = {"what": ATTACHMENT, "attachment_id": row["id"], **told}
            self._noted.append(_Noted(tables.volumes, "volume", row["volume_id"], more, place=_AFTER_ALL))

    def new(self, table: Table, row: Mapping[str, Any]) -> None:
        """A row was made."""
        self.status(table, row, before=None, after=row["status"], transition=f"{type_of(table)}.new")

    def gone(self, table: Table, row: Mapping[str, Any]) -> None:
        """A row was removed; `row` is as it was last."""
        after = dict(row) | {"status": DELETED}
        self.status(table, after, before=row["status"], after=DELETED, transition=f"{type_of(table)}.gone")

    def last(self, table: Table, row: Mapping[str, Any]) -> None:
        """A row that was told as deleted before goes now: what else this transaction tells of it has its place."""
        self._rows[table.name, row["id"]] = row

    def updated(self, table: Table, row_id: str) -> None:
        """What its owner may set of a row was set, or it was given to somebody else."""
        self._noted.append(_Noted(table, type_of(table), row_id, {"what": UPDATED}))

    def exists(self, table: Table, row_id: str, *, begins_us: int, ends_us: int) -> None:
        """There was the row in this period. Under the same id whenever it is told, and to whomever."""
        told = {"what": EXISTS, "begins_us": begins_us, "ends_us": ends_us}
        self._noted.append(_Noted(table, type_of(table), row_id, told))

    def begun(self, job: Any, *, operation_id: str, locks: Sequence[Any], asked: Asked) -> None:
        """An operation was enqueued; `job` says its kind and its resource, `locks` its places in line."""
        self._operation(BEGUN, job, operation_id, asked, locks)

    def ended(self, claim: Any, *, outcome: str, detail: str | None, asked: Asked) -> None:
        """An operation is over; `claim` says its kind and its resource."""
        self._asked = asked
        told = None if detail is None else detail[:_DETAIL_MOST]
        self._operation(ENDED, claim, claim.operation_id, asked, claim.locks, outcome=outcome, detail=told)

    def _operation(
        self, what: str, of: Any, operation_id: str, asked: Asked, locks: Sequence[Any], **more: Any
    ) -> None:
        told = {"what": what, "operation_id": operation_id, "kind": of.kind, **more}
        place = next((at.seq for at in locks if at.resource_id == of.resource_id), _AFTER_ALL)
        self._noted.append(_Noted(table_of(of.resource_type), of.resource_type, of.resource_id, told, asked, place))

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, tx: Connection) -> None:
        """Write what was noted, for each receiver. The last word of a transaction."""
        if not self._noted:
            return
        rows = dict(self._rows)
        wanted: dict[Table, set[str]] = {}
        for one in self._noted:
            if one.table is not None:
                wanted.setdefault(one.table, set()).add(one.resource_id)
        for table in sorted(wanted, key=lambda table: table.name):
            for row in tx.execute(_read(table), {"ids": sorted(wanted[table])}).mappings():
                rows[table.name, row["id"]] = dict(row)
        attached = attachments_of(tx, sorted(wanted.get(tables.volumes, ())))
        zones = self._zones(tx, rows)
        self._count_dependents(tx, rows)
        written = []
        for number, one in enumerate(self._noted):
            event = self._event(one, number, rows, attached, zones)
            text = msgspec.json.encode(event).decode()
            for receiver in self._post.receivers:
                written.append(
                    {
                        "receiver": receiver,
                        "id": event.id,
                        "resource_id": event.resource_id,
                        "op_seq": event.seq,
                        "number": event.number,
                        "at_us": event.at_us,
                        "event_json": text,
                    }
                )
        tx.execute(_INSERT, written)

    def _event(
        self,
        one: _Noted,
        number: int,
        rows: Mapping[tuple[str, str], Mapping[str, Any]],
        attached: Mapping[str, list[dict[str, Any]]],
        zones: Mapping[str, str],
    ) -> Event:
        row = rows.get((one.table.name, one.resource_id)) if one.table is not None else None
        shown = {} if row is None else _shown(row)
        if one.told["what"] == STATUS and one.told["after"] == DELETED:
            shown["status"] = DELETED  # a tombstone says so by itself, a row that was removed does not
        if one.resource_type == "snapshot" and shown.get("volume_id") in zones:
            shown["availability_zone"] = zones[shown["volume_id"]]
        asked = one.asked or self._asked
        return Event(
            id=_id(one, f"{self._post.tx_id} {number}"),
            resource_type=one.resource_type,
            resource_id=one.resource_id,
            # What has no row of its own is in order by the places of the operations on it.
            seq=one.place if row is None else row["op_seq"],
            number=int(one.told["what"] == ENDED) if row is None else number,
            at_us=self._post.at_us,
            request_id=asked.request_id,
            project_id=asked.project_id,
            user_id=asked.user_id,
            resource=shown,
            attachments=attached.get(one.resource_id, []) if one.resource_type == "volume" else [],
            **one.told,
        )

    @staticmethod
    def _count_dependents(tx: Connection, rows: dict[tuple[str, str], Mapping[str, Any]]) -> None:
        """Of backups: how many others are made upon each."""
        ids = sorted(id_ for name, id_ in rows if name == tables.backups.name)
        if ids:
            counts = {row.parent_id: row.many for row in tx.execute(_DEPENDENTS, {"ids": ids})}
            for id_ in ids:
                key = tables.backups.name, id_
                rows[key] = {**rows[key], "dependent_backups": counts.get(id_, 0)}

    @staticmethod
    def _zones(tx: Connection, rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> dict[str, str]:
        """The zones of snapshots' volumes: a snapshot is where its volume is, and has no column for it."""
        ids = sorted({row["volume_id"] for (name, _), row in rows.items() if name == tables.snapshots.name})
        return {row.id: row.availability_zone for row in tx.execute(_ZONES, {"ids": ids})} if ids else {}


def _id(one: _Noted, place: str) -> str:
    """Of what is told by a transaction its place in that; of what anybody may tell again, what it says."""
    if one.told["what"] == EXISTS:
        place = f"{EXISTS} {one.told['begins_us']} {one.told['ends_us']} {one.resource_id}"
    return str(uuid5(_NAMESPACE, place))


def outbox_of(tx: Connection) -> Outbox | None:
    """The outbox of the transaction that is under way on this connection; None where nobody is to be told."""
    found: Outbox | None = tx.info.get(_KEY)
    return found


def put(tx: Connection, box: Outbox | None) -> None:
    """Give a transaction its outbox, or take it away at its end: connections are used again."""
    if box is None:
        tx.info.pop(_KEY, None)
    else:
        tx.info[_KEY] = box


def type_of(table: Table) -> str:
    """What a row of it is called: `volumes` has volumes."""
    return _CALLED.get(table.name, str(table.name).removesuffix("s"))


def table_of(resource_type: str) -> Table | None:
    """Where a resource has its row, if it is one that users know: with a status, and written by whoever changes it."""
    named = next((name for name, called in _CALLED.items() if called == resource_type), f"{resource_type}s")
    table = tables.metadata.tables.get(named)
    if table is None or named in _PARTS:
        return None
    return table if {"id", "op_seq", "status", "project_id"} <= set(table.c.keys()) else None


def attachments_of(tx: Connection, volume_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """By volume: its attachments, as they may be told."""
    if not volume_ids:
        return {}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in tx.execute(_ATTACHMENTS, {"ids": list(volume_ids)}).mappings():
        if not row["bare"]:
            found.setdefault(row["volume_id"], []).append({name: row[name] for name in _SHOWN})
    return found


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as receivers may see it: what is stored as JSON is told as what it says."""
    shown = {}
    for name, value in row.items():
        if name in _KEPT_BACK or any(word in name for word in _SECRET):
            continue
        if name.endswith("_json"):
            shown[name.removesuffix("_json")] = None if value is None else msgspec.json.decode(value)
        else:
            shown[name] = value
    return shown


def _read(table: Table) -> Select[Any]:
    return select(table).where(table.c.id.in_(bindparam("ids", expanding=True)))


_ATTACHMENTS: Final = (
    select(tables.attachments)
    .where(tables.attachments.c.volume_id.in_(bindparam("ids", expanding=True)))
    .order_by(tables.attachments.c.id)
)
_ZONES: Final = select(tables.volumes.c.id, tables.volumes.c.availability_zone).where(
    tables.volumes.c.id.in_(bindparam("ids", expanding=True))
)
_DEPENDENTS: Final = (
    select(tables.backups.c.parent_id, func.count().label("many"))
    .where(tables.backups.c.parent_id.in_(bindparam("ids", expanding=True)), tables.backups.c.tombstone.is_(False))
    .group_by(tables.backups.c.parent_id)
)
_INSERT: Final = insert(tables.events)
