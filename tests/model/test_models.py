"""The protocol on paper: `models/*.pml` hold, each falls without each of its rules, and the page quotes what was found."""

from dataclasses import replace

import pytest
from scripts import check_models
from scripts.check_models import ASSUMPTIONS, CORRECT, COVERED, LARGE, RULES, TABLES, Case, Found, wrong
from tests.model.conftest import Searches

# A search has its own limit, and another one or two may be before it.
pytestmark = pytest.mark.timeout(3 * check_models.SEARCH_LIMIT_S)


@pytest.mark.parametrize("case", CORRECT, ids=lambda case: case.name)
def test_the_model_holds(case: Case, searches: Searches) -> None:
    """In every interleaving of its bounds, and no statement of it is dead."""
    assert wrong(case, searches.result(case)) == ""


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.name)
def test_it_falls_without_the_rule(case: Case, searches: Searches) -> None:
    """By the invariant that the rule is there for."""
    assert wrong(case, searches.result(case)) == ""


@pytest.mark.parametrize("case", ASSUMPTIONS, ids=lambda case: case.name)
def test_it_falls_when_an_assumption_breaks(case: Case, searches: Searches) -> None:
    """So the assumption is one that the protocol lives on."""
    assert wrong(case, searches.result(case)) == ""


@pytest.mark.parametrize("case", COVERED, ids=lambda case: case.name)
def test_another_rule_covers_what_was_taken_out(case: Case, searches: Searches) -> None:
    """When this begins to fail, the rule has come to matter: it belongs to the others, and the page says why."""
    assert wrong(case, searches.result(case)) == ""


@pytest.mark.proof
@pytest.mark.timeout(2 * check_models.LARGE_LIMIT_S)
@pytest.mark.parametrize("case", LARGE, ids=lambda case: case.name)
def test_the_model_holds_within_larger_bounds(case: Case, searches: Searches) -> None:
    """More of everything, still exhaustively."""
    assert wrong(case, searches.result(case)) == ""


def out_of_date(mark: str, searches: Searches) -> bool:
    """Whether a table of the page is not what was found now."""
    cases, rows = TABLES[mark]
    page = check_models.PAGE.read_text(encoding="utf-8")
    return check_models.put(page, mark, rows([(case, searches.result(case)) for case in cases])) != page


@pytest.mark.timeout(10 * check_models.SEARCH_LIMIT_S)
@pytest.mark.parametrize("mark", [mark for mark in TABLES if mark != "larger bounds"])
def test_the_tables_of_the_page_are_fresh(mark: str, searches: Searches) -> None:
    """If not: .venv/bin/python scripts/check_models.py --write"""
    assert not out_of_date(mark, searches)


@pytest.mark.proof
@pytest.mark.timeout(len(LARGE) * check_models.LARGE_LIMIT_S)
def test_the_table_of_the_larger_bounds_is_fresh(searches: Searches) -> None:
    """If not: .venv/bin/python scripts/check_models.py --large --write"""
    assert not out_of_date("larger bounds", searches)


# --- the check itself: what it must not let pass ---------------------------------------------------------------------

HOLDS = Case("request", "as it is")
WHOLE = Found(states=1, whole=True)


def test_a_search_that_was_cut_short_is_no_success() -> None:
    """Too little depth: pan says so and finds no error."""
    told = (
        "error: max search depth too small\nState-vector 236 byte, depth reached 9, errors: 0\n   20 states, stored\n"
    )

    assert wrong(HOLDS, check_models.read(told)) == "the search was cut short"


def test_a_search_that_told_nothing_is_no_success() -> None:
    """Killed, for one."""
    assert wrong(HOLDS, check_models.read("")) == "the search was cut short"


def test_a_search_without_enough_memory_is_no_success() -> None:
    """Found by a real one: 1 MiB is not enough to begin."""
    assert wrong(HOLDS, check_models.search(replace(HOLDS, mib=1))) != ""


def test_a_search_that_takes_too_long_is_no_success() -> None:
    """Found by a real one, too."""
    assert wrong(CORRECT[0], check_models.search(replace(CORRECT[0], seconds=0.01))) == "not done within 0 s"


def test_a_mutation_that_holds_is_no_success() -> None:
    """A rule that can go without anything falling is not checked by the model."""
    assert wrong(replace(HOLDS, falls="Once"), WHOLE) == "nothing was found"


def test_a_mutation_that_falls_by_another_invariant_is_no_success() -> None:
    """Then the model breaks for a reason that nobody has thought about."""
    assert wrong(replace(HOLDS, falls="Once"), replace(WHOLE, errors=1, fell="Order")) == "Order fell, and not Once"


def test_a_model_with_a_statement_that_is_never_reached_is_no_success() -> None:
    """What no run executes, no run has checked; only the breaches must not be reached."""
    told = 'errors: 0\n\tx.pml:7, state 3, "a = 1"\n\tx.pml:9, state 4, "-end-"\n\tx.pml:8, state 5, "assert(0)"\n'

    assert wrong(replace(HOLDS, thorough=True), check_models.read(told)) == "never reached: x.pml:7 a = 1"


def test_every_rule_of_the_models_is_taken_out_by_some_case() -> None:
    """A switch of a model that no case uses would be a mutation that nobody runs."""
    bounds = {"FAULTS", "NODES", "OPS", "QUEUES", "VERSIONS", "TTL", "GAP"}
    used = {define.split("=")[0] for case in (*check_models.USUAL, *LARGE) for define in case.defines.split()}
    switches = {name for path in check_models.MODELS.glob("*.pml") for name in check_models.switches(path)}

    assert switches - used - bounds == set()
    assert used <= switches
