"""The two kinds of posts: API processes and keepers.

An API process is asked by a ping whether its event loop turns; one that is silent for seconds is killed, and so a hung or
stopped one holds up only the requests that it had already taken.

A keeper that hangs is expired and fenced by the other nodes; they do not need us. But where all are stopped, or there is
only one, nobody would: so a keeper that is stopped (state T) for longer than two leases is killed here. Its worker dies
with it.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final

import structlog

from breezeblock import __version__, settings
from breezeblock.node import link as words
from breezeblock.node.link import SocketLink
from breezeblock.processes.brief import ApiBrief, NodeBrief
from breezeblock.settings import Settings
from breezeblock.supervisor import proc
from breezeblock.supervisor.child import Child
from breezeblock.supervisor.folder import DataFolder
from breezeblock.supervisor.post import LOOK_EVERY_S, Post

log = structlog.get_logger(__name__)

PING_EVERY_S: Final = 1.0
# Counted in pings of ours, not in seconds: after a pause of this process or of the whole machine nobody is blamed for it.
SILENT_PINGS: Final = 5
# An API process has this long to import and to open the database.
SILENT_PINGS_AT_START: Final = 60
STOPPED_LEASES: Final = 2.0


class ApiPost(Post):
    """Keeps one API process running on the shared listening socket."""

    def __init__(
        self,
        name: str,
        *,
        chosen: Settings,
        folder: DataFolder,
        listening: socket.socket,
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        super().__init__(name, say=say, changed=changed)
        self._chosen = chosen
        self._folder = folder
        self._listening = listening
        self._ours: socket.socket | None = None
        self._heard = False
        self.answers = False

    async def start(self) -> Child:
        """See `Post`."""
        self.answers = False
        ours, theirs = socket.socketpair()
        brief = ApiBrief(
            name=self.name,
            settings_json=settings.to_json(self._chosen),
            log_level=self._chosen.log.level,
            log_format=self._chosen.log.format,
            listening_file=self._listening.fileno(),
            link_file=theirs.fileno(),
            parent_pid=os.getpid(),
        )
        with theirs:
            try:
                child = await Child.start(
                    self.name,
                    "breezeblock.processes.api",
                    brief=brief.to_text(),
                    folder=self._folder,
                    pass_files=(self._listening.fileno(), theirs.fileno()),
                )
            except OSError:
                ours.close()
                raise
        self._ours = ours
        return child

    async def attend(self, child: Child) -> None:
        """Ping it; kill it when it is silent."""
        assert self._ours is not None
        link = await SocketLink.open(self._ours)
        listening = asyncio.ensure_future(self._listen(link))
        try:
            await self._ping(link, child)
        finally:
            listening.cancel()
            link.close()

    async def _ping(self, link: SocketLink, child: Child) -> None:
        silent = 0
        while True:
            self._heard = False
            link.send(words.PING)
            await asyncio.sleep(PING_EVERY_S)
            silent = 0 if self._heard else silent + 1
            if silent >= (SILENT_PINGS if self.answers else SILENT_PINGS_AT_START):
                log.error("api.silent", child=self.name, pid=child.pid, state=proc.state(child.pid))
                self._say(f"{self.name} (pid {child.pid}) does not answer: killing it")
                child.kill()
                return

    async def _listen(self, link: SocketLink) -> None:
        while await link.receive() is not None:
            self._heard = True
            self.answers = True


class KeeperPost(Post):
    """Keeps one node running, unless an operator has taken it out."""

    def __init__(
        self,
        name: str,
        *,
        chosen: Settings,
        folder: DataFolder,
        database_path: str,
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        super().__init__(name, say=say, changed=changed)
        self._chosen = chosen
        self._folder = folder
        self._database_path = database_path

    @property
    def wanted(self) -> bool:
        """See `Post`."""
        return not self._folder.drained(self.name).exists()

    async def start(self) -> Child:
        """See `Post`."""
        chosen = self._chosen
        brief = NodeBrief(
            name=self.name,
            cluster=chosen.service.cluster,
            database_path=self._database_path,
            state_folder=str(self._folder.node(self.name)),
            ttl_s=chosen.nodes.ttl_s,
            drift=chosen.nodes.drift,
            version=__version__,
            log_level=chosen.log.level,
            log_format=chosen.log.format,
            settings_json=settings.to_json(chosen),
            parent_pid=os.getpid(),
        )
        return await Child.start(self.name, "breezeblock.processes.keeper", brief=brief.to_text(), folder=self._folder)

    async def attend(self, child: Child) -> None:
        """Let it go when an operator wants it out; kill it when it has been stopped for too long."""
        asked = False
        stopped_looks = 0
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not asked and not self.wanted:
                asked = True
                self._say(f"{self.name} (pid {child.pid}) is drained")
                child.ask_to_leave()
            stopped_looks = stopped_looks + 1 if proc.state(child.pid) == proc.STOPPED else 0
            if stopped_looks * LOOK_EVERY_S > STOPPED_LEASES * self._chosen.nodes.ttl_s:
                log.error("keeper.stopped_too_long", child=self.name, pid=child.pid)
                self._say(f"{self.name} (pid {child.pid}) has been stopped for too long: killing it")
                child.kill()
                return
