"""The database: reachable, of this release, and set so that it loses nothing that was answered."""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from breezeblock.commands.database import reading
from breezeblock.commands.doctor import mariadb, postgresql
from breezeblock.commands.doctor.finding import ERROR, NOTE, WARNING, Finding, Findings
from breezeblock.commands.failure import Failed
from breezeblock.database_urls import POSTGRESQL, is_server_url, kind_of, sqlite_path
from breezeblock.drivers.file_names import MARKER
from breezeblock.env.machine import boot_id
from breezeblock.model.states import NODE_LIVE
from breezeblock.settings import Settings, mask_url_secrets
from breezeblock.store import schema
from breezeblock.store.servers import NoWrites, Session, open_server
from breezeblock.store.tables import nodes, pools

__all__ = ["look"]


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
            f"The database {mask_url_secrets(url)} cannot be used: {said}",
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
            if at is not None and at >= schema.head():
                yield from _names(tx, settings)
                yield from _versions(tx, settings)
                yield from _unmounted(tx, settings)
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


def _live(tx: Connection, settings: Settings) -> list[Mapping[str, str]]:
    mine = (nodes.c.cluster == settings.service.cluster) & nodes.c.state.in_(NODE_LIVE)
    wanted = select(nodes.c.name, nodes.c.boot_id, nodes.c.version).where(mine)
    return [dict(row) for row in tx.execute(wanted).mappings()]


def _names(tx: Connection, settings: Settings) -> Findings:
    """Nodes of another machine that are called as ours are, or will be."""
    own = set(settings.own_nodes)
    for row in _live(tx, settings):
        if row["name"] in own and row["boot_id"] != boot_id():
            yield Finding(
                "database.names",
                ERROR,
                f"Another machine runs a node that is called {row['name']}, as one of this machine is to be.",
                "Operators and fence agents know nodes by their names: who cuts off the one may hit the other.",
                "Give nodes.name another value on each machine. (Soon after a reboot it may be this one's own last node: then "
                "look again when its lease is over.)",
            )


def _versions(tx: Connection, settings: Settings) -> Findings:
    found = {row["version"] for row in _live(tx, settings)}
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
