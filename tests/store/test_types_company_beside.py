"""What stands beside volume types, with transactions that could contradict each other, at once on a real server.

They run where `BREEZEBLOCK_TEST_DATABASE` names servers. On SQLite there are no two transactions at once.
"""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection
from tests.databases import urls
from tests.store.beside import Body, beside
from tests.store.given import Base, create_volume, new_volume, origin
from tests.store.test_types_company import ADMIN, GOLD, SILVER, associate, delete_specs, given_specs, set_default

from breezeblock.model.errors import BadRequest, Rejected
from breezeblock.model.ids import VolumeId
from breezeblock.resources import image_metadata, type_encryption, types, volumes
from breezeblock.resources.type_encryption import Words
from breezeblock.store import tables

LUKS = Words(provider="luks", control_location="front-end", cipher="aes-xts-plain64", key_size=256)

pytestmark = pytest.mark.skipif(
    not urls(), reason="takes two transactions at once: BREEZEBLOCK_TEST_DATABASE names servers"
)


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    base.node()
    base.pool()
    base.volume_type(GOLD)
    yield base
    base.close()


def no_type_has_specs_that_are_gone(base: Base) -> bool:
    named = {row["qos_specs_id"] for row in base.rows(tables.volume_types)} - {None}
    return named <= {row["id"] for row in base.rows(tables.qos_specs)}


def _defaults_that_are_gone(base: Base) -> set[str]:
    there = {row["id"] for row in base.rows(tables.volume_types)}
    return {row["volume_type_id"] for row in base.rows(tables.default_types)} - there


def _new(tx: Connection) -> object:
    return volumes.begin_create(tx, origin=origin(), wanted=new_volume(volume_type=GOLD), quota_defaults={})


def _say(**texts: str) -> Body:
    return lambda tx: image_metadata.set_metadata(tx, origin=origin(), volume_id=VolumeId("v1"), metadata=texts)


def encrypt(tx: Connection) -> object:
    return type_encryption.create_encryption(tx, type_id=GOLD, encryption_id="e", words=LUKS, origin=ADMIN)


def delete_type(type_id: str = GOLD) -> Body:
    return lambda tx: types.delete_type(tx, type_id=type_id, origin=ADMIN)


@pytest.mark.parametrize("force", [True, False])
def test_specs_are_not_given_to_a_type_while_they_go(base: Base, force: bool) -> None:
    """Either the type gets them first, or there is nothing left to get."""
    given_specs(base)

    beside(base, associate(), delete_specs(force=force))

    assert no_type_has_specs_that_are_gone(base)


@pytest.mark.parametrize("force", [True, False])
def test_specs_do_not_go_while_a_type_gets_them(base: Base, force: bool) -> None:
    given_specs(base)

    beside(base, delete_specs(force=force), associate())

    assert no_type_has_specs_that_are_gone(base)


def test_two_give_a_type_different_specs_and_one_is_refused(base: Base) -> None:
    given_specs(base)
    given_specs(base, id_="other")

    first, second, _ = beside(base, associate(), associate(specs_id="other"))

    assert [type(one) for one in (first, second) if isinstance(one, Rejected)] == [BadRequest]


def test_a_type_goes_while_its_specs_do(base: Base) -> None:
    given_specs(base)
    base.run(associate())

    beside(base, delete_specs(force=True), delete_type())

    assert (base.rows(tables.qos_specs), [row["id"] for row in base.rows(tables.volume_types)]) == (
        [], [types.DEFAULT_TYPE_ID]
    )  # fmt: skip


def test_a_type_does_not_go_while_it_becomes_a_default(base: Base) -> None:
    beside(base, set_default(), delete_type())

    assert _defaults_that_are_gone(base) == set()


def test_a_type_does_not_become_a_default_while_it_goes(base: Base) -> None:
    beside(base, delete_type(), set_default())

    assert _defaults_that_are_gone(base) == set()


def test_two_set_a_default_and_one_of_them_counts(base: Base) -> None:
    base.volume_type(SILVER)

    beside(base, set_default(), set_default(SILVER))

    (row,) = base.rows(tables.default_types)
    assert row["volume_type_id"] in (GOLD, SILVER)


@pytest.mark.parametrize("encrypts_first", [True, False])
def test_no_volume_comes_while_its_type_becomes_encrypted(base: Base, encrypts_first: bool) -> None:
    """Of the two one is refused: there never is a volume without a key in a type that promises one."""
    bodies = (encrypt, _new) if encrypts_first else (_new, encrypt)

    first, second, _ = beside(base, *bodies)

    assert sum(isinstance(one, Rejected) for one in (first, second)) == 1
    encrypted = base.row(tables.volume_types, GOLD)["encryption_json"] is not None
    assert encrypted is (base.rows(tables.volumes) == [])


def test_two_encrypt_a_type_and_one_is_refused(base: Base) -> None:
    first, second, _ = beside(base, encrypt, encrypt)

    assert [type(one) for one in (first, second) if isinstance(one, Rejected)] == [BadRequest]


def test_of_two_who_say_something_of_an_image_both_are_heard(base: Base) -> None:
    create_volume(base)

    beside(base, _say(a="1"), _say(b="2"))

    assert image_metadata.metadata_of(base.row(tables.volumes, "v1")) == {"a": "1", "b": "2"}
