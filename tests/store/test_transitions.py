"""Transitions: SQL decides as Python would, the first condition that fails explains, and a refusal leaves nothing."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, case, event, insert, select
from tests.store.given import Base, origin

from breezeblock.model.errors import BadRequest, Conflict, Contended, InvalidState, NotFound, Rejected
from breezeblock.store.dialects import open_engine
from breezeblock.store.tables import snapshots, volume_types, volumes
from breezeblock.store.transitions import (
    Condition,
    Must,
    Transition,
    change_row,
    differs,
    equals,
    has,
    has_no,
    is_in,
    lock_row,
    lock_rows,
    new,
    not_in,
    read_row,
)

metadata: Final = MetaData()
things: Final = Table(
    "things",
    metadata,
    Column("id", String, primary_key=True),
    Column("op_seq", Integer, nullable=False, default=0),
    Column("a", String),
    Column("b", String),
    Column("n", Integer, nullable=False, default=1),
)
parts: Final = Table("parts", metadata, Column("id", String, primary_key=True), Column("thing_id", String))

_ENGINE: Final = open_engine("sqlite://", now_us=lambda: 0)


@pytest.fixture
def tx() -> Iterator[Connection]:
    with _ENGINE.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        metadata.create_all(connection)
        connection.execute(insert(things).values(id="t", a="x", b=None))
        yield connection
        connection.exec_driver_sql("ROLLBACK")


def holds(condition: Condition, *, a: str | None, b: str | None = None, **params: Any) -> bool:
    """Whether a condition holds for a row with these values, as a transition asks it."""
    may = Transition(things, musts=(Must(condition, "No."),), sets={})
    with _ENGINE.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        metadata.create_all(connection)
        connection.execute(insert(things).values(id="t", a=a, b=b))
        try:
            may.check_locked(connection, "t", **params)
        except Rejected:
            return False
        finally:
            connection.exec_driver_sql("ROLLBACK")
        return True


# --- conditions mean what they mean in Python -------------------------------------------------------------------------

value = st.one_of(st.none(), st.sampled_from(["x", "y", "z", ""]))
values = st.lists(value, max_size=3)


@given(a=value, b=value)
def test_equals_and_differs_are_those_of_python(a: str | None, b: str | None) -> None:
    """Against a constant, a parameter and another column; NULL is None, equal to itself and to nothing else."""
    found = [
        holds(equals(things.c.a, b), a=a),
        holds(equals(things.c.a, new("p", String())), a=a, p=b),
        holds(equals(things.c.a, things.c.b), a=a, b=b),
        not holds(differs(things.c.a, b), a=a),
        not holds(differs(things.c.a, new("p", String())), a=a, p=b),
        not holds(differs(things.c.a, things.c.b), a=a, b=b),
    ]

    assert found == [a == b] * 6


@given(a=value, some=values)
def test_in_and_not_in_are_those_of_python(a: str | None, some: list[str | None]) -> None:
    """`not in` matches NULL unless None is among the values, and an empty list has nothing in it."""
    assert (holds(is_in(things.c.a, some), a=a), holds(not_in(things.c.a, some), a=a)) == (a in some, a not in some)


@given(a=value, some=values, b=value)
def test_a_negation_is_the_opposite_for_every_row(a: str | None, some: list[str | None], b: str | None) -> None:
    """No row falls between a condition and its opposite, as rows with NULL do in plain SQL."""
    assert holds(is_in(things.c.a, some), a=a) is not holds(not_in(things.c.a, some), a=a)
    assert holds(equals(things.c.a, b), a=a) is not holds(differs(things.c.a, b), a=a)


def test_a_condition_that_is_unknown_does_not_hold(tx: Connection) -> None:
    """A plain comparison with NULL: neither true nor false, so the change is refused."""
    may = Transition(things, musts=(Must(things.c.b == "x", "b is {b}."),), sets={})

    with pytest.raises(InvalidState, match=r"b is None\."):
        may.apply(tx, "t")


@pytest.mark.parametrize(("owner", "answer"), [("t", True), ("other", False)])
def test_has_and_has_no_ask_another_table_about_this_row(tx: Connection, owner: str, answer: bool) -> None:
    """Rows of others do not count."""
    tx.execute(insert(parts).values(id="p", thing_id=owner))
    question = select(parts.c.id).where(parts.c.thing_id == things.c.id)
    asked = [has(question, of=things), has_no(question, of=things)]

    assert [_answer(tx, condition) for condition in asked] == [answer, not answer]


def _answer(tx: Connection, condition: Condition) -> bool:
    try:
        Transition(things, musts=(Must(condition, "No."),), sets={}).check_locked(tx, "t")
    except InvalidState:
        return False
    return True


# --- what is set ------------------------------------------------------------------------------------------------------


def applied(tx: Connection, sets: dict[str, Any], **params: Any) -> dict[str, Any]:
    """The row that `apply` returns, which must be the one that the table has then."""
    row = Transition(things, musts=(), sets=sets).apply(tx, "t", **params)
    assert row == read_row(tx, things, "t")
    return row


def test_a_constant_a_parameter_and_null_are_set(tx: Connection) -> None:
    """The plain kinds of values."""
    row = applied(tx, {"a": None, "b": new("p", String()), "n": 7}, p="given")

    assert (row["a"], row["b"], row["n"]) == (None, "given", 7)


def test_values_are_taken_from_the_row_as_it_was_before(tx: Connection) -> None:
    """Two columns change places; neither sees the other's new value."""
    row = applied(tx, {"a": things.c.b, "b": things.c.a})

    assert (row["a"], row["b"]) == (None, "x")


def test_arithmetic_and_case_are_evaluated_on_the_row(tx: Connection) -> None:
    """`n = n + p`, and a choice by another column's value."""
    row = applied(tx, {"n": things.c.n + new("p", Integer()), "b": case((things.c.a == "x", "yes"), else_="no")}, p=4)

    assert (row["n"], row["b"]) == (5, "yes")


def test_a_transition_without_sets_only_takes_a_place_in_line(tx: Connection) -> None:
    """The source of a clone: written, so that others conflict, and otherwise unchanged."""
    before = read_row(tx, things, "t")
    assert before is not None

    assert applied(tx, {}) == before | {"op_seq": before["op_seq"] + 1}


def test_each_transition_takes_the_next_place(tx: Connection) -> None:
    """In the order of their transactions."""
    assert [applied(tx, {"n": n})["op_seq"] for n in (5, 6, 7)] == [1, 2, 3]


# --- refusals ---------------------------------------------------------------------------------------------------------

TWO_MUSTS: Final = Transition(
    things,
    musts=(
        Must(equals(things.c.a, "free"), "Thing {id} is {a}, not free.", error=Conflict),
        Must(things.c.n < new("limit", Integer()), "It has {n} of {limit}.", error=BadRequest),
    ),
    sets={"a": "taken", "n": things.c.n + 1},
)


def test_the_first_condition_that_fails_explains_with_the_rows_values(tx: Connection) -> None:
    """The second one would fail as well; only one sentence is said, with its own kind of error."""
    with pytest.raises(Conflict) as caught:
        TWO_MUSTS.apply(tx, "t", limit=0)

    assert caught.value.message == "Thing t is x, not free."


def test_a_later_condition_explains_with_the_parameters_too(tx: Connection) -> None:
    """Row and request in one sentence."""
    change_row(tx, things, "t", a="free", n=3)

    with pytest.raises(BadRequest) as caught:
        TWO_MUSTS.apply(tx, "t", limit=3)

    assert caught.value.message == "It has 3 of 3."


def test_where_all_conditions_hold_the_change_is_made(tx: Connection) -> None:
    """The same transition, the other way."""
    change_row(tx, things, "t", a="free")

    row = TWO_MUSTS.apply(tx, "t", limit=3)

    assert (row["a"], row["n"]) == ("taken", 2)


def test_a_value_with_braces_in_it_is_shown_as_it_is(tx: Connection) -> None:
    """Names are the users'; they are no format strings."""
    change_row(tx, things, "t", a="{n.__class__}")

    with pytest.raises(Conflict) as caught:
        TWO_MUSTS.apply(tx, "t", limit=0)

    assert caught.value.message == "Thing t is {n.__class__}, not free."


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    base.add(volumes, **VOLUME)
    yield base
    base.close()


VOLUME: Final[dict[str, Any]] = {
    "id": "v", "project_id": "p1", "user_id": "u", "size_gib": 1, "status": "available",
    "availability_zone": "nova", "created_at_us": 0,
}  # fmt: skip
NEVER: Final = Transition(volumes, musts=(Must(equals(volumes.c.status, "never"), "No."),), sets={"size_gib": 9})
ALWAYS: Final = Transition(volumes, musts=(), sets={"size_gib": 9})


def test_a_refusal_undoes_everything_before_it_in_the_transaction(base: Base) -> None:
    """Not even the place in line is taken: other changes of the request go with it."""
    before = base.rows(volumes)

    def request(tx: Connection) -> None:
        ALWAYS.apply(tx, "v")
        NEVER.apply(tx, "v")

    with pytest.raises(InvalidState):
        base.run(request)

    assert base.rows(volumes) == before


@pytest.mark.parametrize(
    ("values", "project", "is_admin", "found"),
    [
        ({}, "p1", False, True),
        ({}, "p2", False, False),
        ({}, "p2", True, True),
        ({"tombstone": True}, "p1", False, False),
        ({"tombstone": True}, "p1", True, False),
    ],
)
def test_only_what_the_caller_may_see_is_found(
    base: Base, values: dict[str, Any], project: str, is_admin: bool, found: bool
) -> None:
    """Another project's volume and a deleted one are not there, in the same words as one that never was."""
    if values:
        base.change(volumes, "v", **values)

    assert _message(base, "v", origin(project_id=project, is_admin=is_admin)) == (
        None if found else "Volume v could not be found."
    )


def _message(base: Base, row_id: str, caller: Any) -> str | None:
    try:
        base.run(ALWAYS.apply, row_id, origin=caller)
    except NotFound as error:
        return error.message
    return None


def test_what_is_not_there_is_not_found(base: Base) -> None:
    """With a caller and without one, named as users name it."""
    with pytest.raises(NotFound, match=r"Volume w could not be found\."):
        base.run(lock_row, volumes, "w", origin=origin())
    with pytest.raises(NotFound, match=r"Volume type w could not be found\."):
        base.run(lock_row, volume_types, "w")


def test_operations_reach_tombstones_that_callers_do_not(base: Base) -> None:
    """Who has no caller is an operation that stands in the row's line."""
    base.change(volumes, "v", tombstone=True)

    base.run(lock_row, volumes, "v")

    assert base.row(volumes, "v")["op_seq"] == 1


def test_rows_are_locked_once_and_in_the_order_of_their_ids(base: Base) -> None:
    """Whatever the order and the table they were named in: two requests never wait for each other."""
    base.add(volumes, **(VOLUME | {"id": "a"}))
    base.volume_type("k")
    written: list[str] = []

    def lock(tx: Connection) -> None:
        @event.listens_for(tx, "before_execute")
        def note(connection: Connection, statement: Any, many: Any, parameters: dict[str, Any], options: Any) -> None:
            written.append(parameters["row_id"])

        lock_rows(tx, [(volumes, "v"), (volume_types, "k"), (volumes, "a"), (volumes, "v")])
        event.remove(tx, "before_execute", note)

    base.run(lock)

    assert written == ["a", "k", "v"]


def test_a_row_that_comes_along_and_has_gone_is_no_refusal(base: Base) -> None:
    """Nobody has asked for it by name: whoever has read of it reads again."""
    base.add(volumes, **(VOLUME | {"id": "a"}))

    with pytest.raises(Contended, match="Snapshot s has gone"), base.tx() as tx:
        lock_rows(tx, [(volumes, "a"), (snapshots, "s")], asked_for="a")
