"""Our tables of keys against the API's own samples, where a copy of those lies beside the checkout."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.api import keys

ROOT = Path(__file__).resolve().parents[3] / "shared" / "reference" / "block-storage-api-v3" / "samples"

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="no copy of the API's samples beside this checkout")

# The samples of 3.61 and later were recorded by an administrator, and some leave that version's key out of show.
FOLDERS = {"volumes": (0, 13, 21, 48, 63, 65, 69), "snapshots": (0, 14, 41, 65)}
CASES = [(kind, minor) for kind, minors in FOLDERS.items() for minor in minors]
TABLES = {"volumes": ("volume", keys.VOLUME), "snapshots": ("snapshot", keys.SNAPSHOT)}
MISSING_IN_SHOW = {"cluster_name"}


def sample(kind: str, minor: int, name: str) -> Any:
    folder = ROOT / kind / f"v3.{minor}" if minor else ROOT / kind
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize(("kind", "minor"), CASES)
@pytest.mark.parametrize("call", ["create", "update", "show"])
def test_one_resource(kind: str, minor: int, call: str) -> None:
    noun, table = TABLES[kind]

    found = set(sample(kind, minor, f"{noun}-{call}-response.json")[noun])

    ours = keys.names(table, minor=minor, admin=True, attributes=call == "show")
    assert found | MISSING_IN_SHOW == ours | MISSING_IN_SHOW


@pytest.mark.parametrize(("kind", "minor"), CASES)
def test_a_detailed_list(kind: str, minor: int) -> None:
    _, table = TABLES[kind]

    found = set(sample(kind, minor, f"{kind}-list-detailed-response.json")[kind][0])

    assert found == keys.names(table, minor=minor, admin=True, attributes=True)


@pytest.mark.parametrize(("kind", "ours"), [("volumes", keys.VOLUME_SUMMARY), ("snapshots", keys.SNAPSHOT_SUMMARY)])
def test_a_short_list(kind: str, ours: set[str]) -> None:
    assert set(sample(kind, 0, f"{kind}-list-response.json")[kind][0]) == ours
