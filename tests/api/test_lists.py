"""Every list: which filters it takes since when and of whom, what else means there, by what it is sorted, and its next page."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.api.lists import ALL, ID, LISTS, NONE, REFUSED, Listed, rows
from tests.api.world import Api

from breezeblock.api.microversions import NEWEST
from breezeblock.api.paging import Lists
from breezeblock.api.routes import ROUTES

ADMIN, MEMBER = "admin:p1", "user:p1"
LATEST = NEWEST.minor
each_list = pytest.mark.parametrize("listed", LISTS, ids=lambda listed: str(listed.url))
LETTERS = {id_: letter for letter, id_ in ID.items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The same rows for all: nobody changes anything here."""
    loop = asyncio.new_event_loop()
    api = Api(Path(tmp_path_factory.mktemp("lists")), loop)
    for table, found in rows().items():
        names = {name for row in found for name in row}
        api.insert(table, *({name: row.get(name) for name in names} | row for row in found if names == row.keys()))
        for row in found:
            if names != row.keys():
                api.insert(table, row)
    yield api
    api.close()
    loop.close()


def ask(world: Api, listed: Listed, query: str, *, token: str, minor: int) -> httpx.Response:
    return world("GET", f"/v3/{listed.url}?{query}", version=f"3.{minor}", token=token)


def found(world: Api, listed: Listed, query: str, *, token: str, minor: int) -> str:
    """The letters of what is listed, in order; or 400."""
    answer = ask(world, listed, query, token=token, minor=minor)
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        assert query.partition("=")[0].removesuffix("~") in answer.text, answer.text
        return REFUSED
    ids = [one["id"] for one in answer.json()[listed.noun] if one["id"] not in listed.others]
    return "".join(LETTERS[id_] for id_ in ids)


def sorted_found(world: Api, listed: Listed, query: str, *, token: str, minor: int) -> str:
    letters = found(world, listed, query, token=token, minor=minor)
    return letters if letters == REFUSED else "".join(sorted(letters))


def versions(listed: Listed, since: int) -> list[int]:
    """The first with it, and the last."""
    return sorted({max(listed.since, since), LATEST})


@each_list
def test_filters_of_everybody(world: Api, listed: Listed) -> None:
    """Before they came, nobody looks at them."""
    for name, value in listed.members.items():
        since = listed.later.get(name, 0)
        query = f"{name}={quote(value)}"
        answered = {
            (minor, token): sorted_found(world, listed, query, token=token, minor=minor)
            for minor in versions(listed, since)
            for token in (MEMBER, ADMIN)
        }
        assert set(answered.values()) == {"a"}, (name, answered)
        if since > listed.since:
            early = sorted_found(world, listed, query, token=MEMBER, minor=since - 1)
            assert early == ALL, (name, early)


@each_list
def test_filters_of_administrators(world: Api, listed: Listed) -> None:
    for name, value in listed.admins.items():
        query = f"{name}={quote(value)}"
        for minor in versions(listed, listed.paged_since):
            assert sorted_found(world, listed, query, token=ADMIN, minor=minor) == "a", (name, minor)
    for name in listed.nothing:
        assert found(world, listed, f"{name}=x", token=ADMIN, minor=LATEST) == NONE, name
        assert found(world, listed, f"{name}=x", token=ADMIN, minor=listed.since) == NONE, name


@each_list
def test_what_members_get_for_administrators_filters(world: Api, listed: Listed) -> None:
    """They are not looked at, or, in lists that never did that, used; until they are refused."""
    if listed.admin or listed.refuses is None:
        return
    for name, value in listed.admins.items():
        query = f"{name}={quote(value)}"
        last = listed.refuses - 1
        if max(listed.since, listed.paged_since) <= last:
            expected = ALL if listed.before == ALL else "a"
            assert sorted_found(world, listed, query, token=MEMBER, minor=last) == expected, name
        assert found(world, listed, query, token=MEMBER, minor=listed.refuses) == REFUSED, name


@each_list
def test_what_an_unknown_filter_means(world: Api, listed: Listed) -> None:
    """To administrators, who have all filters, that nothing has it."""
    no_filters = not (listed.members or listed.admins)
    first = max([listed.since, *listed.later.values()]) if listed.paged_since else listed.since
    early = first if listed.refuses is None else min(first, listed.refuses - 1)
    expected = {
        (early, MEMBER): listed.before,
        (early, ADMIN): ALL if no_filters else NONE,
        (LATEST, MEMBER): listed.before if listed.refuses is None else REFUSED,
        (LATEST, ADMIN): (ALL if no_filters else NONE) if listed.refuses is None else REFUSED,
    }
    if listed.admin or no_filters:
        expected = {asked: answer for asked, answer in expected.items() if asked[1] == ADMIN}

    answered = {
        (minor, token): sorted_found(world, listed, "odd=1", token=token, minor=minor) for minor, token in expected
    }

    assert answered == expected


@each_list
def test_parts_of_texts(world: Api, listed: Listed) -> None:
    """Since 3.34, of whatever is a text."""
    if "name" not in listed.members:
        return
    assert sorted_found(world, listed, "name~=a", token=MEMBER, minor=max(34, listed.since)) == "a"
    if listed.refuses is not None:
        assert sorted_found(world, listed, "name~=a", token=MEMBER, minor=33) == REFUSED


@each_list
def test_what_a_list_is_sorted_by(world: Api, listed: Listed) -> None:
    """Both ways, with the older words and the newer; and by nothing else."""
    for key in listed.sort:
        minor = max(listed.since, listed.paged_since, listed.sort_later.get(key, 0))
        up = found(world, listed, f"sort={key}:asc", token=ADMIN, minor=minor)
        down = found(world, listed, f"sort_key={key}&sort_dir=desc", token=ADMIN, minor=LATEST)
        assert (sorted(up), up) == (sorted(ALL), down[::-1]), (key, up, down)
        if key in listed.sort_later:
            early = ask(world, listed, f"sort={key}", token=ADMIN, minor=minor - 1)
            assert early.status_code == 400 and key in early.text
    if listed.sort:
        for query in ("sort=odd", "sort=created_at:up", "sort_key=odd", "sort=created_at&sort_key=id", "sort="):
            assert ask(world, listed, query, token=ADMIN, minor=LATEST).status_code == 400, query


@each_list
def test_a_full_page_has_a_link_to_the_next(world: Api, listed: Listed) -> None:
    minor = max(listed.since, listed.paged_since)
    path = f"/v3/p1/{listed.url}?limit=1&sort=created_at"
    first = world("GET", path, version=f"3.{minor}", token=ADMIN).json()

    links = [key for key in first if key.endswith("_links")]
    assert links == ([] if listed.links is None else [listed.links])
    if listed.links is not None:
        assert first[listed.links][0]["rel"] == "next"
        href = first[listed.links][0]["href"]
        assert href.startswith(f"http://here:8776/v3/p1/{listed.url}?") and f"marker={ID['b']}" in href
        second = world("GET", href, version=f"3.{minor}", token=ADMIN).json()
        assert [one["id"] for one in second[listed.noun]] == [ID["a"]]


@each_list
def test_only_some_lists_count(world: Api, listed: Listed) -> None:
    counts = {
        minor: ask(world, listed, "with_count=true&limit=1", token=ADMIN, minor=minor).json().get("count")
        for minor in (max(44, listed.since), LATEST)
    }
    assert list(counts.values()) == [None, 2 if listed.counted else None]


@each_list
def test_administrators_may_see_what_all_projects_have(world: Api, listed: Listed) -> None:
    """A project that is named then counts; in one's own it changes nothing."""
    if not listed.owned:
        return
    assert sorted_found(world, listed, "all_tenants=1", token=ADMIN, minor=LATEST) == "abc"
    assert sorted_found(world, listed, "all_tenants=1", token=MEMBER, minor=LATEST) == ALL
    if listed.sort:
        assert sorted_found(world, listed, "project_id=p2", token=ADMIN, minor=LATEST) == ALL
        assert sorted_found(world, listed, "project_id=p2&all_tenants=1", token=ADMIN, minor=LATEST) == "c"


def test_every_list_is_here() -> None:
    """That has pages, in its short or its only form."""
    served = {
        route.template for route in ROUTES if isinstance(route.query, Lists) and not route.template.endswith("/detail")
    }
    assert served == {listed.url for listed in LISTS}


def test_the_names_of_hosts_stand_for_what_is_on_them(world: Api) -> None:
    """A host for its backends, a backend for its pools; and no other host whose name begins so."""

    def at(place: str) -> Any:
        return sorted_found(world, LISTS[0], f"host={quote(place)}", token=ADMIN, minor=LATEST)

    assert [at(place) for place in ("node-a", "node-a@fast", "node-a@fast#pool")] == ["a"] * 3
    assert [at(place) for place in ("node-ab", "node", "node-a@fas", "node-a@fast#poo", "Node-a")] == ["b", *[NONE] * 4]


def test_the_summary_is_of_what_fits(world: Api) -> None:
    def count(query: str, token: str, minor: int) -> Any:
        answer = world("GET", f"/v3/volumes/summary?{query}", version=f"3.{minor}", token=token).json()
        return answer["volume-summary"]["total_count"], answer["volume-summary"]["total_size"]

    assert count("status=error", MEMBER, 12) == (1, 3)
    assert count("status=error", MEMBER, LATEST) == (1, 3)
    assert count("host=node-a", ADMIN, LATEST) == (1, 3)
    assert count("odd=1", MEMBER, LATEST) == (2, 4)
    assert count("odd=1", ADMIN, LATEST) == (0, 0)
