"""How much a project may have: which limit counts, and the quotas that come and go with volume types.

A limit is, in this order: the project's own, that of the quota class `default`, the settings'. Besides the resources
below, each volume type has its own three (`volumes_gold`, `gigabytes_gold`, `snapshots_gold`), unlimited until set.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, Table, delete, literal, select

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


def of_type(type_: str) -> tuple[str, str, str]:
    """The three resources of a volume type: under its name as the API has them, under its id as the tables do."""
    volumes, gigabytes, snapshots = (f"{resource}_{type_}" for resource in PER_TYPE)
    return volumes, gigabytes, snapshots


def keys(tx: Connection) -> dict[str, str]:
    """Every resource there is, as the API calls it, with its key in the tables.

    A type's name may change at any moment, and who is charged under it does not wait for that: so the tables name it by id.
    """
    types = tx.execute(select(volume_types.c.id, volume_types.c.name).order_by(volume_types.c.name)).all()
    of_types = (zip(of_type(row.name), of_type(row.id), strict=True) for row in types)
    return {resource: resource for resource in RESOURCES} | {name: key for pairs in of_types for name, key in pairs}


def limits_of(
    tx: Connection, *, project_id: str, defaults: Mapping[str, int], known: Mapping[str, str]
) -> dict[str, int]:
    """The limits that count for a project, of all `known` resources (`keys`). -1 is unlimited.

    `defaults` are the settings'.
    """
    said = _set_ones(tx, project_id=project_id)
    return {resource: said.get(key, defaults.get(resource, UNLIMITED)) for resource, key in known.items()}


def class_limits_of(
    tx: Connection, *, class_name: str, defaults: Mapping[str, int], known: Mapping[str, str]
) -> dict[str, int]:
    """The limits of a quota class: its own, then those of the class `default`, then the settings'."""
    rows = tx.execute(
        select(quota_classes).where(quota_classes.c.class_name.in_({class_name, DEFAULT_CLASS}))
    ).mappings()
    # The class's own rows last: they replace the default's.
    in_order = sorted(rows, key=lambda row: bool(row["class_name"] == class_name))
    said = {row["resource"]: row["hard_limit"] for row in in_order}
    return {resource: said.get(key, defaults.get(resource, UNLIMITED)) for resource, key in known.items()}


def _set_ones(tx: Connection, *, project_id: str) -> dict[str, int]:
    """What an administrator has set for a project or for all, by key. One statement."""
    own = select(literal(1).label("weight"), quotas.c.resource, quotas.c.hard_limit).where(
        quotas.c.project_id == project_id
    )
    common = select(literal(0).label("weight"), quota_classes.c.resource, quota_classes.c.hard_limit).where(
        quota_classes.c.class_name == DEFAULT_CLASS
    )
    rows = sorted(tx.execute(common.union_all(own)), key=lambda row: int(row.weight))
    return {row.resource: row.hard_limit for row in rows}


def forget_type(tx: Connection, *, type_id: str) -> None:
    """Remove limits and usage of a type that is no more. The caller holds the type's row, and nothing is charged for it."""
    for table in _TABLES:
        tx.execute(delete(table).where(table.c.resource.in_(of_type(type_id))))


_TABLES: Final[tuple[Table, ...]] = (quotas, quota_classes, quota_usage)
