"""Quotas as administrators see and set them: per project, and per quota class. `quota_limits.py` says what counts."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, delete, insert, select

from breezeblock.model.errors import BadRequest
from breezeblock.resources import quota_limits
from breezeblock.resources import quotas as charges
from breezeblock.store.tables import quota_classes, quota_usage, quotas


class Quota(NamedTuple):
    """One resource of a project."""

    limit: int
    in_use: int


def show(tx: Connection, *, project_id: str, defaults: Mapping[str, int]) -> dict[str, Quota]:
    """Every resource of a project: what it may have, and what it has."""
    known = quota_limits.keys(tx)
    limits = quota_limits.limits_of(tx, project_id=project_id, defaults=defaults, known=known)
    used = _usage(tx, project_id, defaults=defaults)
    return {resource: Quota(limit, used.get(known[resource], 0)) for resource, limit in limits.items()}


def show_defaults(tx: Connection, *, defaults: Mapping[str, int]) -> dict[str, int]:
    """What a project may have for which nothing was set."""
    return show_class(tx, class_name=quota_limits.DEFAULT_CLASS, defaults=defaults)


def show_class(tx: Connection, *, class_name: str, defaults: Mapping[str, int]) -> dict[str, int]:
    """The limits of a quota class. Any name is a class; only `default` has an effect."""
    return quota_limits.class_limits_of(tx, class_name=class_name, defaults=defaults, known=quota_limits.keys(tx))


def update(
    tx: Connection,
    *,
    project_id: str,
    limits: Mapping[str, int],
    defaults: Mapping[str, int],
    below_usage: bool = False,
) -> dict[str, int]:
    """Set a project's limits and return all of them. Raises BadRequest.

    A limit below what the project has is refused unless `below_usage`. A charge that runs at the same moment may still
    end above the new limit, as if it had come a moment earlier: limits bind new requests only.
    """
    known = _require_known(tx, limits, what="quota set")
    used = {} if below_usage else _usage(tx, project_id, defaults=defaults)
    for resource, limit in limits.items():
        if quota_limits.UNLIMITED != limit < used.get(known[resource], 0):
            raise BadRequest(
                f"Quota {resource} limit must be equal or greater than existing resources. "
                f"Current usage is {used[known[resource]]} and the requested limit is {limit}."
            )
    _replace(tx, quotas, {"project_id": project_id}, {known[resource]: limit for resource, limit in limits.items()})
    return quota_limits.limits_of(tx, project_id=project_id, defaults=defaults, known=known)


def update_class(
    tx: Connection, *, class_name: str, limits: Mapping[str, int], defaults: Mapping[str, int]
) -> dict[str, int]:
    """Set limits of a quota class and return all of them. Raises BadRequest."""
    known = _require_known(tx, limits, what="quota class set")
    of_class = {known[resource]: limit for resource, limit in limits.items()}
    _replace(tx, quota_classes, {"class_name": class_name}, of_class)
    return quota_limits.class_limits_of(tx, class_name=class_name, defaults=defaults, known=known)


def reset(tx: Connection, *, project_id: str) -> None:
    """Give a project the default limits again. What it has stays, also where that is more."""
    tx.execute(delete(quotas).where(quotas.c.project_id == project_id))


def _usage(tx: Connection, project_id: str, *, defaults: Mapping[str, int]) -> dict[str, int]:
    """What is held against limits, by account."""
    rows = select(quota_usage.c.resource, quota_usage.c.in_use).where(quota_usage.c.project_id == project_id)
    used = {row.resource: row.in_use for row in tx.execute(rows)}
    if not charges.counts_snapshots(defaults):
        for name, gib in charges.snapshot_gigabytes(tx, project_id).items():
            used[name] = used.get(name, 0) - gib
    return used


def _require_known(tx: Connection, limits: Mapping[str, int], *, what: str) -> dict[str, str]:
    known = quota_limits.keys(tx)
    bad = sorted(limits.keys() - known.keys())
    if bad:
        raise BadRequest(f"Invalid input received: Bad key(s) in {what}: {', '.join(bad)}")
    return known


def _replace(tx: Connection, table: Table, owner: Mapping[str, Any], limits: Mapping[str, int]) -> None:
    """Two administrators at once meet at the primary key, and one runs again: in one order, so that neither waits for long."""
    if not limits:
        return
    ((column, value),) = owner.items()
    tx.execute(delete(table).where(table.c[column] == value, table.c.resource.in_(limits)))
    tx.execute(
        insert(table),
        [{**owner, "resource": resource, "hard_limit": limit} for resource, limit in sorted(limits.items())],
    )
