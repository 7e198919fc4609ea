"""What people read of a run: short names, aligned columns, and only what has to do with the violation."""

from typing import Any

import pytest

from breezeblock.testing.batch import one
from breezeblock.testing.history import Entry
from breezeblock.testing.timeline import Names, matters, timeline

VOLUME, OTHER = "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"
OP, OTHER_OP = "bbbbbbbb-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"
NODE = "cccccccc-0000-4000-8000-000000000001"


def told(at: float, kind: str, text: str, process: str | None = None, **data: Any) -> Entry:
    return Entry(1000.0 + at, process, kind, text, data)


def enqueued(at: float, operation: str, volume: str) -> Entry:
    text = f"operation {operation} extend_volume enqueued: {{'{volume}': 1}}"
    return told(at, "enqueued", text, operation=operation, operation_kind="extend_volume", places={volume: 1})


HISTORY = [
    told(0, "run", "seed 1, faults crash, fence kill"),
    told(0, "identity", f"node0.keeper1 is incarnation {NODE}", "node0.keeper1", incarnation=NODE),
    told(
        0.5,
        "status",
        f"volumes {VOLUME}: None -> creating",
        table="volumes",
        resource=VOLUME,
        before=None,
        after="creating",
    ),
    told(
        0.5,
        "status",
        f"volumes {OTHER}: None -> creating",
        table="volumes",
        resource=OTHER,
        before=None,
        after="creating",
    ),
    enqueued(1, OP, VOLUME),
    enqueued(1.25, OTHER_OP, OTHER),
    told(2, "owned", f"operation {OP} is owned by {NODE} in epoch 1", operation=OP, owner=NODE, epoch=1),
    told(3, "log", "node0.worker1 log something", "node0.worker1", event="something"),
    told(12.5, "fault", "crash node9.keeper1", fault="crash", number=7, target="node9.keeper1"),
    told(13, "violation", f"VIOLATION of Order: {OP} ended too soon", invariant="Order"),
]


def test_lines_are_aligned_and_ids_are_short() -> None:
    lines = timeline(HISTORY, Names.given(HISTORY))

    assert lines[0] == " +0.000                 run        seed 1, faults crash, fence kill"
    assert lines[6] == " +2.000  node0/1        owned      operation op1 is owned by node0/1 in epoch 1"
    assert lines[8] == "+12.500  node9.keeper1  FAULT 7    crash node9.keeper1"
    assert lines[9] == "+13.000                 VIOLATION  Order: op1 ended too soon"


def test_the_legend_names_the_ids_that_were_shortened() -> None:
    lines = timeline(matters(HISTORY), Names.given(HISTORY))

    assert f"op1 is {OP}" in lines
    assert f"node0/1 is {NODE}" in lines
    assert not [line for line in lines if OTHER_OP in line]


def test_of_a_failed_run_only_what_concerns_the_violation_is_left() -> None:
    """Its operation, that one's resource and owner; and every fault, whoever it hit."""
    assert matters(HISTORY) == [HISTORY[place] for place in (0, 1, 2, 4, 6, 8, 9)]


def test_of_a_run_that_passed_all_but_the_logs_is_left() -> None:
    passed = HISTORY[:-1]

    assert matters(passed) == [entry for entry in passed if entry.kind != "log"]


def test_a_violation_that_names_nothing_hides_nothing() -> None:
    vague = [*HISTORY[:-1], told(13, "violation", "VIOLATION of Mistake: something broke", invariant="Mistake")]

    assert enqueued(1.25, OTHER_OP, OTHER) in matters(vague)


def test_an_entry_reads_as_the_line_that_was_told() -> None:
    assert str(HISTORY[8]) == "1012.500000 crash node9.keeper1"


@pytest.mark.parametrize("full", [False, True])
def test_a_passing_seed_prints_its_time_line_or_all_of_it(capsys: pytest.CaptureFixture[str], full: bool) -> None:
    assert one(1, full=full, html=None) == 0

    assert (" log backend.initialised " in capsys.readouterr().out) == full
