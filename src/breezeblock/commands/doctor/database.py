"""The database: reachable, of this release, and set so that it loses nothing that was answered."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from breezeblock.commands.database import reading
from breezeblock.commands.doctor import mariadb, postgresql
from breezeblock.commands.doctor.finding import ERROR, NOTE, WARNING, Finding, Findings
from breezeblock.commands.failure import Failed
from breezeblock.database_urls import POSTGRESQL, is_server_url, kind_of, sqlite_path
from breezeblock.drivers.file_names import MARKER
from breezeblock.env.machine import boot_id
from breezeblock.env.real import RealClock
from breezeblock.model.states import NODE_LIVE
from breezeblock.settings import Settings, mask_url_secrets
from breezeblock.store import schema
from breezeblock.store.servers import NoWrites, Session, open_server
from breezeblock.store.tables import nodes, pools

__all__ = ["look"]

# A node renews its lease six times in its length; of a very long one no more than so much is waited for.
LEASE_MOST_S: Final = 20.0


def look(settings: Settings) -> Findings:
    """See `examine`. Reads only."""
    if is_server_url(settings.database.url):
        answered = False
        for number, url in enumerate(settings.database.urls):
            found = list(_server(settings, url, is_only=len(settings.database.urls) == 1))
            answered = answered or not any(one.check == "database.unreachable" for one in found)
            # Of the first server all is told, of the others what differs from server to server.
            yield from found if number == 0 or not answered else (one for one in found if one.level != NOTE)
        if not answered:
            return
    else:
        path = sqlite_path(settings.database.url)
        if path is None or not Path(path).exists():
            return  # made at the first start; whether it can be is told by the look at folders
    yield from _contents(settings)


def _server(settings: Settings, url: str, *, is_only: bool) -> Findings:
    engine = open_server(url, Session(ttl_s=settings.nodes.ttl_s, connections=1), reading=False)
    try:
        with engine.connect() as connection:
            module = postgresql if kind_of(url) == POSTGRESQL else mariadb
            yield from module.look(connection, settings, engine.url.render_as_string(hide_password=True))
    except (SQLAlchemyError, NoWrites) as error:
        said = mask_url_secrets(" ".join(str(getattr(error, "orig", None) or error).split()))
        yield Finding(
            "database.unreachable",
            ERROR if is_only else WARNING,
            f"The database {mask_url_secrets(url, is_url=True)} cannot be used: {said}",
            "Nothing is accepted or finished without a database; with several URLs the next one is used.",
            "Start the server; check address, user, password and the database's name; let this machine through its firewall.",
        )
    finally:
        engine.dispose()


def _contents(settings: Settings) -> Findings:
    try:
        with reading(settings) as tx:
            at = schema.revision_of(tx)
            yield from _revision(at)
            if at is None or at < schema.head():
                return
            yield from _versions(tx, settings)
            yield from _unmounted(tx, settings)
            before = {} if settings.one_machine else _namesakes(tx, settings)
        if before:
            RealClock().pause(min(settings.nodes.ttl_s, LEASE_MOST_S) / 2)
            with reading(settings) as tx:
                yield from _renewed(before, _namesakes(tx, settings))
    except Failed as failed:
        yield Finding(
            "database.unreadable",
            ERROR,
            str(failed),
            "Nothing is accepted or finished without a database.",
            "Look at its owner and mode; `breezeblock db check` says more once it can be read.",
        )


def _revision(at: str | None) -> Findings:
    head = schema.head()
    if at is None or at == head:
        return
    if at > head:
        yield Finding(
            "database.revision",
            ERROR,
            f"The database is at revision {at}, and this release knows {head} at most.",
            "It was upgraded by a later release, and this one does not start on it.",
            "Install that later release on this machine as well.",
        )
        return
    yield Finding(
        "database.revision",
        NOTE,
        f"The database is at revision {at}; this release brings it to {head} when it starts.",
        "The release before goes on working beside it.",
        "Nothing; or `breezeblock db upgrade` at a quiet hour (docs/howto/upgrade.md).",
    )


def _namesakes(tx: Connection, settings: Settings) -> dict[str, tuple[str, int]]:
    """Nodes that are called as ours are, or will be, of another boot than this: incarnation -> name and heartbeat."""
    wanted = select(nodes.c.incarnation, nodes.c.name, nodes.c.heartbeat).where(
        nodes.c.cluster == settings.service.cluster,
        nodes.c.state.in_(NODE_LIVE),
        nodes.c.name.in_(settings.own_nodes),
        nodes.c.boot_id != boot_id(),
    )
    return {row.incarnation: (row.name, row.heartbeat) for row in tx.execute(wanted)}


def _renewed(before: Mapping[str, tuple[str, int]], after: Mapping[str, tuple[str, int]]) -> Findings:
    """A row that stands still may be what this very machine left when it was switched off; one that moves is somebody's."""
    for incarnation, (name, heartbeat) in after.items():
        if incarnation in before and before[incarnation][1] != heartbeat:
            yield Finding(
                "database.names",
                ERROR,
                f"Another machine runs a node that is called {name}, as one of this machine is to be.",
                "Operators and fence agents know nodes by their names: who cuts off the one may hit the other.",
                "Give nodes.name another value on each machine.",
            )


def _versions(tx: Connection, settings: Settings) -> Findings:
    mine = (nodes.c.cluster == settings.service.cluster) & nodes.c.state.in_(NODE_LIVE)
    found = set(tx.execute(select(nodes.c.version).where(mine)).scalars())
    if len(found) > 1:
        yield Finding(
            "database.versions",
            NOTE,
            f"Nodes of several releases are running: {', '.join(sorted(found))}.",
            "New kinds of work wait until all nodes of a backend know them.",
            "Finish the upgrade (docs/howto/upgrade.md).",
        )


def _unmounted(tx: Connection, settings: Settings) -> Findings:
    """Backends that were used before, and whose folders are empty now."""
    known = set(tx.execute(select(pools.c.queue).where(pools.c.reported_at_us.is_not(None))).scalars())
    for name, backend in settings.backends.items():
        if (
            settings.nodes.count
            and f"{settings.service.cluster}@{name}" in known
            and not (backend.path / MARKER).exists()
        ):
            yield Finding(
                "backends.unmounted",
                ERROR,
                f"Backend {name} has been used, and {backend.path} does not carry its marker {MARKER}.",
                "Its volumes are somewhere else: most likely its filesystem is not mounted.",
                f"Mount it on {backend.path}.",
            )
