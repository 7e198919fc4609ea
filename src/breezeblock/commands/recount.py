"""`breezeblock db recount`: charge a project for what it has, when a check has found that it is charged for something else."""

import asyncio
from typing import Final

from sqlalchemy import Connection, select

from breezeblock.commands.asking import asking
from breezeblock.commands.failure import Failed
from breezeblock.resources import accounts
from breezeblock.resources.accounts import Difference
from breezeblock.settings import Settings
from breezeblock.store.tables import quota_usage
from breezeblock.wiring import Leisure

# A project may have a million rows. While they are counted its requests wait for its accounts, and for these the requests of
# other projects that want the same pools: no longer than this, also if the command dies in the middle of a statement.
LEISURE: Final = Leisure(statement_s=60.0, transaction_s=120.0, is_alone=False)


def recount(settings: Settings, project_id: str) -> list[Difference]:
    """What was wrong, and is right now. Raises Failed for a project that has never had anything."""
    return asyncio.run(_recount(settings, project_id))


async def _recount(settings: Settings, project_id: str) -> list[Difference]:
    async with asking(settings, leisure=LEISURE) as at:
        wrong = await at.store.run(accounts.recount, project_id=project_id)
        if not wrong and not await at.store.read(_is_known, project_id):
            raise Failed(
                f"No project {project_id!r} has ever had anything here: expected the project's id, as `db check` says it."
            )
        return wrong


def _is_known(tx: Connection, project_id: str) -> bool:
    return tx.execute(_ANY.where(quota_usage.c.project_id == project_id)).first() is not None


_ANY: Final = select(quota_usage.c.resource).limit(1)
