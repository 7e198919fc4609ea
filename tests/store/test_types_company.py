"""What stands beside volume types, as transactions: alone, twice, and beside those that could contradict them."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event, update
from tests.store.beside import Body
from tests.store.given import Base, create_volume, new_volume, origin

from breezeblock.model.errors import Contended, InvalidState, NotFound
from breezeblock.model.ids import VolumeId
from breezeblock.resources import (
    default_types,
    qos_specs,
    volume_changes,
    volumes,
)
from breezeblock.store import tables

QOS = "20000000-0000-4000-8000-000000000001"
GOLD = "70000000-0000-4000-8000-000000000001"
SILVER = "70000000-0000-4000-8000-000000000002"
ADMIN = origin(is_admin=True)


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    base.node()
    base.pool()
    base.volume_type(GOLD)
    yield base
    base.close()


def before(tx: Connection, beginning: str, change: Any) -> None:
    """Let somebody else's change come in just before this transaction's first statement that begins so."""
    seen = list[str]()

    @event.listens_for(tx, "before_cursor_execute")
    def come_in(*args: Any) -> None:
        if str(args[2]).startswith(beginning) and not seen:
            seen.append(args[2])
            tx.execute(change)


def given_specs(base: Base, *, id_: str = QOS, consumer: str = "front-end", specs: str = '{"iops":"5"}') -> None:
    base.add(tables.qos_specs, id=id_, name=id_, consumer=consumer, specs_json=specs, created_at_us=1)


def given_in_use(base: Base, **values: object) -> None:
    create_volume(base, volume_type=GOLD)
    base.change(tables.volumes, "v1", status="in-use", attach_status="attached", object_name="v1.1.1", **values)
    base.run(lambda tx: [tx.execute(table.delete()) for table in (tables.operation_locks, tables.operations)])


def associate(type_id: str = GOLD, specs_id: str = QOS) -> Body:
    return lambda tx: qos_specs.associate(tx, specs_id=specs_id, type_id=type_id, origin=ADMIN)


def delete_specs(*, force: bool) -> Body:
    return lambda tx: qos_specs.delete_specs(tx, specs_id=QOS, force=force, origin=ADMIN)


def set_default(name_or_id: str = GOLD, project_id: str = "p1") -> Body:
    return lambda tx: default_types.set_default(tx, project_id=project_id, name_or_id=name_or_id, origin=ADMIN)


def retype(tx: Connection) -> object:
    return volume_changes.begin_retype(
        tx, origin=origin(), volume_id=VolumeId("v1"), new_type=SILVER, migration_policy="never", quota_defaults={}
    )


# --- QoS --------------------------------------------------------------------------------------------------------------


def test_a_type_that_got_the_specs_after_they_were_looked_for_is_looked_for_again(base: Base) -> None:
    """As on a server that does not let the second of two wait: it runs again, and no type is left with nothing."""
    given_specs(base)
    late = update(tables.volume_types).where(tables.volume_types.c.id == GOLD).values(qos_specs_id=QOS)

    with base.tx() as tx, pytest.raises(Contended):
        before(tx, "UPDATE qos_specs", late)
        delete_specs(force=True)(tx)


@pytest.mark.parametrize(
    ("consumer", "specs", "expected"),
    [
        ("front-end", '{"iops":"5"}', {"iops": "5"}),
        ("both", '{"iops":"5"}', {"iops": "5"}),
        ("back-end", '{"iops":"5"}', None),
        ("front-end", "{}", None),
    ],
)
def test_who_connects_a_volume_is_told_its_limits(
    base: Base, consumer: str, specs: str, expected: dict[str, str] | None
) -> None:
    given_specs(base, consumer=consumer, specs=specs)
    base.run(associate())
    create_volume(base, volume_type=GOLD)

    assert base.run(qos_specs.qos_of, base.row(tables.volumes, "v1")) == expected


def test_a_volume_whose_type_has_no_specs_has_no_limits(base: Base) -> None:
    create_volume(base, volume_type=GOLD)

    assert base.run(qos_specs.qos_of, base.row(tables.volumes, "v1")) is None


@pytest.mark.parametrize(
    ("status", "consumer", "allowed"),
    [
        ("in-use", "front-end", False),
        ("in-use", "both", False),
        ("in-use", "back-end", True),
        ("available", "both", True),
    ],
)
def test_limits_of_a_machine_do_not_change_while_it_has_the_volume(
    base: Base, status: str, consumer: str, allowed: bool
) -> None:
    base.volume_type(SILVER)
    given_specs(base, consumer=consumer)
    base.run(associate(SILVER))
    given_in_use(base)
    base.change(tables.volumes, "v1", status=status)

    done = base.run(lambda tx: _refused(tx, retype))

    assert (done is None) is allowed
    assert (base.row(tables.volumes, "v1")["status"] == "retyping") is allowed


def _refused(tx: Connection, body: Body) -> str | None:
    try:
        body(tx)
    except InvalidState as refused:
        return refused.message
    return None


# --- default types ----------------------------------------------------------------------------------------------------


def test_a_default_that_is_set_twice_is_set_once(base: Base) -> None:
    for _ in range(2):
        base.run(set_default())

    assert len(base.rows(tables.default_types)) == 1


def _create(tx: Connection, **values: Any) -> object:
    return volumes.begin_create(tx, origin=origin(), wanted=new_volume(**values), quota_defaults={})


def test_a_default_that_has_gone_since_it_was_read_is_looked_for_again(base: Base) -> None:
    """Nobody named it, so nobody is told that it is not found."""
    base.run(set_default())

    with base.tx() as tx, pytest.raises(Contended):
        before(tx, "UPDATE volume_types", delete(tables.volume_types).where(tables.volume_types.c.id == GOLD))
        _create(tx)


def test_a_type_that_was_named_and_has_gone_is_not_found(base: Base) -> None:
    with base.tx() as tx, pytest.raises(NotFound, match=GOLD):
        before(tx, "UPDATE volume_types", delete(tables.volume_types).where(tables.volume_types.c.id == GOLD))
        _create(tx, volume_type=GOLD)
