"""`breezeblock backend list | rename | remove`, `cluster rename`, `node remove`: one transaction each, or nothing."""

import asyncio
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from breezeblock import wiring
from breezeblock.commands.asking import Asking, asking
from breezeblock.commands.failure import Failed
from breezeblock.env.real import real_env
from breezeblock.model.errors import BackendFailed
from breezeblock.resources import renaming
from breezeblock.resources.renaming import Listed
from breezeblock.settings import Settings


class _OnlyLooked(Exception):
    """What would have changed; the transaction is rolled back with this."""

    def __init__(self, changed: list[str]) -> None:
        super().__init__()
        self.changed = changed


def list_backends(settings: Settings) -> list[Listed]:
    """Every backend that the database knows. Raises Failed."""
    return asyncio.run(_list(settings))


def rename_backend(settings: Settings, before: str, after: str, *, dry_run: bool) -> list[str]:
    """Call a backend otherwise: in the database, then on its storage, if that is configured here under the new name.

    A run that died between the two is finished by the next one. Raises Failed, with what is in the way.
    """
    names = {"cluster": settings.service.cluster, "before": before, "after": after}
    if after not in settings.backends:
        raise Failed(
            f"The settings have no backend {after} yet: rename [backends.{before}] to [backends.{after}] first, on every "
            "machine, and leave its path as it is."
        )
    changed = asyncio.run(_transact(settings, renaming.rename_backend, dry_run=dry_run, **names))
    if not dry_run:
        asyncio.run(_take_name(settings, before, after))
    return changed


def rename_cluster(settings: Settings, before: str, after: str, *, dry_run: bool) -> list[str]:
    """Call a cluster otherwise, with all its backends. Raises Failed, with what is in the way."""
    return asyncio.run(_transact(settings, renaming.rename_cluster, dry_run=dry_run, before=before, after=after))


def remove_backend(settings: Settings, name: str, *, dry_run: bool) -> list[str]:
    """Forget a backend that holds nothing. Raises Failed, with what is in the way."""
    names = {"cluster": settings.service.cluster, "name": name}
    return asyncio.run(_transact(settings, renaming.remove_backend, dry_run=dry_run, **names))


def remove_node(settings: Settings, name: str, *, dry_run: bool) -> list[str]:
    """Forget a node that is dead. Raises Failed, with what is in the way."""
    names = {"cluster": settings.service.cluster, "name": name}
    return asyncio.run(_transact(settings, renaming.remove_node, dry_run=dry_run, **names))


def told(changed: Sequence[str], *, dry_run: bool) -> str:
    """What has changed, or would, in words."""
    if not changed:
        return "It was done before: nothing has changed."
    return f"{'This would change' if dry_run else 'Changed'}: {', '.join(changed)}."


async def _list(settings: Settings) -> list[Listed]:
    async with asking(settings) as at:
        return await at.store.read(renaming.list_backends)


async def _transact(settings: Settings, f: Callable[..., list[str]], *, dry_run: bool, **names: str) -> list[str]:
    async with asking(settings) as at:
        try:
            return await _run(at, f, dry_run=dry_run, **names)
        except _OnlyLooked as looked:
            return looked.changed


async def _run(at: Asking, f: Callable[..., list[str]], *, dry_run: bool, **names: str) -> list[str]:
    def work(tx: Connection) -> list[str]:
        changed = f(tx, **names)
        if dry_run:
            raise _OnlyLooked(changed)
        return changed

    return await at.store.run(work)


async def _take_name(settings: Settings, before: str, after: str) -> None:
    backend = wiring.open_backends(settings, real_env())[f"{settings.service.cluster}@{after}"]
    try:
        await backend.driver.take_name(before)
    except BackendFailed as failed:
        raise Failed(
            f"The database calls it {after} now, but its storage does not: {failed.message} Run this again where its "
            "storage is reachable."
        ) from failed


def as_rows(found: Sequence[Listed]) -> list[tuple[str, ...]]:
    """The list as texts, a row for each backend."""
    return [
        (
            one.queue,
            ", ".join(one.nodes) or "none",
            str(one.volumes),
            str(one.snapshots),
            str(one.allocated_gib),
            "frozen" if one.frozen else (f"on {one.target}" if one.target else ""),
        )
        for one in found
    ]
