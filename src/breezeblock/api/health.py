"""Whether this process should be sent requests: what balancers and service managers ask, every second and without a token.

`/healthcheck` and `/healthcheck/live` say that the process answers at all: who restarts processes asks that, and a database
that is away is no reason to. `/healthcheck/ready` says whether requests would succeed: who sends requests asks that.

Answers are as those of OpenStack's own middleware: `OK`, or a reason in each line; or JSON with a list of `reasons`.
Reasons are sentences of ours, for everybody: no host, no URL and no error of a library is in them; those are in the log.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec
import structlog
from starlette.responses import Response

from breezeblock.api.errors import RETRY_AFTER_S
from breezeblock.env.contract import Clock
from breezeblock.model.errors import Contended, Unavailable
from breezeblock.store import schema

__all__ = ["Health", "answer"]

log = structlog.get_logger(__name__)

# However many ask, the database is asked once in this time.
KEPT_S: Final = 1.0
# A balancer's own patience is often two seconds. A look that takes longer goes on, and who asks meanwhile waits for the same.
LOOK_S: Final = 1.5
LEAVING: Final = "This process is stopping: it answers what it has taken."
NO_DATABASE: Final = "The database cannot be reached."
SLOW_DATABASE: Final = f"The database has not answered for {LOOK_S:g} s."
NO_TABLES: Final = "The database is empty: run `breezeblock db upgrade`."
OLD_TABLES: Final = "The database is of an earlier release: run `breezeblock db upgrade`."


class Store(Protocol):
    """What of the store is asked."""

    @property
    def read(self) -> Callable[..., Awaitable[Any]]: ...


class Health:
    """One process's. Nothing is asked before somebody wants to know."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._looking: asyncio.Task[str] | None = None
        self._found = ""
        self._found_at: float | None = None
        self.is_leaving = False
        """Set when the process has been told to stop."""

    async def reasons(self) -> tuple[str, ...]:
        """Why no requests should be sent here; nothing if they should."""
        leaving = (LEAVING,) if self.is_leaving else ()
        found = await self._database()
        return (*leaving, found) if found else leaving

    async def _database(self) -> str:
        if self._found_at is not None and self._clock.boottime() - self._found_at < KEPT_S:
            return self._found
        # What a look has found that nobody waited for any more may be of an hour ago: it is not told, but looked again.
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look())
        looking = self._looking
        # Not cancelled when it takes too long: a thread that waits for a server cannot be called back.
        await asyncio.wait({looking}, timeout=LOOK_S)
        return looking.result() if looking.done() else SLOW_DATABASE

    async def _look(self) -> str:
        self._found, self._found_at = await self._reason(), self._clock.boottime()
        return self._found

    async def _reason(self) -> str:
        try:
            at: str | None = await self._store.read(schema.revision_of)
        except (Unavailable, Contended) as error:
            log.warning("health.no_database", error=str(error))
            return NO_DATABASE
        if at is None:
            return NO_TABLES
        # A later release's tables are right for this one, too, as long as it runs: see docs/howto/upgrade.md.
        return OLD_TABLES if at < schema.head() else ""


def answer(reasons: tuple[str, ...], *, accept: str) -> Response:
    """200 for no reasons, else 503; in JSON for those who ask for it."""
    status, headers = (503, {"Retry-After": str(RETRY_AFTER_S)}) if reasons else (200, {})
    shown = reasons or ("OK",)
    if "application/json" in accept.lower():
        body = msgspec.json.encode({"detailed": False, "reasons": shown})
        return Response(body, status, headers, media_type="application/json")
    return Response("\n".join(shown), status, headers, media_type="text/plain")
