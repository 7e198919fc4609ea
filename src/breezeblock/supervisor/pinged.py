"""A post whose process is asked by a ping whether its event loop turns, and killed when it is silent.

Whatever it hangs in: stopped, a call that blocks, a loop that does not end. Pings of ours are counted, not seconds: after a
pause of this process or of the whole machine nobody is blamed for it.
"""

import asyncio
import socket
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from breezeblock.node import link as words
from breezeblock.node.link import SocketLink
from breezeblock.supervisor import proc
from breezeblock.supervisor.child import Child
from breezeblock.supervisor.post import Post

log = structlog.get_logger(__name__)

# A process has this long to import and to open the database.
START_S: Final = 60.0
SILENT_PINGS: Final = 5


class PingedPost(Post):
    """Keeps one process running that answers pings on the other end of `line`."""

    def __init__(
        self, name: str, *, kind: str, patience_s: float, say: Callable[[str], None], changed: Callable[[], None]
    ) -> None:
        super().__init__(name, say=say, changed=changed)
        self._kind = kind
        self._every_s = patience_s / SILENT_PINGS
        self._ours: socket.socket | None = None
        self._heard = False
        self._silent = 0
        self.answers = False

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to wait for: its process has answered the last ping, or nobody wants one."""
        return not self.wanted or (self.child is not None and self.answers and self._silent == 0)

    @abstractmethod
    async def begin(self, line: socket.socket) -> Child:
        """Start the process, which inherits its end of the line."""

    async def start(self) -> Child:
        """See `Post`."""
        self.answers = False
        self._silent = 0
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                child = await self.begin(theirs)
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
        while True:
            self._heard = False
            link.send(words.PING)
            await asyncio.sleep(self._every_s)
            self._silent = 0 if self._heard else self._silent + 1
            if self._silent >= (SILENT_PINGS if self.answers else START_S / self._every_s):
                log.error(f"{self._kind}.silent", child=self.name, pid=child.pid, state=proc.state(child.pid))
                self._say(f"{self.name} (pid {child.pid}) does not answer: killing it")
                child.kill()
                return

    async def _listen(self, link: SocketLink) -> None:
        while await link.receive() is not None:
            self._heard = True
            self.answers = True


def is_worth_keeping(posts: Sequence[PingedPost]) -> bool:
    """Whether starting all of them anew would not help: one that is wanted is well, or none is wanted.

    One that is not wanted says nothing about the others: it is always well.
    """
    wanted = [post for post in posts if post.wanted]
    return not wanted or any(post.is_well for post in wanted)
