"""How long what only tells of the past is kept: user messages, the log of operations, events of nodes."""

from typing import Final

from sqlalchemy import Connection, delete, select

from breezeblock.protocol import node_events
from breezeblock.store.tables import messages, operation_log

OPERATION_LOG_KEPT_US: Final = 30 * 24 * 3600 * 1_000_000
# In one transaction, so that it stays short; the next round takes the next ones.
ROWS_MOST: Final = 1_000


def forget_old(tx: Connection, *, now_us: int) -> int:
    """Remove messages whose guaranteed time is over, log rows and events older than a month. Returns how many went."""
    old_messages = select(messages.c.id).where(messages.c.guaranteed_until_us < now_us).limit(ROWS_MOST)
    old_operations = (
        select(operation_log.c.operation_id)
        .where(operation_log.c.finished_at_us < now_us - OPERATION_LOG_KEPT_US)
        .limit(ROWS_MOST)
    )
    gone = node_events.forget_old(tx, now_us=now_us, most=ROWS_MOST)
    if ids := list(tx.execute(old_messages).scalars()):
        gone += tx.execute(delete(messages).where(messages.c.id.in_(ids))).rowcount
    if ids := list(tx.execute(old_operations).scalars()):
        gone += tx.execute(delete(operation_log).where(operation_log.c.operation_id.in_(ids))).rowcount
    return gone
