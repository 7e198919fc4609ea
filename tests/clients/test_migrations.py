"""Volumes that move between the two backends of the service, asked for by each client."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cinderclient import exceptions
from tests.clients.programs import Programs
from tests.clients.waiting import settled
from tests.service import eventually

FAST, SLOW = "breezeblock@fast#fast", "breezeblock@slow#slow"


@pytest.fixture
def volume(cinder: Any) -> Iterator[Any]:
    """An available volume of 1 GiB, of a type that every backend has, on one of both."""
    made = settled(cinder.volumes, cinder.volumes.create(1))
    yield made
    cinder.volumes.delete(made)


@pytest.fixture
def typed(cinder: Any) -> Iterator[Any]:
    """One of a type that only the fast backend has."""
    wanted = cinder.volume_types.create(f"fast-{uuid.uuid4()}")
    wanted.set_keys({"volume_backend_name": "fast"})
    made = settled(cinder.volumes, cinder.volumes.create(1, volume_type=wanted.name))
    yield made
    cinder.volumes.delete(made)


def other_than(volume: Any) -> str:
    """The backend that it is not on."""
    return FAST if getattr(volume, "os-vol-host-attr:host") == SLOW else SLOW


def moved(cinder: Any, volume: Any, to: str) -> Any:
    """The volume when it is there."""

    def there() -> Any:
        found = cinder.volumes.get(volume.id)
        return found if getattr(found, "os-vol-host-attr:host") == to and found.status == "available" else None

    return eventually(there, within_s=30.0, message=f"{volume.id} is not at {to}")


@pytest.mark.parametrize(("version", "named"), [("3.0", "host"), ("3.71", "cluster")])
def test_by_cinderclient(cinder: Any, cinder_at: Any, volume: Any, version: str, named: str) -> None:
    to = other_than(volume)
    where = {"host": None, named: to}
    cinder_at(version).volumes.migrate_volume(volume, **where, force_host_copy=False, lock_volume=True)

    shown = moved(cinder, volume, to)
    assert (shown.migration_status, getattr(shown, "os-vol-mig-status-attr:migstat")) == ("success", "success")


def test_by_the_programs_cinder_and_openstack(programs: Programs, cinder: Any, volume: Any) -> None:
    """There and back again."""
    there = other_than(volume)
    programs.cinder("migrate", "--lock-volume", "True", volume.id, there)
    back = other_than(moved(cinder, volume, there))
    programs.tell("volume", "migrate", "--host", back, "--lock-volume", volume.id)

    assert moved(cinder, volume, back).migration_status == "success"


def test_by_openstacksdk(cloud: Any, cinder: Any, volume: Any) -> None:
    to = other_than(volume)
    cloud.block_storage.migrate_volume(volume.id, host=to, lock_volume=True)

    assert moved(cinder, volume, to).migration_status == "success"


def by_cinderclient(programs: Programs, cinder: Any, cloud: Any, volume: Any, type_: str) -> None:
    cinder.volumes.retype(volume, type_, "on-demand")


def by_openstack(programs: Programs, cinder: Any, cloud: Any, volume: Any, type_: str) -> None:
    programs.tell("volume", "set", "--type", type_, "--migration-policy", "on-demand", volume.id)


def by_openstacksdk(programs: Programs, cinder: Any, cloud: Any, volume: Any, type_: str) -> None:
    cloud.block_storage.retype_volume(volume.id, type_, "on-demand")


@pytest.mark.parametrize("retype", [by_cinderclient, by_openstack, by_openstacksdk])
def test_a_type_of_another_backend(
    programs: Programs, cinder: Any, cloud: Any, typed: Any, retype: Callable[..., None]
) -> None:
    wanted = cinder.volume_types.create(f"slow-{uuid.uuid4()}")
    wanted.set_keys({"volume_backend_name": "slow"})

    retype(programs, cinder, cloud, typed, wanted.name)

    assert moved(cinder, typed, SLOW).volume_type == wanted.name


def test_where_there_is_no_backend(cinder: Any, volume: Any) -> None:
    """The client's own exception, with the name that was asked for."""
    with pytest.raises(exceptions.BadRequest, match="No available service named 'nowhere@none'"):
        cinder.volumes.migrate_volume(volume, "nowhere@none", False, False)


def test_a_copy_that_a_compute_service_made(cinder: Any, cloud: Any, volume: Any) -> None:
    """Two volumes stay two: the new one is what the compute service goes on with."""
    other = settled(cinder.volumes, cinder.volumes.create(1))

    saved = cinder.volumes.migrate_volume_completion(volume, other.id, False)
    cloud.block_storage.complete_volume_migration(volume.id, other.id)
    cinder.volumes.delete(other)

    assert saved["save_volume_id"] == other.id
