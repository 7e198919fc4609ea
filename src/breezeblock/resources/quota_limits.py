"""How much a project may have: which limit counts, and the quotas that come and go with volume types.

A limit is, in this order: the project's own, that of the quota class `default`, the settings'. Besides the resources
below, each volume type has its own three (`volumes_gold`, `gigabytes_gold`, `snapshots_gold`), unlimited until set.
"""

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import Connection, Table, case, delete, literal, select, update

from breezeblock.store.tables import quota_classes, quota_usage, quotas, volume_types

UNLIMITED: Final = -1
DEFAULT_CLASS: Final = "default"

# What the settings have a default for; a test compares the two.
RESOURCES: Final = (
    "volumes",
    "snapshots",
    "gigabytes",
    "backups",
    "backup_gigabytes",
    "per_volume_gigabytes",
    "groups",
)
PER_TYPE: Final = ("volumes", "gigabytes", "snapshots")


def of_type(name: str) -> tuple[str, str, str]:
    """The three resources of a volume type."""
    volumes, gigabytes, snapshots = (f"{resource}_{name}" for resource in PER_TYPE)
    return volumes, gigabytes, snapshots


def limits_of(
    tx: Connection, *, project_id: str, defaults: Mapping[str, int], resources: Collection[str] | None = None
) -> dict[str, int]:
    """The limits that count for a project, of all resources or only those named. -1 is unlimited.

    `defaults` are the settings'. A named resource that nobody set anything for is unlimited.
    """
    known = all_defaults(tx, defaults=defaults) if resources is None else _named(resources, defaults)
    return known | _set_ones(tx, resources=known, project_id=project_id)


def class_limits_of(tx: Connection, *, class_name: str, defaults: Mapping[str, int]) -> dict[str, int]:
    """The limits of a quota class: its own, then those of the class `default`, then the settings'."""
    known = all_defaults(tx, defaults=defaults)
    rows = tx.execute(
        select(quota_classes).where(quota_classes.c.class_name.in_({class_name, DEFAULT_CLASS}))
    ).mappings()
    # The class's own rows last: they replace the default's.
    for row in sorted(rows, key=lambda row: bool(row["class_name"] == class_name)):
        if row["resource"] in known:
            known[row["resource"]] = row["hard_limit"]
    return known


def all_defaults(tx: Connection, *, defaults: Mapping[str, int]) -> dict[str, int]:
    """Every resource there is, with the settings' limit."""
    names = tx.execute(select(volume_types.c.name).order_by(volume_types.c.name)).scalars()
    return _named(RESOURCES, defaults) | {resource: UNLIMITED for name in names for resource in of_type(name)}


def _named(resources: Collection[str], defaults: Mapping[str, int]) -> dict[str, int]:
    return {resource: defaults.get(resource, UNLIMITED) for resource in resources}


def _set_ones(tx: Connection, *, resources: Collection[str], project_id: str) -> dict[str, int]:
    """What an administrator has set, of the resources asked about. One statement."""
    own = select(literal(1).label("weight"), quotas.c.resource, quotas.c.hard_limit).where(
        quotas.c.project_id == project_id
    )
    common = select(literal(0).label("weight"), quota_classes.c.resource, quota_classes.c.hard_limit).where(
        quota_classes.c.class_name == DEFAULT_CLASS
    )
    rows = sorted(tx.execute(common.union_all(own)), key=lambda row: int(row.weight))
    return {row.resource: row.hard_limit for row in rows if row.resource in resources}


# --- with the types ---------------------------------------------------------------------------------------------------


def rename_type(tx: Connection, *, name_old: str, name_new: str) -> None:
    """Let limits and usage of a type follow its name. The caller holds the type's row, and nobody has the new name."""
    forget_type(tx, name=name_new)  # what a type of that name left behind is nobody's
    moved = dict(zip(of_type(name_old), of_type(name_new), strict=True))
    for table in _TABLES:
        renamed = case(moved, value=table.c.resource)
        tx.execute(update(table).where(table.c.resource.in_(moved)).values(resource=renamed))


def forget_type(tx: Connection, *, name: str) -> None:
    """Remove limits and usage of a type that is no more. The caller holds the type's row."""
    for table in _TABLES:
        tx.execute(delete(table).where(table.c.resource.in_(of_type(name))))


_TABLES: Final[tuple[Table, ...]] = (quotas, quota_classes, quota_usage)
