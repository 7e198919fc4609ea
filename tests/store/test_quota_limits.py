"""Which limit counts."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Table, insert, select
from tests.store.admin_tx import open_tx, origin

from breezeblock.resources import quota_limits, types
from breezeblock.resources import quotas as charges
from breezeblock.settings import Quota
from breezeblock.store.tables import quota_classes, quota_usage, quotas

DEFAULTS = {name: limit for name, limit in Quota().defaults().items() if name in quota_limits.RESOURCES}


@pytest.fixture
def tx() -> Iterator[Connection]:
    with open_tx() as connection:
        yield connection


def given_class(tx: Connection, resource: str, limit: int, *, name: str = "default") -> None:
    tx.execute(insert(quota_classes).values(class_name=name, resource=resource, hard_limit=limit))


def given_own(tx: Connection, resource: str, limit: int) -> None:
    tx.execute(insert(quotas).values(project_id="p1", resource=resource, hard_limit=limit))


def limits(tx: Connection) -> dict[str, int]:
    return quota_limits.limits_of(tx, project_id="p1", defaults=DEFAULTS, known=quota_limits.keys(tx))


def test_the_settings_have_a_default_for_every_resource() -> None:
    assert {*quota_limits.RESOURCES, charges.SNAPSHOTS_USE_GIGABYTES} == set(Quota().defaults())


def test_where_nothing_is_set_the_settings_count_and_types_are_unlimited(tx: Connection) -> None:
    assert limits(tx) == DEFAULTS | {
        "volumes___DEFAULT__": -1,
        "gigabytes___DEFAULT__": -1,
        "snapshots___DEFAULT__": -1,
    }


def test_the_class_counts_before_the_settings_and_the_project_before_the_class(tx: Connection) -> None:
    given_class(tx, "volumes", 20)
    given_class(tx, "snapshots", 21)
    given_class(tx, "backups", 22, name="other")
    given_own(tx, "volumes", 5)

    found = limits(tx)

    assert (found["volumes"], found["snapshots"], found["backups"]) == (5, 21, 10)


def test_what_was_set_for_a_type_that_is_no_more_is_not_shown(tx: Connection) -> None:
    given_own(tx, "volumes_gone", 5)

    assert "volumes_gone" not in limits(tx)


def test_a_type_is_limited_under_its_id_whatever_it_is_called(tx: Connection) -> None:
    given_own(tx, f"volumes_{types.DEFAULT_TYPE_ID}", 5)
    types.update_type(tx, type_id=types.DEFAULT_TYPE_ID, name="gold", description=None, is_public=None, origin=origin())

    found = limits(tx)

    assert (found["volumes_gold"], "volumes___DEFAULT__" in found) == (5, False)


@pytest.mark.parametrize("table", [quotas, quota_classes, quota_usage], ids=lambda table: table.name)
def test_a_type_s_accounts_go_with_it(tx: Connection, table: Table) -> None:
    owner = {"quota_classes": "class_name"}.get(table.name, "project_id")
    number = {"quota_usage": "in_use"}.get(table.name, "hard_limit")
    for resource, value in (("volumes_a", 1), ("volumes_b", 2), ("volumes", 3)):
        tx.execute(insert(table).values({owner: "x", "resource": resource, number: value}))

    quota_limits.forget_type(tx, type_id="a")

    found = {tuple(row)[1:] for row in tx.execute(select(table))}
    assert found == {("volumes_b", 2), ("volumes", 3)}
