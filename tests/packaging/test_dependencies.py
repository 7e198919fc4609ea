"""Whether a package that we pin is known to be vulnerable, as the OSV database has it; PyPI's own advisories are in it.

The answer changes without a change of ours, so this is for proofs. Where the database cannot be asked, or does not know about
all packages, that is said: nothing passes because nobody looked.
"""

import json
import subprocess
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from tests.answering import Answering, serving
from tests.proof import not_here
from tests.servers.environments import environment
from tests.servers.packages import Missing

pytestmark = pytest.mark.proof

HERE: Final = Path(__file__).resolve().parent
PINNED: Final = HERE.parents[1] / "constraints.txt"
AUDITOR: Final = HERE / "requirements-audit.txt"
OSV: Final = "https://api.osv.dev/v1/query"
LIMIT_S: Final = 300.0


class NotAsked(Exception):
    """The database could not be asked about everything; why."""


class Weakness(NamedTuple):
    """What is known of one package."""

    package: str
    version: str
    id: str
    fixed_in: tuple[str, ...]


def audit(auditor: Path, requirements: Path, *, url: str = OSV) -> list[Weakness]:
    """What is known of these packages. Raises NotAsked."""
    command = [str(auditor / "bin" / "pip-audit"), "-r", str(requirements), "--no-deps", "--disable-pip", "-f", "json"]
    command += ["-s", "osv", "--osv-url", url, "--progress-spinner", "off", "--timeout", "15"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotAsked(f"{url} has not answered about everything within {LIMIT_S:.0f} s") from error
    try:
        told = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        raise NotAsked(f"{url}: {done.stderr.strip().splitlines()[-1:]}") from error
    asked = {one["name"] for one in told if "vulns" in one}
    if left_out := sorted(names(requirements) - asked):
        reasons = {one.get("skip_reason", "") for one in told if one["name"] in left_out}
        raise NotAsked(f"{url} says nothing of {', '.join(left_out)}: {', '.join(sorted(reasons))}")
    return [
        Weakness(one["name"], one["version"], known["id"], tuple(known["fix_versions"]))
        for one in told
        for known in one["vulns"]
    ]


def names(requirements: Path) -> set[str]:
    """The packages of a file, as the auditor writes them."""
    lines = (line.partition("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines())
    return {line.partition("==")[0].lower().replace("_", "-").replace(".", "-") for line in lines if line}


@pytest.fixture(scope="module")
def auditor() -> Path:
    try:
        return environment("audit", AUDITOR)
    except Missing as missing:
        not_here(str(missing))


def test_no_package_that_we_pin_is_known_to_be_vulnerable(auditor: Path) -> None:
    """The way out is another version in constraints.txt."""
    try:
        found = audit(auditor, PINNED)
    except NotAsked as reason:
        pytest.skip(f"nobody could be asked: {reason}")

    assert found == []


# --- that the audit itself would find one -----------------------------------------------------------------------------


class Advisories(ThreadingHTTPServer):
    """Answers as OSV does: for one package there is something."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.asked: list[dict[str, Any]] = []
        self.is_broken = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/query"


class Asked(Answering):
    """One question."""

    server: Advisories

    def do_POST(self) -> None:
        """About one package in one version."""
        query = json.loads(self.read_body())
        self.server.asked.append(query)
        name = query["package"]["name"]
        known = {
            "id": "OSV-1",
            "modified": "2026-01-01T00:00:00Z",
            "summary": "It is weak.",
            "affected": [
                {
                    "package": {"name": name, "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
                }
            ],
        }
        self.answer(503 if self.server.is_broken else 200, {"vulns": [known]} if name == "weak" else {})


@pytest.fixture
def advisories() -> Iterator[Advisories]:
    server = Advisories()
    with serving(server):
        yield server


def test_a_package_of_which_something_is_known_is_named(auditor: Path, advisories: Advisories, tmp_path: Path) -> None:
    """With the version that has it mended; and every package is asked about in the version that we pin."""
    pinned = tmp_path / "constraints.txt"
    pinned.write_text("good.one==1.5\nweak==1.0\n")

    assert audit(auditor, pinned, url=advisories.url) == [Weakness("weak", "1.0", "OSV-1", ("2.0",))]
    asked = {(one["package"]["name"], one["version"]) for one in advisories.asked}
    assert asked == {("good-one", "1.5"), ("weak", "1.0")}


def test_every_package_that_we_pin_is_asked_about(auditor: Path, advisories: Advisories) -> None:
    assert audit(auditor, PINNED, url=advisories.url) == []

    assert {one["package"]["name"] for one in advisories.asked} == names(PINNED)
    assert len(advisories.asked) > 100


def test_a_database_that_does_not_answer_is_told(auditor: Path, advisories: Advisories, tmp_path: Path) -> None:
    """Nobody takes it for good news."""
    pinned = tmp_path / "constraints.txt"
    pinned.write_text("weak==1.0\n")
    advisories.is_broken = True

    with pytest.raises(NotAsked, match=r"127\.0\.0\.1"):
        audit(auditor, pinned, url=advisories.url)
    with pytest.raises(NotAsked, match=r"127\.0\.0\.1:9"):
        audit(auditor, pinned, url="http://127.0.0.1:9/v1/query")
