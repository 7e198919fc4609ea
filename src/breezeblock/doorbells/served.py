"""Doorbells that ring through a server, whichever it is: what `postgresql` and `rabbitmq` have in common.

A task of its own keeps the connection. The server may be killed, restarted, cut off or never there: requests, starts and stops
do not wait for it, and all that is lost is time. Rings that cannot be handed over are kept, one for each queue, and go when
there is a connection again. A listener rings its worker once after each connect: what was rung before, it cannot have heard.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar

import structlog

from breezeblock.doorbells.contract import Tally
from breezeblock.env.contract import Env
from breezeblock.settings import mask_url_secrets

log = structlog.get_logger(__name__)

CONNECT_S: Final = 5.0
# A server that does not confirm a ring for so long is taken for lost.
SEND_S: Final = 5.0
# Pauses between attempts to connect: from the first, doubled after each failure, to the longest.
PAUSE_FIRST_S: Final = 0.2
PAUSE_LONGEST_S: Final = 5.0
# A connection that held so long was a good one: the next failure is a first one.
HELD_S: Final = 10.0
# After so many in a row that were not, the next is told of only when it has held: a server that takes connections and drops
# them would fill the log.
SHORT_MOST: Final = 2
# Queues whose rings are kept at a time; a service has one for each backend, so it never has so many.
WAITING_MOST: Final = 4096


class Sender(Protocol):
    """An open connection that rings go out through."""

    async def send(self, queues: Sequence[str]) -> None:
        """Return when the server has them all. Any exception means that the connection is of no use any more."""
        ...

    async def lost(self) -> None:
        """Return when the connection is of no use any more."""
        ...

    def close(self) -> None:
        """Let go of it at once, whatever is under way on it."""
        ...


class Ear(Protocol):
    """An open connection that rings come in through."""

    async def hear(self, on_ring: Callable[[], None]) -> None:
        """Call `on_ring` for each ring, and return or raise when the connection is of no use any more."""
        ...

    def close(self) -> None:
        """Let go of it at once, whatever is under way on it."""
        ...


async def within(seconds: float, talk: Coroutine[Any, Any, None], *, otherwise: Callable[[], None]) -> None:
    """Wait so long for an answer, then call `otherwise` and raise TimeoutError.

    In that order: cancelled first, a library would try to tell the server, which does not answer.
    """
    talking = asyncio.ensure_future(talk)
    try:
        await asyncio.wait((talking,), timeout=seconds)
        if not talking.done():
            otherwise()
            raise TimeoutError
    finally:
        talking.cancel()
    talking.result()


class _Closes(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closes)


class Kept:
    """Keeps one connection to one of several servers, and uses it by `use`, which returns or raises when it is lost."""

    def __init__(
        self,
        *,
        kind: str,
        end: str,
        urls: Sequence[str],
        open_one: Callable[[str], Awaitable[C]],
        use: Callable[[C], Awaitable[None]],
        env: Env,
        tally: Tally,
    ) -> None:
        assert urls, "a doorbell that is served has a server"
        self._urls = tuple(urls)
        self._env = env
        self._tally = tally
        self._log = structlog.get_logger(__name__, doorbell=kind, end=end)
        self.is_connected = False
        # What was wrong is told once: until it is over, or something else is wrong.
        self._told = ""
        self._since = 0.0
        self._short = 0
        self._settling: asyncio.Task[None] | None = None
        self._open: _Closes | None = None

        async def attempt(url: str) -> None:
            async with asyncio.timeout(CONNECT_S):
                connection = await open_one(url)
            try:
                self._begin(url, connection)
                await use(connection)
            finally:
                self._end()

        self._attempt = attempt
        self._task = asyncio.get_running_loop().create_task(self._keep())

    def close(self) -> None:
        """Let go, without waiting for anything."""
        self._end()  # first: a library that is told to stop may want a word with a server that does not answer
        self._task.cancel()

    async def _keep(self) -> None:
        failures = turn = 0
        while True:
            self._since = float("inf")
            url = self._urls[turn % len(self._urls)]
            # In a task of its own: however it ends (libraries cancel what waits on a lost connection), this one goes on.
            attempt = asyncio.ensure_future(self._attempt(url))
            try:
                await asyncio.wait((attempt,))
            finally:
                attempt.cancel()
            self._tell(url, attempt)
            turn += 1
            held_s = self._env.clock.boottime() - self._since
            failures = 0 if held_s > HELD_S else failures + 1
            if held_s >= 0:
                self._short = 0 if held_s > HELD_S else self._short + 1
            longest = min(PAUSE_LONGEST_S, PAUSE_FIRST_S * 2 ** min(failures, 16))
            await self._env.clock.sleep(self._env.random.uniform(longest / 2, longest))

    def _begin(self, url: str, connection: _Closes) -> None:
        self._open = connection
        self.is_connected = True
        self._since = self._env.clock.boottime()
        self._tally.connected(True)
        if self._short < SHORT_MOST:
            self._tell_connected(url)
        else:
            self._settling = asyncio.ensure_future(self._tell_when_it_held(url))

    async def _tell_when_it_held(self, url: str) -> None:
        await self._env.clock.sleep(HELD_S)
        self._tell_connected(url)

    def _tell_connected(self, url: str) -> None:
        self._log.info("doorbell.connected", server=mask_url_secrets(url, is_url=True), again=bool(self._told))
        self._told = ""

    def _end(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if self._open is not None:
            self._open.close()
            self._open = None
            self.is_connected = False
            self._tally.connected(False)

    def _tell(self, url: str, attempt: "asyncio.Future[None]") -> None:
        error = None if attempt.cancelled() else attempt.exception()
        reason = "the connection was closed" if error is None else type(error).__name__
        if not self._told:
            detail = mask_url_secrets(str(error or ""))
            self._log.warning("doorbell.lost", server=mask_url_secrets(url, is_url=True), reason=reason, detail=detail)
        self._told = reason


class ServedBell:
    """Rings through a server. Must be made, rung and closed on one event loop."""

    def __init__(
        self, kind: str, urls: Sequence[str], open_sender: Callable[[str], Awaitable[Sender]], *, env: Env, tally: Tally
    ) -> None:
        self._tally = tally
        self._waiting: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._kept = Kept(kind=kind, end="bell", urls=urls, open_one=open_sender, use=self._send, env=env, tally=tally)

    def ring(self, queue: str) -> None:
        """See `contract.Doorbell`. It is sent soon; rings of one queue that wait together go as one."""
        if len(self._waiting) >= WAITING_MOST and queue not in self._waiting:
            self._tally.failed(1)
            return
        self._waiting[queue] = None
        self._wake.set()

    def is_connected(self) -> bool:
        """Whether rings go out now."""
        return self._kept.is_connected

    def close(self) -> None:
        """Let go, without waiting for anything; what was not sent is lost."""
        self._kept.close()

    async def _send(self, sender: Sender) -> None:
        lost = asyncio.ensure_future(sender.lost())
        try:
            while not lost.done():
                if self._waiting:
                    await self._send_all(sender)
                else:
                    await self._wait(lost)
        finally:
            lost.cancel()

    async def _send_all(self, sender: Sender) -> None:
        batch, self._waiting = self._waiting, {}
        done = False
        try:
            await within(SEND_S, sender.send(tuple(batch)), otherwise=sender.close)
            done = True
        finally:
            if done:
                self._tally.sent(len(batch))
            else:
                self._waiting = batch | self._waiting
                self._tally.failed(len(batch))

    async def _wait(self, lost: "asyncio.Future[None]") -> None:
        self._wake.clear()
        rung = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((rung, lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            rung.cancel()


class ServedListener:
    """Hears rings through a server."""

    def __init__(
        self, kind: str, urls: Sequence[str], open_ear: Callable[[str], Awaitable[Ear]], *, env: Env, tally: Tally
    ) -> None:
        self._kind = kind
        self._urls = urls
        self._open_ear = open_ear
        self._env = env
        self._tally = tally
        self._kept: Kept | None = None

    def listen(self, on_ring: Callable[[], None]) -> None:
        """See `contract.Listener`. Must be called on the event loop."""

        def heard() -> None:
            self._tally.received(1)
            on_ring()

        async def hear(ear: Ear) -> None:
            on_ring()
            await ear.hear(heard)

        assert self._kept is None, "listened to once"
        self._kept = Kept(
            kind=self._kind,
            end="listener",
            urls=self._urls,
            open_one=self._open_ear,
            use=hear,
            env=self._env,
            tally=self._tally,
        )

    def is_connected(self) -> bool:
        """See `contract.Listener`."""
        return self._kept is not None and self._kept.is_connected

    def close(self) -> None:
        """Let go, without waiting for anything."""
        if self._kept is not None:
            self._kept.close()
