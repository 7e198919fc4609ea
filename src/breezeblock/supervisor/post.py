"""A post: a place that is never left empty. What dies in it is started again, for ever.

At once, as a rule; with growing pauses when it dies again and again within seconds, so that a process that cannot start
does not keep the machine from everything else.
"""

import asyncio
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

import structlog

from breezeblock.supervisor.child import Child

log = structlog.get_logger(__name__)

LIVED_S: Final = 10.0
PAUSE_FIRST_S: Final = 0.25
PAUSE_MOST_S: Final = 5.0
# How often a post looks at its process, and at whether an operator wants it filled.
LOOK_EVERY_S: Final = 0.25


class Post(ABC):
    """Keeps one process running. Subclasses say which, and what else to look at."""

    def __init__(self, name: str, *, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        self.name = name
        self.child: Child | None = None
        self.is_starting = False
        self._say = say
        self._changed = changed
        self._leaving = asyncio.Event()
        self._short_lives = 0

    @abstractmethod
    async def start(self) -> Child:
        """Start the process."""

    @abstractmethod
    async def attend(self, child: Child) -> None:
        """Look after a running process; cancelled when it has ended."""

    @property
    def wanted(self) -> bool:
        """Whether the post is to be filled at all."""
        return True

    def leave(self) -> None:
        """Start nothing more, and ask the process to leave."""
        self._leaving.set()
        if self.child is not None:
            self.child.ask_to_leave()

    def kill(self) -> None:
        """Start nothing more, and end the process at once."""
        self._leaving.set()
        if self.child is not None:
            self.child.kill()

    async def keep(self) -> None:
        """Keep the post filled until told to leave. Returns when its last process is gone."""
        while not self._leaving.is_set():
            if self.wanted:
                await self._pause_by(await self._fill())
            else:
                await self._rest(LOOK_EVERY_S)

    async def _fill(self) -> float:
        """Run one process to its end; returns how long it lived."""
        began = time.monotonic()
        self.is_starting = True
        try:
            self.child = child = await self.start()
        except OSError as error:  # no memory, no more processes: that passes
            log.error("child.cannot_start", child=self.name, reason=str(error))
            return 0.0
        finally:
            self.is_starting = False
        if self._leaving.is_set():  # told while it was being started
            child.ask_to_leave()
        self._changed()
        attending = asyncio.ensure_future(self.attend(child))
        try:
            status = await child.ended()
        finally:
            attending.cancel()
        self.child = None
        lived_s = time.monotonic() - began
        if not self._leaving.is_set():
            log.warning("child.ended", child=self.name, pid=child.pid, status=status, lived_s=round(lived_s, 1))
            self._say(f"{self.name} (pid {child.pid}) {in_words(status)}" + (", starting it again" * self.wanted))
        self._changed()
        return lived_s

    async def _pause_by(self, lived_s: float) -> None:
        self._short_lives = self._short_lives + 1 if lived_s < LIVED_S else 0
        if self._short_lives > 1:  # the first is started again at once
            await self._rest(min(PAUSE_MOST_S, PAUSE_FIRST_S * 2 ** min(self._short_lives - 2, 16)))

    async def _rest(self, seconds: float) -> None:
        """A pause that ends early when we leave."""
        try:
            await asyncio.wait_for(self._leaving.wait(), seconds)
        except TimeoutError:
            return


def in_words(status: int) -> str:
    """An exit status for people."""
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
