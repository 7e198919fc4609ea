"""Requests of operators from the command line: the same transactions as the API's, and a look at how their work has ended."""

import getpass
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection

from breezeblock import wiring
from breezeblock.commands.database import reading
from breezeblock.commands.failure import Failed
from breezeblock.doorbells.contract import Doorbell
from breezeblock.doorbells.tally import Rings
from breezeblock.env.contract import Env
from breezeblock.env.real import real_env
from breezeblock.model.errors import Ambiguous, BadRequest, Rejected, Unavailable
from breezeblock.model.ids import MessageId, OperationId, ProjectId, UserId
from breezeblock.model.origin import Origin
from breezeblock.settings import Settings
from breezeblock.store import schema
from breezeblock.store.run import Store

T = TypeVar("T")

LOOK_FIRST_S: Final = 0.1
LOOK_MOST_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Asking:
    """An open database, and whom to ring."""

    settings: Settings
    env: Env
    store: Store
    bell: Doorbell

    def origin(self, *, project_id: str, user_id: str | None = None) -> Origin:
        """A new request for a project, by an operator."""
        return Origin(
            project_id=ProjectId(project_id),
            user_id=UserId(user_id or getpass.getuser()),
            is_admin=True,
            request_id=f"req-{self.env.ids.uuid()}",
            at_us=self.env.clock.now_us(),
            operation_id=OperationId(self.env.ids.uuid()),
            message_id=MessageId(self.env.ids.uuid()),
        )

    def ring(self, queue: str | None) -> None:
        """After the commit."""
        if queue is not None:
            self.bell.ring(queue)

    async def ended(self, look: Callable[[Connection], T | None]) -> T:
        """What `look` finds, once it finds anything. An outage of the database is waited for as long as the work is."""
        pause_s = LOOK_FIRST_S
        while (found := await self.store.insist_read(look)) is None:
            await self.env.clock.sleep(pause_s)
            pause_s = min(2 * pause_s, LOOK_MOST_S)
        return found


@asynccontextmanager
async def asking(settings: Settings, *, leisure: wiring.Leisure | None = None) -> AsyncIterator[Asking]:
    """Raises Failed when the database is not there, is of another release, or cannot be used; and for what is refused.

    Statements have the service's limits, or `leisure`. What was asked for wrongly ends the command with 2, as a wrong option
    does.
    """
    with reading(settings) as tx:
        at = schema.revision_of(tx)
    if at != schema.head():
        raise Failed(f"The database is at revision {at}; this release needs {schema.head()}: `breezeblock db upgrade`.")
    env = real_env()
    opened = wiring.open_database(settings, env, leisure=leisure)
    bell = wiring.open_bell(settings, env, Rings())
    try:
        yield Asking(settings, env, opened.store, bell)
    except Rejected as refused:
        raise Failed(refused.message, status=2 if isinstance(refused, BadRequest) else 1) from refused
    except (Ambiguous, Unavailable) as error:
        raise Failed(f"The database cannot be used now: {error}") from error
    finally:
        bell.close()
        opened.lane.close()
