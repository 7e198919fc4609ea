"""The walk through all projects' accounts, a few in each round of upkeep, by one node of the cluster at a time."""

from collections.abc import Sequence
from typing import Final

import structlog

from breezeblock.env.contract import Env
from breezeblock.node.identity import Identity
from breezeblock.protocol import node_events
from breezeblock.protocol.node_events import Note
from breezeblock.resources import accounts
from breezeblock.resources.accounts import Difference
from breezeblock.store.run import Store
from breezeblock.store.type_accounts import has_named

log = structlog.get_logger(__name__)

# In a round. Ten thousand projects take some hours so.
PROJECTS_MOST: Final = 20
# After the last project it waits so many rounds, about five minutes.
ROUNDS_BETWEEN: Final = 10
# Of the projects that were wrong, so many are looked at again in every round.
AGAIN_MOST: Final = 10
# What stays wrong is told again before the metric, which looks back an hour, forgets it.
TOLD_AGAIN_S: Final = 1800.0
SENTENCES_MOST: Final = 5


class AccountsCheck:
    """Where the walk is, and which projects were wrong.

    Both are forgotten with the node. Who does it next begins at the first project, and finds again what is wrong.
    """

    def __init__(self, *, env: Env, store: Store, identity: Identity) -> None:
        self._env = env
        self._store = store
        self._me = identity
        self._after = ""
        self._rests = 0
        self._wrong: tuple[str, ...] = ()
        self._tell_at = 0.0

    async def look(self) -> None:
        """One round. Raises what the store does; the next one looks at the same then."""
        if await self._store.read(has_named):
            return  # accounts as a process of the release before writes them, which are moved in a moment
        after = None if self._rests else self._after
        looked = await self._store.read(
            accounts.look,
            cluster=self._me.cluster,
            me=self._me.incarnation,
            again=self._wrong,
            after=after,
            most=PROJECTS_MOST,
        )
        if looked is None:
            self._after, self._rests, self._wrong = "", 0, ()
            return
        wrong = tuple(sorted({one.project_id for one in looked.wrong}))
        if wrong:
            await self._tell(looked.wrong, is_news=not set(wrong) <= set(self._wrong))
        elif self._wrong:
            log.info("accounts.right_again", projects=self._wrong)
        self._wrong = wrong[:AGAIN_MOST]
        if after is None:
            self._rests -= 1
        elif looked.last is None:
            self._after, self._rests = "", ROUNDS_BETWEEN
        else:
            self._after = looked.last

    async def _tell(self, wrong: Sequence[Difference], *, is_news: bool) -> None:
        """Write it down where operators look, and where the metrics of every API find it; now and then, while it lasts."""
        now = self._env.clock.boottime()
        if now < self._tell_at and not is_news:
            return
        log.error("accounts.wrong", differences=[one._asdict() for one in wrong[:SENTENCES_MOST]], count=len(wrong))
        detail = " ".join(map(str, wrong[:SENTENCES_MOST]))
        if len(wrong) > SENTENCES_MOST:
            detail += f" And {len(wrong) - SENTENCES_MOST} more."
        await self._store.run(
            node_events.tell,
            incarnation=self._me.incarnation,
            event=accounts.EVENT,
            detail=detail,
            note=Note.of(self._env, self._me.name),
        )
        self._tell_at = now + TOLD_AGAIN_S
