"""What users are told about requests that failed after they were accepted: shown and removed."""

from typing import Any, Final

from sqlalchemy import Connection, Row, delete

from breezeblock.model.errors import NotFound
from breezeblock.model.origin import Origin
from breezeblock.resources import listing
from breezeblock.resources.listing import Listing, Page
from breezeblock.store.tables import messages

MESSAGES: Final = Listing(
    noun="Message",
    table=messages,
    source=messages,
    columns=tuple(messages.c),
    attributes={
        "id": messages.c.id,
        "project_id": messages.c.project_id,
        "request_id": messages.c.request_id,
        "resource_type": messages.c.resource_type,
        "resource_uuid": messages.c.resource_id,
        "event_id": messages.c.event_id,
        "message_level": messages.c.message_level,
        "created_at": messages.c.created_at_us,
        "guaranteed_until": messages.c.guaranteed_until_us,
    },
)


def list_messages(tx: Connection, *, page: Page) -> list[Row[Any]]:
    """One page of messages. Raises NotFound for a marker that is not there."""
    return list(listing.page(tx, MESSAGES, page).rows)


def get_message(tx: Connection, *, message_id: str, origin: Origin) -> Row[Any]:
    """One message, if this caller may see it. Raises NotFound."""
    row = tx.execute(_seen_by(origin).where(messages.c.id == message_id)).first()
    if row is None:
        raise _missing(message_id)
    return row


def delete_message(tx: Connection, *, message_id: str, origin: Origin) -> None:
    """Remove one message, if this caller may see it. Raises NotFound."""
    mine = delete(messages).where(messages.c.id == message_id)
    if not origin.is_admin:
        mine = mine.where(messages.c.project_id == origin.project_id)
    if tx.execute(mine).rowcount == 0:
        raise _missing(message_id)


def _seen_by(origin: Origin) -> Any:
    return MESSAGES.base(None if origin.is_admin else origin.project_id)


def _missing(message_id: str) -> NotFound:
    return listing.missing("Message", message_id)
