"""That nobody else uses the database, as far as that can be seen from here: before a command that must have it alone.

An API looks into the database every few seconds and keeps the connections that it has opened. So one that runs is seen, as
long as it is connected to a server that can be asked (`store.others` says what each kind of database tells).
"""

import sys
from collections.abc import Sequence
from typing import Final

from sqlalchemy.exc import DatabaseError

from breezeblock.commands.failure import Failed
from breezeblock.database_urls import is_server_url, sqlite_path
from breezeblock.env.contract import Clock
from breezeblock.env.real import RealClock
from breezeblock.settings import Settings, mask_url_secrets
from breezeblock.store.others import nodes_of_cluster, others
from breezeblock.store.servers import NoWrites, Session, open_server
from breezeblock.store.turnstile import user_of

__all__ = ["in_use_by", "require_unused"]

# Longer than processes of the service go without a look into the database (`processes.log_levels`): whoever has just lost its
# connection, as after a restore, has a new one by then. On SQLite nobody loses it.
WATCH_S: Final = 5.0
# A command that only looks, or a connection that is being closed, is gone by then.
PATIENCE_S: Final = 3.0
LOOK_EVERY_S: Final = 0.25


def in_use_by(found: Sequence[str]) -> Failed:
    """What to say."""
    return Failed(
        f"The database is in use by {', '.join(found)}: stop every node and every API of the cluster, and close whatever else "
        "has it open."
    )


async def require_unused(settings: Settings, *, watch_s: float = WATCH_S) -> None:
    """Raise Failed if anybody is seen for some time. Say who could not be asked."""
    is_server = is_server_url(settings.database.url)
    unseen = await _watch(settings, RealClock(), watch_s=watch_s if is_server else 0.0)
    for one in unseen if watch_s else ():
        print(one, file=sys.stderr)


async def _watch(settings: Settings, clock: Clock, *, watch_s: float) -> list[str]:
    began = free_since = clock.boottime()
    while True:
        found, unseen = _look(settings)
        now = clock.boottime()
        if found:
            if now >= began + watch_s + PATIENCE_S:
                raise in_use_by(found)
            free_since = now
        elif now >= free_since + watch_s:
            return unseen
        await clock.sleep(LOOK_EVERY_S)


def _look(settings: Settings) -> tuple[list[str], list[str]]:
    """Who is there, and who cannot tell. A file that nobody has open, or that does not exist, has no shared memory."""
    if not is_server_url(settings.database.url):
        path = sqlite_path(settings.database.url)
        pid = None if path is None else user_of(path)
        return ([] if pid is None else [f"process {pid}" if pid else "a process of another container"]), []
    found: list[str] = []
    unseen: list[str] = []
    asked: set[str] = set()
    nodes = 1
    for url in settings.database.urls:
        engine = open_server(url, Session(ttl_s=settings.nodes.ttl_s, connections=1, reads_standbys=True), reading=True)
        try:
            with engine.connect() as tx:
                found += others(tx)
                name, nodes = nodes_of_cluster(tx)
                asked.add(name)
        except (DatabaseError, NoWrites) as error:
            reason = mask_url_secrets(str(getattr(error, "orig", None) or error).strip())
            unseen.append(f"{mask_url_secrets(url, is_url=True)} cannot be asked who uses it: {reason}")
        finally:
            engine.dispose()
    if not asked:
        raise Failed("; ".join(unseen))
    if len(asked) < nodes:
        unseen.append(f"Only {len(asked)} of the {nodes} servers of this cluster could be asked who uses them.")
    return found, unseen
