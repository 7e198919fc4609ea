"""What a policy of backups looks at, and the one request that it makes in a form of its own.

Which backups stay is decided by `model.keeping`. Here is of which volumes, among which of their backups; and all that follows
is made of ordinary requests, with their conditions and quotas.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, select

from breezeblock.model import states
from breezeblock.model.errors import BadRequest
from breezeblock.model.keeping import Candidate, Keep, choose, has_one_now, zone_named
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewBackup
from breezeblock.resources import backups as requests
from breezeblock.resources.accepted import Accepted
from breezeblock.store.tables import backups, volumes

# The metadata of a backup that names the policy which has made it.
MARK: Final = "backup_policy"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Which volumes a policy is for. What is None chooses nothing out; `metadata` is one key and its value."""

    project_id: str | None = None
    volume_id: str | None = None
    metadata: tuple[str, str] | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """All that a policy says."""

    chosen: Chosen
    keep: Keep
    mark: str | None = None
    """The policy's name, which its backups carry."""
    only_marked: bool = False
    """Backups without the mark are neither counted nor removed."""
    takes: bool = False
    """A backup is made where none is of the shortest period that it is now; of a volume in use from a copy."""
    incremental: bool = False
    """Where there is one that it can be incremental to."""
    store: str = ""
    """The store of what is made."""
    availability_zone: str | None = None

    def check(self) -> None:
        """Raises BadRequest."""
        if (problem := self.keep.problem()) is not None:
            raise BadRequest(problem)
        if self.mark is not None and not _NAME.fullmatch(self.mark):
            raise BadRequest(
                f"A policy is not called {self.mark!r}: expected up to 64 letters, digits, dots, dashes and underscores."
            )
        if self.takes and self.keep.shortest() is None:
            raise BadRequest(
                "Backups are made once in the shortest period that is kept; expected one of hourly, daily, weekly, monthly, "
                "yearly besides last."
            )
        assert self.mark is not None or not self.only_marked, "a mark has a name"


class Group(NamedTuple):
    """What is decided on together: a project's backups of one volume."""

    volume_id: str
    project_id: str
    is_there: bool
    """Whether the volume is, and is the project's: else nothing can be made."""


class Plan(NamedTuple):
    """What is to be done about a group now. `found`: its rows by id."""

    found: Mapping[str, Mapping[str, Any]]
    verdicts: tuple[Any, ...]
    takes: bool


def groups(tx: Connection, *, chosen: Chosen) -> list[Group]:
    """Everything that a policy is for, in an order of its own: of volumes that are gone, too, unless metadata is asked for."""
    wanted = [~volumes.c.tombstone]
    theirs = [~backups.c.tombstone]
    for column in ("project_id", "volume_id"):
        if (value := getattr(chosen, column)) is not None:
            wanted.append((volumes.c.id if column == "volume_id" else volumes.c[column]) == value)
            theirs.append(backups.c[column] == value)
    there = {
        (row.id, row.project_id)
        for row in tx.execute(select(volumes.c.id, volumes.c.project_id, volumes.c.metadata_json).where(*wanted))
        if chosen.metadata is None or _has(row.metadata_json, chosen.metadata)
    }
    kept = {
        tuple(row) for row in tx.execute(select(backups.c.volume_id, backups.c.project_id).where(*theirs).distinct())
    }
    if chosen.metadata is not None:
        ids = {volume_id for volume_id, _ in there}
        kept = {one for one in kept if one[0] in ids}
    return [
        Group(volume_id, project_id, (volume_id, project_id) in there) for volume_id, project_id in sorted(there | kept)
    ]


def plan(tx: Connection, *, rule: Rule, group: Group, now_us: int) -> Plan:
    """What the rule says of a group."""
    rows = tx.execute(_BACKUPS, {"volume": group.volume_id, "project": group.project_id}).mappings()
    mark = None if rule.mark is None else (MARK, rule.mark)
    found = {
        row["id"]: dict(row)
        for row in rows
        if not rule.only_marked or (mark is not None and _has(row["metadata_json"], mark))
    }
    candidates = [_candidate(row) for row in found.values()]
    unit, zone = rule.keep.shortest(), zone_named(rule.keep.zone)
    assert zone is not None, "checked before"
    takes = rule.takes and group.is_there and unit is not None and not has_one_now(unit, zone, candidates, now_us)
    return Plan(found, tuple(choose(rule.keep, candidates)), takes)


def begin_backup(
    tx: Connection,
    *,
    origin: Origin,
    rule: Rule,
    backup_id: Any,
    archive_id: str,
    group: Group,
    quota_defaults: Mapping[str, int],
) -> Accepted:
    """A policy's backup: of a volume in use, too, and incremental if it may be and can be. Raises as `backups.begin_create`."""
    has_parent = tx.execute(_PARENT, {"volume": group.volume_id, "project": group.project_id}).first() is not None
    wanted = NewBackup(
        id=backup_id,
        volume_id=group.volume_id,  # type: ignore[arg-type]
        store=rule.store,
        container=rule.store,
        archive_id=archive_id,
        name=rule.mark,
        incremental=rule.incremental and has_parent,
        force=True,
        metadata={} if rule.mark is None else {MARK: rule.mark},
        availability_zone=rule.availability_zone,
    )
    return requests.begin_create(tx, origin=origin, wanted=wanted, quota_defaults=quota_defaults)


def _candidate(row: Mapping[str, Any]) -> Candidate:
    at_us = row["created_at_us"] if row["data_timestamp_us"] is None else row["data_timestamp_us"]
    match row["status"]:
        case states.AVAILABLE | states.RESTORING:
            return Candidate(row["id"], at_us, "whole")
        case states.CREATING:
            return Candidate(row["id"], at_us, "making")
        case states.ERROR if row["manifest"] is not None:
            return Candidate(row["id"], at_us, "unclear")
        case _:
            return Candidate(row["id"], at_us, "failed")


def _has(metadata_json: str, pair: tuple[str, str]) -> bool:
    found: dict[str, str] = msgspec.json.decode(metadata_json)
    return found.get(pair[0]) == pair[1]


_OF_GROUP: Final = (
    backups.c.volume_id == bindparam("volume"),
    backups.c.project_id == bindparam("project"),
    ~backups.c.tombstone,
)
_BACKUPS: Final = select(
    *(
        backups.c[name]
        for name in (
            "id",
            "name",
            "status",
            "size_gib",
            "metadata_json",
            "data_timestamp_us",
            "created_at_us",
            "manifest",
        )
    )
).where(*_OF_GROUP, backups.c.status != states.DELETING)
_PARENT: Final = select(backups.c.id).where(*_OF_GROUP, backups.c.status == states.AVAILABLE).limit(1)
