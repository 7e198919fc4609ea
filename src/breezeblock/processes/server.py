"""The HTTP server of one API process: its bounds, its TLS, and how it is replaced without a request being lost.

What it refuses by itself, before there is a request to answer as this API does: a request line beyond 64 KiB (414), headers
beyond `HEAD_BYTES_MAX` or more than a hundred of them (431), what is no HTTP (400), all with an empty body; headers that do not
come in time, or none at all on an idle connection (the connection is closed).
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from breezeblock.env.contract import Clock
from breezeblock.options import Api
from breezeblock.options_limits import Limits
from breezeblock.processes.certificates import Pair, Unusable, is_expired, path_of, read_pair, stamp

__all__ = ["Front"]

log = structlog.get_logger(__name__)

# Request line and headers together: more than the application takes, so that it is mostly the application that says why.
HEAD_BYTES_MAX: Final = 131_072
# How often the certificate's files are looked at.
LOOK_EVERY_S: Final = 2.0
# After a new certificate: so long connections are told, each with its next answer, to be opened anew. Those that are idle
# for all that time are closed then.
HANDING_OVER_S: Final = 2.0
# A client that is gone without a word (its machine lost power) is noticed after about a minute.
KEEP_ALIVE: Final = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}


class Front:
    """What listens for one API process, on a socket that it has inherited."""

    def __init__(self, app: ASGIApp, listening_file: int, *, api: Api, limits: Limits, clock: Clock) -> None:
        self._app = app
        self._listening_file = listening_file
        self._api = api
        self._limits = limits
        self._clock = clock
        self._pair: Pair | None = None
        self._serving: _Generation | None = None
        # Those that were replaced, each by the task that lets it go.
        self._before: dict[asyncio.Task[None], _Generation] = {}

    def start(self) -> None:
        """Begin to serve. Raises Unusable."""
        _bound_connections(self._listening_file, self._limits)
        if self._api.tls_certificate is not None:
            self._pair = read_pair(self._api)
            self._warn_of_age(self._pair)
        self._serving = self._generation(self._pair)

    async def broken(self) -> None:
        """Return when the server has ended though nobody told it to."""
        while True:
            serving = self._serving
            assert serving is not None, "asked before it was started"
            await asyncio.wait({serving.task})
            if serving is self._serving:
                return

    async def renew(self) -> None:
        """Look for a changed certificate, for ever, and serve it.

        What cannot be served is looked at again each time, and told once. Files may become readable without having changed, and
        this process may get the descriptors that it lacked.
        """
        seen = self._pair.stamp if self._pair else None
        told = ""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            if self._pair is None or stamp(self._api) == seen:
                continue
            try:
                pair = await asyncio.to_thread(read_pair, self._api)
                self._replace(pair)
            except (Unusable, OSError, ValueError) as error:
                # The last good one stays: a certificate that is too old is told by clients, none at all ends the service.
                if str(error) != told:
                    log.error("tls.not_renewed", reason=str(error), exc_info=not isinstance(error, Unusable))
                told = str(error)
            else:
                seen, told = pair.stamp, ""

    async def stop(self) -> None:
        """Accept nothing more; return when the last request under way is answered."""
        assert self._serving is not None, "stopped before it was started"
        for one in (self._serving, *self._before.values()):
            one.stop()
        await asyncio.wait({self._serving.task, *self._before})

    def _replace(self, pair: Pair) -> None:
        """A second server accepts from the same socket from now on; the first one is let go by its clients."""
        try:
            begun = self._generation(pair)
        except OSError:
            pair.close()
            raise
        old_pair, self._pair = self._pair, pair
        old, self._serving = self._serving, begun
        assert old is not None and old_pair is not None, "replaced before it was started"
        old_pair.close()
        self._warn_of_age(pair)
        log.info("tls.renewed", subject=pair.subject, not_after=pair.not_after.isoformat())
        task = asyncio.ensure_future(old.hand_over(self._clock))
        self._before[task] = old
        task.add_done_callback(self._before.pop)

    def _generation(self, pair: Pair | None) -> "_Generation":
        return _Generation(self._app, self._listening_file, limits=self._limits, pair=pair)

    def _warn_of_age(self, pair: Pair) -> None:
        if is_expired(pair, self._clock.now_us()):
            log.warning("tls.expired", subject=pair.subject, not_after=pair.not_after.isoformat())


class _Generation:
    """One server, from its start to its last answer."""

    def __init__(self, app: ASGIApp, listening_file: int, *, limits: Limits, pair: Pair | None) -> None:
        self._app = app
        self._is_last = False
        self._server = _InheritedServer(self._answer, listening_file, limits=limits, pair=pair)
        self.task = asyncio.ensure_future(self._server.serve())

    def stop(self) -> None:
        self._server.stop()  # type: ignore[no-untyped-call]

    async def hand_over(self, clock: Clock) -> None:
        """Have every client open its connection anew, and end."""
        self._is_last = True
        pause = asyncio.ensure_future(clock.sleep(HANDING_OVER_S))
        # Whichever is first: the process may be told to stop meanwhile.
        await asyncio.wait({self.task, pause}, return_when=asyncio.FIRST_COMPLETED)
        pause.cancel()
        self.stop()
        await asyncio.wait({self.task})

    def _answer(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._app(scope, receive, _closing(send) if self._is_last else send)


def _closing(send: Send) -> Send:
    """Each answer with the word that the connection ends with it."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return send_and_close


class _InheritedServer(Server):
    """Granian's embedded server on a socket that somebody else has bound and listens on."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        listening_file: int,
        *,
        limits: Limits,
        pair: Pair | None,
    ) -> None:
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(
                header_read_timeout=int(limits.header_timeout_s * 1000), max_buffer_size=HEAD_BYTES_MAX
            ),
            websockets=False,
            backlog=limits.connections,
            backpressure=limits.connections,
            log_enabled=False,
        )
        # A descriptor of its own: the server closes what it is given when it ends, and others go on with theirs.
        self._listening_file = os.dup(listening_file)
        if pair is not None:
            verified = pair.client_ca_file is not None
            client_ca = path_of(pair.client_ca_file) if pair.client_ca_file is not None else None
            # As its constructor would, which takes no names of memory: with them nothing secret is on any disk.
            self.ssl_ctx = (  # type: ignore[assignment]
                True,
                path_of(pair.certificate_file),
                path_of(pair.key_file),
                None,
                str(SSLProtocols.tls12),
                client_ca,
                [],
                verified,
            )

    def _init_shared_socket(self) -> None:
        # As Granian's own workers get it from their parent: descriptor, whether it is a unix socket, backlog. Its types
        # leave the constructor out, and know no server but one that binds for itself.
        holder = SocketHolder(self._listening_file, False, self.backlog)  # type: ignore[call-arg]
        self._shd = holder  # type: ignore[assignment]


def _bound_connections(listening_file: int, limits: Limits) -> None:
    """What every accepted connection takes over from the socket that listens: the kernel ends those nobody is behind.

    A client that reads nothing of its answer keeps the answer in our memory. The kernel gives it up when none of what is
    sent has been taken for `unread_timeout_s`.
    """
    with socket.socket(fileno=os.dup(listening_file)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE.items():
            listening.setsockopt(socket.IPPROTO_TCP, option, value)
        unread_ms = int(limits.unread_timeout_s * 1000)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread_ms)
