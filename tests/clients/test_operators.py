"""Transfers, log levels, and what operators ask about backends: by cinderclient, openstacksdk and both programs."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cinderclient import exceptions
from tests.clients.conftest import CinderAt, CloudAt
from tests.clients.programs import Programs
from tests.clients.waiting import settled
from tests.service import eventually

FAST = "breezeblock@fast#fast"
WORK, NODE = "breezeblock.work", "breezeblock.node"


@pytest.fixture
def volume(cinder: Any) -> Iterator[Any]:
    """An available volume of 1 GiB, in whoever's project it is at the end."""
    made = cinder.volumes.create(1, name=f"gift-{uuid.uuid4()}")
    yield settled(cinder.volumes, made)
    cinder.volumes.reset_state(made, "available")
    cinder.volumes.delete(made, cascade=True)


# --- transfers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.0", "3.54", "3.55", "3.71"])
def test_a_volume_changes_hands(cinder_at: CinderAt, volume: Any, version: str) -> None:
    """By the older URL before 3.55, by the newer one since; shown, listed, taken by another project."""
    giver, taker = cinder_at(version), cinder_at(version, "takers")

    made = giver.transfers.create(volume.id, name="gift")
    shown = giver.transfers.get(made.id)
    listed = [one.id for one in giver.transfers.list(search_opts={"volume_id": volume.id})]
    short = [one.id for one in giver.transfers.list(detailed=False)]
    waiting = giver.volumes.get(volume.id).status
    taken = taker.transfers.accept(made.id, made.auth_key)

    assert (shown.name, shown.volume_id, listed) == ("gift", volume.id, [made.id])
    assert made.id in short
    assert (waiting, taken.volume_id) == ("awaiting-transfer", volume.id)
    found = taker.volumes.get(volume.id)
    assert (found.status, getattr(found, "os-vol-tenant-attr:tenant_id")) == ("available", "takers")
    with pytest.raises(exceptions.NotFound):
        giver.transfers.get(made.id)


@pytest.mark.parametrize("version", ["3.0", "3.71"])
def test_a_transfer_is_withdrawn(cinder_at: CinderAt, volume: Any, version: str) -> None:
    cinder = cinder_at(version)
    made = cinder.transfers.create(volume.id)
    with pytest.raises(exceptions.BadRequest, match="Invalid auth key"):
        cinder_at(version, "takers").transfers.accept(made.id, "0" * 16)

    cinder.transfers.delete(made.id)

    assert cinder.volumes.get(volume.id).status == "available"


def test_transfers_of_the_library(cloud_at: CloudAt, volume: Any) -> None:
    """Without its snapshots, which takes 3.55."""
    library = cloud_at("3.71").block_storage

    made = library.create_transfer(volume_id=volume.id, name="gift", no_snapshots=True)
    found = library.find_transfer("gift")
    shown = library.get_transfer(made.id)
    listed = [one.id for one in library.transfers(details=True)]
    library.delete_transfer(made)
    again = library.create_transfer(volume_id=volume.id)
    taken = library.accept_transfer(again.id, again.auth_key)

    assert (made.no_snapshots, found.id, shown.volume_id) == (True, made.id, volume.id)
    assert made.id in listed
    assert taken.volume_id == volume.id


def test_transfers_by_command(programs: Programs, volume: Any) -> None:
    """`openstack`, and `cinder` for what it calls the same."""
    request = ("volume", "transfer", "request")

    made = programs.openstack(*request, "create", "--name", "gift", volume.id)
    shown, listed = programs.together((*request, "show", made["id"]), (*request, "list"))
    programs.tell(*request, "delete", made["id"])
    again = programs.openstack(*request, "create", "--no-snapshots", volume.id)
    taken = programs.openstack(*request, "accept", "--auth-key", again["auth_key"], again["id"])
    told = programs.cinder("transfer-create", "--name", "third", volume.id)
    id_ = next(line.split("|")[2].strip() for line in told.splitlines() if line.startswith("| id "))
    seen = programs.cinder("transfer-list") + programs.cinder("transfer-show", id_)
    programs.cinder("transfer-delete", id_)

    assert (shown["volume_id"], shown["name"]) == (volume.id, "gift")
    assert made["id"] in [one["ID"] for one in listed]
    assert taken["volume_id"] == volume.id
    assert seen.count(id_) == 2


# --- backends and lists -----------------------------------------------------------------------------------------------


def test_what_a_backend_offers(cinder: Any, cloud_at: CloudAt, programs: Programs) -> None:
    shown = cinder.capabilities.get("node-1@fast")
    of_pool = cloud_at("3.71").block_storage.get_capabilities(FAST)
    listed = programs.openstack("volume", "backend", "capability", "show", "node-1@fast")
    told = programs.cinder("get-capabilities", "node-1@fast")

    assert (shown.volume_backend_name, shown.storage_protocol) == ("fast", "file")
    assert of_pool.pool_name == "fast"
    assert "thin_provisioning_support" in [one["Key"] for one in listed]
    assert "thin_provisioning_support" in told


def test_filters_of_lists(cinder: Any, cloud_at: CloudAt, programs: Programs) -> None:
    listed = {one.resource: one.filters for one in cinder.resource_filters.list()}
    of_library = {one.resource: one.filters for one in cloud_at("3.71").block_storage.resource_filters()}
    by_program = programs.openstack("block", "storage", "resource", "filter", "list")
    told = programs.cinder("list-filters", "--resource", "volume")

    assert {"name", "status", "metadata"} <= set(listed["volume"])
    assert of_library == listed
    assert {one["Resource"] for one in by_program} == listed.keys()
    assert "availability_zone" in told


# --- log levels -------------------------------------------------------------------------------------------------------


def levels(cinder: Any, binary: str, server: str = "", prefix: str = WORK) -> set[str]:
    """The levels of these loggers, in all processes that are meant."""
    return {one.level for one in cinder.services.get_log_levels(binary, server, prefix)}


def test_log_levels_are_set_while_services_run(cinder: Any, cloud_at: CloudAt, programs: Programs) -> None:
    """One node obeys within seconds, and tells so; the other and the API processes are as they were. By whatever client.

    Each look of a process is seconds after the one before: all of them are set, and then waited for together.
    """
    library = cloud_at("3.71").block_storage
    command = ("block", "storage", "log", "level")
    assert {one.binary for one in cinder.services.get_log_levels("*", "", "")} == {
        "cinder-api", "cinder-backup", "cinder-scheduler", "cinder-volume",
    }  # fmt: skip

    cinder.services.set_log_levels("DEBUG", "cinder-volume", "node-1", WORK)
    cinder.services.set_log_levels("ERROR", "cinder-api", "", "breezeblock.api.handlers")
    programs.tell(*command, "set", "--service", "cinder-volume", "--log-prefix", NODE, "WARNING")
    eventually(lambda: levels(cinder, "cinder-volume", "node-1@fast") == {"DEBUG"} or None)
    eventually(lambda: levels(cinder, "cinder-volume", prefix=NODE) == {"WARNING"} or None)
    others = levels(cinder, "cinder-volume", "node-2@fast")
    listed = programs.openstack(*command, "list", "--service", "cinder-volume", "--log-prefix", NODE)
    library.set_service_log_levels(level="INFO", binary="*", server="", prefix="")
    eventually(lambda: levels(cinder, "*", prefix="breezeblock") == {"INFO"} or None)
    told = programs.cinder("service-get-log", "--prefix", WORK, "--binary", "cinder-volume")
    programs.cinder("service-set-log", "INFO", "--prefix", WORK)
    seen = list(library.get_service_log_levels(binary="cinder-volume", server="", prefix=WORK))

    assert others == {"INFO"}
    assert {one["Level"] for one in listed} == {"WARNING"}
    assert "INFO" in told
    assert seen
