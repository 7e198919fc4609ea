"""Accounts of a project: what it uses, charged in the same transaction as the resource itself.

There are no reservations to commit, roll back or leak: a charge is there exactly when the resource is. Rows are written
first and checked afterwards, so two requests that would both just fit cannot both pass.
"""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Connection,
    Update,
    and_,
    bindparam,
    case,
    func,
    insert,
    select,
    update,
)

from breezeblock.model.errors import Contended, OverQuota
from breezeblock.model.ids import ProjectId
from breezeblock.store.dialects import locks_in_key_order
from breezeblock.store.tables import quota_classes, quota_usage, quotas, snapshots, volume_types

UNLIMITED = -1
# Among the defaults: 0 where snapshots do not count in gigabytes. One without it is of a release in which they always did.
SNAPSHOTS_USE_GIGABYTES: Final = "snapshots_use_gigabytes"


class ByProject(NamedTuple):
    """Limits where the API has set none, for who may change what any project has: the settings', and what identity says."""

    settings: Mapping[str, int]
    told: Mapping[str, Mapping[str, int]]

    def of(self, project_id: str) -> Mapping[str, int]:
        """A project's."""
        return dict(self.settings) | dict(self.told.get(project_id, {}))


Defaults = Mapping[str, int] | ByProject

_OWN_SIZE = select(quotas.c.hard_limit).where(
    quotas.c.project_id == bindparam("project"), quotas.c.resource == "per_volume_gigabytes"
)
_CLASS_SIZE = select(quota_classes.c.hard_limit).where(
    quota_classes.c.class_name == "default", quota_classes.c.resource == "per_volume_gigabytes"
)
_OF_SNAPSHOTS = (
    select(snapshots.c.charged_type_id, func.sum(snapshots.c.charged_gib).label("gib"))
    .where(snapshots.c.project_id == bindparam("project"), ~snapshots.c.tombstone)
    .group_by(snapshots.c.charged_type_id)
)
_LARGEST = select(_OWN_SIZE.scalar_subquery().label("own"), _CLASS_SIZE.scalar_subquery().label("common"))


def volume_deltas(*, volumes: int, gib: int, type_id: str | None) -> dict[str, int]:
    """What `volumes` volumes of together `gib` GiB, of one type, are charged as.

    A type's accounts are kept under its id: its name may change between a charge and the refund.
    """
    deltas = {"volumes": volumes, "gigabytes": gib}
    if type_id is not None:
        deltas |= {f"volumes_{type_id}": volumes, f"gigabytes_{type_id}": gib}
    return deltas


def snapshot_deltas(*, snapshots: int, gib: int, type_id: str | None) -> dict[str, int]:
    """What `snapshots` snapshots of together `gib` GiB are charged as: they count as gigabytes, too."""
    deltas = {"snapshots": snapshots, "gigabytes": gib}
    if type_id is not None:
        deltas |= {f"snapshots_{type_id}": snapshots, f"gigabytes_{type_id}": gib}
    return deltas


def backup_deltas(*, backups: int, gib: int) -> dict[str, int]:
    """What `backups` backups of volumes of together `gib` GiB are charged as, however little they store."""
    return {"backups": backups, "backup_gigabytes": gib}


def group_deltas(*, groups: int) -> dict[str, int]:
    """What groups of volumes are charged as; their volumes are charged as any other."""
    return {"groups": groups}


def difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What `before` was charged more than `after`: to be refunded to get from the one to the other."""
    return {resource: before.get(resource, 0) - after.get(resource, 0) for resource in before.keys() | after.keys()}


def charge(
    tx: Connection,
    project_id: ProjectId,
    deltas: Mapping[str, int],
    *,
    defaults: Defaults,
    of_snapshots: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Add to a project's usage. Raises OverQuota, naming the first limit that this would break.

    `defaults` are the limits of the settings; a project's own row wins over the class "default", which wins over them.
    `of_snapshots` is what of the deltas is for snapshots, whose rows are the project's already unless nothing else is charged.
    """
    _add(tx, project_id, deltas)
    unset = _unset(defaults, project_id)
    free = not counts_snapshots(unset)
    if free:
        deltas = {name: delta - _gigabytes(of_snapshots).get(name, 0) for name, delta in deltas.items()}
    raised = [resource for resource, delta in deltas.items() if delta > 0]
    spared = snapshot_gigabytes(tx, project_id) if free and _gigabytes(dict.fromkeys(raised, 1)) else {}
    for row in tx.execute(_limits(), {"project": project_id, "resources": raised}).mappings():
        limit = row["project_limit"]
        limit = row["class_limit"] if limit is None else limit
        limit = unset.get(row["resource"], UNLIMITED) if limit is None else limit
        in_use = row["in_use"] - spared.get(row["resource"], 0)
        if limit != UNLIMITED and in_use > limit:
            delta = deltas[row["resource"]]
            before = in_use - delta
            raise OverQuota(
                f"Quota exceeded for {_shown(tx, row['resource'])}: requested {delta}, in use {before}, limit {limit}. "
                f"Delete something first, or ask an administrator for a higher limit."
            )


def counts_snapshots(defaults: Mapping[str, int]) -> bool:
    """Whether snapshots count in gigabytes. They are charged in any case: so this may be changed at any time."""
    return bool(defaults.get(SNAPSHOTS_USE_GIGABYTES, 1))


def snapshot_gigabytes(tx: Connection, project_id: str) -> dict[str, int]:
    """By account, what of a project's gigabytes is its snapshots'.

    Whoever changes that changes the account as well. So where the account is held, this is of the same moment.
    """
    found: dict[str, int] = {}
    for row in tx.execute(_OF_SNAPSHOTS, {"project": project_id}):
        for name, gib in _gigabytes(
            snapshot_deltas(snapshots=0, gib=int(row.gib), type_id=row.charged_type_id)
        ).items():
            found[name] = found.get(name, 0) + gib
    return found


def _gigabytes(deltas: Mapping[str, int]) -> dict[str, int]:
    return {name: delta for name, delta in deltas.items() if name.partition("_")[0] == "gigabytes"}


def refund(tx: Connection, project_id: str, deltas: Mapping[str, int]) -> None:
    """Take from a project's usage what was charged before. No limit can be in the way of it."""
    _add(tx, project_id, {resource: -delta for resource, delta in deltas.items()})


def check_volume_size(tx: Connection, project_id: str, size_gib: int, *, defaults: Defaults) -> None:
    """Raise OverQuota when one volume of this size is more than the project may have in one piece."""
    refuse_larger(size_gib, largest_volume(tx, project_id, defaults=defaults))


def largest_volume(tx: Connection, project_id: str, *, defaults: Defaults) -> int:
    """How many GiB the project may have in one piece; -1 is unlimited."""
    said = tx.execute(_LARGEST, {"project": project_id}).one()
    if (limit := said.common if said.own is None else said.own) is not None:
        return int(limit)
    return _unset(defaults, project_id).get("per_volume_gigabytes", UNLIMITED)


def refuse_larger(size_gib: int, limit: int) -> None:
    """Raise OverQuota when a volume is larger than its project may have in one piece."""
    if limit != UNLIMITED and size_gib > limit:
        raise OverQuota(f"A volume of {size_gib} GiB is larger than the limit of {limit} GiB for one volume.")


def _unset(defaults: Defaults, project_id: str) -> Mapping[str, int]:
    """What a project may have where nothing was set."""
    return defaults.of(project_id) if isinstance(defaults, ByProject) else defaults


def _shown(tx: Connection, resource: str) -> str:
    """What the API calls an account: that of a type by the type's name."""
    noun, _, type_id = resource.partition("_")
    name = tx.execute(_TYPE_NAME, {"type": type_id}).scalar()
    return resource if name is None else f"{noun}_{name}"


def _add(tx: Connection, project_id: str, deltas: Mapping[str, int]) -> None:
    """Change the rows in the order of their names, so that of two projects' requests none waits for the other in a circle.

    A row that is missing is made. One that somebody else makes between our update and our look would be left out by us: the
    count of what is missing tells, and then the whole transaction runs again.
    """
    changes = [
        {"project": project_id, "name": resource, "delta": delta} for resource, delta in sorted(deltas.items()) if delta
    ]
    if not changes:
        return
    missed = len(changes) - _add_there(tx, project_id, changes)
    if not missed:
        return
    names = [change["name"] for change in changes]
    there = set(tx.execute(_THERE, {"project": project_id, "names": names}).scalars())
    first = [
        {"project_id": project_id, "resource": change["name"], "in_use": change["delta"]}
        for change in changes
        if change["name"] not in there
    ]
    if len(first) != missed:
        raise Contended("somebody else has made the account's row meanwhile")
    tx.execute(_MAKE, first)


def _add_there(tx: Connection, project_id: str, changes: Sequence[Mapping[str, Any]]) -> int:
    """Change the rows that are there; returns how many.

    One statement for each, in order, where one for all would lock them in any order: PostgreSQL, which is sent them together.
    """
    if not locks_in_key_order(tx):
        return tx.execute(_ADD, changes).rowcount
    values = {f"name_{i}": change["name"] for i, change in enumerate(changes)}
    values |= {f"delta_{i}": change["delta"] for i, change in enumerate(changes)}
    return tx.execute(_add_all(len(changes)), {"project": project_id} | values).rowcount


@functools.cache
def _add_all(count: int) -> Update:
    names: list[BindParameter[str]] = [bindparam(f"name_{i}") for i in range(count)]
    deltas = [bindparam(f"delta_{i}", type_=BigInteger()) for i in range(count)]
    delta = case(*((quota_usage.c.resource == name, delta) for name, delta in zip(names, deltas, strict=True)), else_=0)
    theirs = (quota_usage.c.project_id == bindparam("project"), quota_usage.c.resource.in_(names))
    return update(quota_usage).where(*theirs).values(in_use=quota_usage.c.in_use + delta)


_TYPE_NAME = select(volume_types.c.name).where(volume_types.c.id == bindparam("type"))
_ADD = (
    update(quota_usage)
    .where(quota_usage.c.project_id == bindparam("project"), quota_usage.c.resource == bindparam("name"))
    .values(in_use=quota_usage.c.in_use + bindparam("delta", type_=BigInteger()))
)
_THERE = select(quota_usage.c.resource).where(
    quota_usage.c.project_id == bindparam("project"),
    quota_usage.c.resource.in_(bindparam("names", expanding=True)),
)
_MAKE = insert(quota_usage)


@functools.cache
def _limits() -> Any:

    return (
        select(
            quota_usage.c.resource,
            quota_usage.c.in_use,
            quotas.c.hard_limit.label("project_limit"),
            quota_classes.c.hard_limit.label("class_limit"),
        )
        .select_from(
            quota_usage.outerjoin(
                quotas,
                and_(quotas.c.project_id == quota_usage.c.project_id, quotas.c.resource == quota_usage.c.resource),
            ).outerjoin(
                quota_classes,
                and_(quota_classes.c.class_name == "default", quota_classes.c.resource == quota_usage.c.resource),
            )
        )
        .where(
            quota_usage.c.project_id == bindparam("project"),
            quota_usage.c.resource.in_(bindparam("resources", expanding=True)),
        )
        .order_by(quota_usage.c.resource)
    )
