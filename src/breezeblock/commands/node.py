"""`breezeblock node drain | resume | fence`.

Drain and resume are a mark in the data folder, which `up` reads: it sends the keeper away in good order and fills the post
again when the mark is gone. So no signal is sent by a process that might hit a stranger with a reused pid, and a node that
was taken out stays out when the service is restarted.
"""

import asyncio
import getpass
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from breezeblock import wiring
from breezeblock.commands.database import reading
from breezeblock.commands.failure import Failed
from breezeblock.env.real import real_env
from breezeblock.model.errors import Conflict, NotFound
from breezeblock.model.ids import Incarnation
from breezeblock.protocol.node_events import Note
from breezeblock.resources import nodes
from breezeblock.resources.nodes import Incarnated
from breezeblock.settings import Settings
from breezeblock.supervisor.folder import DataFolder

LOOK_EVERY_S: Final = 0.1
RESUME_LIMIT_S: Final = 60.0


def drain(settings: Settings, name: str, *, wait_s: float) -> str:
    """Take a node out, and wait until it has handed back what it was doing."""
    folder = _folder(settings)
    _must_exist(settings, folder, name)
    mark = folder.drained(name)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    if not folder.is_in_use():
        return f"{name} is marked as drained: it stays out at the next start, until `breezeblock node resume {name}`."
    if not _comes(lambda: _keeper_pid(folder, name) is None, within_s=wait_s):
        raise Failed(f"{name} is still handing back its operations; `breezeblock status` shows them.")
    return f"{name} is drained. It stays out, also after a restart, until `breezeblock node resume {name}`."


def resume(settings: Settings, name: str) -> str:
    """Let a drained node work again."""
    folder = _folder(settings)
    mark = folder.drained(name)
    if not mark.exists():
        raise Failed(f"{name} is not drained.")
    mark.unlink(missing_ok=True)
    if not folder.is_in_use():
        return f"{name} will be started with the service."
    if not _comes(lambda: _keeper_pid(folder, name) is not None, within_s=RESUME_LIMIT_S):
        raise Failed(f"{name} is not started by the service that runs on {folder.path} (it has fewer nodes now?).")
    return f"{name} is started."


def fence(settings: Settings, name: str, *, confirmed: bool) -> str:
    """Record, on an operator's word, that what is left of a node writes no more."""
    try:
        with reading(settings) as tx:
            found = nodes.to_fence(tx, cluster=settings.service.cluster, name=name)
        if not confirmed:
            raise Failed(f"{nodes.RISK.format(name=name)}\nWhen you are certain, run this again with --confirm.")
        fenced = asyncio.run(_fence(settings, name, found))
    except (NotFound, Conflict) as refused:
        raise Failed(refused.message) from refused
    which = ", ".join(f"{one} on {', '.join(queues) or 'no backend'}" for one, queues in fenced.items())
    return f"{name} is recorded as fenced ({which}). Running nodes take over what it owned within moments."


async def _fence(settings: Settings, name: str, found: list[Incarnated]) -> Mapping[Incarnation, tuple[str, ...]]:
    env = real_env()
    await nodes.refuse_the_living(env, found)
    nodes.refuse_unnamed(name, found)
    opened = wiring.open_database(settings, env)
    try:
        by = f"{getpass.getuser()} on the command line"
        fenced = await opened.store.run(nodes.confirm, found=found, notes=[Note.of(env, by) for _ in found])
    finally:
        opened.lane.close()
    if not fenced:
        raise NotFound(f"There is nothing to fence any more: {name} was fenced meanwhile.")
    return fenced


def _must_exist(settings: Settings, folder: DataFolder, name: str) -> None:
    known = {one["name"] for one in folder.read_told().get("keepers", ())}
    known |= set(settings.own_nodes)
    if name not in known:
        raise Failed(f"There is no node {name} here. There are: {', '.join(sorted(known))}.")


def _keeper_pid(folder: DataFolder, name: str) -> int | None:
    for one in folder.read_told().get("keepers", ()):
        if one["name"] == name:
            pid: int | None = one["pid"]
            return pid
    return None


def _comes(what: Callable[[], bool], *, within_s: float) -> bool:
    """Whether it comes true in that time."""

    async def wait() -> bool:
        clock = real_env().clock
        until = clock.boottime() + within_s
        while not what():
            if clock.boottime() >= until:
                return False
            await clock.sleep(LOOK_EVERY_S)
        return True

    return asyncio.run(wait())


def _folder(settings: Settings) -> DataFolder:
    folder = DataFolder(Path(settings.service.data_dir).absolute())
    if not folder.path.is_dir():
        raise Failed(f"There is no data folder {folder.path}. Use --data DIR or --config FILE.")
    return folder
