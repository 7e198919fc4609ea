"""The transactions of volume types."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, insert, select, update
from tests.store.admin_tx import open_tx, origin

from breezeblock.model.errors import Conflict, InvalidState, NotFound
from breezeblock.model.ids import ProjectId, TypeId
from breezeblock.resources import default_types, types
from breezeblock.store.tables import volume_type_access, volume_types

ID = "10000000-0000-4000-8000-00000000000a"
OTHER = "10000000-0000-4000-8000-00000000000b"
ADMIN, MEMBER = origin(), origin(is_admin=False)


@pytest.fixture
def tx() -> Iterator[Connection]:
    with open_tx() as connection:
        yield connection


def given_type(tx: Connection, name: str = "gold", *, type_id: str = ID, is_public: bool = True) -> None:
    types.create_type(
        tx,
        type_id=TypeId(type_id),
        name=name,
        description=None,
        is_public=is_public,
        extra_specs={},
        origin=ADMIN,
    )


def op_seq(tx: Connection) -> int:
    return int(tx.execute(select(volume_types.c.op_seq).where(volume_types.c.id == ID)).scalar_one())


@pytest.mark.parametrize("spelled", ["gold", ID, ID.upper(), ID.replace("-", "")])
def test_a_type_is_found_by_name_and_by_any_spelling_of_its_id(tx: Connection, spelled: str) -> None:
    given_type(tx)

    assert types.find_type(tx, name_or_id=spelled, origin=MEMBER)["id"] == ID


def test_an_id_counts_before_a_name_that_looks_like_one(tx: Connection) -> None:
    given_type(tx, OTHER)
    given_type(tx, "silver", type_id=OTHER)

    assert types.find_type(tx, name_or_id=OTHER, origin=ADMIN)["name"] == "silver"


def test_a_name_that_looks_like_an_id_is_found(tx: Connection) -> None:
    given_type(tx, OTHER)

    assert types.find_type(tx, name_or_id=OTHER, origin=ADMIN)["id"] == ID


@pytest.mark.parametrize(
    ("spelled", "says"),
    [("none", "Volume type with name none could not be found."), (OTHER, f"Volume type {OTHER} could not be found.")],
)
def test_what_is_not_there_is_named(tx: Connection, spelled: str, says: str) -> None:
    with pytest.raises(NotFound, match=says):
        types.find_type(tx, name_or_id=spelled, origin=ADMIN)


def test_a_private_type_is_found_by_those_who_may_use_it(tx: Connection) -> None:
    given_type(tx, is_public=False)
    tx.execute(insert(volume_type_access).values(volume_type_id=ID, project_id="p2"))

    assert types.find_type(tx, name_or_id="gold", origin=ADMIN)["id"] == ID
    assert types.find_type(tx, name_or_id="gold", origin=origin(is_admin=False, project_id="p2"))["id"] == ID
    with pytest.raises(NotFound):
        types.find_type(tx, name_or_id="gold", origin=MEMBER)


def test_the_default_type_is_made_once_and_stays_the_default_under_another_name(tx: Connection) -> None:
    tx.execute(update(volume_types).values(name="standard"))

    types.ensure_default_type(tx)

    found = default_types.for_project(tx, project_id=ProjectId("p1"), origin=MEMBER)
    assert found["name"] == "standard"
    assert len(tx.execute(select(volume_types)).all()) == 1


def test_the_default_type_cannot_be_deleted(tx: Connection) -> None:
    with pytest.raises(InvalidState, match="default"):
        types.delete_type(tx, type_id=types.DEFAULT_TYPE_ID, origin=ADMIN)


def test_a_name_is_taken_once(tx: Connection) -> None:
    given_type(tx)

    with pytest.raises(Conflict, match="Volume Type gold already exists"):
        given_type(tx, type_id=OTHER)


def test_a_type_keeps_its_own_name(tx: Connection) -> None:
    given_type(tx)

    row = types.update_type(tx, type_id=ID, name="gold", description="d", is_public=None, origin=ADMIN)

    assert (row["name"], row["description"], row["is_public"]) == ("gold", "d", True)


def test_every_change_writes_the_type_s_row(tx: Connection) -> None:
    """A volume that is given the type at the same moment writes it, too: one of the two waits for the other."""
    given_type(tx, is_public=False)
    seen = [op_seq(tx)]

    types.update_type(tx, type_id=ID, name=None, description="d", is_public=None, origin=ADMIN)
    seen.append(op_seq(tx))
    types.set_extra_specs(tx, type_id=ID, specs={"a": "b"}, origin=ADMIN)
    seen.append(op_seq(tx))
    types.delete_extra_spec(tx, type_id=ID, key="a", origin=ADMIN)
    seen.append(op_seq(tx))
    types.add_access(tx, type_id=ID, project_id="p", origin=ADMIN)
    seen.append(op_seq(tx))
    types.remove_access(tx, type_id=ID, project_id="p", origin=ADMIN)
    seen.append(op_seq(tx))

    assert seen == [0, 1, 2, 3, 4, 5]


def test_a_deleted_type_takes_its_access_list_along(tx: Connection) -> None:
    given_type(tx, is_public=False)
    types.add_access(tx, type_id=ID, project_id="p", origin=ADMIN)

    types.delete_type(tx, type_id=ID, origin=ADMIN)

    assert tx.execute(select(volume_type_access)).all() == []
    assert tx.execute(select(volume_types.c.id).where(volume_types.c.id == ID)).all() == []
