"""Every operator of extra specs, cell by cell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breezeblock.placement.extra_specs import matches, unmet

CELLS = [
    # what the pool says, what the type asks, whether it meets it
    ("ssd", "ssd", True),
    ("ssd", "hdd", False),
    ("ssd", "SSD", False),
    ("", "", True),
    ("ssd", "", False),
    ("ssd", "   ", False),
    ("True", "true", True),
    ("true", "False", False),
    ("1", "true", False),
    ("100", "= 100", True),
    ("101", "= 100", True),
    ("99", "= 100", False),
    ("100", "== 100", True),
    ("100", "== 100.0", True),
    ("101", "== 100", False),
    ("101", "!= 100", True),
    ("100", "!= 100", False),
    ("100", ">= 100", True),
    ("99", ">= 100", False),
    ("100", "<= 100", True),
    ("101", "<= 100", False),
    ("9", "<= 10", True),
    ("many", ">= 1", False),
    ("1", ">= many", False),
    ("1", ">=", False),
    ("abc", "s== abc", True),
    ("abc", "s== abd", False),
    ("a b", "s== a b", True),
    ("abc", "s!= abd", True),
    ("abc", "s!= abc", False),
    ("abc", "s< abd", True),
    ("abc", "s< abc", False),
    ("abc", "s<= abc", True),
    ("abd", "s<= abc", False),
    ("abd", "s> abc", True),
    ("abc", "s> abc", False),
    ("abc", "s>= abc", True),
    ("abb", "s>= abc", False),
    ("9", "s> 10", True),
    ("fast disk", "<in> fast", True),
    ("fast disk", "<in> fast disk", True),
    ("disk", "<in> fast", False),
    ("disk", "<in>", False),
    ("aes ssd raid", "<all-in> ssd aes", True),
    ("aes ssd", "<all-in> ssd raid", False),
    ("ssd", "<or> hdd <or> ssd", True),
    ("ssd", "<or> hdd <or> tape", False),
    ("<or>", "<or> hdd", False),
    ("True", "<is> True", True),
    ("yes", "<is> true", True),
    ("1", "<is> on", True),
    ("no", "<is> False", True),
    ("no", "<is> True", False),
    ("yes", "<is> False", False),
    ("yes", "<is>", False),
    ("a ? b", "a ? b", True),
]


@pytest.mark.parametrize(("found", "required", "met"), CELLS)
def test_an_operator_is_met_exactly_when_it_should_be(found: str, required: str, met: bool) -> None:
    """One cell of the table."""
    assert matches(found, required) is met


@given(found=st.text(max_size=20), required=st.text(max_size=20))
def test_whatever_a_type_asks_has_an_answer(found: str, required: str) -> None:
    """Operators write free text; nothing in it may fail a request."""
    assert matches(found, required) in (True, False)


@given(found=st.integers(-1000, 1000), limit=st.integers(-1000, 1000))
def test_numbers_compare_as_numbers(found: int, limit: int) -> None:
    """Not as text, where 9 is more than 10."""
    answers = [matches(str(found), f"{sign} {limit}") for sign in (">=", "<=", "==", "!=", "=")]

    assert answers == [found >= limit, found <= limit, found == limit, found != limit, found >= limit]


@pytest.mark.parametrize(
    ("specs", "first"),
    [
        ({}, None),
        ({"disk": "ssd"}, None),
        ({"capabilities:disk": "ssd"}, None),
        ({"disk": "hdd"}, "disk=hdd"),
        ({"capabilities:disk": "hdd"}, "capabilities:disk=hdd"),
        ({"missing": "1"}, "missing=1"),
        ({"quality:iops": "1000"}, None),
        ({"a:capabilities:disk": "hdd"}, None),
        ({"zone": "x", "disk": "hdd", "also": "y"}, "also=y"),
    ],
)
def test_the_first_requirement_that_is_not_met_is_named(specs: dict[str, str], first: str | None) -> None:
    """In the order of their keys; other scopes are for drivers."""
    assert unmet(specs, {"disk": "ssd"}) == first
