"""What a chaos run may leave undone because of a fault of its storage, on histories made by hand: that and nothing besides."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.test_chaos_checker import (
    GIB,
    NAME,
    S,
    V,
    asked,
    call,
    client,
    events,
    history,
    logged,
    rest,
    volume_row,
)

from breezeblock.chaos import checker
from breezeblock.chaos.asked import ACCEPTED, REFUSED, UNKNOWN
from breezeblock.chaos.contents import pattern
from breezeblock.chaos.load import Snapshot
from breezeblock.chaos.nemesis import Strike
from breezeblock.chaos.pardons import NONE, Pardons, given_up, met_by_storage, no_room, pardons
from breezeblock.chaos.report import judge
from breezeblock.chaos.witness import Mark

FULL = Strike(10.0, "full disk", "storage", (), 20.0)
TURNED = events(("turned", "o1", "1", "undo"))


@pytest.mark.parametrize(
    ("kind", "errno", "ended", "excused"),
    [
        ("full disk", "ENOSPC", 15.0, {"o1"}),
        ("read-only storage", "EROFS", 15.0, {"o1"}),
        ("full disk", "ENOSPC", 9.0, set()),
        ("full disk", "ENOSPC", 30.0, set()),
        ("full disk", "EROFS", 15.0, set()),
        ("full disk", "EKEYREJECTED", 15.0, set()),
        ("full disk", "", 15.0, set()),
        ("stop worker", "ENOSPC", 15.0, set()),
    ],
)
def test_a_failure_is_excused_only_by_a_call_that_was_refused_by_the_fault(
    kind: str, errno: str, ended: float, excused: set[str]
) -> None:
    """Not by one before or after, not by one that went well or was refused for something else, as who is fenced is."""
    log = [logged(outcome="failed")]

    refused = call((1, 1), ended - 1, ended, errno=errno)

    assert met_by_storage(log, [refused], [replace(FULL, kind=kind)], TURNED) == excused


@pytest.mark.parametrize(("token", "excused"), [((1, 1), set()), ((1, 2), {"o1"}), ((1, 3), set()), ((2, 2), set())])
def test_a_failure_is_excused_only_by_a_call_of_the_claim_that_turned_back(
    token: tuple[int, int], excused: set[str]
) -> None:
    """One that was refused and whose work was then taken over had another chance; it used to excuse what came of that."""
    log, refused = [logged(outcome="failed", epoch=4)], call(token, 14.0, 15.0, errno="ENOSPC")

    assert met_by_storage(log, [refused], [FULL], events(("turned", "o1", "2", "undo"))) == excused
    assert met_by_storage(log, [refused], [FULL], events(("turned", "other", "2", "undo"))) == set()


@pytest.mark.parametrize(
    ("attempt", "owners", "lost", "excused"),
    [
        (2, "abc", "ab", {"o1"}),
        (1, "abc", "ab", set()),
        (2, "abc", "a", set()),
        (2, "abc", "", set()),
        (2, "c", "ab", set()),
    ],
)
def test_who_is_given_up_has_lost_as_many_owners_as_the_limit_says(
    attempt: int, owners: str, lost: str, excused: set[str]
) -> None:
    log = [logged(outcome="parked", attempt=attempt)]
    claims = events(*(("claimed", "o1", owner, str(epoch)) for epoch, owner in enumerate(owners, 1)))
    marks = [Mark(1.0, incarnation, "expired", "c") for incarnation in lost]

    assert given_up(log, claims, marks, limit=2) == excused


def failed(kind: str = "extend_volume", seq: int = 1, operation: str = "o1", **more: Any) -> dict[str, Any]:
    locks = [[V, seq, True]]
    return logged(operation, outcome="failed", **({"kind": kind, "locks": locks} | more))


def pardoned(*log: dict[str, Any], operations: set[str] | None = None) -> Pardons:
    return pardons(rest(log=list(log)), {"o1"} if operations is None else operations)


def statuses(found: Pardons, status: str) -> list[checker.Finding]:
    return checker.expectations([client()], rest(volumes=[volume_row(status=status)]), found, set())


@pytest.mark.parametrize(
    ("kind", "status", "right"),
    [
        ("extend_volume", "error_extending", True),
        ("extend_volume", "error", False),
        ("extend_volume", "extending", False),
        ("extend_volume", "available", False),
        ("create_volume", "error", True),
        ("create_volume", "error_extending", False),
        ("revert_volume", "error", True),
        ("delete_volume", "error_deleting", True),
        ("delete_volume", "available", True),
        ("delete_volume", "deleting", False),
        ("retype_volume", "available", True),
        ("retype_volume", "error", False),
    ],
)
def test_what_failed_rests_in_the_status_of_just_that_failure(kind: str, status: str, right: bool) -> None:
    assert (statuses(pardoned(failed(kind)), status) == []) is right


def test_a_failure_excuses_no_status_once_something_else_has_changed_its_resource() -> None:
    """It used to, for ever."""
    first = failed(kind="delete_volume", seq=1)
    found = pardoned(first, logged("o2", locks=[[V, 2, True]]))

    assert found.rests == {}
    assert len(statuses(found, "error_deleting")) == 1
    assert pardoned(first, logged("o2", locks=[[V, 2, False]])).rests.keys() == {V}


def test_a_revert_that_failed_leaves_its_snapshot_available() -> None:
    found = pardoned(failed("revert_volume", locks=[[V, 1, True], [S, 3, True]]))

    assert found.rests == {V: {"error"}, S: {"available"}}


@pytest.mark.parametrize(
    "wrong", [{"size_gib": 7}, {"volume_type_id": "u"}, {"metadata_json": '{"made": "up"}'}, {"size_gib": 4}]
)
def test_what_failed_is_judged_in_all_the_rest(wrong: dict[str, Any]) -> None:
    """Its size, type and metadata were not looked at."""
    one = client(sizes={2}, sizes_ever={1}, types_ever={"silver"}, metadata={"made": {"here"}})
    at_rest = rest(types={"t": "gold", "u": "iron"})
    found, sound = pardoned(failed()), {"status": "error_extending", "metadata_json": '{"made": "here"}'}

    def of(**row: Any) -> list[checker.Finding]:
        return checker.expectations([one], replace(at_rest, volumes=[volume_row(**(sound | row))]), found, set())

    assert (of(), of(size_gib=2)) == ([], [])
    assert len(of(**wrong)) == 1


def test_what_is_gone_is_no_failure() -> None:
    """A volume whose deletion failed may still be there; one whose extension failed may not be away."""
    found = pardoned(failed("delete_volume"))

    assert checker.expectations([client(there={False})], rest(volumes=[volume_row()]), found, set()) == []
    assert len(checker.expectations([client()], rest(volumes=[]), found, set())) == 1


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "left_over", "right"),
    [
        ("revert_volume", f"{V}.2.1", True),
        ("revert_volume", f"{V}.2.1.part", True),
        ("revert_volume", f"{V}.3.1", False),
        ("revert_volume", f"{V}.0.1", False),
        ("revert_volume", f"{S}.2.1", False),
        ("revert_volume", f"{V}.lost+found", False),
        ("extend_volume", f"{V}.2.1", False),
        ("delete_volume", f"{V}.2.1", False),
    ],
)
def test_a_failed_operation_excuses_only_files_of_its_own(kind: str, left_over: str, right: bool) -> None:
    """It used to excuse every file of its resource."""
    at_rest = rest(files={NAME: GIB, left_over: 5})

    assert (checker.storage(at_rest, pardoned(failed(kind, seq=2))) == []) is right


@pytest.mark.parametrize(("left_over", "right"), [(1, True), (2, True), (3, False)])
def test_a_revert_may_have_published_its_copy_and_not_removed_what_was_before(left_over: int, right: bool) -> None:
    published = f"{V}.2.1"
    at_rest = rest(volumes=[volume_row(object_name=published)], files={published: GIB, f"{V}.{left_over}.1.part": 5})

    assert (checker.storage(at_rest, pardoned(failed("revert_volume", seq=2))) == []) is right


@pytest.mark.parametrize(
    ("kind", "seq", "right"),
    [("delete_volume", 2, True), ("delete_volume", 1, False), ("extend_volume", 2, False), ("revert_volume", 2, False)],
)
def test_only_a_deletion_after_it_may_have_removed_a_file(kind: str, seq: int, right: bool) -> None:
    assert (checker.storage(rest(files={}), pardoned(failed(kind, seq=seq))) == []) is right


@pytest.mark.parametrize(
    ("kind", "size", "right"),
    [
        ("extend_volume", 2 * GIB, True),
        ("extend_volume", GIB // 2, False),
        ("revert_volume", 2 * GIB, False),
        ("delete_volume", GIB // 2, False),
    ],
)
def test_only_an_extension_may_have_left_a_file_larger_than_its_row(kind: str, size: int, right: bool) -> None:
    assert (checker.storage(rest(files={NAME: size}), pardoned(failed(kind))) == []) is right


@pytest.mark.parametrize(("holds", "right"), [("tag", True), ("before", True), ("other", False)])
def test_after_a_failed_revert_a_volume_is_what_it_was_or_the_snapshot_and_no_third(holds: str, right: bool) -> None:
    """It was not looked at."""
    one, at_rest = client(content_before={"before"}), rest(heads={NAME: pattern(holds)})
    found = pardoned(failed("revert_volume"))

    assert (checker.data([one], at_rest, found)[1] == []) is right
    assert (checker.data([one], at_rest, NONE)[1] == []) is (holds == "tag")
    assert checker.data([client(content_before=None)], at_rest, found) == (0, [])


def test_a_snapshot_whose_deletion_failed_still_holds_what_it_held() -> None:
    one = client()
    one.volumes[0].snapshots = [Snapshot("s", S, {1}, {False}, {"tag"})]
    row = volume_row(id=S, name="s", status="error_deleting", object_name=f"{S}.1.1")
    at_rest = rest(snapshots=[row], heads={NAME: pattern("tag"), f"{S}.1.1": pattern("other")})

    found = pardons(rest(log=[failed("delete_snapshot", locks=[[S, 2, True]])]), {"o1"})

    assert len(checker.data([one], at_rest, found)[1]) == 1


# --- a storage that was full ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent_at", "outcome", "unplaced", "excused"),
    [
        (15.0, ACCEPTED, {"r1"}, True),
        (15.0, ACCEPTED, set(), False),
        (15.0, UNKNOWN, set(), True),
        (5.0, UNKNOWN, set(), False),
        (55.0, UNKNOWN, set(), False),
        (15.0, REFUSED, set(), False),
    ],
)
def test_a_volume_that_no_pool_took_was_asked_for_while_there_was_no_room(
    sent_at: float, outcome: str, unplaced: set[str], excused: bool
) -> None:
    """One full storage at any time used to excuse all of them."""
    one = replace(asked("create", outcome), sent_at=sent_at)
    nowhere = volume_row(pool_name=None, status="error", object_name=None)

    assert no_room([one], rest(volumes=[nowhere]), [FULL], unplaced) == ({V} if excused else set())
    assert no_room([one], rest(volumes=[nowhere | {"pool_name": "p"}]), [FULL], unplaced) == set()
    assert no_room([one], rest(volumes=[nowhere | {"status": "available"}]), [FULL], unplaced) == set()


def test_a_volume_that_no_pool_took_rests_in_error() -> None:
    found = pardons(rest(log=[]), set(), {V})

    assert statuses(found, "error") == []
    assert len(statuses(found, "error_deleting")) == 1


@pytest.mark.parametrize(("epoch", "verdict"), [(1, "right"), (2, "wrong")])
def test_a_run_is_right_when_all_that_failed_is_excused(epoch: int, verdict: str) -> None:
    """A failed extension whose file had grown; and the same, turned back by another claim than the one that was refused."""
    log = [failed(epoch=epoch, attempt=0)]
    told = {"calls": [call((1, 1), 14.0, 15.0, errno="ENOSPC")], "strikes": [FULL]}
    at_rest = rest(log=log, volumes=[volume_row(status="error_extending")], files={NAME: 2 * GIB})

    report = judge(history(**told, events=events(("turned", "o1", str(epoch), "undo")), rest=at_rest))

    assert report["verdict"] == verdict, report["findings"]
