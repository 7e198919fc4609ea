"""How volumes of a type are encrypted, as requests and answers."""

import pytest
from tests.api.admin_api import VOLUME_TYPE, AdminApi, message_of, sample

from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables

BASE = f"types/{VOLUME_TYPE}/encryption"
WORDS = {"provider": "luks", "control_location": "front-end", "cipher": "aes-xts-plain64", "key_size": 256}
NEW = {"encryption": WORDS}
ABSENT = "99999999-0000-4000-8000-000000000000"


@pytest.fixture
def api() -> AdminApi:
    api = AdminApi()
    api.given_type()
    api.given_node()
    api.given_pool()
    return api


def said(api: AdminApi) -> object:
    return next(row["encryption_json"] for row in api.rows(tables.volume_types) if row["id"] == VOLUME_TYPE)


# --- what answers look like -------------------------------------------------------------------------------------------


def test_it_is_made_and_shown(api: AdminApi) -> None:
    made = api("POST", BASE, NEW)
    shown = api("GET", BASE).json()

    assert made.status_code == 200
    made_words = made.json()["encryption"]
    assert made_words == {**WORDS, "volume_type_id": VOLUME_TYPE, "encryption_id": made_words["encryption_id"]}
    assert shown.pop("created_at").startswith("20")
    assert shown == made_words | {"deleted": False, "deleted_at": None, "updated_at": None}
    assert api("GET", f"{BASE}/cipher").json() == {"cipher": "aes-xts-plain64"}
    assert api("GET", f"{BASE}/key_size").json() == {"key_size": 256}


def test_answers_have_the_keys_of_the_samples(api: AdminApi) -> None:
    made = api("POST", BASE, NEW).json()
    updated = api("PUT", f"{BASE}/x", NEW).json()

    folder = "volume_type/encryption-type"
    assert made["encryption"].keys() == sample(f"{folder}-create-response.json")["encryption"].keys()
    assert updated["encryption"].keys() == sample(f"{folder}-update-response.json")["encryption"].keys()
    assert api("GET", BASE).json().keys() == sample(f"{folder}-show-response.json").keys()


def test_a_type_without_it_shows_an_empty_map(api: AdminApi) -> None:
    answer = api("GET", BASE)

    assert (answer.status_code, answer.json()) == (200, {})


def test_what_was_not_sent_is_null(api: AdminApi) -> None:
    made = api("POST", BASE, {"encryption": {"provider": "luks2", "control_location": "back-end", "colour": "red"}})

    assert made.json()["encryption"].keys() == {"provider", "control_location", "volume_type_id", "encryption_id"}
    shown = api("GET", BASE).json()
    assert (shown["provider"], shown["cipher"], shown["key_size"]) == ("luks2", None, None)


def test_a_change_leaves_the_rest(api: AdminApi) -> None:
    first = api("POST", BASE, NEW).json()["encryption"]

    changed = api("PUT", f"{BASE}/{first['encryption_id']}", {"encryption": {"key_size": "512", "cipher": None}})

    assert (changed.status_code, changed.json()) == (200, {"encryption": {"key_size": 512, "cipher": None}})
    shown = api("GET", BASE).json()
    assert (shown["key_size"], shown["cipher"], shown["provider"]) == (512, None, "luks")
    assert shown["encryption_id"] == first["encryption_id"]
    assert shown["updated_at"] > shown["created_at"]


def test_it_is_taken_away(api: AdminApi) -> None:
    api("POST", BASE, NEW)

    answer = api("DELETE", f"{BASE}/provider")

    assert (answer.status_code, answer.content, said(api)) == (202, b"", None)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", BASE, NEW, 400, "already exists"),
        ("POST", BASE, {"encryption": {"provider": "luks"}}, 400, "control_location"),
        ("POST", BASE, {"encryption": {"control_location": "front-end"}}, 400, "provider"),
        ("POST", BASE, {"encryption": WORDS | {"control_location": "both"}}, 400, "both"),
        ("POST", BASE, {"encryption": WORDS | {"key_size": "many"}}, 400, "many"),
        ("POST", BASE, {"encryption": WORDS | {"key_size": -1}}, 400, "-1"),
        ("POST", BASE, {"encryption": WORDS | {"key_size": 2**31}}, 400, "key_size"),
        ("POST", BASE, {"encryption": WORDS | {"cipher": "x" * 256}}, 400, "255"),
        ("POST", f"types/{ABSENT}/encryption", NEW, 404, ABSENT),
        ("PUT", f"{BASE}/x", {"encryption": {"control_location": None}}, 400, "control_location"),
        ("PUT", f"types/{ABSENT}/encryption/x", NEW, 404, ABSENT),
        ("PUT", f"types/{DEFAULT_TYPE_ID}/encryption/x", NEW, 404, "does not exist"),
        ("DELETE", f"types/{DEFAULT_TYPE_ID}/encryption/x", None, 404, "does not exist"),
        ("DELETE", f"types/{ABSENT}/encryption/x", None, 404, ABSENT),
        ("GET", f"types/{ABSENT}/encryption", None, 404, ABSENT),
        ("GET", f"types/{DEFAULT_TYPE_ID}/encryption/cipher", None, 404, "does not exist"),
        ("GET", f"{BASE}/colour", None, 404, "does not exist"),
    ],
)
def test_refusals(api: AdminApi, method: str, path: str, body: object, status: int, says: str) -> None:
    """The answer names what was wrong, and nothing has changed."""
    api("POST", BASE, NEW)
    before = api.rows(tables.volume_types)

    answer = api(method, path, body)

    assert (answer.status_code, api.rows(tables.volume_types)) == (status, before)
    assert says in message_of(answer)


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [("POST", BASE, "create"), ("PUT", f"{BASE}/x", "update"), ("DELETE", f"{BASE}/x", "delete")],
)
@pytest.mark.parametrize("column", ["volume_type_id", "charged_type_id"])
def test_it_stays_while_a_volume_has_the_type_or_will_have_it(
    api: AdminApi, method: str, path: str, verb: str, column: str
) -> None:
    api.given_volume(**{"volume_type_id": None, "charged_type_id": None, column: VOLUME_TYPE})

    answer = api(method, path, NEW)

    assert (answer.status_code, said(api)) == (400, None)
    assert f"Cannot {verb} encryption specs. Volume type in use" in message_of(answer)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", BASE), ("POST", BASE), ("GET", f"{BASE}/x"), ("PUT", f"{BASE}/x"), ("DELETE", f"{BASE}/x")],
)
def test_it_is_the_administrators(api: AdminApi, method: str, path: str) -> None:
    assert api(method, path, NEW, member=True).status_code == 403


# --- volumes ----------------------------------------------------------------------------------------------------------


def test_a_volume_of_an_encrypted_type_is_refused_while_nobody_keeps_keys(api: AdminApi) -> None:
    api("POST", BASE, NEW)

    answer = api("POST", "volumes", {"volume": {"size": 1, "volume_type": "gold"}}, member=True)

    assert (answer.status_code, api.rows(tables.volumes), api.rows(tables.quota_usage)) == (400, [], [])
    assert "Volume type gold is encrypted, and no key manager is configured" in message_of(answer)


def test_a_volume_does_not_become_encrypted_by_another_type(api: AdminApi) -> None:
    """It keeps its type, and a message says why: its data would have to be written anew."""
    api("POST", BASE, NEW)
    api.given_volume(
        volume_type_id=DEFAULT_TYPE_ID, charged_type_id=DEFAULT_TYPE_ID, pool_name="c@file#pool", object_name="o",
    )  # fmt: skip

    answer = api("POST", "volumes/v1/action", {"os-retype": {"new_type": "gold"}})

    (row,), (message,) = api.rows(tables.volumes), api.rows(tables.messages)
    assert (answer.status_code, row["volume_type_id"], row["status"]) == (202, DEFAULT_TYPE_ID, "available")
    assert "encrypt it otherwise" in message["user_message"]


@pytest.mark.parametrize("member", [True, False])
def test_what_is_needed_to_read_a_volume(api: AdminApi, member: bool) -> None:
    """For one that is encrypted, with the id of its key; for all others that there is none."""
    api("POST", BASE, NEW)
    api.given_volume(encryption_key_id=ABSENT)
    api.given_volume(id="v2", volume_type_id=DEFAULT_TYPE_ID)

    encrypted, plain = (api("GET", f"volumes/{id_}/encryption", member=member).json() for id_ in ("v1", "v2"))

    assert encrypted == {**WORDS, "encryption_key_id": ABSENT}
    assert plain == {"encryption_key_id": None}
    assert api("GET", "volumes/v1/encryption/provider", member=member).json() == {"provider": "luks"}
    assert api("GET", "volumes/v2/encryption/provider", member=member).status_code == 404
    assert api("GET", "volumes/v3/encryption", member=member).status_code == 404


@pytest.mark.parametrize(("version", "shown"), [("3.63", False), ("3.64", True)])
def test_a_volume_shows_the_id_of_its_key_since_3_64(api: AdminApi, version: str, shown: bool) -> None:
    api.given_volume(encryption_key_id=ABSENT)
    api.given_volume(id="v2")

    one = api("GET", "volumes/v1", version=version).json()["volume"]
    other = api("GET", "volumes/v2", version=version).json()["volume"]

    assert one.get("encryption_key_id") == (ABSENT if shown else None)
    assert "encryption_key_id" not in other
