"""Revision 0004 carries what was charged and limited under the names of types over to their ids."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Table, insert, select
from tests.store.admin_tx import origin

from breezeblock.model.ids import TypeId
from breezeblock.resources import types
from breezeblock.resources.types import DEFAULT_TYPE_ID, DEFAULT_TYPE_NAME
from breezeblock.store import schema
from breezeblock.store.dialects import open_engine
from breezeblock.store.tables import quota_classes, quota_usage, quotas

ADMIN = origin()
NAMED, KEPT = f"volumes_{DEFAULT_TYPE_NAME}", f"volumes_{DEFAULT_TYPE_ID}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of the release before."""
    path = tmp_path / "breezeblock.db"
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).with_name("migrations")))
    engine = open_engine(f"sqlite:///{path}", now_us=lambda: 0)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
    return path


def accounts(path: Path, table: Table) -> set[tuple[object, ...]]:
    engine = open_engine(f"sqlite:///{path}", now_us=lambda: 0)
    with engine.connect() as connection:
        return {tuple(row) for row in connection.execute(select(table))}


def given(path: Path, table: Table, *rows: tuple[str, str, int]) -> None:
    engine = open_engine(f"sqlite:///{path}", now_us=lambda: 0)
    with engine.begin() as connection:
        connection.execute(insert(table), [dict(zip(table.c.keys(), row, strict=True)) for row in rows])


@contextlib.contextmanager
def written(path: Path) -> Iterator[Connection]:
    """A transaction of this release."""
    engine = open_engine(f"sqlite:///{path}", now_us=lambda: 0)
    with engine.begin() as connection:
        yield connection


def test_limits_and_usage_of_a_type_move_to_its_id(path: Path) -> None:
    """And nothing else does, whatever looks like it."""
    given(path, quotas, ("p", NAMED, 3), ("p", "volumes", 4), ("p", "volumes_gone", 5))
    given(path, quota_classes, ("default", NAMED, 6))
    given(path, quota_usage, ("p", NAMED, 2), ("p", "volumes", 2), ("q", NAMED, 1))

    schema.upgrade(f"sqlite:///{path}")

    assert accounts(path, quotas) == {("p", "volumes", 4), ("p", KEPT, 3), ("p", "volumes_gone", 5)}
    assert accounts(path, quota_classes) == {("default", KEPT, 6)}
    assert accounts(path, quota_usage) == {("p", "volumes", 2), ("p", KEPT, 2), ("q", KEPT, 1)}


def test_what_the_release_before_charges_beside_this_one_is_added_at_the_next_start(path: Path) -> None:
    """A deletion that an old node finished after the upgrade has left a number below nothing under the name."""
    given(path, quota_usage, ("p", NAMED, 2))
    schema.upgrade(f"sqlite:///{path}")
    given(path, quota_usage, ("p", NAMED, -1))
    given(path, quotas, ("p", NAMED, 7))

    schema.upgrade(f"sqlite:///{path}")

    assert accounts(path, quota_usage) == {("p", KEPT, 1)}
    assert accounts(path, quotas) == {("p", KEPT, 7)}


def test_the_release_before_still_makes_operations(path: Path) -> None:
    """Its statement does not name the new column."""
    schema.upgrade(f"sqlite:///{path}")

    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO operations (id, kind, version, queue, resource_type, resource_id, project_id, user_id, request_id,"
            " payload_json, direction, state_json, cancel, attempt, epoch, claim_epoch, saved_epoch, not_before_us,"
            " created_at_us) VALUES ('o', 'k', 1, 'q', 'volume', 'v', 'p', 'u', 'r', '{}', 'do', '{}', 0, 0, 0, 0, 0, 0, 0)"
        )
        assert connection.execute("SELECT touched FROM operations").fetchall() == [(0,)]


def test_a_type_that_is_named_like_the_id_of_another_has_no_accounts_of_the_other(path: Path) -> None:
    """What looks like an id is one."""
    schema.upgrade(f"sqlite:///{path}")
    given(path, quota_usage, ("p", KEPT, 2))
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO volume_types (id, op_seq, name, is_public, extra_specs_json, created_at_us)"
            " VALUES (?, 0, ?, 1, '{}', 0)",
            ("another", DEFAULT_TYPE_ID),
        )

    schema.upgrade(f"sqlite:///{path}")

    assert accounts(path, quota_usage) == {("p", KEPT, 2)}


def test_a_type_that_gets_another_name_takes_along_what_was_charged_under_the_old_one(path: Path) -> None:
    """Nobody would find it later."""
    schema.upgrade(f"sqlite:///{path}")
    given(path, quota_usage, ("p", NAMED, 2))

    with written(path) as tx:
        types.update_type(tx, type_id=DEFAULT_TYPE_ID, name="plain", description=None, is_public=None, origin=ADMIN)

    assert accounts(path, quota_usage) == {("p", KEPT, 2)}


def test_a_type_that_goes_leaves_nothing_to_a_later_one_of_its_name(path: Path) -> None:
    """A charge under the name and its refund under the id are together nothing."""
    schema.upgrade(f"sqlite:///{path}")
    with written(path) as tx:
        types.create_type(
            tx, type_id=TypeId("gold-id"), name="gold", description=None, is_public=True, extra_specs={}, origin=ADMIN
        )
    given(path, quota_usage, ("p", "volumes_gold", 1), ("p", "volumes_gold-id", -1))

    with written(path) as tx:
        types.delete_type(tx, type_id="gold-id", origin=ADMIN)

    assert accounts(path, quota_usage) == set()
