"""What takes an image service is refused with the reason, and only when all else about the request is right."""

from typing import Any

import pytest
from tests.api.admin_api import message_of
from tests.api.world import Api

IMAGE = "aaaaaaaa-0000-4000-8000-000000000001"
UPLOAD = {"image_name": "copy", "force": False, "disk_format": "raw", "container_format": "bare"}


@pytest.mark.parametrize(
    ("action", "body", "version"),
    [
        ("os-volume_upload_image", UPLOAD, "3.0"),
        ("os-volume_upload_image", UPLOAD | {"visibility": "private", "protected": True}, "3.1"),
        ("os-reimage", {"image_id": IMAGE}, "3.68"),
        ("os-reimage", {"image_id": IMAGE, "reimage_reserved": True}, "3.71"),
    ],
)
def test_it_says_that_there_is_no_image_service(api: Api, action: str, body: Any, version: str) -> None:
    volume = api.given_volume()

    answer = api("POST", f"/v3/p1/volumes/{volume}/action", {action: body}, version=version)
    missing = api("POST", f"/v3/p1/volumes/{IMAGE}/action", {action: body}, version=version)

    assert (answer.status_code, missing.status_code) == (400, 404)
    assert "no image service is configured here" in message_of(answer)
    assert volume in message_of(answer)


@pytest.mark.parametrize(
    ("action", "body", "version", "named"),
    [
        ("os-volume_upload_image", UPLOAD | {"visibility": "private"}, "3.0", "visibility"),
        ("os-volume_upload_image", UPLOAD | {"disk_format": "floppy"}, "3.1", "disk_format"),
        ("os-volume_upload_image", {}, "3.1", "image_name"),
        ("os-reimage", {"image_id": "x"}, "3.68", "UUID"),
        ("os-reimage", {}, "3.68", "image_id"),
        ("os-reimage", {"image_id": IMAGE}, "3.67", "os-reimage"),
    ],
)
def test_a_wrong_body_is_told_first(api: Api, action: str, body: Any, version: str, named: str) -> None:
    answer = api("POST", f"/v3/p1/volumes/{api.given_volume()}/action", {action: body}, version=version)

    assert answer.status_code == (404 if version == "3.67" else 400)
    assert named in message_of(answer)
