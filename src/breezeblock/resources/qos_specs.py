"""Quality of service: named limits that volume types carry, and who keeps to them: the storage, the compute host, or both.

Whether a type has certain specs is decided on the row of the specs: who gives them to a type, or takes them away, writes
both rows. Specs may change while volumes have them; a volume gets the new ones with its next connection.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, select, update

from breezeblock.model.errors import BadRequest, Conflict, Contended, InvalidState, NotFound
from breezeblock.model.origin import Origin
from breezeblock.resources import types
from breezeblock.resources.listing import Found, Listing, Page, page
from breezeblock.store.tables import qos_specs, volume_types
from breezeblock.store.transitions import lock_row, lock_rows

FRONT_END: Final = "front-end"
BACK_END: Final = "back-end"
BOTH: Final = "both"
CONSUMERS: Final = (BACK_END, FRONT_END, BOTH)

LISTING: Final = Listing(
    noun="QoS specs",
    table=qos_specs,
    source=qos_specs,
    columns=(qos_specs.c.id, qos_specs.c.name, qos_specs.c.consumer, qos_specs.c.specs_json),
    attributes={
        "id": qos_specs.c.id,
        "name": qos_specs.c.name,
        "consumer": qos_specs.c.consumer,
        "created_at": qos_specs.c.created_at_us,
        "updated_at": qos_specs.c.updated_at_us,
    },
)

# --- asking -----------------------------------------------------------------------------------------------------------

_ONE = select(qos_specs).where(qos_specs.c.id == bindparam("specs_id"))
_OF_TYPE = (
    select(qos_specs.c.id, qos_specs.c.consumer, qos_specs.c.specs_json)
    .join_from(volume_types, qos_specs, volume_types.c.qos_specs_id == qos_specs.c.id)
    .where(volume_types.c.id == bindparam("type_id"))
)


def get_specs(tx: Connection, *, specs_id: str) -> RowMapping:
    """Raises NotFound."""
    row = tx.execute(_ONE, {"specs_id": specs_id}).mappings().first()
    if row is None:
        raise _missing(specs_id)
    return row


def list_specs(tx: Connection, *, wanted: Page) -> Found:
    """One page of the specs. Raises NotFound for a marker that is not there."""
    return page(tx, LISTING, wanted)


def list_associations(tx: Connection, *, specs_id: str) -> Sequence[RowMapping]:
    """The types that have these specs, by name: id and name. Raises NotFound."""
    get_specs(tx, specs_id=specs_id)
    having = select(volume_types.c.id, volume_types.c.name).where(volume_types.c.qos_specs_id == specs_id)
    return tx.execute(having.order_by(volume_types.c.name)).mappings().all()


def qos_of(tx: Connection, volume: Mapping[str, Any] | RowMapping) -> dict[str, str | None] | None:
    """What whoever connects this volume to a machine has to limit it to; None: nothing. One statement.

    `volume` is its row. Specs that are the storage's own concern (consumer `back-end`) are not among them.
    """
    row = tx.execute(_OF_TYPE, {"type_id": volume["volume_type_id"]}).first()
    if row is None or row.consumer == BACK_END:
        return None
    specs: dict[str, str | None] = json.loads(row.specs_json)
    return specs or None


def refuse_other_limits(tx: Connection, *, volume: Mapping[str, Any] | RowMapping, type_id_new: str) -> None:
    """Raise InvalidState where a volume that is in use would get other limits with another type.

    The machine that has it was told those of the old one, and nobody tells it those of the new one.
    """
    both = (volume["volume_type_id"], type_id_new)
    found = (tx.execute(_OF_TYPE, {"type_id": type_id}).first() for type_id in both)
    old, new = (None if row is None or row.consumer == BACK_END else row.id for row in found)
    if old != new:
        raise InvalidState(
            f"Volume {volume['id']} is in-use, and the type {type_id_new} has other QoS specs for the machine that uses it "
            "than the type it has; detach it first."
        )


def _missing(specs_id: str) -> NotFound:
    return NotFound(f"No such QoS spec {specs_id}.")


# --- changing ---------------------------------------------------------------------------------------------------------


def create_specs(
    tx: Connection, *, specs_id: str, name: str, consumer: str, specs: Mapping[str, str | None], origin: Origin
) -> RowMapping:
    """Make specs. Raises Conflict when the name is taken (two at once meet at its unique index and run again)."""
    if tx.execute(select(qos_specs.c.id).where(qos_specs.c.name == name)).first() is not None:
        raise Conflict(f"QoS Specs {name} already exists.")
    content = {"name": name, "consumer": consumer, "specs_json": json.dumps(dict(specs))}
    tx.execute(insert(qos_specs).values(id=specs_id, op_seq=1, created_at_us=origin.at_us, **content))
    return get_specs(tx, specs_id=specs_id)


def update_specs(
    tx: Connection, *, specs_id: str, consumer: str | None, specs: Mapping[str, str | None], origin: Origin
) -> None:
    """Add or replace keys, and the consumer where one is given. Raises NotFound."""
    row = _locked(tx, specs_id)
    now = json.loads(row["specs_json"]) | dict(specs)
    _save(tx, specs_id, now, consumer or row["consumer"], origin)


def delete_keys(tx: Connection, *, specs_id: str, keys: Sequence[str], origin: Origin) -> None:
    """Remove keys, all of them or none. Raises NotFound, also for a key that is not there."""
    row = _locked(tx, specs_id)
    specs = json.loads(row["specs_json"])
    for key in keys:
        if key not in specs:
            raise NotFound(f"QoS spec {specs_id} has no spec with key {key}.")
    rest = {key: value for key, value in specs.items() if key not in keys}
    _save(tx, specs_id, rest, row["consumer"], origin)


def delete_specs(tx: Connection, *, specs_id: str, force: bool, origin: Origin) -> None:
    """Remove specs that no type has, or with `force` take them from all types first. Raises NotFound, InvalidState."""
    having = _hold_with_types(tx, specs_id)
    if having and not force:
        raise InvalidState(
            f"Qos specs still in use: {len(having)} volume types have {specs_id}; disassociate them first."
        )
    _take_away(tx, having, origin)
    tx.execute(delete(qos_specs).where(qos_specs.c.id == specs_id))


def associate(tx: Connection, *, specs_id: str, type_id: str, origin: Origin) -> None:
    """Give specs to a type; again is no change. Raises NotFound (either), BadRequest when the type has other ones."""
    get_specs(tx, specs_id=specs_id)  # so that what is not there is called by its name
    types.get_type(tx, type_id=type_id, origin=origin)
    lock_rows(tx, [(qos_specs, specs_id), (volume_types, type_id)])
    has = types.get_type(tx, type_id=type_id, origin=origin)["qos_specs_id"]
    if has not in (None, specs_id):
        raise BadRequest(
            f"Invalid volume type: Type {type_id} is already associated with another qos specs: {has}; "
            "disassociate those first."
        )
    _give(tx, [type_id], specs_id, origin)


def disassociate(tx: Connection, *, specs_id: str, type_id: str, origin: Origin) -> None:
    """Take specs from a type; it is no error when it has others or none. Raises NotFound (either)."""
    get_specs(tx, specs_id=specs_id)
    types.get_type(tx, type_id=type_id, origin=origin)
    lock_rows(tx, [(qos_specs, specs_id), (volume_types, type_id)])
    if types.get_type(tx, type_id=type_id, origin=origin)["qos_specs_id"] == specs_id:
        _take_away(tx, [type_id], origin)


def disassociate_all(tx: Connection, *, specs_id: str, origin: Origin) -> None:
    """Take specs from every type that has them. Raises NotFound."""
    _take_away(tx, _hold_with_types(tx, specs_id), origin)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _locked(tx: Connection, specs_id: str) -> RowMapping:
    get_specs(tx, specs_id=specs_id)
    lock_row(tx, qos_specs, specs_id)
    return get_specs(tx, specs_id=specs_id)


def _hold_with_types(tx: Connection, specs_id: str) -> list[str]:
    """The ids of the types that have these specs, all rows being ours. Raises NotFound, Contended.

    Which types they are is guessed first: once the row of the specs is ours, no type gets them.
    """
    guess = [row["id"] for row in list_associations(tx, specs_id=specs_id)]
    lock_rows(tx, [(qos_specs, specs_id), *((volume_types, type_id) for type_id in guess)], asked_for=specs_id)
    having = [row["id"] for row in list_associations(tx, specs_id=specs_id)]
    if not set(having) <= set(guess):
        raise Contended("a type got the specs before their row was ours")
    return having


def _take_away(tx: Connection, type_ids: Sequence[str], origin: Origin) -> None:
    _give(tx, type_ids, None, origin)


def _give(tx: Connection, type_ids: Sequence[str], specs_id: str | None, origin: Origin) -> None:
    if type_ids:
        values = {"qos_specs_id": specs_id, "updated_at_us": origin.at_us}
        tx.execute(update(volume_types).where(volume_types.c.id.in_(type_ids)).values(**values))


def _save(tx: Connection, specs_id: str, specs: Mapping[str, str | None], consumer: str, origin: Origin) -> None:
    values = {"specs_json": json.dumps(dict(specs)), "consumer": consumer, "updated_at_us": origin.at_us}
    tx.execute(update(qos_specs).where(qos_specs.c.id == specs_id).values(**values))
