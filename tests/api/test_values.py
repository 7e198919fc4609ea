"""What is kept and compared means the same on every database: texts by their bytes, instants to the microsecond."""

import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest
from tests.api.builders import START_US, volume_row
from tests.api.world import Api

from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables

ADMIN: Final = "admin:p1"
# One of four bytes in UTF-8, one that databases like to call the same as another, and one that is two characters.
ODD_TEXTS: Final = ("𝄞🗄", "straße", "e\u0301", "%_\\/'\"`;--", "\t\n\u2028", "\U0010ffff", "\u0131 \u0130")
# In the order of their code points. Some databases would say that several of these are equal, or sort them as a dictionary.
IN_ORDER: Final = ("", "A", "B", "Z", "a", "a ", "a b", "aa", "b", "Ä", "ß", "ä", "€", "\ufffd", "𝄞")
NAMED: Final = ("data", "Data", "data ", "dätä", "data%", "data_1", "dataX1", "d𝄞ta")


def names(answer: Any, kind: str = "volumes") -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json()[kind]]


def given_named(api: Api, *texts: str | None) -> None:
    """A volume of each name, made one microsecond after the other."""
    api.insert(
        tables.volumes,
        *(
            volume_row(id=f"{number:08}-0000-0000-0000-00000000000a", name=text, created_at_us=START_US + number)
            for number, text in enumerate(texts)
        ),
    )


def followed(api: Api, url: str) -> Iterator[Any]:
    """Every volume from this page on, by the links to the next."""
    answer = api("GET", url).json()
    yield from answer["volumes"]
    for link in answer.get("volumes_links", ()):
        yield from followed(api, link["href"])


# --- kept ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_every_text_comes_back_as_it_was_sent(api: Api, text: str) -> None:
    wanted = {"size": 1, "name": f"<{text}>", "description": f"<{text}>", "metadata": {"key": text}}

    made = api("POST", "/v3/volumes", {"volume": wanted}).json()["volume"]
    shown = api("GET", f"/v3/volumes/{made['id']}").json()["volume"]
    found = api("GET", f"/v3/volumes?name={quote(f'<{text}>')}")

    assert {key: shown[key] for key in wanted} == wanted
    assert names(found) == [f"<{text}>"]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_project_may_be_called_anything(api: Api, text: str) -> None:
    """Its volumes are its own, and so is its account."""
    url = f"/v3/{quote(text, safe='')}"
    assert api("POST", f"{url}/volumes", {"volume": {"size": 3}}, token=None).status_code == 202

    listed = api("GET", f"{url}/volumes", token=None).json()["volumes"]
    used = api("GET", f"{url}/os-quota-sets/{quote(text, safe='')}?usage=true", token=None).json()["quota_set"]

    assert len(listed) == 1
    assert (used["id"], used["gigabytes"]["in_use"]) == (text, 3)


def test_the_longest_texts_are_kept_whole(api: Api) -> None:
    """Of characters that take four bytes each."""
    longest = "𝄞" * 255
    metadata = {f"key{number}": longest for number in range(90)}
    wanted = {"size": 1, "name": longest, "description": longest, "metadata": metadata}

    body = json.dumps({"volume": wanted}, ensure_ascii=False).encode()
    made = api("POST", "/v3/volumes", content=body).json()["volume"]

    assert {key: made[key] for key in wanted} == wanted
    assert api("GET", f"/v3/volumes/{made['id']}").json()["volume"]["metadata"] == metadata


@pytest.mark.parametrize("kind", ["project", "user"])
def test_an_id_that_is_too_long_to_keep_is_refused(open_api: Api, kind: str) -> None:
    project, user = ("p" * 256, "u") if kind == "project" else ("p", "u" * 256)

    answer = open_api("POST", f"/v3/{project}/volumes", {"volume": {"size": 1}}, token=f"{user}:{project}")

    assert answer.status_code == 400
    assert answer.json()["badRequest"]["message"].startswith(f"The id of a {kind} has at most 255 characters")
    assert open_api.count(tables.volumes) == 0


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/volumes", {"volume": {"size": 1, "name": "a\0b"}}),
        ("POST", "/volumes", {"volume": {"size": 1, "metadata": {"key": "\\\0"}}}),
        ("POST", "/types", {"volume_type": {"name": "\0"}}),
        ("GET", "/volumes?name=a%00b", None),
        ("GET", "/volumes/a%00b", None),
        ("GET", "/messages?marker=%00", None),
        ("PUT", "/os-quota-sets/a%00b", {"quota_set": {"volumes": 1}}),
    ],
)
def test_the_one_character_that_cannot_be_kept_is_refused(api: Api, method: str, path: str, body: object) -> None:
    answer = api(method, f"/v3/p1{path}", body, token=ADMIN, version="3.71")

    assert answer.status_code == 400
    assert "U+0000" in answer.json()["badRequest"]["message"]


def test_a_backslash_before_four_digits_is_only_that(api: Api) -> None:
    """In JSON it looks almost as the character that is refused."""
    made = api("POST", "/v3/volumes", {"volume": {"size": 1, "name": "\\u0000"}})

    assert made.json()["volume"]["name"] == "\\u0000"


# --- compared --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["name", "description"])
def test_texts_are_sorted_by_their_characters(api: Api, key: str) -> None:
    """What has no text comes with the empty one, before all others; pages of two show the same order."""
    api.insert(
        tables.volumes,
        *(
            volume_row(id=f"{number:08}-0000-0000-0000-00000000000a", created_at_us=START_US + number, **{key: text})
            for number, text in enumerate([None, *IN_ORDER])
        ),
    )

    forward = [one[key] for one in api("GET", f"/v3/volumes/detail?sort={key}:asc").json()["volumes"]]
    backward = [one[key] for one in api("GET", f"/v3/volumes/detail?sort={key}:desc").json()["volumes"]]

    assert forward == [None, *IN_ORDER]
    assert backward == forward[::-1]
    assert [one[key] for one in followed(api, f"/v3/volumes/detail?sort={key}:asc&limit=2")] == forward


@pytest.mark.parametrize("name", NAMED)
def test_a_name_is_found_by_its_very_characters(api: Api, name: str) -> None:
    given_named(api, *NAMED)

    assert names(api("GET", f"/v3/volumes?name={quote(name)}")) == [name]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("Dat", ["Data"]),
        ("%", ["data%"]),
        ("_", ["data_1"]),
        ("ä", ["dätä"]),
        ("𝄞", ["d𝄞ta"]),
        ("a ", ["data "]),
        ("1", ["dataX1", "data_1"]),
        ("", sorted(NAMED)),
    ],
)
def test_a_part_of_a_name_is_found_by_its_very_characters(api: Api, part: str, found: list[str]) -> None:
    """No sign stands for others."""
    given_named(api, *NAMED, None)

    assert names(api("GET", f"/v3/volumes?name~={quote(part)}&sort=name:asc", version="3.34")) == found


@pytest.mark.parametrize("op", ["name=Gold", "name~=Gol"])
def test_types_are_told_apart_by_case(api: Api, op: str) -> None:
    for name in ("gold", "Gold", "gold ", "Göld"):
        made = api("POST", "/v3/types", {"volume_type": {"name": name}}, token=ADMIN)
        assert made.status_code == 200, made.text

    assert names(api("GET", f"/v3/types?{op}", token=ADMIN, version="3.71"), "volume_types") == ["Gold"]


def test_ids_are_told_apart_by_case(api: Api) -> None:
    lower = "abcdefab-0000-0000-0000-00000000000a"
    api.given_volume(id=lower)

    assert api("GET", f"/v3/volumes/{lower}").status_code == 200
    assert api("GET", f"/v3/volumes/{lower.upper()}").status_code == 404
    assert api("GET", f"/v3/volumes/{lower}%20").status_code == 404
    assert api("GET", f"/v3/volumes/{'x' * 10_000}").status_code == 404


def test_projects_are_told_apart_by_case(api: Api) -> None:
    """Their volumes and their accounts."""
    for project in ("team", "Team", "team "):
        made = api("POST", f"/v3/{quote(project)}/volumes", {"volume": {"size": 1, "name": project}}, token=None)
        assert made.status_code == 202

    assert names(api("GET", "/v3/Team/volumes", token=None)) == ["Team"]
    used = api("GET", "/v3/team/os-quota-sets/team?usage=true", token=None).json()["quota_set"]
    assert used["volumes"]["in_use"] == 1


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ('{"a":"1"}', ["one"]),
        ('{"a":"1","b":"2"}', ["one"]),
        ('{"A":"1"}', ["upper"]),
        ('{"a":"𝄞"}', ["clef"]),
        ('{"a":"x\\"b\\":\\"2"}', ["quoted"]),
        ('{"a":"\\\\"}', ["slashed"]),
        ('{"a":"%"}', []),
        ("{'a': 1}", ["one"]),
    ],
)
def test_metadata_is_found_by_its_very_characters(api: Api, wanted: str, found: list[str]) -> None:
    for name, metadata in (
        ("one", {"a": "1", "b": "2"}),
        ("upper", {"A": "1"}),
        ("clef", {"a": "𝄞"}),
        ("quoted", {"a": 'x"b":"2'}),
        ("slashed", {"a": "\\"}),
    ):
        made = api("POST", "/v3/volumes", {"volume": {"size": 1, "name": name, "metadata": metadata}})
        assert made.status_code == 202

    assert names(api("GET", f"/v3/volumes?metadata={quote(wanted)}")) == found


# --- numbers and instants --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("created_at=gt:2026-11-18T11:06:40.000001", ["c"]),
        ("created_at=gte:2026-11-18T11:06:40.000001", ["c", "b"]),
        ("created_at=eq:2026-11-18T11:06:40.000001", ["b"]),
        ("created_at=neq:2026-11-18T11:06:40.000001", ["c", "a"]),
        ("created_at=lt:2026-11-18T11:06:40.000001", ["a"]),
        ("created_at=gt:0001-01-01T00:00:00,lt:9999-12-31T23:59:59.999999", ["c", "b", "a"]),
        ("updated_at=neq:2026-11-18T11:06:40", []),
        ("sort=created_at:desc", ["c", "b", "a"]),
    ],
)
def test_instants_count_in_microseconds(api: Api, query: str, found: list[str]) -> None:
    """What has no instant is neither before nor after nor at another one."""
    given_named(api, "a", "b", "c")

    assert names(api("GET", f"/v3/volumes?{query}", version="3.71")) == found


@pytest.mark.parametrize("limit", ["0", "1", "2147483648", "9" * 40])
def test_a_limit_may_be_any_number(api: Api, limit: str) -> None:
    given_named(api, "a", "b")

    assert len(names(api("GET", f"/v3/volumes?limit={limit}"))) == min(2, int(limit))


def test_a_sum_may_be_larger_than_its_parts(api: Api) -> None:
    """Of sizes that are each the largest there is."""
    api.insert(tables.volumes, *(volume_row(size_gib=2**31 - 1) for _ in range(3)))

    found = api("GET", "/v3/volumes/summary", version="3.12").json()["volume-summary"]

    assert found == {"total_count": 3, "total_size": 3 * (2**31 - 1)}


def test_flags_are_flags(api: Api) -> None:
    """Not numbers: no database answers 1 where another answers true."""
    volume_id = api.given_volume(bootable=True, volume_type_id=DEFAULT_TYPE_ID)

    assert names(api("GET", "/v3/volumes?bootable=true")) == ["data"]
    assert names(api("GET", "/v3/volumes?bootable=false")) == []
    assert api.row(tables.volumes, volume_id)["bootable"] is True
    assert api.row(tables.volumes, volume_id)["readonly"] is None
