"""What stands beside volume types, with all clients: QoS specs, encryption, default types, image metadata of volumes."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cinderclient import exceptions
from tests.clients.programs import Programs
from tests.clients.test_openstack_cli import table
from tests.clients.waiting import settled

LUKS = {"provider": "luks", "control_location": "front-end", "cipher": "aes-xts-plain64", "key_size": 256}
IMAGE = {"image_name": "cirros", "os_distro": "cirros"}
PROJECT = "clients"


@pytest.fixture(scope="module")
def storage(cloud: Any) -> Any:
    """The SDK's proxy."""
    return cloud.block_storage


@pytest.fixture
def volume_type(cinder: Any) -> Iterator[Any]:
    """A public type without extra specs."""
    made = cinder.volume_types.create(f"t-{uuid.uuid4()}", "for a test")
    yield made
    cinder.volume_types.delete(made)


@pytest.fixture
def volume(cinder: Any) -> Iterator[Any]:
    """An available volume of 1 GiB."""
    made = cinder.volumes.create(1, name=f"v-{uuid.uuid4()}")
    yield settled(cinder.volumes, made)
    cinder.volumes.delete(made)


# --- QoS specs -------------------------------------------------------------------------------------------------------


def test_qos_specs_by_cinderclient(cinder: Any, volume_type: Any) -> None:
    """All that it can do."""
    made = cinder.qos_specs.create(f"q-{uuid.uuid4()}", {"consumer": "front-end", "read_iops_sec": "100"})
    cinder.qos_specs.set_keys(made.id, {"read_iops_sec": "200", "write_iops_sec": "50"})
    cinder.qos_specs.unset_keys(made.id, ["write_iops_sec"])
    cinder.qos_specs.associate(made.id, volume_type.id)
    given = cinder.qos_specs.get_associations(made.id)
    shown, listed = cinder.qos_specs.get(made.id), cinder.qos_specs.list()
    of_type = cinder.volume_types.get(volume_type.id).qos_specs_id
    with pytest.raises(exceptions.BadRequest, match="still in use"):
        cinder.qos_specs.delete(made.id)
    cinder.qos_specs.disassociate(made.id, volume_type.id)
    cinder.qos_specs.associate(made.id, volume_type.id)
    cinder.qos_specs.disassociate_all(made.id)
    cinder.qos_specs.delete(made.id)

    assert (shown.consumer, shown.specs) == ("front-end", {"read_iops_sec": "200"})
    assert [one.name for one in given] == [volume_type.name]
    assert (of_type, made.id in [one.id for one in listed]) == (made.id, True)
    with pytest.raises(exceptions.NotFound, match="No such QoS spec"):
        cinder.qos_specs.get(made.id)


def test_qos_specs_by_the_sdk(storage: Any, volume_type: Any) -> None:
    """All that it can do."""
    made = storage.create_qos_spec(name=f"q-{uuid.uuid4()}", consumer="both", iops="5")
    storage.update_qos_spec(made, bytes="7")
    storage.delete_qos_spec_metadata(made, ["iops"])
    storage.associate_qos_spec(made, volume_type.id)
    given = list(storage.qos_spec_associations(made))
    found = storage.find_qos_spec(made.name)
    storage.disassociate_qos_spec(made, volume_type.id)
    storage.disassociate_all_qos_spec(made)
    shown = storage.get_qos_spec(made.id)
    storage.delete_qos_spec(made)

    assert (shown.consumer, shown.specs, found.id) == ("both", {"bytes": "7"}, made.id)
    assert [one.id for one in given] == [volume_type.id]


def test_qos_specs_by_openstack(programs: Programs, cinder: Any, volume_type: Any) -> None:
    """`openstack volume qos`, each of its commands."""
    name = f"q-{uuid.uuid4()}"
    made = programs.openstack("volume", "qos", "create", "--consumer", "front-end", "--property", "iops=5", name)
    programs.tell_together(
        ("volume", "qos", "set", "--property", "bytes=7", name),
        ("volume", "qos", "unset", "--property", "iops", name),
        ("volume", "qos", "associate", name, volume_type.name),
    )
    shown, listed = programs.together(("volume", "qos", "show", name), ("volume", "qos", "list"))
    programs.tell_together(
        ("volume", "qos", "disassociate", "--volume-type", volume_type.name, name),
        ("volume", "qos", "disassociate", "--all", name),
        ("volume", "qos", "delete", name),
    )

    assert (made["name"], made["consumer"], made["properties"]) == (name, "front-end", {"iops": "5"})
    assert (shown["properties"], shown["associations"]) == ({"bytes": "7"}, [volume_type.name])
    assert [one["Consumer"] for one in listed if one["Name"] == name] == ["front-end"]
    assert name not in [one.name for one in cinder.qos_specs.list()]


def test_qos_specs_by_cinder(programs: Programs, volume_type: Any) -> None:
    """`cinder qos-…`, each of them."""
    made = table(programs.cinder("qos-create", f"q-{uuid.uuid4()}", "consumer=back-end", "iops=5"))
    id_ = made["id"]
    *_, given, shown, listed, _, _, _ = programs.cinder_together(
        ("qos-key", id_, "set", "bytes=7"),
        ("qos-key", id_, "unset", "iops"),
        ("qos-associate", id_, volume_type.id),
        ("qos-get-association", id_),
        ("qos-show", id_),
        ("qos-list",),
        ("qos-disassociate", id_, volume_type.id),
        ("qos-disassociate-all", id_),
        ("qos-delete", id_),
    )

    assert volume_type.id in given
    assert "bytes : 7" in shown
    assert id_ in listed


# --- encryption ------------------------------------------------------------------------------------------------------


def test_encryption_by_cinderclient(cinder: Any, volume_type: Any) -> None:
    """Made, read, changed, removed; and a volume of such a type is refused, as nobody keeps keys."""
    made = cinder.volume_encryption_types.create(volume_type, LUKS)
    shown = cinder.volume_encryption_types.get(volume_type)
    listed = [one.volume_type_id for one in cinder.volume_encryption_types.list()]
    with pytest.raises(exceptions.BadRequest, match="no key manager is configured"):
        cinder.volumes.create(1, volume_type=volume_type.name)
    cinder.volume_encryption_types.update(volume_type, {"key_size": 512})
    changed = cinder.volume_encryption_types.get(volume_type)
    cinder.volume_encryption_types.delete(volume_type)

    assert (made.provider, made.volume_type_id) == ("luks", volume_type.id)
    assert (shown.encryption_id, shown.cipher, shown.key_size) == (made.encryption_id, "aes-xts-plain64", 256)
    assert (changed.key_size, volume_type.id in listed) == (512, True)
    assert volume_type.id not in [one.volume_type_id for one in cinder.volume_encryption_types.list()]


def test_encryption_by_the_sdk(storage: Any, volume_type: Any) -> None:
    """All that it can do."""
    storage.create_type_encryption(volume_type.id, **LUKS)
    shown = storage.get_type_encryption(volume_type.id)
    storage.update_type_encryption(shown, cipher="aes-cbc-plain64")
    changed = storage.get_type_encryption(volume_type.id)
    storage.delete_type_encryption(volume_type=volume_type.id)

    assert (shown.provider, shown.control_location, shown.key_size) == ("luks", "front-end", 256)
    assert changed.cipher == "aes-cbc-plain64"


def test_encryption_by_openstack(programs: Programs, cinder: Any) -> None:
    """As options of a type."""
    name = f"t-{uuid.uuid4()}"
    words = ("--encryption-provider", "luks", "--encryption-cipher", "aes-xts-plain64", "--encryption-key-size", "256")
    made = programs.openstack("volume", "type", "create", *words, "--encryption-control-location", "front-end", name)
    programs.tell("volume", "type", "set", "--encryption-key-size", "512", name)
    shown, listed = programs.together(
        ("volume", "type", "show", "--encryption-type", name), ("volume", "type", "list", "--encryption-type")
    )
    programs.tell("volume", "type", "unset", "--encryption-type", name)
    without = cinder.volume_encryption_types.get(made["id"])
    cinder.volume_types.delete(made["id"])

    assert made["encryption"]["provider"] == "luks"
    assert shown["encryption"]["key_size"] == 512
    assert [one["Encryption"]["cipher"] for one in listed if one["Name"] == name] == ["aes-xts-plain64"]
    assert not hasattr(without, "provider")


def test_encryption_by_cinder(programs: Programs, volume_type: Any) -> None:
    """`cinder encryption-type-…`, each of them."""
    id_ = volume_type.id
    made, _, shown, listed, _ = programs.cinder_together(
        ("encryption-type-create", "--cipher", "aes-xts-plain64", "--key-size", "256", id_, "luks"),
        ("encryption-type-update", "--key-size", "512", id_),
        ("encryption-type-show", id_),
        ("encryption-type-list",),
        ("encryption-type-delete", id_),
    )

    assert "front-end" in made
    assert "512" in shown
    assert id_ in listed


# --- default types ---------------------------------------------------------------------------------------------------


def test_default_types_by_cinderclient(cinder: Any, volume_type: Any) -> None:
    """Of a project that nobody else uses."""
    project = uuid.uuid4().hex
    made = cinder.default_types.create(volume_type.name, project)
    (shown,) = [one for one in cinder.default_types.list() if one.project_id == project]
    alone = cinder.default_types.list(project)
    with pytest.raises(exceptions.BadRequest, match="is a default volume type and cannot be deleted"):
        cinder.volume_types.delete(volume_type)
    cinder.default_types.delete(project)

    assert made.volume_type_id == shown.volume_type_id == volume_type.id
    assert alone.project_id == project
    with pytest.raises(exceptions.NotFound, match=f"Default type for project {project} not found"):
        cinder.default_types.list(project)


def test_default_types_by_the_sdk(storage: Any, volume_type: Any) -> None:
    """All that it can do."""
    project = uuid.uuid4().hex
    storage.set_default_type(project, volume_type.id)
    shown = storage.show_default_type(project)
    listed = [one.project_id for one in storage.default_types()]
    storage.unset_default_type(project)

    assert (shown.volume_type_id, project in listed) == (volume_type.id, True)


def test_a_volume_gets_the_default_type_of_its_project(cinder: Any, programs: Programs, volume_type: Any) -> None:
    """As the command sets it."""
    _, listed = programs.cinder_together(
        ("default-type-set", volume_type.name, PROJECT), ("default-type-list", "--project-id", PROJECT)
    )
    made = settled(cinder.volumes, cinder.volumes.create(1))
    default = cinder.volume_types.default()
    programs.cinder("default-type-unset", PROJECT)
    cinder.volumes.reset_state(made, "available")
    cinder.volumes.retype(made, "__DEFAULT__", "never")
    settled(cinder.volumes, made)
    cinder.volumes.delete(made)

    assert (made.volume_type, default.id, volume_type.id in listed) == (volume_type.name, volume_type.id, True)


# --- image metadata --------------------------------------------------------------------------------------------------


def test_image_metadata_by_cinderclient(cinder: Any, volume: Any) -> None:
    """Set, shown, found by, removed."""
    cinder.volumes.set_image_metadata(volume, IMAGE)
    shown = cinder.volumes.show_image_metadata(volume)
    found = cinder.volumes.list(search_opts={"glance_metadata": {"image_name": "cirros"}})
    seen = cinder.volumes.get(volume.id).volume_image_metadata
    cinder.volumes.delete_image_metadata(volume, list(IMAGE))

    assert shown[1]["metadata"] == seen == IMAGE
    assert volume.id in [one.id for one in found]
    assert not hasattr(cinder.volumes.get(volume.id), "volume_image_metadata")


def test_image_metadata_by_the_sdk(storage: Any, volume: Any) -> None:
    """Set and removed."""
    storage.set_volume_image_metadata(volume.id, **IMAGE)
    seen = storage.get_volume(volume.id).volume_image_metadata
    storage.delete_volume_image_metadata(volume.id, ["os_distro"])

    assert seen == IMAGE
    assert storage.get_volume(volume.id).volume_image_metadata == {"image_name": "cirros"}


def test_image_metadata_by_the_programs(programs: Programs, cinder: Any, volume: Any) -> None:
    """As properties of the image of a volume."""
    programs.tell("volume", "set", "--image-property", "image_name=cirros", volume.id)
    _, told = programs.cinder_together(
        ("image-metadata", volume.id, "set", "os_distro=cirros"), ("image-metadata-show", volume.id)
    )
    shown = programs.openstack("volume", "show", volume.id)
    programs.cinder("image-metadata", volume.id, "unset", "os_distro")
    programs.tell("volume", "unset", "--image-property", "image_name", volume.id)

    assert shown["volume_image_metadata"] == IMAGE
    assert "os_distro" in told
    assert not hasattr(cinder.volumes.get(volume.id), "volume_image_metadata")


def test_what_needs_an_image_service_is_refused_with_the_reason(cinder: Any, volume: Any) -> None:
    """Not made an image, and not given the content of one."""
    with pytest.raises(exceptions.BadRequest, match="no image service is configured"):
        cinder.volumes.upload_to_image(volume, False, "i", "bare", "raw", "private", False)
    with pytest.raises(exceptions.BadRequest, match="no image service is configured"):
        cinder.volumes.reimage(volume, str(uuid.uuid4()))
