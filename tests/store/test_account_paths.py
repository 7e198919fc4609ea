"""Whatever was asked for and however it ends, every account is the sum of what there is: each request, with each end."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
from tests.store.given import NOW_US, Base
from tests.store.situations import SITUATIONS

from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import charges
from breezeblock.store import tables
from breezeblock.work.catalogue import CATALOGUE

# Each request once, where it is accepted. Attachments are charged for nothing.
ACCEPTED: Final = {
    "free": (
        "delete", "force_delete", "extend", "retype", "retype_away", "reset", "migrate", "migrate_open", "snapshot", "clone",
        "backup", "offer",
    ),
    "grouped": ("remove", "delete_group_whole", "group_snapshot", "member", "extend_member"),
    "offered": ("accept", "withdraw", "delete_snapshot", "reset_snapshot"),
}  # fmt: skip
REQUESTS: Final = [(situation, request) for situation, requests in ACCEPTED.items() for request in requests]
FAILURES: Final = {
    "failed": Failure(message="The disk is broken.", detail_id="broken"),
    "cancelled": Failure(message="Cancelled.", detail_id="cancelled", outcome="cancelled"),
}
ENDS: Final = ("done", "parked", *FAILURES)


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    yield base
    base.close()


def end(base: Base, claim: Claim, how: str) -> None:
    """As a node does in one transaction, whatever it has done on storage."""
    operation = CATALOGUE[claim.kind]
    payload = msgspec.json.decode(claim.payload_json, type=operation.payload)
    name = f"{claim.resource_id}.{claim.token(claim.resource_id)[0]}.{claim.epoch}"
    state: dict[str, Any] = {"object": name, "object_count": 1, "stored_bytes": 1, "manifest": "m"}
    if how == "done":
        base.run(operation.finish, claim, payload, state, now_us=NOW_US)
    elif how == "parked":
        base.run(charges.park_unknown, claim, text="Nobody knows it.", now_us=NOW_US)
    else:
        base.run(operation.fail, claim, payload, state, failure=FAILURES[how], now_us=NOW_US)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize(("situation", "request_name"), REQUESTS)
def test_every_account_is_right_whatever_becomes_of_a_request(
    base: Base, situation: str, request_name: str, how: str
) -> None:
    """Once it is accepted, and once it has ended."""
    SITUATIONS[situation].given(base)
    base.run(SITUATIONS[situation].requests[request_name]("a"))
    accepted = base.wrong_accounts()

    for row in base.rows(tables.operations):
        if row["id"] in base.claimable():
            end(base, base.claim(row["id"]), how)

    assert (accepted, base.wrong_accounts()) == ([], [])
