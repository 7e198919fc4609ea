"""`breezeblock node drain | resume | fence`.

Drain and resume are a mark in the data folder, which `up` reads: it sends the keeper away in good order and fills the post
again when the mark is gone. So no signal is sent by a process that might hit a stranger with a reused pid, and a node that
was taken out stays out when the service is restarted.
"""

import asyncio
import getpass
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select

from breezeblock import wiring
from breezeblock.commands.database import reading
from breezeblock.commands.failure import Failed
from breezeblock.env.contract import Env
from breezeblock.env.real import real_env
from breezeblock.model.ids import Incarnation
from breezeblock.protocol import membership
from breezeblock.protocol.node_events import Note
from breezeblock.settings import Settings
from breezeblock.store.tables import nodes
from breezeblock.supervisor.folder import DataFolder

LOOK_EVERY_S: Final = 0.1
RESUME_LIMIT_S: Final = 60.0
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

RISK: Final = """\
Fencing by hand is your word that {name} writes to storage no more and never will: that its machine is off, or every one of
its processes is gone. If it is only unreachable, it may still be writing, and the operations that others take over then
will destroy data. What to look at first: is the machine powered off? Does `breezeblock status` show a fence error?
When you are certain, run this again with --confirm."""


@dataclass(frozen=True, slots=True)
class Incarnated:
    """What is needed of a node row to fence it by hand."""

    incarnation: Incarnation
    state: str
    boot_id: str
    lock_path: str
    lock_id: str


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
    found = _to_fence(settings, name)
    if not confirmed:
        raise Failed(RISK.format(name=name))
    return asyncio.run(_fence(settings, name, found))


async def _fence(settings: Settings, name: str, found: list[Incarnated]) -> str:
    env = real_env()
    opened = wiring.open_database(settings, env)
    try:
        for one in found:
            await _refuse_if_running(env, name, one)
            note = Note.of(env, f"{getpass.getuser()} on the command line")
            await opened.store.run(membership.confirm_fenced, incarnation=one.incarnation, note=note)
    finally:
        opened.lane.close()
    which = ", ".join(one.incarnation for one in found)
    return f"{name} is recorded as fenced ({which}). Running nodes take over what it owned within moments."


async def _refuse_if_running(env: Env, name: str, one: Incarnated) -> None:
    """On this machine nobody's word is needed: the lock file tells, and it outweighs the operator."""
    if _started_here(one) and not await env.processes.nobody_holds(one.lock_path, one.lock_id):
        hint = f"stop it with `breezeblock node drain {name}`, or kill the processes that have {one.lock_path} open"
        raise Failed(f"{name} runs on this machine and is not dead: {hint}.")


def _started_here(one: Incarnated) -> bool:
    return one.boot_id == BOOT_ID.read_text().strip() and Path(one.lock_path).exists()


def _to_fence(settings: Settings, name: str) -> list[Incarnated]:
    """The expired incarnations of that name; or, when there are none, the ones that pass for live."""
    with reading(settings) as tx:
        rows = _rows(tx, settings.service.cluster, name)
    expired = [row for row in rows if row.state == "expired"]
    if not (expired or rows):
        raise Failed(f"There is nothing to fence: no incarnation of {name} is up, draining or expired.")
    return expired or rows


def _rows(tx: Connection, cluster: str, name: str) -> list[Incarnated]:
    columns = (nodes.c.incarnation, nodes.c.state, nodes.c.boot_id, nodes.c.lock_path, nodes.c.lock_id)
    named = (nodes.c.cluster == cluster) & (nodes.c.name == name)
    query: Any = select(*columns).where(named, nodes.c.state.in_(("up", "draining", "expired")))
    return [Incarnated(*row) for row in tx.execute(query)]


def _must_exist(settings: Settings, folder: DataFolder, name: str) -> None:
    known = {one["name"] for one in folder.read_told().get("keepers", ())}
    known |= {f"node-{number + 1}" for number in range(settings.nodes.count)}
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
