"""`breezeblock up`, from its first look at the folder to the last child's end."""

import asyncio
import errno
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from breezeblock import logs
from breezeblock.database_urls import is_server_url
from breezeblock.env.real import RealClock
from breezeblock.processes import orphans
from breezeblock.settings import Settings, mask_url_secrets
from breezeblock.supervisor import proc, ready
from breezeblock.supervisor.folder import DataFolder, Part
from breezeblock.supervisor.guard import WriteLockGuard
from breezeblock.supervisor.notify import Manager
from breezeblock.supervisor.pinged import PingedPost, is_worth_keeping
from breezeblock.supervisor.post import Post
from breezeblock.supervisor.posts import ApiPost, KeeperPost

log = structlog.get_logger(__name__)

BACKLOG: Final = 1024
# After a killed `up` its children may need a moment to let go of the port.
BIND_LIMIT_S: Final = 1.0
LOOK_EVERY_S: Final = 0.05
BOUND_LOGS_EVERY_S: Final = 60.0
# A keeper gives its worker a minute to hand back what it runs; then it ends by itself.
KEEPERS_LEAVE_S: Final = 65.0
APIS_LEAVE_MORE_S: Final = 2.0
KILLED_S: Final = 10.0
# What we and our children make is for nobody else, also where a library makes it (SQLite its files).
PRIVATE: Final = 0o077


class CannotStart(Exception):
    """The service cannot be started; the text says why and what to do."""


def say(text: str) -> None:
    """A line for whoever watches the terminal."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run(chosen: Settings, environ: Mapping[str, str]) -> int:
    """Start everything, keep it running, and end it in good order. Raises CannotStart, InUse."""
    os.umask(PRIVATE)
    manager = Manager(environ)
    folder = DataFolder(Path(chosen.service.data_dir).absolute(), _part(chosen))
    try:
        folder.make()
        locked = folder.lock()
    except OSError as error:
        raise CannotStart(f"The data folder {folder.path} cannot be used: {error.strerror}.") from error
    folder.told.unlink(missing_ok=True)  # of one that was killed: it is not we who are ready
    _check_policies(chosen)
    log_file = os.fdopen(folder.open_log(folder.name), "a", buffering=1)
    logs.configure(chosen.log.level, chosen.log.format, log_file)
    _require_certificate(chosen)
    for before, now in folder.carry_marks(chosen.own_nodes):
        say(f"{before} was drained, and is called {now} now: it stays out until `breezeblock node resume {now}`")
    _prepare_database(chosen, manager)
    listening = _listen(chosen.api.host, chosen.api.port) if chosen.api.workers else None
    status = asyncio.run(_Service(chosen, folder, listening, manager).run())
    folder.told.unlink(missing_ok=True)
    for file in locked:
        os.close(file)
    return status


def _check_policies(chosen: Settings) -> None:
    """Before anything is started: what every API process would refuse. Raises CannotStart with all that is wrong."""
    if chosen.policy.file is None:
        return
    from breezeblock.api.policy import PolicyError, load

    try:
        _, book = load(chosen.policy.file)
    except PolicyError as error:
        raise CannotStart(f"The policies cannot be used:\n{error}") from error
    for warning in book.warnings:
        say(f"{chosen.policy.file}: {warning}")


def _part(chosen: Settings) -> Part:
    if not chosen.nodes.count:
        return "api"
    return "whole" if chosen.api.workers else "nodes"


def _prepare_database(chosen: Settings, manager: Manager) -> None:
    """Bring the database to this release's schema, on the first of its servers that can. Raises CannotStart.

    It waits for those who use it, and then takes as long as the tables are large. The manager hears so until it has ended.

    In a forked child: this process stays small, since it never loads SQLAlchemy, and it has never had the database open
    when it begins to look for holders of its locks (see `guard`).
    """

    def goes_on() -> None:
        manager.starts("Bringing the database to this release.")

    goes_on()
    if refused := _in_a_child(lambda: _upgrade(chosen.database.urls), goes_on, every_s=manager.every_s):
        raise CannotStart(f"The database {name_of(chosen.database.url)} cannot be used: {refused}.")


def _require_certificate(chosen: Settings) -> None:
    """Refuse to start with a certificate that no API process could serve: they would die again and again."""
    if chosen.api.tls_certificate is not None and (refused := _in_a_child(lambda: _problem_of_pair(chosen))):
        raise CannotStart(refused)


def _problem_of_pair(chosen: Settings) -> str:
    from breezeblock.processes.certificates import Unusable, read_pair

    try:
        read_pair(chosen.api).close()
    except Unusable as error:
        return str(error)
    return ""


def _in_a_child(look: Callable[[], str], goes_on: Callable[[], None] = lambda: None, *, every_s: float = 60.0) -> str:
    """What `look` finds wrong, in a process that forgets all that it has loaded for that. `goes_on` is called now and then
    while it looks, unless somebody has stopped it.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        refused = "a mistake of ours, shown above"
        try:
            refused = look()
        finally:
            if sys.exc_info()[0] is not None:
                traceback.print_exc()
            os.write(writing, refused.encode()[:4096])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        while not select.select([answer], [], [], every_s)[0]:
            if proc.state(child) != proc.STOPPED:
                goes_on()
        refused = answer.read()
    _, status = os.waitpid(child, 0)
    if not refused and status != 0:
        # Killed (by the kernel for want of memory, or by hand): it has said nothing, and that is no yes.
        refused = f"the process that was to look was ended by signal {os.WTERMSIG(status)}; try again"
    return refused


def name_of(url: str) -> str:
    """A database as people know it: its file, or its URL without the password."""
    return mask_url_secrets(url.removeprefix("sqlite:///"), is_url=True)


def _upgrade(urls: Sequence[str]) -> str:
    """Returns why not, or nothing."""
    from sqlalchemy.exc import SQLAlchemyError

    from breezeblock.store import schema
    from breezeblock.store.servers import NoWrites

    refused = []
    for url in urls:
        try:
            if schema.upgrade(url):
                log.info("database.upgraded", revision=schema.head())
        except (SQLAlchemyError, schema.TooNew, OSError, NoWrites) as error:
            refused.append(str(getattr(error, "orig", None) or error))
        else:
            return ""
    return "; ".join(refused)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    until = time.monotonic() + BIND_LIMIT_S
    while True:
        try:
            listening = socket.create_server((host.strip("[]"), port), family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < until:
                time.sleep(LOOK_EVERY_S)
                continue
            if error.errno == errno.EADDRINUSE:
                hint = "another program listens there; stop it, or choose another with --port (0 takes a free one)"
                raise CannotStart(f"Port {port} on {host} is taken: {hint}.") from error
            raise CannotStart(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from error
        listening.setblocking(False)
        listening.set_inheritable(True)
        return listening


def _endpoint(listening: socket.socket | None, *, scheme: str) -> str | None:
    if listening is None:
        return None
    host, port = listening.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class _Service:
    """All posts of one `up`."""

    def __init__(self, chosen: Settings, folder: DataFolder, listening: socket.socket | None, manager: Manager) -> None:
        self._chosen = chosen
        self._folder = folder
        self._listening = listening
        self._manager = manager
        self.endpoint = _endpoint(listening, scheme="http" if chosen.api.tls_certificate is None else "https")
        self._stop = asyncio.Event()
        self._ready = False
        apis = [f"api-{number + 1}" for number in range(chosen.api.workers)]
        nodes = chosen.own_nodes
        # What processes count outlives each of them: see `api.counts` and `doorbells.tally`, which are not loaded here.
        counts = [os.memfd_create(f"breezeblock-requests-{name}") for name in apis]
        rings = {name: os.memfd_create(f"breezeblock-rings-{name}") for name in (*apis, *nodes)}
        self._apis = [
            ApiPost(
                name,
                chosen=chosen,
                folder=folder,
                listening=listening,
                counts=counts,
                rings=rings,
                place=number,
                say=say,
                changed=self._tell,
            )
            for number, name in enumerate(apis)
            if listening is not None
        ]
        self._keepers = [
            KeeperPost(name, chosen=chosen, folder=folder, rings_file=rings[name], say=say, changed=self._tell)
            for name in nodes
        ]

    async def run(self) -> int:
        """Until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        log.info("up.started", pid=os.getpid(), endpoint=self.endpoint)
        keeping: dict[Post, asyncio.Task[None]] = {
            post: asyncio.ensure_future(post.keep()) for post in (*self._keepers, *self._apis)
        }
        # What outlives a killed keeper comes to us.
        orphans.adopt_orphans()
        ending = orphans.end_orphans(RealClock(), self._pids)
        background = [
            asyncio.ensure_future(work)
            for work in (self._guard(), self._greet(), self._feed(), self._bound_logs(), ending)
        ]
        stopping = asyncio.ensure_future(self._stop.wait())
        # Only the stop ends by itself: any other that ends has met a mistake of ours.
        await asyncio.wait([stopping, *background, *keeping.values()], return_when=asyncio.FIRST_COMPLETED)
        broken = [task for task in (*background, *keeping.values()) if task.done()] if not stopping.done() else []
        for task in background:
            task.cancel()
        self._manager.stops()
        await self._leave(keeping)
        for task in broken:
            task.result()  # shown after everything has ended in good order
        log.info("up.stopped")
        return 0

    # --- the beginning ----------------------------------------------------------------------------------------------

    async def _greet(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if all(post.answers for post in self._apis) and await self._storage_is_ready():
                break
        self._ready = True
        self._tell()
        log.info("up.ready", endpoint=self.endpoint)
        self._manager.is_ready(f"Serving at {self.endpoint}." if self.endpoint else "Nodes serve their backends.")
        print(ready.greeting(self.endpoint, data=str(self._folder.path), auth=self._chosen.auth), flush=True)
        await self._stop.wait()

    async def _feed(self) -> None:
        """Tell the service manager that all is well, as long as somebody answers our pings.

        One that does not is killed and started again here, which a restart of everything would only slow down. But when all
        are silent for the manager's limit, then this has not helped: the manager begins anew. It does so too when this process
        hangs or is stopped, since then nothing is told.
        """
        posts: Sequence[PingedPost] = (*self._apis, *self._keepers)
        while True:
            if not self._ready:
                waiting = [post.name for post in posts if not post.is_well]
                self._manager.starts(f"Waiting for {', '.join(waiting) or 'the storage of a backend'}.")
            elif is_worth_keeping(posts):
                self._manager.lives()
                self._folder.lives()
            await asyncio.sleep(self._manager.every_s)

    async def _guard(self) -> None:
        """On a server the sessions themselves end what is idle in a transaction."""
        url = self._chosen.database.url
        if not is_server_url(url):
            path = url.removeprefix("sqlite:///")
            await WriteLockGuard(path, ttl_s=self._chosen.nodes.ttl_s, say=say).watch()
        await self._stop.wait()

    async def _storage_is_ready(self) -> bool:
        if not any(post.wanted for post in self._keepers):
            return True  # an operator has taken all nodes out: there is nothing to wait for
        pids = [post.child.pid for post in self._keepers if post.child is not None]
        return await ready.storage_is_ready(self._chosen.database.urls, pids)

    def _pids(self) -> set[int] | None:
        posts = (*self._apis, *self._keepers)
        if any(post.is_starting for post in posts):
            return None  # a child that nobody can name yet
        return {post.child.pid for post in posts if post.child is not None}

    def _tell(self) -> None:
        def running(posts: Sequence[Post]) -> list[dict[str, object]]:
            return [{"name": post.name, "pid": post.child.pid if post.child else None} for post in posts]

        self._folder.tell(
            {
                "pid": os.getpid(),
                "endpoint": self.endpoint,
                "ready": self._ready,
                "api": running(self._apis),
                "keepers": running(self._keepers),
            }
        )

    async def _bound_logs(self) -> None:
        names = [self._folder.name, *(post.name for post in (*self._apis, *self._keepers))]
        while True:
            await asyncio.to_thread(self._folder.bound_logs, names)
            await asyncio.sleep(BOUND_LOGS_EVERY_S)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _on_signal(self) -> None:
        if self._stop.is_set():
            say("stopping at once")
            for post in (*self._apis, *self._keepers):
                post.kill()
            return
        say("stopping: requests and operations under way are finished or handed back (again: stop at once)")
        self._stop.set()

    async def _leave(self, keeping: Mapping[Post, "asyncio.Task[None]"]) -> None:
        """First nothing more comes in, then what runs is handed back. Whoever takes too long is killed."""
        if self._listening is not None:
            self._listening.close()
        await _end(self._apis, keeping, most_s=self._chosen.api.drain_s + APIS_LEAVE_MORE_S)
        await _end(self._keepers, keeping, most_s=KEEPERS_LEAVE_S)


async def _end(posts: Sequence[Post], keeping: Mapping[Post, "asyncio.Task[None]"], *, most_s: float) -> None:
    if not posts:
        return
    for post in posts:
        post.leave()
    _, late = await asyncio.wait([keeping[post] for post in posts], timeout=most_s)
    if late:
        log.warning("up.killing_the_late", children=[post.name for post in posts if keeping[post] in late])
        for post in posts:
            post.kill()
        await asyncio.wait(late, timeout=KILLED_S)
