"""Volume transfers, under both their URLs: `volume-transfers`, and the older `os-volume-transfer`, which has no pages."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.microversions import OLDEST, TRANSFER_ENCRYPTED, TRANSFER_PAGES, TRANSFER_SNAPSHOTS
from breezeblock.api.paging import Filter, Kind, Lists
from breezeblock.api.routing import Route
from breezeblock.api.schemas import transfers as schemas
from breezeblock.api.schemas.fields import stripped
from breezeblock.api.views import transfers as views
from breezeblock.model.ids import TransferId, VolumeId
from breezeblock.resources import transfers
from breezeblock.resources.listing import Page

NEW: Final = "volume-transfers"
OLD: Final = views.COLLECTION
_FILTERS: Final = {
    "name": Filter(),
    "display_name": Filter(attribute="name"),
    "volume_id": Filter(),
    "id": Filter(),
    "no_snapshots": Filter(Kind.FLAG),
    "source_project_id": Filter(attribute="project_id"),
    "project_id": Filter(),
    "destination_project_id": Filter(Kind.NOTHING),  # who accepts an offer ends it
}
LISTS: Final = Lists(
    collection=NEW,
    filters=_FILTERS,
    sort_keys=frozenset(transfers.TRANSFERS.attributes) - {"no_snapshots"},
    sort_aliases={"display_name": "name", "source_project_id": "project_id"},
    refuses=None,
    ignores=False,
)


async def list_summary(call: Call) -> Response:
    """GET /volume-transfers. 200; pages and sorting since 3.59."""
    return await _list(call, views.summary, detail=False, paged=call.microversion >= TRANSFER_PAGES)


async def list_detail(call: Call) -> Response:
    """GET /volume-transfers/detail. 200; pages and sorting since 3.59."""
    return await _list(call, views.detail, detail=True, paged=call.microversion >= TRANSFER_PAGES)


async def list_summary_old(call: Call) -> Response:
    """GET /os-volume-transfer. 200."""
    return await _list(call, views.summary, detail=False, paged=False)


async def list_detail_old(call: Call) -> Response:
    """GET /os-volume-transfer/detail. 200."""
    return await _list(call, views.detail, detail=True, paged=False)


async def create(call: Call) -> Response:
    """POST /volume-transfers; takes no_snapshots since 3.55, and encrypted volumes since 3.70. 202, with the key."""
    call.permit("volume:create_transfer")
    if call.microversion < TRANSFER_SNAPSHOTS:
        return await _offer(call, call.body(schemas.CreateTransferBody).transfer)
    body = call.body(schemas.CreateTransferWithSnapshotsBody).transfer
    return await _offer(
        call,
        body,
        no_snapshots=bool(body.no_snapshots),
        encrypted_too=call.microversion >= TRANSFER_ENCRYPTED,
    )


async def create_old(call: Call) -> Response:
    """POST /os-volume-transfer. 202, with the key."""
    call.permit("volume:create_transfer")
    return await _offer(call, call.body(schemas.CreateTransferBody).transfer)


async def show(call: Call) -> Response:
    """GET /volume-transfers/{transfer_id}. 200, for who offers it."""
    call.permit("volume:get_transfer")
    row = await call.store.read(transfers.get_transfer, transfer_id=call.path["transfer_id"], origin=call.origin)
    return answers.json({"transfer": views.detail(call, row)})


async def accept(call: Call) -> Response:
    """POST /volume-transfers/{transfer_id}/accept, by whoever has the key. 202."""
    call.permit("volume:accept_transfer")
    row = await call.store.run(
        transfers.accept,
        origin=call.origin,
        transfer_id=call.path["transfer_id"],
        auth_key=str(call.body(schemas.AcceptTransferBody).accept.auth_key),
        quota_defaults=call.quota_defaults,
    )
    return answers.json({"transfer": views.summary(call, row)}, 202)


async def delete(call: Call) -> Response:
    """DELETE /volume-transfers/{transfer_id}. 202, empty body."""
    call.permit("volume:delete_transfer")
    await call.store.run(transfers.withdraw, origin=call.origin, transfer_id=call.path["transfer_id"])
    return answers.empty(202)


ROUTES: Final = (
    Route("GET", NEW, list_summary, query=LISTS, answer=views.MANY_SHORT),
    Route(
        "POST",
        NEW,
        create,
        status=202,
        body={OLDEST: schemas.CreateTransferBody, TRANSFER_SNAPSHOTS: schemas.CreateTransferWithSnapshotsBody},
        answer=views.CREATED,
    ),
    Route("GET", f"{NEW}/detail", list_detail, query=LISTS, answer=views.MANY),
    Route("GET", f"{OLD}", list_summary_old, query=LISTS, answer=views.MANY_SHORT),
    Route("POST", f"{OLD}", create_old, status=202, body=schemas.CreateTransferBody, answer=views.CREATED),
    Route("GET", f"{OLD}/detail", list_detail_old, query=LISTS, answer=views.MANY),
    *(
        route
        for url in (NEW, OLD)
        for route in (
            Route("GET", f"{url}/{{transfer_id}}", show, answer=views.ONE),
            Route("DELETE", f"{url}/{{transfer_id}}", delete, status=202),
            Route(
                "POST",
                f"{url}/{{transfer_id}}/accept",
                accept,
                status=202,
                body=schemas.AcceptTransferBody,
                answer=views.ONE_SHORT,
            ),
        )
    ),
)


async def _offer(
    call: Call, body: schemas.CreateTransfer, *, no_snapshots: bool = False, encrypted_too: bool = False
) -> Response:
    auth_key, salt = _secret(call, 16), _secret(call, 8)
    wanted = transfers.NewTransfer(
        id=TransferId(call.new_id()),
        volume_id=VolumeId(str(body.volume_id)),
        name=stripped(body.name),
        no_snapshots=no_snapshots,
        encrypted_too=encrypted_too,
        salt=salt,
        key_hash=transfers.key_hash(salt, auth_key),
    )
    row = await call.store.run(transfers.offer, origin=call.origin, wanted=wanted)
    return answers.json({"transfer": views.created(call, row, auth_key=auth_key)}, 202)


def _secret(call: Call, digits: int) -> str:
    """Random hexadecimal digits, which people can type: those of a fresh id that are no part of its form."""
    id_ = call.new_id().replace("-", "")
    return (id_[:12] + id_[20:])[:digits]


async def _list(call: Call, view: Callable[[Call, Any], dict[str, Any]], *, detail: bool, paged: bool) -> Response:
    call.permit("volume:get_all_transfers")
    page = paging.read(call, LISTS)
    rows = await call.store.read(transfers.list_transfers, page=page if paged else _as_before_pages(page))
    content: dict[str, Any] = {"transfers": [view(call, row._mapping) for row in rows]}
    links = paging.next_links(call, LISTS, rows, detail=detail) if paged else []
    if links:
        content["transfers_links"] = links
    return answers.json(content)


def _as_before_pages(page: Page) -> Page:
    """The oldest first; no marker. A limit and an offset there always were."""
    return replace(page, sort=(("created_at", "asc"),), marker=None)
