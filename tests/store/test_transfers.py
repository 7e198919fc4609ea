"""Transfers of volumes: rows and accounts before and after each transaction, and what two at once leave behind."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.databases import urls
from tests.store.beside import beside
from tests.store.given import ME, UNLIMITED, Base, create_snapshot, create_volume, new_snapshot, origin

from breezeblock.model.errors import BadRequest, Contended, InvalidState, NotFound, OverQuota, Rejected
from breezeblock.model.ids import SnapshotId, TransferId, VolumeId
from breezeblock.resources import snapshots, transfers, types, volume_changes, volumes
from breezeblock.resources.transfers import NewTransfer, key_hash
from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables
from breezeblock.store.transitions import lock_rows
from breezeblock.work.catalogue import CATALOGUE

KEY = "0123456789abcdef"
T1 = TransferId("t1")
GIVER, TAKER = "p1", "p2"
V, S = VolumeId("v1"), SnapshotId("s1")


@pytest.fixture
def base() -> Iterator[Base]:
    """A volume of 2 GiB with a snapshot, both available, and accounts that are right."""
    base = Base()
    base.node(ME)
    base.pool()
    create_volume(base, size_gib=2)
    run_next(base)
    create_snapshot(base)
    run_next(base)
    assert base.problems() == []
    yield base
    base.close()


def run_next(base: Base) -> None:
    """What waits, by a node, to its end."""
    claim = base.claim(base.claimable()[0])
    operation = CATALOGUE[claim.kind]
    payload = msgspec.json.decode(claim.payload_json, type=operation.payload)
    base.run(operation.finish, claim, payload, {"object": f"{claim.resource_id}.1.1"}, now_us=base.now_us)


def offer(base: Base, *, id_: str = T1, no_snapshots: bool = False, encrypted_too: bool = True, **asked: Any) -> Any:
    wanted = NewTransfer(
        id=TransferId(id_),
        volume_id=V,
        name="gift",
        no_snapshots=no_snapshots,
        encrypted_too=encrypted_too,
        salt="5a17",
        key_hash=key_hash("5a17", KEY),
    )
    return base.run(transfers.offer, origin=origin(**asked), wanted=wanted)


def accept(
    base: Base, *, key: str = KEY, to: str = TAKER, defaults: Any = UNLIMITED, is_admin: bool = False, id_: str = T1
) -> Any:
    asked = origin(project_id=to, is_admin=is_admin)
    return base.run(transfers.accept, origin=asked, transfer_id=id_, auth_key=key, quota_defaults=defaults)


def used(base: Base, project_id: str) -> dict[str, int]:
    """What a project is charged, zeros left out."""
    rows = base.rows(tables.quota_usage)
    return {row["resource"]: row["in_use"] for row in rows if row["project_id"] == project_id and row["in_use"]}


def everything(base: Base) -> list[Any]:
    """All that a refused request leaves as it is."""
    return [base.rows(table) for table in (tables.volumes, tables.snapshots, tables.transfers, tables.quota_usage)]


ALL = {
    "volumes": 1, "snapshots": 1, "gigabytes": 4,
    f"volumes_{DEFAULT_TYPE_ID}": 1, f"snapshots_{DEFAULT_TYPE_ID}": 1, f"gigabytes_{DEFAULT_TYPE_ID}": 4,
}  # fmt: skip


# --- offering ---------------------------------------------------------------------------------------------------------


def test_a_volume_that_is_offered_waits(base: Base) -> None:
    before = base.row(tables.volumes, V)

    row = offer(base)

    volume = base.row(tables.volumes, V)
    assert (volume["status"], volume["project_id"]) == ("awaiting-transfer", GIVER)
    assert volume["op_seq"] == before["op_seq"] + 1
    assert base.rows(tables.transfers) == [row]
    assert KEY not in str(row)
    assert used(base, GIVER) == ALL
    assert base.problems() == []


@pytest.mark.parametrize("status", ["in-use", "error", "awaiting-transfer", "maintenance", "creating"])
def test_only_an_available_volume_is_offered(base: Base, status: str) -> None:
    base.change(tables.volumes, V, status=status)
    before = base.rows(tables.transfers)

    with pytest.raises(InvalidState, match=f"has status {status}; it must be available"):
        offer(base)

    assert base.rows(tables.transfers) == before


def test_a_volume_that_is_still_worked_on_is_not_offered(base: Base) -> None:
    """Its status was reset while it is extended: who takes it would be charged what nobody knows yet."""
    base.run(volume_changes.begin_extend, origin=origin(), volume_id=V, size_gib_new=5, quota_defaults=UNLIMITED)
    base.change(tables.volumes, V, status="available")

    with pytest.raises(InvalidState, match="still being worked on"):
        offer(base)


def test_snapshots_that_come_along_are_available(base: Base) -> None:
    base.change(tables.snapshots, S, status="error")

    with pytest.raises(InvalidState, match=r"Snapshot s1 has status error"):
        offer(base)
    assert base.row(tables.volumes, V)["status"] == "available"
    offer(base, no_snapshots=True)


def test_what_another_project_has_is_not_there(base: Base) -> None:
    with pytest.raises(NotFound):
        offer(base, project_id=TAKER)
    offer(base)
    for call in (transfers.withdraw, transfers.get_transfer):
        with pytest.raises(NotFound, match=r"Transfer t1 could not be found\."):
            base.run(call, origin=origin(project_id=TAKER), transfer_id=T1)
    base.run(transfers.withdraw, origin=origin(project_id=TAKER, is_admin=True), transfer_id=T1)


def test_an_encrypted_volume_goes_with_its_snapshots_and_for_new_clients(base: Base) -> None:
    base.change(tables.volumes, V, encrypted=True)

    with pytest.raises(InvalidState, match="not supported before"):
        offer(base, encrypted_too=False)
    with pytest.raises(InvalidState, match="only be transferred with them"):
        offer(base, no_snapshots=True)
    offer(base)


def test_an_offer_that_a_reset_has_ended_opens_nothing_later(base: Base) -> None:
    """The key of the first offer must not take what is offered to somebody else later."""
    offer(base)
    base.run(volume_changes.reset_status, origin=origin(is_admin=True), volume_id=V, status="available",
             attach_status=None, migration_status=None)  # fmt: skip
    with pytest.raises(InvalidState, match="has status available"):
        accept(base)

    offer(base, id_="t2")

    assert [row["id"] for row in base.rows(tables.transfers)] == ["t2"]
    with pytest.raises(NotFound):
        accept(base)


# --- withdrawing ------------------------------------------------------------------------------------------------------


def test_a_withdrawn_offer_leaves_the_volume_as_it_was(base: Base) -> None:
    offer(base)

    base.run(transfers.withdraw, origin=origin(), transfer_id=T1)

    assert base.row(tables.volumes, V)["status"] == "available"
    assert base.rows(tables.transfers) == []
    with pytest.raises(NotFound):
        base.run(transfers.withdraw, origin=origin(), transfer_id=T1)


def test_withdrawing_leaves_a_status_alone_that_an_operator_has_set(base: Base) -> None:
    offer(base)
    base.change(tables.volumes, V, status="error")

    base.run(transfers.withdraw, origin=origin(), transfer_id=T1)

    assert base.row(tables.volumes, V)["status"] == "error"
    assert base.rows(tables.transfers) == []


def test_an_offer_goes_with_its_volume(base: Base) -> None:
    offer(base, no_snapshots=True)
    base.run(volumes.begin_force_delete, origin=origin(is_admin=True), volume_id=V, cascade=True)

    run_next(base)

    assert base.rows(tables.volumes) == base.rows(tables.transfers) == []
    assert base.problems() == []


# --- taking -----------------------------------------------------------------------------------------------------------


def test_who_takes_a_volume_has_it_with_its_snapshots_and_their_price(base: Base) -> None:
    offer(base)
    promised = base.accounts()["c@b#p"]

    accept(base)

    volume, snapshot = base.row(tables.volumes, V), base.row(tables.snapshots, S)
    assert (volume["status"], volume["project_id"], volume["user_id"]) == ("available", TAKER, "u")
    assert (snapshot["status"], snapshot["project_id"]) == ("available", TAKER)
    assert (used(base, GIVER), used(base, TAKER)) == ({}, ALL)
    assert base.rows(tables.transfers) == []
    assert base.accounts()["c@b#p"] == promised
    assert base.problems() == []


def test_without_its_snapshots_they_stay_and_are_paid_for_by_who_gave(base: Base) -> None:
    offer(base, no_snapshots=True)

    accept(base)

    assert base.row(tables.snapshots, S)["project_id"] == GIVER
    assert used(base, GIVER) == {
        name: 2 if "gigabytes" in name else 1 for name in ALL if not name.startswith("volumes")
    }
    assert used(base, TAKER) == {name: 2 if "gigabytes" in name else 1 for name in ALL if not name.startswith("snap")}
    assert base.problems() == []


def test_a_snapshot_of_a_third_project_stays_there(base: Base) -> None:
    """It was left behind by an earlier transfer: who has the volume now has nothing to give away but that."""
    offer(base, no_snapshots=True)
    accept(base)
    wanted = NewTransfer(
        id=T1, volume_id=V, name=None, no_snapshots=False, encrypted_too=False, salt="s", key_hash=key_hash("s", KEY)
    )
    base.run(transfers.offer, origin=origin(project_id=TAKER), wanted=wanted)

    accept(base, to="p3")

    kept = {row["project_id"] for row in base.rows(tables.snapshots)}
    assert (kept, base.row(tables.volumes, V)["project_id"], used(base, TAKER)) == ({GIVER}, "p3", {})
    assert base.problems() == []


def test_taking_back_what_one_has_offered_changes_no_account(base: Base) -> None:
    """Also where the project has reached its limit."""
    offer(base)

    accept(base, to=GIVER, defaults={"volumes": 1, "gigabytes": 4})

    assert used(base, GIVER) == ALL
    assert base.row(tables.volumes, V)["status"] == "available"
    assert base.problems() == []


def test_snapshots_that_stayed_are_nothing_to_the_new_owner(base: Base) -> None:
    """Neither are they deleted with the volume, nor is it reverted to what was not given along with it."""
    offer(base, no_snapshots=True)
    accept(base)
    new, admin = origin(project_id=TAKER), origin(project_id=TAKER, is_admin=True)

    with pytest.raises(InvalidState, match="belong to another project"):
        base.run(volumes.begin_delete, origin=new, volume_id=V, cascade=True)
    for snapshot_id in (S, SnapshotId("unknown")):
        with pytest.raises(BadRequest, match=f"Snapshot {snapshot_id} is not the latest one of volume v1"):
            base.run(volume_changes.begin_revert, origin=new, volume_id=V, snapshot_id=snapshot_id)

    assert base.row(tables.volumes, V)["status"] == "available"
    base.run(volumes.begin_delete, origin=admin, volume_id=V, cascade=True)


@pytest.mark.parametrize(
    ("defaults", "named"),
    [
        ({"volumes": 0}, "volumes"),
        ({"snapshots": 0}, "snapshots"),
        ({"gigabytes": 3}, "gigabytes"),
        ({"per_volume_gigabytes": 1}, "one volume"),
    ],
)
def test_over_a_limit_nothing_changes(base: Base, defaults: dict[str, int], named: str) -> None:
    offer(base)
    before = everything(base)

    with pytest.raises(OverQuota, match=named):
        accept(base, defaults=defaults)

    assert everything(base) == before


def test_over_the_limit_of_a_type_nothing_changes(base: Base) -> None:
    offer(base)
    base.add(tables.quotas, project_id=TAKER, resource=f"gigabytes_{DEFAULT_TYPE_ID}", hard_limit=3)
    before = everything(base)

    with pytest.raises(OverQuota, match="gigabytes___DEFAULT__"):
        accept(base)

    assert everything(base) == before


@pytest.mark.parametrize("key", ["", KEY[:-1], KEY + "0", KEY.upper(), "ключ", "\ud800"])
def test_another_key_takes_nothing(base: Base, key: str) -> None:
    offer(base)
    before = everything(base)

    with pytest.raises(BadRequest, match="Invalid auth key"):
        accept(base, key=key)

    assert everything(base) == before


def test_a_private_type_is_needed_to_take_a_volume_of_it(base: Base) -> None:
    gold = base.volume_type("gold", is_public=False)
    base.change(tables.volumes, V, volume_type_id=gold)
    offer(base)
    before = everything(base)

    with pytest.raises(NotFound, match="Volume type gold could not be found"):
        accept(base)
    assert everything(base) == before
    base.run(types.add_access, type_id=gold, project_id=TAKER, origin=origin(is_admin=True))
    accept(base)

    assert base.row(tables.volumes, V)["project_id"] == TAKER


@pytest.mark.parametrize("status", ["available", "error", "maintenance", "in-use", "deleting"])
def test_what_was_reset_meanwhile_is_not_taken(base: Base, status: str) -> None:
    offer(base)
    base.change(tables.volumes, V, status=status)

    with pytest.raises(InvalidState, match=f"has status {status}"):
        accept(base)


def test_a_snapshot_that_is_being_deleted_is_waited_for(base: Base) -> None:
    offer(base)
    base.run(snapshots.begin_delete, origin=origin(), snapshot_id=S)
    with pytest.raises(InvalidState, match="Snapshot s1 has status deleting"):
        accept(base)
    run_next(base)

    accept(base)

    assert base.row(tables.volumes, V)["project_id"] == TAKER
    assert base.problems() == []


def test_a_snapshot_that_came_before_the_rows_were_held_is_seen(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before the hold is a guess: the transaction runs again."""
    offer(base)
    base.change(tables.snapshots, S, volume_id="other")

    def late(tx: Any, targets: Any, **how: Any) -> None:
        tx.execute(tables.snapshots.update().values(volume_id=V))
        lock_rows(tx, targets, **how)

    monkeypatch.setattr("breezeblock.resources.transfers.lock_rows", late)
    with pytest.raises(Contended):
        accept(base)


def test_who_took_it_first_has_it(base: Base) -> None:
    offer(base)
    accept(base, to="p3")

    with pytest.raises(NotFound, match="Transfer t1"):
        accept(base)

    assert base.row(tables.volumes, V)["project_id"] == "p3"


# --- two at once ------------------------------------------------------------------------------------------------------

at_once = pytest.mark.skipif(
    not urls(), reason="takes two transactions at once: BREEZEBLOCK_TEST_DATABASE names servers"
)


def taking(to: str) -> Any:
    asked = origin(project_id=to)
    return lambda tx: transfers.accept(tx, origin=asked, transfer_id=T1, auth_key=KEY, quota_defaults=UNLIMITED)


@at_once
def test_of_two_takers_one_has_it(base: Base) -> None:
    offer(base)

    one, other, _ = beside(base, taking("p2"), taking("p3"))

    assert isinstance(one, Rejected) != isinstance(other, Rejected)
    assert base.problems() == []


@at_once
def test_it_is_taken_or_withdrawn_but_not_both(base: Base) -> None:
    offer(base)

    taken, withdrawn, _ = beside(
        base, taking(TAKER), lambda tx: transfers.withdraw(tx, origin=origin(), transfer_id=T1)
    )

    assert isinstance(taken, Rejected) != isinstance(withdrawn, Rejected)
    assert base.row(tables.volumes, V)["project_id"] == (GIVER if isinstance(taken, Rejected) else TAKER)
    assert base.problems() == []


@at_once
def test_a_snapshot_is_deleted_by_its_owner_or_taken(base: Base) -> None:
    """Whichever comes first: the accounts are right."""
    offer(base)

    beside(
        base,
        taking(TAKER),
        lambda tx: snapshots.begin_delete(tx, origin=origin(operation_id="o2"), snapshot_id=S),
    )

    assert base.problems() == []


@at_once
def test_a_volume_is_offered_or_gets_a_snapshot_but_not_both(base: Base) -> None:
    """So that what is offered with its snapshots is offered with all of them."""
    wanted = NewTransfer(
        id=T1, volume_id=V, name=None, no_snapshots=False, encrypted_too=False, salt="s", key_hash=key_hash("s", KEY)
    )
    offered, taken, _ = beside(
        base,
        lambda tx: transfers.offer(tx, origin=origin(), wanted=wanted),
        lambda tx: snapshots.begin_create(
            tx, origin=origin(operation_id="o2"), wanted=new_snapshot("s2"), quota_defaults=UNLIMITED
        ),
    )

    assert isinstance(offered, Rejected) != isinstance(taken, Rejected)
