"""The judge of answers, on made-up histories: those that no line of instants agrees with are refused."""

from collections.abc import Callable, Mapping
from itertools import permutations
from random import Random
from typing import Any

import pytest
from tests.sim.regressions.stage import QUOTA, Stage

from breezeblock.model.errors import Rejected
from breezeblock.model.ids import VolumeId
from breezeblock.resources import snapshots, volume_changes, volume_edits, volumes
from breezeblock.testing.database import Database
from breezeblock.testing.linear import Answered, Claims, Line, State, claims_of, claims_of_row, state_of_row
from breezeblock.testing.run import Failed, simulate

ONE, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
CREATING, AVAILABLE = State("creating", 1, "plain"), State("available", 1, "plain")


def line(*answers: Answered) -> Line:
    """One volume: made at 1.0, available from 2.0 on, larger and of another type from 3.0 on, gone at 4.0."""
    line = Line()
    line.moved(ONE, 1.0, CREATING)
    line.moved(ONE, 2.0, AVAILABLE)
    line.moved(ONE, 3.0, State("available", 2, "gold"))
    line.moved(ONE, 4.0, None)
    for answer in answers:
        line.answered(answer)
    return line


def told(asked_at: float, answered_at: float, said: State | None) -> list[str]:
    return line(Answered("show_volume", ONE, asked_at, answered_at, claims=((ONE, said),))).problems({})


@pytest.mark.parametrize(
    ("asked_at", "answered_at", "said"),
    [
        (0.5, 0.9, None),
        (0.5, 1.0, CREATING),
        (1.5, 2.5, CREATING),
        (1.5, 2.5, AVAILABLE),
        (2.5, 3.5, State("available", 2, "gold")),
        (2.5, 3.5, State(size_gib=1)),
        (2.5, 3.5, State(type_id="gold")),
        (3.5, 9.0, None),
    ],
)
def test_what_was_true_at_some_instant_may_be_said(asked_at: float, answered_at: float, said: State | None) -> None:
    assert told(asked_at, answered_at, said) == []


@pytest.mark.parametrize(
    ("asked_at", "answered_at", "said"),
    [
        (0.5, 0.9, CREATING),
        (1.0, 9.0, State("deleting")),
        (2.1, 3.5, CREATING),
        (2.1, 2.9, State("available", 2, "plain")),
        (2.1, 2.9, State("available", 1, "gold")),
        (2.1, 3.5, State("available", 2, "plain")),  # each of it was true, and never all of it together
        (3.1, 3.9, State(size_gib=1)),
        (3.1, 3.9, State(type_id="plain")),
        (1.5, 3.9, None),
        (4.1, 5.0, AVAILABLE),
    ],
)
def test_what_was_never_true_meanwhile_is_refused(asked_at: float, answered_at: float, said: State | None) -> None:
    (problem,) = told(asked_at, answered_at, said)

    assert problem.startswith(f"show_volume of {ONE}, asked at {asked_at:.6f}")


def accepted(operation: str, asked_at: float, answered_at: float, resource: str = ONE) -> Answered:
    return Answered("extend", resource, asked_at, answered_at, operation)


def misplaced(answers: list[Answered], places: dict[str, dict[str, int]]) -> list[str]:
    history = Line()
    for answer in answers:
        history.answered(answer)
    return history.problems(places)


@pytest.mark.parametrize(
    ("project", "given_at", "is_refused"),
    [
        *(
            ("red", at, refused)
            for at, refused in [(1.4, False), (1.5, False), (2.0, False), (2.5, False), (2.6, True)]
        ),
        *(
            ("blue", at, refused)
            for at, refused in [(1.4, True), (1.5, True), (2.0, False), (2.5, False), (2.6, False)]
        ),
        *((None, at, True) for at in (1.4, 1.5, 2.0, 2.5, 2.6)),
    ],
)
def test_it_is_gone_only_for_who_does_not_have_it_then(project: str | None, given_at: float, is_refused: bool) -> None:
    """It is red's until it is given to blue, and administrators see it all the time."""
    asked = line(Answered("show_volume", ONE, 1.5, 2.5, claims=((ONE, None),), project=project))
    asked.given(ONE, 1.0, "red")
    asked.given(ONE, given_at, "blue")

    assert bool(asked.problems({})) is is_refused


def test_one_that_overlaps_with_both_hides_nothing() -> None:
    """A was answered before C was asked, and C stands before A; B, answered between them, agrees with each of them."""
    a, b, c = accepted("A", 0.9, 1.0), accepted("B", 0.5, 1.2), accepted("C", 1.5, 1.6)

    for order in permutations((a, b, c)):
        (problem,) = misplaced(list(order), {"B": {ONE: 1}, "C": {ONE: 2}, "A": {ONE: 3}})
        assert problem == f"{c} stands before {a} in the line of {ONE}"
    assert misplaced([a, b, c], {"B": {ONE: 1}, "A": {ONE: 2}, "C": {ONE: 3}}) == []


def test_places_count_in_every_line_that_two_requests_share() -> None:
    """A snapshot and an extend meet in the line of the volume, whatever each of them was about."""
    snapshot, extend = accepted("S", 1.0, 1.1, resource=OTHER), accepted("E", 2.0, 2.1)

    assert misplaced([snapshot, extend], {"S": {OTHER: 1, ONE: 4}, "E": {ONE: 5}}) == []
    (problem,) = misplaced([snapshot, extend], {"S": {OTHER: 1, ONE: 5}, "E": {ONE: 4}})
    assert problem.endswith(f"in the line of {ONE}")


def test_all_pairs_are_judged_as_the_definition_has_it() -> None:
    """Against every pair looked at one by one, on random histories."""
    bad = 0
    for seed in range(300):
        random = Random(seed)
        answers = []
        for number in range(7):
            asked_at = random.uniform(0, 10)
            answers.append(accepted(str(number), asked_at, asked_at + random.choice((0.1, 1.0, 4.0))))
        order = sorted(answers, key=lambda one: random.uniform(one.asked_at, one.answered_at))
        if random.random() < 0.5:
            random.shuffle(order)
        places = {str(one.operation): {ONE: place} for place, one in enumerate(order)}

        wrong = any(
            first.answered_at < second.asked_at and order.index(first) > order.index(second)
            for first in answers
            for second in answers
        )

        assert bool(misplaced(answers, places)) == wrong, f"seed {seed}"
        bad += wrong
    assert 50 < bad < 250


@pytest.mark.parametrize(
    ("refusal", "claims"),
    [
        (f"Volume {ONE} could not be found.", ((ONE, None),)),
        (f"Snapshot {ONE} has status error_deleting; it must be …", ((ONE, State("error_deleting")),)),
        (f"Source volume {ONE} has status in-use; it must be …", ((ONE, State("in-use")),)),
        (
            "The new size of 2 GiB must be greater than the current size of 3 GiB.",
            ((OTHER, State(size_gib=3)),),
        ),
        (f"Volume {ONE} has 3 GiB and its snapshot 2 GiB; a volume that …", ((ONE, State(size_gib=3)),)),
        (f"Volume {ONE} is in-use; it must be …", ((ONE, State("in-use")),)),
        (f"Volume {ONE} is uploading; its metadata …", ((ONE, State("uploading")),)),
        (f"Volume {ONE} is in maintenance and cannot be changed.", ((ONE, State("maintenance")),)),
        (f"Volume {ONE} already has this type.", ((ONE, State(type_id="gold")),)),
        ("Quota exceeded for volumes: requested 1, in use 6, limit 6.", ()),
    ],
)
def test_refusals_are_read(refusal: str, claims: Claims) -> None:
    assert claims_of(refusal, about=OTHER, type_id="gold") == claims


@pytest.fixture
def stage(database: Database) -> Stage:
    return Stage(database)


def refused(stage: Stage, f: Callable[..., Any], **said: Any) -> Claims:
    """What the sentence of a refusal by the service itself says."""
    with pytest.raises(Rejected) as refusal:
        stage.run(f, origin=stage.origin(), **said)
    return claims_of(refusal.value.message, about=OTHER, type_id="gold")


def test_the_sentences_of_the_service_are_read(stage: Stage) -> None:
    """If one of them is put in other words, the answers that have it are not judged any more: then it is to be read anew."""
    volume = stage.given_volume(size_gib=2)
    snapshot = stage.given_snapshot(volume)
    to = {"migration_policy": "never", "quota_defaults": QUOTA}
    type_id = stage.run(lambda tx: tx.exec_driver_sql("SELECT volume_type_id FROM volumes").scalar_one())

    extend = {"volume_id": volume, "quota_defaults": QUOTA}
    assert refused(stage, volume_changes.begin_extend, **extend, size_gib_new=1) == ((OTHER, State(size_gib=2)),)
    assert refused(stage, volume_changes.begin_retype, volume_id=volume, new_type=type_id, **to) == (
        (volume, State(type_id="gold")),
    )
    away = {"volume_id": VolumeId(ONE), "quota_defaults": QUOTA}
    assert refused(stage, volume_changes.begin_extend, **away, size_gib_new=1) == ((ONE, None),)
    assert refused(stage, snapshots.begin_delete, snapshot_id=ONE) == ((ONE, None),)

    stage.run(volume_changes.begin_extend, origin=stage.origin(), **extend, size_gib_new=3)  # type: ignore[arg-type]
    extending = ((volume, State("extending")),)
    assert refused(stage, volume_changes.begin_extend, **extend, size_gib_new=4) == extending
    assert refused(stage, volumes.begin_delete, volume_id=volume, cascade=True) == extending
    assert refused(stage, volume_edits.set_readonly, volume_id=volume, readonly=True) == extending
    stage.end(stage.claim())
    revert = {"volume_id": volume, "snapshot_id": snapshot}
    assert refused(stage, volume_changes.begin_revert, **revert) == ((volume, State(size_gib=3)),)

    stage.run(snapshots.begin_delete, origin=stage.origin(), snapshot_id=snapshot)
    assert refused(stage, snapshots.begin_delete, snapshot_id=snapshot) == ((snapshot, State("deleting")),)

    wanted = {"status": "maintenance", "attach_status": None, "migration_status": None}
    stage.run(volume_changes.reset_status, origin=stage.origin(), volume_id=volume, **wanted)
    closed = ((volume, State("maintenance")),)
    assert refused(stage, volume_edits.set_bootable, volume_id=volume, bootable=True) == closed
    given = {"metadata": {"a": "b"}, "if_match": frozenset[str]()}
    assert refused(stage, volume_edits.merge_metadata, volume_id=volume, **given) == closed


def test_a_row_is_a_claim_of_all_that_it_shows() -> None:
    row = {"status": "available", "size_gib": 1, "volume_type_id": "plain", "name": "x", "description": None}
    row |= {"metadata_json": '{"a":"b"}', "object_name": "hidden"}
    edited = 'name=x description=None metadata_json={"a":"b"}'

    assert claims_of_row(ONE, row) == ((ONE, AVAILABLE._replace(edited=edited)),)
    flags = {"bootable": True, "readonly": None, "attach_status": "attached"}
    edited += " bootable=1 readonly=None attach_status=attached"
    assert claims_of_row(ONE, row | flags) == ((ONE, AVAILABLE._replace(edited=edited)),)


VOLUME_ROW: dict[str, Any] = {
    "status": "available",
    "size_gib": 1,
    "volume_type_id": None,
    "name": "x",
    "description": "y",
    "metadata_json": "{}",
    "bootable": False,
    "readonly": False,
    "attach_status": "detached",
}


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("name", None),
        ("description", "z"),
        ("metadata_json", '{"a":"b"}'),
        ("bootable", True),
        ("readonly", True),
        ("attach_status", "attached"),
    ],
)
def test_whatever_was_edited_may_not_be_told_as_it_was_before(name: str, after: object) -> None:
    """Edited at 2.0: who asks later is told so. Only the status, size and type were looked at."""
    before, edited = state_of_row(VOLUME_ROW), state_of_row(VOLUME_ROW | {name: after})
    history = Line()
    history.moved(ONE, 1.0, before)
    history.moved(ONE, 2.0, edited)

    history.answered(Answered("show_volume", ONE, 1.5, 2.5, claims=((ONE, before),)))
    history.answered(Answered("show_volume", ONE, 1.5, 2.5, claims=((ONE, edited),)))
    assert history.problems({}) == []
    history.answered(Answered("show_volume", ONE, 2.1, 2.5, claims=((ONE, before),)))

    assert len(history.problems({})) == 1


def tells_what_was_before(tx: object, origin: object, row: Mapping[str, Any], **values: Any) -> Mapping[str, Any]:
    """As if the edit had been made from a row of which somebody else has meanwhile changed the other half."""
    return {**row, **values, "description": "what nobody wrote"}


def keeps_no_edit(tx: object, origin: object, row: Mapping[str, Any], **values: Any) -> Mapping[str, Any]:
    """Says that it is done."""
    return {**row, **values}


@pytest.mark.parametrize("save", [tells_what_was_before, keeps_no_edit])
def test_an_edit_that_is_lost_or_told_wrong_is_found(
    database: Database, monkeypatch: pytest.MonkeyPatch, save: Callable[..., Any]
) -> None:
    """In whole simulated runs, from what was answered."""
    monkeypatch.setattr(volume_edits, "_save", save)

    for seed in range(20):
        try:
            simulate(seed, database=database, only=[], brief=False)
        except Failed as failed:
            assert all(one.startswith("Order: edit_volume") and " said that " in one for one in failed.violations)
            return
    pytest.fail("20 seeds did not find it")
