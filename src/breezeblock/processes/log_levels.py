"""Log levels that operators set while a process runs: looked for every few seconds, obeyed, and told of."""

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from breezeblock import logs
from breezeblock.env.contract import Env
from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.resources import log_levels
from breezeblock.resources.log_levels import REPORT_EVERY_S, Who
from breezeblock.store.run import Store

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 3.0


class LogLevels:
    """Keeps one process at what was said about it. `tell` hears each time what it is to obey, in order.

    A database that cannot be reached changes nothing: what was said last still holds.
    """

    def __init__(
        self,
        *,
        store: Store,
        env: Env,
        who: Who,
        binary: str,
        host: str,
        tell: Callable[[Sequence[tuple[str, str]]], None] = lambda said: None,
    ) -> None:
        self._store = store
        self._env = env
        self._who = who
        self._report = functools.partial(log_levels.report, process_id=env.ids.uuid(), binary=binary, host=host)
        self._tell = tell
        self._obeyed = -1
        self._reported: dict[str, str] = {}
        self._report_at = 0.0

    def start(self) -> "asyncio.Task[None]":
        """Look until cancelled. If that should ever break, the process goes on as it is, and its log says so."""
        running = asyncio.ensure_future(self.run())
        running.add_done_callback(_say_if_broken)
        return running

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except (Contended, Ambiguous, Unavailable) as error:
                log.info("log_levels.put_off", reason=str(error))
            await self._env.clock.sleep(LOOK_EVERY_S * self._env.random.uniform(0.8, 1.2))

    async def look(self) -> None:
        """Read what was said, obey what is new, and tell which levels there are now, if somebody could not know it."""
        number, said = await self._store.read(log_levels.read)
        if number != self._obeyed:
            meant = [(one.prefix, one.level) for one in said if self._who.is_meant_by(one)]
            logs.obey(meant)
            self._tell(meant)
            self._obeyed = number
        levels = logs.levels()
        now = self._env.clock.boottime()
        if levels != self._reported or now >= self._report_at:
            await self._store.run(self._report, levels=levels)
            self._reported, self._report_at = levels, now + REPORT_EVERY_S


def _say_if_broken(running: "asyncio.Task[None]") -> None:
    if not running.cancelled() and (error := running.exception()) is not None:
        log.error("log_levels.broken", exc_info=error)
