"""What projects are charged, held against what they have (*Accounts*), a few projects at a time; and the repair of one.

Nothing should ever differ: a charge is written with the resource itself. So this is looked at to find out about a mistake of
ours, or a database that was restored or edited, before a user does. `store.check` asks the same of all tables at once.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    String,
    Table,
    bindparam,
    func,
    insert,
    literal_column,
    null,
    select,
    union_all,
    update,
)

from breezeblock.model.errors import Contended
from breezeblock.model.ids import Incarnation
from breezeblock.resources import quotas
from breezeblock.store.tables import backups, nodes, quota_usage, snapshots, volume_groups, volumes
from breezeblock.store.type_accounts import has_named

EVENT: Final = "quota_check_failed"
# A project that has more than can be counted in the time of a statement.
LATE: Final = "quota_check_skipped"


class Difference(NamedTuple):
    """One account that is wrong. `resource` is its key: a type's account is named by the type's id."""

    project_id: str
    resource: str
    charged: int
    due: int

    def __str__(self) -> str:
        return f"Project {self.project_id} is charged {self.charged} {self.resource}, but has {self.due}."


def turn(tx: Connection, *, cluster: str, me: Incarnation, after: str | None, most: int) -> list[str] | None:
    """So many of the projects that come `after` that one (None: no project).

    None when this is for another node to do: the first of the cluster's live ones. That two of them think so for a moment costs
    a few reads.
    """
    if tx.execute(_FIRST, {"in_cluster": cluster}).scalar() != me:
        return None
    return [] if after is None else list(tx.execute(_NEXT.limit(most), {"after": after}).scalars())


def look(tx: Connection, *, project_ids: Sequence[str]) -> list[Difference] | None:
    """What is wrong with the accounts of these. Runs on one snapshot, in which charges and resources agree at any time.

    None while there are accounts as a process of the release before writes them, which are moved in a moment: of that very
    snapshot, since one that was moved in between would be missed.
    """
    if has_named(tx):
        return None
    return [one for project_id in project_ids for one in differences(tx, project_id)]


def differences(tx: Connection, project_id: str) -> list[Difference]:
    """Every account of a project that is not the sum of what it has. One statement."""
    charged, due = _read(tx, project_id)
    return _compared(project_id, charged, due)


def recount(tx: Connection, *, project_id: str) -> list[Difference]:
    """Charge a project for what it has, and return what was wrong. Raises Contended.

    All its accounts are held first, by a write that changes them. Who has changed a resource and not yet the account waits, and
    adds to what is found here; who has changed both is seen. An account that somebody makes after it was read is met at its
    key; one that was made between the hold and the reading is not held, and may be charged again before it is corrected.
    """
    of_project = update(quota_usage).where(quota_usage.c.project_id == project_id)
    number = tx.execute(of_project.values(in_use=quota_usage.c.in_use + 1)).rowcount
    held, due = _read(tx, project_id)
    if len(held) != number:
        raise Contended(f"Project {project_id} has got another account while its accounts were held.")
    for resource in sorted(held):
        tx.execute(of_project.where(quota_usage.c.resource == resource).values(in_use=due[resource]))
    missing = [
        {"project_id": project_id, "resource": one, "in_use": due[one]} for one in sorted(due.keys() - held.keys())
    ]
    if missing:
        tx.execute(insert(quota_usage), missing)
    return _compared(project_id, {resource: in_use - 1 for resource, in_use in held.items()}, due)


def _read(tx: Connection, project_id: str) -> tuple[dict[str, int], Counter[str]]:
    """What a project is charged, and what it has, as of one instant."""
    charged: dict[str, int] = {}
    due: Counter[str] = Counter()
    for row in tx.execute(_SUMS, {"project": project_id}):
        if row.what == _CHARGED:
            charged[row.detail] = int(row.number)
        else:
            due.update(_DELTAS[row.what](int(row.number), int(row.gib), row.detail))
    return charged, due


def _compared(project_id: str, charged: Mapping[str, int], due: Counter[str]) -> list[Difference]:
    return [
        Difference(project_id, resource, charged.get(resource, 0), due[resource])
        for resource in sorted(charged.keys() | due.keys())
        if charged.get(resource, 0) != due[resource]
    ]


_CHARGED: Final = "charged"
_DELTAS: Final[Mapping[str, Callable[[int, int, str | None], Mapping[str, int]]]] = {
    "volumes": lambda number, gib, type_id: quotas.volume_deltas(volumes=number, gib=gib, type_id=type_id),
    "snapshots": lambda number, gib, type_id: quotas.snapshot_deltas(snapshots=number, gib=gib, type_id=type_id),
    "backups": lambda number, gib, _: quotas.backup_deltas(backups=number, gib=gib),
    "volume_groups": lambda number, gib, _: quotas.group_deltas(groups=number),
}


def _sum_of(
    table: Table, *, gib: ColumnElement[int], by: ColumnElement[str] | None = None
) -> Select[str, str | None, int, int]:
    """How many rows a project has that are charged for, and how many GiB, `by` type where that counts."""
    detail = null() if by is None else by
    found = select(
        literal_column(f"'{table.name}'", String).label("what"),
        detail.label("detail"),
        func.count().label("number"),
        gib.label("gib"),
    )
    found = found.where(table.c.project_id == bindparam("project"), ~table.c.tombstone)
    # Without groups it would be one row of nothing.
    return found.having(func.count() > literal_column("0", BigInteger)) if by is None else found.group_by(by)


def _gib_of(table: Table) -> ColumnElement[int]:
    return func.coalesce(func.sum(table.c.charged_gib), 0)


_SUMS: Final = union_all(
    select(
        literal_column(f"'{_CHARGED}'", String).label("what"),
        quota_usage.c.resource.label("detail"),
        quota_usage.c.in_use.label("number"),
        literal_column("0", BigInteger).label("gib"),
    ).where(quota_usage.c.project_id == bindparam("project")),
    _sum_of(volumes, gib=_gib_of(volumes), by=volumes.c.charged_type_id),
    _sum_of(snapshots, gib=_gib_of(snapshots), by=snapshots.c.charged_type_id),
    _sum_of(backups, gib=_gib_of(backups)),
    _sum_of(volume_groups, gib=literal_column("0", BigInteger)),
)
_FIRST: Final = select(func.min(nodes.c.incarnation)).where(
    nodes.c.cluster == bindparam("in_cluster"), nodes.c.state == "up"
)
_NEXT: Final = (
    select(quota_usage.c.project_id)
    .where(quota_usage.c.project_id > bindparam("after"))
    .distinct()
    .order_by(quota_usage.c.project_id)
)
