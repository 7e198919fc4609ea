"""A scenario's answers become what any other run has, so that the same judge judges it."""

from typing import Any

import pytest
from tests.unit.test_chaos_checker import GIB, S, V, events, history, logged, rest, volume_row

from breezeblock.chaos.contents import HEAD_BYTES
from breezeblock.chaos.evidence import declared_moves
from breezeblock.chaos.report import judge
from breezeblock.chaos.scenarios import Course
from breezeblock.chaos.service import Answer


def answer(status: int, request: str, id_: str = V) -> Answer:
    body = {"volume": {"id": id_}} if status == 202 else {"conflict": {"message": "no"}}
    return Answer(status, body, {"X-OpenStack-Request-Id": request})


def course() -> Course:
    """One volume was made and stays; another one was made and deleted, and then could not be deleted again."""
    course = Course()
    assert course.note("POST", "made-0", answer(202, "r1"), started=1.0, took_s=0.5) == V
    assert course.note("POST", "doomed-0", answer(202, "r2", S), started=1.0, took_s=0.5) == S
    assert course.note("DELETE", S, answer(202, "r3"), started=2.0, took_s=0.5) is None
    assert course.note("DELETE", S, answer(404, "r4"), started=3.0, took_s=0.5) is None
    return course


LOG = [
    logged("o1", "r1", kind="create_volume", epoch=1),
    logged("o2", "r2", kind="create_volume", epoch=1, resource_id=S, locks=[[S, 1, True]]),
    logged("o3", "r3", kind="delete_volume", epoch=1, resource_id=S, locks=[[S, 2, True]]),
]


def findings(*, log: list[dict[str, Any]] = LOG, told: list[tuple[str, ...]] | None = None, **more: Any) -> list[str]:
    played = course()
    sound: dict[str, Any] = {
        "volumes": [volume_row(name="made-0")],
        "heads": {f"{V}.1.1": bytes(HEAD_BYTES)},
    }
    at_rest = rest(log=log, **(sound | more))
    said = events(*(told or []))  # type: ignore[arg-type]
    run = history(
        clients=[played.client], asked=played.asked, rest=at_rest, swept=at_rest, events=said, moves=declared_moves()
    )
    return [one["invariant"] for one in judge(run)["findings"]]


def test_what_went_as_it_was_answered_is_right() -> None:
    assert findings() == []
    assert [one.kind for one in course().asked] == ["create", "create", "delete", "delete"]


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"volumes": []}, "Once"),
        ({"volumes": [volume_row(name="made-0", status="error")]}, "Once"),
        ({"volumes": [volume_row(name="made-0", size_gib=2)], "files": {f"{V}.1.1": 2 * GIB}}, "Once"),
        ({"volumes": [volume_row(name="made-0"), volume_row(name="nobody's", id=S, object_name=None)]}, "Once"),
        ({"log": LOG[:2]}, "Once"),
        ({"log": [*LOG, logged("o4", "r3", kind="delete_volume", epoch=1)]}, "Once"),
        ({"log": [*LOG, logged("o4", "r4", kind="delete_volume", epoch=1)]}, "Once"),
        ({"heads": {f"{V}.1.1": b"x" * HEAD_BYTES}}, "Data"),
        ({"told": [("volumes", V, None, "available")]}, "Transitions"),
    ],
)
def test_what_the_scenarios_own_judge_let_pass_is_found(more: dict[str, Any], found: str) -> None:
    """It looked at no data, no transitions and no requests but by their number."""
    assert found in findings(**more)
