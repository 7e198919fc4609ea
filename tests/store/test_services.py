"""Whether a queue may take new volumes, as far as operators said."""

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, insert
from tests.store.admin_tx import NOW_US, open_tx, origin

from breezeblock.resources import services
from breezeblock.store.tables import nodes

NODE = {
    "cluster": "c", "boot_id": "b", "state": "up", "queues_json": json.dumps(["c@file"]), "version": "1",
    "lock_path": "l", "lock_id": "l", "keeper_pid": 1, "started_at_us": NOW_US,
}  # fmt: skip


@pytest.fixture
def tx() -> Iterator[Connection]:
    with open_tx() as connection:
        rows = [{"incarnation": name, "name": name, **NODE} for name in ("n1", "n2")]
        connection.execute(insert(nodes), rows)
        yield connection


def disable(tx: Connection, host: str) -> None:
    services.set_service(
        tx, binary="cinder-volume", host=host, disabled=True, reason=None, own_cluster="c", origin=origin()
    )


def test_a_queue_that_nobody_spoke_about_is_enabled(tx: Connection) -> None:
    assert services.is_enabled(tx, queue="c@file")
    assert services.is_enabled(tx, queue="c@new")


def test_a_disabled_cluster_is_not_enabled_and_a_first_report_can_ask(tx: Connection) -> None:
    services.set_cluster(tx, name="c@file", binary="cinder-volume", disabled=True, reason=None, origin=origin())

    assert not services.is_enabled(tx, queue="c@file")


def test_a_queue_is_enabled_while_one_of_its_services_is(tx: Connection) -> None:
    disable(tx, "n1@file")
    after_one = services.is_enabled(tx, queue="c@file")
    disable(tx, "n2@file")

    assert (after_one, services.is_enabled(tx, queue="c@file")) == (True, False)
