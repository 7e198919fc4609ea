"""The two kinds of posts: API processes and keepers.

An API process that is silent for seconds is killed, and so a hung or stopped one holds up only the requests that it had
already taken.

A keeper that hangs is expired and fenced by the other nodes; they do not need us. But where all hang, or there is only one,
nobody would: so a keeper that is silent for two leases is killed here. Its worker dies with it. Silent is one whose event
loop does not turn; one that only cannot reach its database answers, since another start of it could not either.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

from breezeblock import __version__, settings
from breezeblock.processes.brief import ApiBrief, NodeBrief
from breezeblock.settings import Settings
from breezeblock.supervisor.child import Child
from breezeblock.supervisor.folder import DataFolder
from breezeblock.supervisor.pinged import PingedPost
from breezeblock.supervisor.post import LOOK_EVERY_S

API_PATIENCE_S: Final = 5.0
KEEPER_PATIENCE_LEASES: Final = 2.0
# Shorter than this says nothing: with short leases a busy machine is not a hung keeper.
KEEPER_PATIENCE_LEAST_S: Final = 3.0


class ApiPost(PingedPost):
    """Keeps one API process running on the shared listening socket."""

    def __init__(
        self,
        name: str,
        *,
        chosen: Settings,
        folder: DataFolder,
        listening: socket.socket,
        counts: Sequence[int],
        place: int,
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        super().__init__(name, kind="api", patience_s=API_PATIENCE_S, say=say, changed=changed)
        self._chosen = chosen
        self._folder = folder
        self._listening = listening
        self._counts = tuple(counts)
        self._place = place

    async def begin(self, line: socket.socket) -> Child:
        """See `PingedPost`."""
        brief = ApiBrief(
            name=self.name,
            settings_json=settings.to_json(self._chosen),
            log_level=self._chosen.log.level,
            log_format=self._chosen.log.format,
            listening_file=self._listening.fileno(),
            link_file=line.fileno(),
            counts_files=self._counts,
            place=self._place,
            parent_pid=os.getpid(),
        )
        return await Child.start(
            self.name,
            "breezeblock.processes.api",
            brief=brief.to_text(),
            folder=self._folder,
            pass_files=(self._listening.fileno(), line.fileno(), *self._counts),
        )


class KeeperPost(PingedPost):
    """Keeps one node running, unless an operator has taken it out."""

    def __init__(
        self,
        name: str,
        *,
        chosen: Settings,
        folder: DataFolder,
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        patience_s = max(KEEPER_PATIENCE_LEASES * chosen.nodes.ttl_s, KEEPER_PATIENCE_LEAST_S)
        super().__init__(name, kind="keeper", patience_s=patience_s, say=say, changed=changed)
        self._chosen = chosen
        self._folder = folder

    @property
    def wanted(self) -> bool:
        """See `Post`."""
        return not self._folder.drained(self.name).exists()

    async def begin(self, line: socket.socket) -> Child:
        """See `PingedPost`."""
        chosen = self._chosen
        brief = NodeBrief(
            name=self.name,
            cluster=chosen.service.cluster,
            database_urls=chosen.database.urls,
            state_folder=str(self._folder.node(self.name)),
            ttl_s=chosen.nodes.ttl_s,
            drift=chosen.nodes.drift,
            version=__version__,
            log_level=chosen.log.level,
            log_format=chosen.log.format,
            settings_json=settings.to_json(chosen),
            parent_pid=os.getpid(),
            pings_file=line.fileno(),
        )
        return await Child.start(
            self.name,
            "breezeblock.processes.keeper",
            brief=brief.to_text(),
            folder=self._folder,
            pass_files=(line.fileno(),),
        )

    async def attend(self, child: Child) -> None:
        """Let it go when an operator wants it out; kill it when it is silent."""
        letting_go = asyncio.ensure_future(self._let_go(child))
        try:
            await super().attend(child)
        finally:
            letting_go.cancel()

    async def _let_go(self, child: Child) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not self.wanted:
                self._say(f"{self.name} (pid {child.pid}) is drained")
                child.ask_to_leave()
                return
