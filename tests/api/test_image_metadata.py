"""What a volume's image was, and what needs an image service, as requests and answers."""

import json
from typing import Any

import pytest
from tests.api.world import Api

from breezeblock.store import tables

ADMIN = "admin:p1"
IMAGE = {"image_id": "i", "os_distro": "debian", "odd key": 'q"\\%s ü'}
NOBODY = "99999999-9999-9999-9999-999999999999"


def act(api: Api, volume_id: str, name: str, content: Any, **more: Any) -> Any:
    return api("POST", f"/v3/volumes/{volume_id}/action", {name: content}, **more)


def given(api: Api, **values: Any) -> str:
    return api.given_volume(image_metadata_json=json.dumps(IMAGE, separators=(",", ":"), ensure_ascii=False), **values)


# --- set, unset, show -------------------------------------------------------------------------------------------------


def test_texts_are_added_replaced_and_removed(api: Api) -> None:
    volume_id = api.given_volume()

    first = act(api, volume_id, "os-set_image_metadata", {"metadata": {"a": "1", "b": "1"}})
    second = act(api, volume_id, "os-set_image_metadata", {"metadata": {"b": "2", "c": ""}})
    removed = act(api, volume_id, "os-unset_image_metadata", {"key": "a"})
    shown = act(api, volume_id, "os-show_image_metadata", {})

    assert (first.status_code, first.json()) == (200, {"metadata": {"a": "1", "b": "1"}})
    assert (second.status_code, second.json()) == (200, {"metadata": {"a": "1", "b": "2", "c": ""}})
    assert (removed.status_code, removed.content) == (200, b"")
    assert (shown.status_code, shown.json()) == (200, {"metadata": {"b": "2", "c": ""}})


def test_the_last_text_removed_leaves_a_volume_without(api: Api) -> None:
    volume_id = api.given_volume(image_metadata_json='{"a":"1"}')

    act(api, volume_id, "os-unset_image_metadata", {"key": "a"})

    assert api.row(tables.volumes, volume_id)["image_metadata_json"] is None
    assert act(api, volume_id, "os-show_image_metadata", None).json() == {"metadata": {}}


@pytest.mark.parametrize(
    ("name", "content", "status", "says"),
    [
        ("os-set_image_metadata", {}, 400, "metadata"),
        ("os-set_image_metadata", {"metadata": {"ö": "1"}}, 400, "metadata"),
        ("os-set_image_metadata", {"metadata": {"a": 1}}, 400, "metadata"),
        ("os-set_image_metadata", {"metadata": {"a": "x" * 65_536}}, 400, "65535"),
        ("os-set_image_metadata", {"metadata": {}, "more": 1}, 400, "more"),
        ("os-unset_image_metadata", {"key": ""}, 400, "key"),
        ("os-unset_image_metadata", {"key": "none"}, 404, "no key none"),
    ],
)
def test_refusals(api: Api, name: str, content: Any, status: int, says: str) -> None:
    volume_id = given(api)
    before = api.row(tables.volumes, volume_id)["image_metadata_json"]

    answer = act(api, volume_id, name, content)

    assert (answer.status_code, api.row(tables.volumes, volume_id)["image_metadata_json"]) == (status, before)
    assert says in answer.text


def test_there_is_an_end_to_what_is_kept(api: Api) -> None:
    """It is read with every list of volumes."""
    volume_id = api.given_volume()

    answers = [act(api, volume_id, "os-set_image_metadata", {"metadata": {key: "x" * 60_000}}) for key in "abc"]

    assert [one.status_code for one in answers] == [200, 200, 400]
    assert "expected at most 131072" in answers[2].text
    assert act(api, volume_id, "os-show_image_metadata", {}).json()["metadata"].keys() == {"a", "b"}


@pytest.mark.parametrize("status", ["maintenance", "uploading"])
@pytest.mark.parametrize(
    ("name", "content"),
    [("os-set_image_metadata", {"metadata": {"a": "1"}}), ("os-unset_image_metadata", {"key": "image_id"})],
)
def test_texts_of_a_volume_that_somebody_works_on_stay(api: Api, status: str, name: str, content: Any) -> None:
    volume_id = given(api, status=status)

    answer = act(api, volume_id, name, content)

    assert (answer.status_code, f"is {status}" in answer.text) == (400, True)
    assert json.loads(api.row(tables.volumes, volume_id)["image_metadata_json"]) == IMAGE


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("os-set_image_metadata", {"metadata": {"a": "1"}}),
        ("os-unset_image_metadata", {"key": "image_id"}),
        ("os-show_image_metadata", {}),
        ("os-volume_upload_image", {"image_name": "i"}),
        ("os-reimage", {"image_id": NOBODY}),
    ],
)
def test_another_projects_volume_is_not_found(api: Api, name: str, content: Any) -> None:
    volume_id = given(api, project_id="p2")

    theirs = act(api, volume_id, name, content, version="3.71")
    nobodys = act(api, NOBODY, name, content, version="3.71")

    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert theirs.json() == json.loads(nobodys.text.replace(NOBODY, volume_id))


# --- where it is seen -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["user:p1", ADMIN])
@pytest.mark.parametrize("version", ["3.0", "3.71"])
def test_it_is_shown_where_there_is_some(api: Api, token: str, version: str) -> None:
    volume_id = given(api)
    api.given_volume(name="plain")

    shown = api("GET", f"/v3/volumes/{volume_id}", token=token, version=version).json()["volume"]
    listed = api("GET", "/v3/volumes/detail", token=token, version=version).json()["volumes"]
    changed = api("PUT", f"/v3/volumes/{volume_id}", {"volume": {"name": "n"}}, token=token).json()["volume"]

    assert shown["volume_image_metadata"] == IMAGE
    assert {one["name"]: one.get("volume_image_metadata") for one in listed} == {"data": IMAGE, "plain": None}
    assert [one.keys() & {"volume_image_metadata"} for one in listed if one["name"] == "plain"] == [set()]
    assert "volume_image_metadata" not in changed


@pytest.mark.parametrize(
    ("query", "version", "count"),
    [
        ("glance_metadata={'os_distro':'debian'}", "3.4", 1),
        ("glance_metadata={'os_distro':'debian','image_id':'i'}", "3.71", 1),
        ("glance_metadata={'os_distro':'deb'}", "3.71", 0),
        ("glance_metadata={'os_distro':'deb'}", "3.3", 2),  # not looked at yet
    ],
)
def test_volumes_are_found_by_it_since_3_4(api: Api, query: str, version: str, count: int) -> None:
    given(api)
    api.given_volume()

    assert len(api("GET", f"/v3/volumes/detail?{query}", version=version).json()["volumes"]) == count


@pytest.mark.parametrize("bootable", [True, False])
def test_it_goes_with_what_one_can_boot_from(api: Api, bootable: bool) -> None:
    """To snapshots, and to volumes made of them or of the volume itself, which boot as well."""
    volume_id = given(api, bootable=bootable)

    made = api("POST", "/v3/snapshots", {"snapshot": {"volume_id": volume_id}}).json()["snapshot"]
    snapshot = api.row(tables.snapshots, made["id"])
    other = api.given(
        "snapshots",
        volume_id=volume_id,
        bootable=snapshot["bootable"],
        image_metadata_json=snapshot["image_metadata_json"],
    )
    cloned = api("POST", "/v3/volumes", {"volume": {"source_volid": volume_id}}).json()["volume"]
    copied = api("POST", "/v3/volumes", {"volume": {"snapshot_id": other}}).json()["volume"]

    expected = IMAGE if bootable else None
    assert (snapshot["bootable"], cloned["bootable"], copied["bootable"]) == (bootable, *[str(bootable).lower()] * 2)
    for table, id_ in ((tables.snapshots, made["id"]), (tables.volumes, cloned["id"]), (tables.volumes, copied["id"])):
        said = api.row(table, id_)["image_metadata_json"]
        assert (None if said is None else json.loads(said)) == expected


# --- what needs an image service --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("os-volume_upload_image", {"image_name": "i", "disk_format": "raw"}, "cannot be made an image"),
        ("os-volume_upload_image", {"image_name": "i", "visibility": "shared", "protected": "no"}, "made an image"),
        ("os-reimage", {"image_id": NOBODY, "reimage_reserved": True}, "cannot get the content of an image"),
    ],
)
def test_without_an_image_service_it_is_refused_with_the_reason(api: Api, name: str, content: Any, says: str) -> None:
    answer = act(api, api.given_volume(), name, content, version="3.71")

    assert (answer.status_code, says in answer.text) == (400, True)
    assert "no image service is configured here" in answer.text


@pytest.mark.parametrize(
    ("name", "content", "version", "status"),
    [
        ("os-volume_upload_image", {}, "3.71", 400),
        ("os-volume_upload_image", {"image_name": "i", "disk_format": "zip"}, "3.71", 400),
        ("os-volume_upload_image", {"image_name": "i", "visibility": "shared"}, "3.0", 400),
        ("os-volume_upload_image", {"image_name": "i", "visibility": "public"}, "3.71", 403),
        ("os-reimage", {"image_id": "no-id"}, "3.71", 400),
    ],
)
def test_such_a_request_is_held_to_its_form(api: Api, name: str, content: Any, version: str, status: int) -> None:
    answer = act(api, api.given_volume(), name, content, version=version)

    assert answer.status_code == status
    assert "no image service" not in answer.text


def test_reimaging_came_with_3_68(api: Api) -> None:
    assert act(api, api.given_volume(), "os-reimage", {"image_id": NOBODY}, version="3.67").status_code == 404
