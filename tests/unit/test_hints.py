"""Hints of where a volume is to be, as filters of pools: each from both sides."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.given import Base, origin
from tests.unit.test_choose import POOL, WISH

from breezeblock.model.errors import BadRequest
from breezeblock.placement.choose import refusal
from breezeblock.placement.hints import Hints, read_hints

IDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(3)]


def read(asked: dict[str, Any], **who: Any) -> Hints:
    """Of a database that has no volumes."""
    base = Base()
    try:
        return base.run(read_hints, asked, origin=origin(**who))
    finally:
        base.close()


@pytest.mark.parametrize(
    ("hints", "why"),
    [
        (Hints(same=frozenset({"c@b#p"})), None),
        (Hints(same=frozenset({"c@b#q"})), "holds none of the volumes in same_host"),
        (Hints(same=frozenset()), "holds none of the volumes in same_host"),
        (Hints(different=frozenset({"c@b#q"})), None),
        (Hints(different=frozenset({"c@b#p"})), "holds one of the volumes in different_host"),
    ],
)
def test_a_pool_is_beside_volumes_or_away_from_them(hints: Hints, why: str | None) -> None:
    assert refusal(POOL, replace(WISH, hints=hints)) == why


@pytest.mark.parametrize(
    ("query", "meets"),
    [
        ('["=", "$backend_id", "c@b#p"]', True),
        ('["=", "$backend_id", "c@b#q"]', False),
        ('[">", "$free_capacity_gb", 99]', True),
        ('[">", "$free_capacity_gb", 100]', False),
        ('[">=", "$free_capacity_gb", 100, 5]', True),
        ('["<", "$free_capacity_gb", "100"]', False),
        ('["<=", 40, "$allocated_capacity_gb"]', True),
        ('["in", "$volume_backend_name", "a", "b"]', True),
        ('["in", "$volume_backend_name", "c"]', False),
        ('["not", ["=", "$capabilities.disk", "hdd"]]', True),
        ('["not", ["=", "$disk", "ssd"]]', False),
        ('["and", ["=", "$disk", "ssd"], ["=", "$pool_name", "p"]]', True),
        ('["and", ["=", "$disk", "ssd"], ["=", "$pool_name", "q"]]', False),
        ('["or", ["=", "$disk", "hdd"], ["=", "$pool_name", "p"]]', True),
        ('["=", "$nonesuch.at.all", "p"]', False),
        ('["=", "alone"]', False),
        ("[]", True),
    ],
)
def test_a_query_is_asked_of_each_pool(query: str, meets: bool) -> None:
    hints = read({"query": query})

    assert (refusal(POOL, replace(WISH, hints=hints)) is None) == meets


@pytest.mark.parametrize(
    "asked",
    [
        {"local_to_instance": IDS[0]},
        {"same_host": "x"},
        {"different_host": [IDS[0], "x"]},
        {"different_host": {}},
        {"same_host": [IDS[0], IDS[0]]},
        {"same_host": [f"{number:08x}{IDS[0][8:]}" for number in range(101)]},
        {"query": "{}"},
        {"query": "["},
        {"query": "7"},
        {"query": {"=": 1}},
        {"query": '["like", 1]'},
        {"query": '[["="]]'},
        {"query": "[" * 3000},
        {"query": '["not", ' * 20 + '["not"]' + "]" * 20},
    ],
)
def test_a_hint_that_says_nothing_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="scheduler hint"):
        read(asked)


def test_hints_that_nobody_knows_are_left_alone() -> None:
    assert read({"shape": [1, {"round": None}], "same_host": None, "query": ""}) == Hints()


words: st.SearchStrategy[Any] = st.sampled_from(
    ["=", "<", "in", "not", "or", "and", "$disk", "$capabilities", "$free_capacity_gb", "", 1, None, {}]
)
queries = st.recursive(words, lambda inner: st.lists(inner, max_size=4), max_leaves=9)


@given(queries)
def test_no_query_breaks_anything(query: Any) -> None:
    """It is asked, or refused with a reason."""
    try:
        hints = read_hints(None, {"query": json.dumps(query)}, origin=origin())  # type: ignore[arg-type]
    except BadRequest:
        return
    refusal(POOL, replace(WISH, hints=hints))
