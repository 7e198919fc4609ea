"""The walk through all projects' accounts, a few in each round of upkeep, by one node of the cluster at a time."""

from collections.abc import Sequence
from typing import Final

import structlog

from breezeblock.env.contract import Env
from breezeblock.model.errors import Contended, Unavailable
from breezeblock.node.identity import Identity
from breezeblock.protocol import node_events
from breezeblock.protocol.node_events import Note
from breezeblock.resources import accounts
from breezeblock.resources.accounts import Difference
from breezeblock.store.run import Store

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
# Of the projects that could not be counted, so many are remembered.
LATE_MOST: Final = 1000


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
        self._late: set[str] = set()
        self._is_slow = False

    async def look(self) -> None:
        """One round. Raises what the store does; the next one looks at the same then."""
        after = None if self._rests else self._after
        turn = await self._store.read(
            accounts.turn, cluster=self._me.cluster, me=self._me.incarnation, after=after, most=PROJECTS_MOST
        )
        if turn is None:
            self._after, self._rests, self._wrong = "", 0, ()
            self._late.clear()
            return
        found = await self._look_at(sorted({*self._wrong, *turn}))
        if found is None:
            return
        wrong = tuple(sorted({one.project_id for one in found}))
        if wrong:
            await self._tell(found, is_news=not set(wrong) <= set(self._wrong))
        elif self._late.isdisjoint(self._wrong) and self._wrong:
            log.info("accounts.right_again", projects=self._wrong)
        self._wrong = wrong[:AGAIN_MOST]
        if after is None:
            self._rests -= 1
        elif not turn:
            self._after, self._rests, self._is_slow = "", ROUNDS_BETWEEN, False
        else:
            self._after = turn[-1]

    async def _look_at(self, project_ids: Sequence[str]) -> list[Difference] | None:
        """What is wrong with these, together where that can be. One that takes too long keeps nobody else from it."""
        if not self._is_slow:
            try:
                return await self._store.try_read(accounts.look, project_ids=project_ids)
            except (Contended, Unavailable) as error:  # the time of a statement, or of all of them together
                log.info("accounts.one_by_one", reason=str(error))
                self._is_slow = True
        found: list[Difference] = []
        for project_id in project_ids:
            try:
                some = await self._store.try_read(accounts.look, project_ids=[project_id])
            except Contended as error:
                await self._skip(project_id, str(error))
                continue
            if some is None:
                return None
            found += some
            self._late.discard(project_id)
        return found

    async def _skip(self, project_id: str, reason: str) -> None:
        """Leave it for the next walk through all of them. Told once, until it was counted."""
        if project_id in self._late:
            return
        log.warning("accounts.skipped", project_id=project_id, reason=reason)
        await self._store.run(
            node_events.tell,
            incarnation=self._me.incarnation,
            event=accounts.LATE,
            detail=f"The accounts of project {project_id} could not be compared in time: `breezeblock db check` does it.",
            note=Note.of(self._env, self._me.name),
        )
        self._late.add(project_id)
        if len(self._late) > LATE_MOST:  # told again rather than remembered without a bound
            self._late.pop()

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
