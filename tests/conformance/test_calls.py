"""Every call of the API is served, or waits for something that has a name."""

import json
from pathlib import Path

import pytest
import yaml
from scripts import read_description

from breezeblock.testing import calls

HERE = Path(__file__).parent
DESCRIPTION = HERE.parents[2] / "shared" / "reference" / "block-storage-api-v3" / "openapi-3.70.yaml"
KNOWN = calls.known_calls(HERE)
SERVED = calls.served_calls()
WAITING = calls.waiting(HERE)
# A client library asks for it without naming a version (api/handlers/services.py); and Cinder serves its newer URL of transfers
# in every version (api/v3/router.py there): 3.55 brought `no_snapshots`, not the calls.
EARLIER = {
    "PUT os-services/failover",
    *(f"{method} volume-transfers{rest}" for method, rest in (
        ("GET", ""), ("GET", "/detail"), ("GET", "/{}"), ("POST", ""), ("POST", "/{}/accept"), ("DELETE", "/{}"),
    )),
}  # fmt: skip


def test_the_facts_are_of_the_whole_api() -> None:
    """As many calls as the description of 3.70 has, corrected as scripts/read_description.py says, and what 3.71 brought."""
    assert len(KNOWN) >= 205
    assert max(KNOWN.values()).minor == 71


def test_the_facts_are_those_of_the_description() -> None:
    """Where a copy of it lies beside the checkout."""
    if not DESCRIPTION.exists():
        pytest.skip("no copy of the API's description beside this checkout")
    description = yaml.load(DESCRIPTION.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)

    found = read_description.all_calls(description), read_description.all_answers(description)

    assert found == tuple(
        json.loads((HERE / name).read_text(encoding="utf-8")) for name in ("calls.json", "answers.json")
    )


def test_what_is_not_served_waits_for_a_part() -> None:
    missing = [str(call) for call in KNOWN if call not in SERVED and not any(one.covers(call) for one in WAITING)]

    assert missing == []


def test_nothing_waits_that_is_served() -> None:
    """A part that is there takes its lines out of waiting.json."""
    needless = [one.pattern for one in WAITING if all(call in SERVED for call in KNOWN if one.covers(call))]

    assert needless == []


def test_calls_appear_in_their_version() -> None:
    wrong = {
        str(call): (str(SERVED[call].since), str(since))
        for call, since in KNOWN.items()
        if call in SERVED and SERVED[call].since != since and str(call) not in EARLIER
    }

    assert wrong == {}


def test_what_is_always_refused_exists() -> None:
    assert set(calls.refused(HERE)) <= {str(call) for call in KNOWN}


def test_the_page_has_every_call() -> None:
    rows = calls.rows(HERE)

    assert {row.call for row in rows} == {*KNOWN, *SERVED}
    assert len(rows) == len({*KNOWN, *SERVED})
