"""User messages: why something failed that was accepted."""

from typing import Final

from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.microversions import MESSAGES_PAGES
from breezeblock.api.paging import Filter, Lists
from breezeblock.api.views import messages as views
from breezeblock.resources import messages
from breezeblock.resources.listing import Page

LISTS: Final = Lists(
    collection="messages",
    filters={
        "resource_uuid": Filter(),
        "resource_type": Filter(),
        "event_id": Filter(),
        "request_id": Filter(),
        "message_level": Filter(),
        "id": Filter(public=False),
        "project_id": Filter(public=False),
    },
    sort_keys=frozenset(messages.MESSAGES.attributes),
    sort_aliases={},
    ignores=False,
)


async def list_messages(call: Call) -> Response:
    """GET /v3/{project_id}/messages; pages, filters and sorting since 3.5. 200."""
    call.permit("message:get_all")
    paged = call.microversion >= MESSAGES_PAGES
    rows = await call.store.read(messages.list_messages, page=paging.read(call, LISTS) if paged else _first_page(call))
    answer: dict[str, object] = {"messages": [views.detail(call, row) for row in rows]}
    links = paging.next_links(call, LISTS, rows, detail=False) if paged else []
    if links:
        answer["messages_links"] = links
    return answers.json(answer)


async def show(call: Call) -> Response:
    """GET /v3/{project_id}/messages/{message_id}. 200."""
    call.permit("message:get")
    row = await call.store.read(messages.get_message, message_id=call.path["message_id"], origin=call.origin)
    return answers.json({"message": views.detail(call, row)})


async def delete(call: Call) -> Response:
    """DELETE /v3/{project_id}/messages/{message_id}. 204, empty body."""
    call.permit("message:delete")
    await call.store.run(messages.delete_message, message_id=call.path["message_id"], origin=call.origin)
    return answers.empty(204)


def _first_page(call: Call) -> Page:
    """What was there before there were pages, with the bound that everything has."""
    return Page(project_id=call.origin.project_id, limit=call.settings.api.max_limit, sort=(("created_at", "desc"),))
