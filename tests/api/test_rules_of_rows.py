"""Rules that are asked only where a row says so: of images, of types that several hosts may attach, of booting twice."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tests.api.builders import START_US, default_type
from tests.api.every_call import OWNED, ROWS
from tests.api.every_call import SHARED as TYPES
from tests.api.opened import Open, opening
from tests.api.world import Api

from breezeblock.store import tables

SHARED: Final = "abababab-0000-4000-8000-00000000000a"
IMAGE: Final = "abababab-0000-4000-8000-00000000000b"
SPECS: Final = '{"multiattach": "<is> True"}'
TYPE: Final = (
    tables.volume_types,
    default_type() | {"id": SHARED, "name": "shared", "extra_specs_json": SPECS, "is_public": True},
)
OFFERS: Final = {"capabilities_json": '{"multiattach": "True"}'}
VERSION: Final = "3.71"
NOBODY: Final = '"!"'


@pytest.fixture
def opened(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[Open]:
    """The application with a file of policies, a type `shared` and storage that has it."""
    with opening(tmp_path, loop) as open_with:

        def filled(policies: str) -> Api:
            api = open_with(policies)
            api.reset([(table, row | OFFERS if table is tables.pools else row) for table, row in (*ROWS, TYPE)])
            return api

        yield filled


def post(api: Api, path: str, body: Any, *, token: str = "user:p1") -> httpx.Response:
    return api("POST", f"/v3/p1/{path}", body, token=token, version=VERSION)


def refused(answer: httpx.Response, rule: str) -> bool:
    return answer.status_code == 403 and f"Policy does not allow {rule} " in answer.json()["forbidden"]["message"]


MAKES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "create": ("volumes", {"volume": {"size": 1, "volume_type": "shared"}}),
    "by the type of its source": ("volumes", {"volume": {"source_volid": OWNED["volume"]}}),
    "retype": (
        f"volumes/{OWNED['volume']}/action",
        {"os-retype": {"new_type": "shared", "migration_policy": "never"}},
    ),
    "restore": (f"backups/{OWNED['backup']}/restore", {"restore": {}}),
    "from a backup": ("volumes", {"volume": {"size": 1, "backup_id": OWNED["backup"], "volume_type": "shared"}}),
    "group": ("groups/action", {"create-from-src": {"source_group_id": OWNED["group"]}}),
}
# In these the volume has no other way to the type than by its source, or as the default.
BY_ROWS: Final = {
    "by the type of its source": OWNED["volume"],
    "group": OWNED["member"],
}


def prepare(api: Api, way: str) -> None:
    if way in BY_ROWS:
        api.change(tables.volumes, BY_ROWS[way], volume_type_id=SHARED, charged_type_id=SHARED, multiattach=True)
    if way == "restore":
        api.change(tables.volume_types, TYPES["plain"], extra_specs_json=SPECS)  # what the project has by default


@pytest.mark.parametrize("way", MAKES)
def test_volumes_that_several_hosts_may_attach_are_for_whom_the_policy_lets(opened: Open, way: str) -> None:
    """However one comes to have the type; and nothing of a refused request is done."""
    api = opened(f'"volume:multiattach": {NOBODY}')
    prepare(api, way)
    before = (api.count(tables.volumes), api.count(tables.operations), api.rows(tables.quota_usage))

    assert refused(post(api, *MAKES[way]), "volume:multiattach")
    assert (api.count(tables.volumes), api.count(tables.operations), api.rows(tables.quota_usage)) == before


@pytest.mark.parametrize("way", MAKES)
def test_members_may_by_default(opened: Open, way: str) -> None:
    api = opened("{}")
    prepare(api, way)

    assert post(api, *MAKES[way]).status_code == 202


def test_other_types_are_not_asked_about(opened: Open) -> None:
    """Nor a volume that is so already, and stays so."""
    api = opened(f'"volume:multiattach": {NOBODY}')
    api.change(tables.volumes, OWNED["volume"], multiattach=True)
    plain = post(api, "volumes", {"volume": {"size": 1}})

    assert plain.status_code == 202
    assert post(api, *MAKES["retype"]).status_code == 202


def test_of_a_retype_the_volumes_owner_is_known(opened: Open) -> None:
    api = opened('"volume:multiattach": "user_id:%(user_id)s"')
    api.change(tables.volumes, OWNED["volume"], user_id="user")

    assert refused(post(api, *MAKES["retype"], token="somebody:p1"), "volume:multiattach")
    assert post(api, *MAKES["retype"]).status_code == 202


@pytest.mark.parametrize(
    ("rule", "method", "path", "body"),
    [
        ("volume:force_delete", "DELETE", f"{OWNED['spare']}?force=true", None),
        (
            "volume:reimage_reserved",
            "POST",
            f"{OWNED['spare']}/action",
            {"os-reimage": {"image_id": IMAGE, "reimage_reserved": True}},
        ),
        (
            "volume_extension:volume_actions:upload_public",
            "POST",
            f"{OWNED['spare']}/action",
            {"os-volume_upload_image": {"image_name": "image", "visibility": "public"}},
        ),
    ],
)
def test_a_word_in_the_request_asks_for_more(opened: Open, rule: str, method: str, path: str, body: Any) -> None:
    api = opened(f'"{rule}": {NOBODY}')

    assert refused(api(method, f"/v3/p1/volumes/{path}", body, token="admin:p1", version=VERSION), rule)


def test_whom_a_type_is_for_is_shown_to_whom_the_policy_lets(opened: Open) -> None:
    """In the key of the extension that Cinder has for it; by default to members."""
    api = opened('"volume_extension:volume_type_access": "role:admin"')
    key = "os-volume-type-access:is_public"
    seen = [
        (api("GET", f"/v3/p1/types/{SHARED}", token=token).json()["volume_type"].get(key), key in str(many))
        for token in ("admin:p1", "user:p1")
        if (many := api("GET", "/v3/p1/types", token=token).json()["volume_types"])
    ]

    assert seen == [(True, True), (None, False)]


@pytest.mark.parametrize("key", ["imageRef", "image_id"])
def test_an_image_is_asked_for_by_a_rule_of_its_own(opened: Open, key: str) -> None:
    """Instead of that of other volumes; whoever may is told that there is none."""
    api = opened(f'"volume:create_from_image": {NOBODY}')
    body = {"volume": {"size": 1, key: IMAGE}}

    assert refused(api("POST", "/v3/p1/volumes", body), "volume:create_from_image")
    assert api("POST", "/v3/p1/volumes", {"volume": {"size": 1}}).status_code == 202


def test_whoever_may_use_images_alone_makes_no_other_volume(opened: Open) -> None:
    api = opened(f'"volume:create": {NOBODY}')

    assert refused(post(api, "volumes", {"volume": {"size": 1}}), "volume:create")
    assert api("POST", "/v3/p1/volumes", {"volume": {"size": 1, "imageRef": IMAGE}}).status_code == 400


def test_whoever_may_do_neither_is_not_told_what_is_wrong_with_the_body(opened: Open) -> None:
    api = opened(f'"volume:create": {NOBODY}\n"volume:create_from_image": {NOBODY}')

    assert refused(post(api, "volumes", {"volume": {"size": "much"}}), "volume:create")


@pytest.mark.parametrize("way", ["restore", "group"])
def test_what_makes_volumes_by_the_way_asks_for_them(opened: Open, way: str) -> None:
    """As in Cinder, where these call for new volumes as anybody does."""
    api = opened(f'"volume:create": {NOBODY}')

    assert refused(post(api, *MAKES[way]), "volume:create")


def test_a_restore_into_a_volume_that_is_there_makes_none(opened: Open) -> None:
    api = opened(f'"volume:create": {NOBODY}')
    body = {"restore": {"volume_id": OWNED["spare"]}}

    assert post(api, f"backups/{OWNED['backup']}/restore", body).status_code == 202


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"status": "in-use", "bootable": True}, 403),
        ({"status": "in-use", "bootable": False}, 200),
        ({"status": "available", "bootable": True, "attach_status": "detached"}, 200),
    ],
)
def test_what_one_boots_from_is_attached_twice_by_whom_the_policy_lets(
    opened: Open, values: dict[str, Any], status: int
) -> None:
    """Asked about the second attachment only."""
    api = opened(f'"volume:multiattach_bootable_volume": {NOBODY}')
    volume = api.given_volume(multiattach=True, object_name="object", **{"attach_status": "attached"} | values)
    if values["status"] == "in-use":
        row = {"id": OWNED["message"], "volume_id": volume, "project_id": "p1", "created_at_us": START_US}
        api.insert(tables.attachments, row | {"status": "attached", "attached_at_us": START_US})
    answer = post(api, "attachments", {"attachment": {"volume_uuid": volume}})

    assert answer.status_code == status
    assert status == 200 or refused(answer, "volume:multiattach_bootable_volume")
