"""Every request that makes or enlarges something, against every limit that it can reach: just enough, one too few, none, all.

As in Cinder: 413 with what was asked for, what is in use and the limit, and nothing of it done.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import httpx
import pytest
from tests.api.builders import GROUP_TYPE
from tests.api.every_call import OWNED, ROWS
from tests.api.world import Api

from breezeblock.resources import quotas
from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables

VERSION: Final = "3.71"
DEFAULT: Final = "__DEFAULT__"
# What all types ask of pools.
_OFFERS: Final = {"capabilities_json": '{"key": "value", "multiattach": "False"}'}
HERE: Final = tuple((table, row | _OFFERS if table is tables.pools else row) for table, row in ROWS)


class Way(NamedTuple):
    """A request, and by which resources it needs how many."""

    path: str
    body: dict[str, Any]
    needs: dict[str, int]
    project: str = "p1"


_SNAPSHOT: Final = {"snapshots": 1, "gigabytes": 1, f"snapshots_{DEFAULT}": 1, f"gigabytes_{DEFAULT}": 1}
_VOLUME: Final = {"volumes": 1, "gigabytes": 1, "volumes_plain": 1, "gigabytes_plain": 1}
WAYS: Final = {
    # p1's default type is `plain`.
    "volume": Way("volumes", {"volume": {"size": 1}}, _VOLUME),
    "restore": Way(f"backups/{OWNED['backup']}/restore", {"restore": {}}, _VOLUME),
    "extend": Way(
        f"volumes/{OWNED['volume']}/action", {"os-extend": {"new_size": 3}}, {"gigabytes": 2, f"gigabytes_{DEFAULT}": 2}
    ),
    "retype": Way(
        f"volumes/{OWNED['spare']}/action",
        {"os-retype": {"new_type": "plain", "migration_policy": "never"}},
        {"volumes_plain": 1, "gigabytes_plain": 1},
    ),
    "snapshot": Way("snapshots", {"snapshot": {"volume_id": OWNED["volume"]}}, _SNAPSHOT),
    "group snapshot": Way("group_snapshots", {"group_snapshot": {"group_id": OWNED["group"]}}, _SNAPSHOT),
    "backup": Way("backups", {"backup": {"volume_id": OWNED["volume"]}}, {"backups": 1, "backup_gigabytes": 1}),
    "group": Way("groups", {"group": {"group_type": GROUP_TYPE, "volume_types": [DEFAULT_TYPE_ID]}}, {"groups": 1}),
    "copy of a group": Way(
        "groups/action",
        {"create-from-src": {"source_group_id": OWNED["group"]}},
        {"groups": 1, "volumes": 1, "gigabytes": 1, f"volumes_{DEFAULT}": 1, f"gigabytes_{DEFAULT}": 1},
    ),
    "transfer": Way(
        f"volume-transfers/{OWNED['transfer']}/accept",
        {"accept": {"auth_key": "0123456789abcdef"}},
        {"volumes": 1, "gigabytes": 1, f"volumes_{DEFAULT}": 1, f"gigabytes_{DEFAULT}": 1},
        project="p2",
    ),
}
CASES: Final = [(way, resource) for way, one in WAYS.items() for resource in one.needs]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    loop = asyncio.new_event_loop()
    made = Api(tmp_path_factory.mktemp("bounds"), loop)
    yield made
    made.close()
    loop.close()


@pytest.fixture(scope="module")
def sparing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Where snapshots do not count in gigabytes."""
    loop = asyncio.new_event_loop()
    environ = {"BREEZEBLOCK_QUOTA__SNAPSHOTS_USE_GIGABYTES": "false", "BREEZEBLOCK_QUOTA__VOLUMES": "100"}
    made = Api(tmp_path_factory.mktemp("sparing"), loop, environ=environ)
    yield made
    made.close()
    loop.close()


def ask(api: Api, way: Way) -> httpx.Response:
    return api("POST", f"/v3/{way.project}/{way.path}", way.body, token=f"user:{way.project}", version=VERSION)


def use(api: Api, project: str) -> dict[str, int]:
    shown = api("GET", f"/v3/{project}/os-quota-sets/{project}?usage=true", token=f"admin:{project}").json()[
        "quota_set"
    ]
    return {name: one["in_use"] for name, one in shown.items() if name != "id"}


def limit(api: Api, project: str, **limits: int) -> None:
    """All others are without limit."""
    names = api("GET", f"/v3/{project}/os-quota-sets/{project}", token="admin:p1").json()["quota_set"].keys() - {"id"}
    body = {"quota_set": dict.fromkeys(names, -1) | limits}
    path = f"/v3/{project}/os-quota-sets/{project}?skip_validation=true"
    assert api("PUT", path, body, token="admin:p1").status_code == 200


@pytest.mark.parametrize(("name", "resource"), CASES)
def test_a_limit_is_what_may_just_be_used(api: Api, name: str, resource: str) -> None:
    """One less, and none at all, refuse it; the refusal has the numbers, and leaves no trace."""
    way = WAYS[name]
    api.reset(HERE)
    before = use(api, way.project)
    needed, used = way.needs[resource], before[resource]
    for too_few in (used + needed - 1, 0):
        limit(api, way.project, **{resource: too_few})
        refused = ask(api, way)
        assert refused.status_code == 413, refused.text
        said = refused.json()["overLimit"]["message"]
        assert f"Quota exceeded for {resource}: requested {needed}, in use {used}, limit {too_few}." in said
    assert use(api, way.project) == before
    limit(api, way.project, **{resource: used + needed})
    taken = ask(api, way)

    assert taken.status_code == 202, taken.text
    assert use(api, way.project) == before | {one: before[one] + more for one, more in _grown(way).items()}


def _grown(way: Way) -> dict[str, int]:
    """A retype gives back what the former type was charged."""
    back = {f"volumes_{DEFAULT}": -1, f"gigabytes_{DEFAULT}": -1} if "os-retype" in way.body else {}
    return way.needs | back


@pytest.mark.parametrize("who", ["project", "class", "settings"])
@pytest.mark.parametrize(("size", "status"), [(2, 202), (3, 413)])
def test_one_volume_is_no_larger_than_may_be(api: Api, who: str, size: int, status: int) -> None:
    """Created or extended; what the project has besides does not matter."""
    api.reset(HERE)
    if who == "project":
        limit(api, "p1", per_volume_gigabytes=2)
    else:
        body = {"quota_class_set": {"per_volume_gigabytes": 2}}
        assert api("PUT", "/v3/p1/os-quota-class-sets/default", body, token="admin:p1").status_code == 200
    if who == "settings":
        # A class that is back at what the settings have decides no more; then nothing limits.
        api(
            "PUT",
            "/v3/p1/os-quota-class-sets/default",
            {"quota_class_set": {"per_volume_gigabytes": -1}},
            token="admin:p1",
        )
        status = 202
    made = ask(api, Way("volumes", {"volume": {"size": size}}, {}))
    grown = ask(api, Way(f"volumes/{OWNED['volume']}/action", {"os-extend": {"new_size": size}}, {}))

    assert (made.status_code, grown.status_code) == (status, status), made.text + grown.text


# --- where snapshots do not count in gigabytes ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["snapshot", "group snapshot"])
def test_snapshots_may_need_no_gigabytes(sparing: Api, name: str) -> None:
    """Nor those of their type; their number counts all the same. What is shown as used is what limits are held against."""
    sparing.reset(HERE)
    before = use(sparing, "p1")
    limit(sparing, "p1", **{"gigabytes": 0, f"gigabytes_{DEFAULT}": 0, "snapshots": before["snapshots"] + 1})

    assert before["gigabytes"] == 9  # nine volumes; the two snapshots of the rows are not in it
    assert ask(sparing, WAYS[name]).status_code == 202
    assert use(sparing, "p1") == before | {"snapshots": 3, f"snapshots_{DEFAULT}": before[f"snapshots_{DEFAULT}"] + 1}
    assert ask(sparing, WAYS["snapshot"]).status_code == 413


def test_volumes_have_the_room_that_snapshots_do_not_need(sparing: Api) -> None:
    """And no more."""
    sparing.reset(HERE)
    limit(sparing, "p1", gigabytes=10)

    assert ask(sparing, WAYS["volume"]).status_code == 202
    refused = ask(sparing, WAYS["volume"])
    assert refused.status_code == 413
    assert "requested 1, in use 10, limit 10" in refused.json()["overLimit"]["message"]


@pytest.mark.parametrize(("room", "status"), [(1, 202), (0, 413)])
def test_a_volume_comes_with_snapshots_that_need_no_gigabytes(sparing: Api, room: int, status: int) -> None:
    sparing.reset(HERE)
    sparing.change(tables.snapshots, OWNED["snapshot"], volume_id=OWNED["offered"])
    limit(sparing, "p2", gigabytes=room)

    assert ask(sparing, WAYS["transfer"]).status_code == status


def test_limits_show_the_same(sparing: Api) -> None:
    sparing.reset(HERE)

    shown = sparing("GET", "/v3/p1/limits").json()["limits"]["absolute"]
    assert (shown["totalGigabytesUsed"], shown["totalSnapshotsUsed"]) == (9, 2)
    below = sparing("PUT", "/v3/p1/os-quota-sets/p1", {"quota_set": {"gigabytes": 8}}, token="admin:p1")
    assert below.status_code == 400 and "Current usage is 9" in below.text
    fits = sparing("PUT", "/v3/p1/os-quota-sets/p1", {"quota_set": {"gigabytes": 9}}, token="admin:p1")
    assert fits.status_code == 200


def test_accounts_are_the_same_whatever_counts(api: Api, sparing: Api) -> None:
    """So it may be changed while services run, and some have the old word yet: no account differs, nothing is recounted."""
    for one in (api, sparing):
        one.reset(HERE)
        assert ask(one, WAYS["snapshot"]).status_code == 202

    def kept(one: Api) -> dict[str, int]:
        return {row["resource"]: row["in_use"] for row in one.rows(tables.quota_usage) if row["project_id"] == "p1"}

    assert kept(api) == kept(sparing)
    assert kept(api)["gigabytes"] == 12


def test_a_mapping_of_an_older_release_counts_snapshots() -> None:
    """As it always was: an operation that was accepted before an upgrade has one."""
    assert quotas.counts_snapshots({"gigabytes": 1})
