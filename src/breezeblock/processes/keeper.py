"""The keeper process: `python -m breezeblock.processes.keeper`, its brief on standard input.

Everything that its worker started ends with the worker: see `env.cgroups` and `orphans`.
"""

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

import structlog

from breezeblock import logs
from breezeblock.env import cgroups
from breezeblock.env.cgroups import Cgroup
from breezeblock.env.contract import Clock
from breezeblock.env.real import real_env
from breezeblock.node import link as words
from breezeblock.node.keeper import Ending, Keeper
from breezeblock.node.lease_lanes import open_lane
from breezeblock.node.lease_table import LeaseTable, Registration
from breezeblock.node.link import SocketLink, answer_pings
from breezeblock.node.page import Page
from breezeblock.processes import orphans
from breezeblock.processes.brief import NodeBrief
from breezeblock.processes.parent import die_with_parent
from breezeblock.protocol.leases import Terms

log = structlog.get_logger("breezeblock.processes.keeper")  # by its own name: it is started as `__main__`


class WorkerProcess:
    """Implements `node.keeper.WorkerHandle` over a child process, the only one that this process may have."""

    def __init__(
        self, process: asyncio.subprocess.Process, link: SocketLink, *, group: Cgroup | None, clock: Clock
    ) -> None:
        self._process = process
        self._link = link
        self._group = group
        self._clock = clock
        # For as long as this object lives; the keeper ends with its worker.
        self._watching = asyncio.ensure_future(orphans.end_orphans(clock, lambda: (process.pid,)))
        self._watching.add_done_callback(_say_if_broken)

    def send(self, word: str) -> None:
        """See `node.keeper.WorkerHandle`."""
        self._link.send(word)

    async def receive(self) -> str | None:
        """See `node.keeper.WorkerHandle`. Log levels have nothing to do with the lease: these words stay here."""
        while (word := await self._link.receive()) is not None and word.startswith(words.LEVELS):
            logs.obey(json.loads(word.removeprefix(words.LEVELS)))
        return word

    def kill(self) -> None:
        """See `node.keeper.WorkerHandle`."""
        if self._group is not None:
            self._group.kill_worker()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def wait(self) -> None:
        """See `node.keeper.WorkerHandle`. What the worker left behind is killed, and gone as well."""
        await self._process.wait()
        self._watching.cancel()
        if self._group is not None:
            self._group.kill_worker()
        await orphans.end_children(self._clock)


def _say_if_broken(watching: "asyncio.Task[None]") -> None:
    # The node goes on without: at its end all are looked for, in any case.
    if not watching.cancelled() and (error := watching.exception()) is not None:
        log.error("keeper.does_not_look_for_orphans", exc_info=error)


async def keep(brief: NodeBrief, *, boot_id: str) -> NoReturn:
    """Be the keeper of one incarnation, and end the process with it."""
    env = real_env()
    incarnation, lock_id = env.ids.uuid(), env.ids.uuid()
    lock_path = Path(brief.state_folder) / f"{incarnation}.lock"
    lock_file = _hold(lock_path, lock_id)
    group = cgroups.make(lock_id)
    page = Page.make()

    keeper = Keeper(
        env=env,
        table=LeaseTable(open_lane(brief.database_urls, env.threads, ttl_s=brief.ttl_s)),
        terms=Terms(ttl_s=brief.ttl_s, drift=brief.drift),
        registration=Registration(
            incarnation=incarnation,
            name=brief.name,
            cluster=brief.cluster,
            boot_id=boot_id,
            version=brief.version,
            lock_path=str(lock_path),
            lock_id=lock_id,
            keeper_pid=os.getpid(),
        ),
        page=page,
        launch=lambda: _launch(
            dataclasses.replace(brief, incarnation=incarnation, lock_path=str(lock_path), lock_id=lock_id),
            page=page,
            lock_file=lock_file,
            group=group,
            clock=env.clock,
        ),
    )
    loop = asyncio.get_running_loop()
    answering = asyncio.ensure_future(answer_pings(await SocketLink.open(socket.socket(fileno=brief.pings_file))))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, keeper.leave)
    ending = await keeper.run()
    answering.cancel()
    if group is not None:
        group.leave()
    _leave(ending, keeper.buried)


def _leave(ending: Ending, buried: list[str]) -> NoReturn:
    """End this process at once: 0 when the node left in good order, 1 when it was lost in any other way.

    Threads that still wait for the database must not keep it, since its lock file is what others wait for; the event
    loop's own end would wait for them.
    """
    for path in buried:
        Path(path).unlink(missing_ok=True)
    sys.stderr.flush()
    os._exit(0 if ending is Ending.LEFT else 1)


async def _launch(brief: NodeBrief, *, page: Page, lock_file: int, group: Cgroup | None, clock: Clock) -> WorkerProcess:
    """Start the worker. It holds the lock file open as well: the lock is free only when both are gone."""
    ours, theirs = socket.socketpair()
    told = dataclasses.replace(brief, parent_pid=os.getpid(), page_file=page.file, link_file=theirs.fileno())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "breezeblock.processes.worker",
        stdin=asyncio.subprocess.PIPE,
        pass_fds=(page.file, theirs.fileno(), lock_file, *([brief.rings_file] if brief.rings_file >= 0 else [])),
    )
    theirs.close()
    if group is not None:
        group.add_worker(process.pid)  # it waits for its brief, so it has started nothing yet
    assert process.stdin is not None
    process.stdin.write(told.to_text().encode())
    process.stdin.close()
    return WorkerProcess(process, await SocketLink.open(ours), group=group, clock=clock)


def _hold(path: Path, lock_id: str) -> int:
    """Make the file that all processes of this incarnation hold open, write its id, and lock it for as long as we live.

    The id is synced before the lock counts for anything: a file that lost it in a power cut would prove nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(file, lock_id.encode())
    os.fsync(file)
    fcntl.flock(file, fcntl.LOCK_EX)
    os.set_inheritable(file, True)
    return file


def main() -> None:
    """Run until the node's end."""
    brief = NodeBrief.from_stdin()
    die_with_parent(brief.parent_pid)
    orphans.adopt_orphans()
    logs.configure(brief.log_level, brief.log_format)
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    asyncio.run(keep(brief, boot_id=boot_id))


if __name__ == "__main__":
    main()
