"""No package that we are installed with is known to be vulnerable: asked of the advisories, in proofs."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from tests.servers.environments import environment
from tests.servers.packages import Missing

ROOT: Final = Path(__file__).resolve().parents[2]
TOOL: Final = Path(__file__).with_name("requirements-audit.txt")
LIMIT_S: Final = 300
# What does not concern us, by the advisory's id, and why not.
ACCEPTED: Final[dict[str, str]] = {}
# How the tool's complaint looks when nobody could be asked, which says nothing of the packages.
NOBODY_ASKED: Final = (
    "ConnectionError", "ConnectTimeout", "ReadTimeout", "Max retries exceeded", "Temporary failure in name resolution",
    "ServiceError", "ProxyError", "Could not connect",
)  # fmt: skip


def left_out(reason: str) -> None:
    """An audit needs the network, which a proof may do without: it says so in its output, whatever pytest is told to show."""
    print(f"\nThe dependencies were NOT audited: {reason}", flush=True)
    pytest.skip(f"not audited: {reason}")


def vulnerable(report: dict[str, Any]) -> list[str]:
    """One line for each package and advisory."""
    return [
        f"{one['name']} {one['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no release'}"
        for one in report["dependencies"]
        for found in one.get("vulns", ())
        if not {found["id"], *found.get("aliases", ())} & set(ACCEPTED)
    ]


@pytest.mark.proof
@pytest.mark.timeout(LIMIT_S * 5)
def test_no_dependency_is_known_to_be_vulnerable(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        try:
            tool = environment("audit", TOOL) / "bin" / "pip-audit"
        except Missing as missing:
            left_out(str(missing))
        done = subprocess.run(
            [tool, "-r", ROOT / "constraints.txt", "--no-deps", "--disable-pip", "--format", "json", "-s", "osv",
             "--progress-spinner", "off", "--timeout", "15"],
            capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        if not done.stdout.strip() and any(sign in done.stderr for sign in NOBODY_ASKED):
            left_out(done.stderr.strip().splitlines()[-1])
    assert done.stdout.strip(), done.stderr
    report = json.loads(done.stdout)

    assert len(report["dependencies"]) == len((ROOT / "constraints.txt").read_text().split())
    assert vulnerable(report) == []


def test_an_advisory_is_told_with_the_package_and_the_way_out() -> None:
    found = {"id": "GHSA-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}
    report = {
        "dependencies": [{"name": "a", "version": "2.0", "vulns": [found]}, {"name": "b", "version": "1", "vulns": []}]
    }

    assert vulnerable(report) == ["a 2.0: GHSA-1, fixed in 2.1"]
