"""`breezeblock db check`: what contradicts itself between the tables, and between the tables and the storage.

It may run beside a running service. The tables are read as one snapshot. The storage cannot be, so what differs there is
looked at twice, and only what differs both times is told; resources with work under way are left out.
"""

import asyncio
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Table, select

from breezeblock import wiring
from breezeblock.commands.database import reading
from breezeblock.commands.failure import Failed
from breezeblock.drivers.contract import Driver, ObjectName
from breezeblock.env.contract import Env
from breezeblock.env.real import real_env
from breezeblock.model.errors import BackendFailed
from breezeblock.resources.backends import in_use
from breezeblock.settings import Settings
from breezeblock.store import schema
from breezeblock.store.check import problems
from breezeblock.store.tables import kept_objects, operation_locks, snapshots, volumes

# Longer than between a driver's last effect and the commit that tells of it.
SECOND_LOOK_AFTER_S: Final = 1.0
# All rows of all tables are counted; nobody waits for that.
STATEMENT_LIMIT_S: Final = 3600.0


def check(settings: Settings) -> list[str]:
    """Every problem found, as a sentence."""
    with reading(settings) as tx:
        at = schema.revision_of(tx)
    if at != schema.head():
        raise Failed(
            f"The database is at revision {at}; this release checks {schema.head()}: `breezeblock db upgrade`."
        )
    with reading(settings, statement_limit_s=STATEMENT_LIMIT_S) as tx:
        found = problems(tx)
        found += _lost_backends(tx, settings)
    return found + asyncio.run(_storage(settings, _used_backends(settings)))


def _used_backends(settings: Settings) -> set[str]:
    """Those whose folder was made. Of one that was lost since, the rows tell."""
    return {name for name, chosen in settings.backends.items() if Path(chosen.path).exists()}


async def _storage(settings: Settings, used: set[str]) -> list[str]:
    env = real_env()
    found: list[str] = []
    for queue, backend in wiring.open_backends(settings, env).items():
        if backend.name not in used:
            continue
        try:
            found += await _backend(settings, env, queue, backend.driver)
        except BackendFailed as error:
            found.append(f"Backend {backend.name} cannot be looked at: {error.message}")
    return found


async def _backend(settings: Settings, env: Env, queue: str, driver: Driver) -> list[str]:
    first = await _differences(settings, queue, driver)
    if not first:
        return []
    await env.clock.sleep(SECOND_LOOK_AFTER_S)
    again = set(await _differences(settings, queue, driver))
    return [one for one in first if one in again]


async def _differences(settings: Settings, queue: str, driver: Driver) -> list[str]:
    with reading(settings) as tx:
        target = in_use(tx, queue=queue).target
    stored = set(await (driver if target is None else driver.on(target)).every_name())
    with reading(settings) as tx:
        rows = _published(tx, queue)
        # What is not there is missed by nobody: the next backup reads all of its volume.
        kept = {ObjectName.parse(text) for text in tx.execute(select(kept_objects.c.object_name)).scalars()}
        busy = set(tx.execute(select(operation_locks.c.resource_id)).scalars())
    named = {ObjectName.parse(text): f"{noun} {id_}" for noun, id_, text in rows}
    found = []
    for name in sorted(named.keys() - stored):
        if name.resource_id not in busy:
            found.append(f"{named[name]}: its object {name} is not on backend {queue}.")
    for name in sorted(stored - named.keys() - kept):
        if name.resource_id not in busy:
            found.append(f"Backend {queue} has an object that no row names: {name}.")
    return found


def _published(tx: Connection, queue: str) -> list[tuple[str, str, str]]:
    """(noun, id, object name) of everything that says it is on this backend."""
    found: list[tuple[str, str, str]] = []
    for noun, table in (("volume", volumes), ("snapshot", snapshots)):
        here = table.c.object_name.is_not(None) & table.c.pool_name.startswith(f"{queue}#", autoescape=True)
        here &= table.c.replication_status.is_(None)  # else it is known not to be there
        rows = tx.execute(select(table.c.id, table.c.object_name).where(here))
        found += [(noun, row.id, row.object_name) for row in rows]
    return found


def _lost_backends(tx: Connection, settings: Settings) -> list[str]:
    """Rows on backends that the settings do not know, or whose folder is not there."""
    used = {f"{settings.service.cluster}@{name}" for name in _used_backends(settings)}
    found = []
    tables: tuple[tuple[str, Table], ...] = (("volume", volumes), ("snapshot", snapshots))
    for noun, table in tables:
        query = select(table.c.id, table.c.pool_name).where(table.c.object_name.is_not(None))
        for row in tx.execute(query):
            if (row.pool_name or "").split("#")[0] not in used:
                found.append(f"{noun} {row.id} is on {row.pool_name}: there is no such backend, or its folder is gone.")
    return found
