#!/usr/bin/env python3
"""Run every suite within its share of time and end with one plain line: `N passed, N failed`.

All suites of a run share one seed, drawn here and printed, so that a failure can be repeated:

    BREEZEBLOCK_SEED=1234 make test
    BREEZEBLOCK_SEED=1234 .venv/bin/python scripts/run_tests.py --only sim

Suites that mostly wait, for servers and for time to pass, run beside those that mostly compute; what each of them prints
comes when it ends. Those that need the machine for themselves follow, one by one.

`--proof` gives the suites more time. What finished well is remembered for the commit, so that a run that was stopped
goes on where it was.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
REPORTS = ROOT / ".reports"
PROOF = ROOT / ".proof"

# What pytest answers then; its other answers are told by the report.
NO_TESTS_COLLECTED = 5

# A share is what a suite takes of the whole on a machine of the usual speed. One that is slow, or busy with something else,
# may take this many times as long before the suite counts as hung; a suite over its share says so.
PATIENCE = 2.5

# How long a suite that ran out of time may take to end by itself before it is killed.
GRACE_S = 10.0


@dataclass(frozen=True)
class Suite:
    """One line of the table: what runs, and how long it may take in `make test` and in `make proof`."""

    name: str
    paths: tuple[str, ...]
    seconds: int
    proof_seconds: int
    arguments: tuple[str, ...] = ()
    database: str = ""
    """On which kind of server these tests run; without one, on SQLite."""
    pick: str = ""
    """What `make test` takes of many tests, as tests/conftest.py reads it."""
    proof_pick: str = ""
    """What a proof takes of them: all, where that does not take hours."""
    spread: str = ""
    """How the nodes of a cluster are used in a proof; `make test` draws it."""
    lane: str = "computes"
    """`computes` and `waits` run beside each other, and `alone` after both."""


LINT = Suite("lint", (), seconds=30, proof_seconds=60)
# What the transactions do, on whatever database.
TRANSACTIONS = tuple(
    f"tests/store/test_{name}.py"
    for name in (
        "accounts",
        "queue",
        "versions",
        "membership",
        "resources",
        "fencing",
        "interleavings",
        "traps",
        "archives",
        "garbage",
        "log_levels",
        "outbox",
        "pairs",
        "rebuilding",
        "transfers",
        "types_company_beside",
        "usage",
    )
)
# What runs on each kind of server inside the tests' process, and as processes: races, kills, and the clients that people use.
INSIDE = (*TRANSACTIONS, "tests/api")
KILLS = (
    "tests/chaos/test_up.py::test_work_in_flight_survives_a_killed_process",
    "tests/chaos/test_kills.py::test_a_restart_in_the_middle_of_a_load_loses_nothing",
)
CLIENTS = tuple(f"tests/clients/test_{name}.py" for name in ("cinderclient", "openstack_cli", "openstacksdk", "data"))
PROCESSES = ("tests/race/test_stores.py", "tests/race/test_conflicts.py", *KILLS, *CLIENTS)
# The rules of the protocol, each of which is taken away in turn.
TEETH = "tests/sim/test_teeth.py::test_a_removed_rule_is_found"
IN_TURN = "tests/race=1|tests/chaos=1|tests/clients=4"
SOME = "tests/race=3,tests/chaos=3,tests/clients=12"
# So many tests at a time.
PAIRS, THREES = (("-n", str(count), "--dist", "worksteal") for count in (2, 3))
# The share in `make test` of what runs in proofs alone.
IN_PROOFS = 0


def on_server(
    database: str,
    paths: tuple[str, ...],
    seconds: int,
    proof_seconds: int,
    *,
    name: str = "",
    pick: str = "",
    proof_pick: str = "",
    spread: str = "",
) -> Suite:
    """A suite on a server. Processes have leases to keep, so nothing else runs beside them."""
    lane = "alone" if paths is PROCESSES else "waits"
    named = name or database
    return Suite(
        named,
        paths,
        seconds,
        proof_seconds,
        database=database,
        pick=pick,
        proof_pick=proof_pick,
        spread=spread,
        lane=lane,
    )


SUITES = (
    LINT,
    Suite("unit", ("tests/unit", "tests/tidy", "tests/store"), seconds=150, proof_seconds=220),
    Suite("servers", ("tests/servers",), seconds=65, proof_seconds=500, pick="tests/servers~3", lane="waits"),
    on_server("postgresql", INSIDE, 60, 240, pick="tests/api=40"),
    on_server("mariadb", INSIDE, 85, 320, pick="tests/api=40"),
    on_server(
        "galera", INSIDE, 80, 300, pick="tests/store=60,tests/api=30", proof_pick="tests/api=150", spread="turns"
    ),
    on_server("galera", INSIDE, IN_PROOFS, 300, name="galera-own", proof_pick="tests/api=150", spread="own"),
    Suite("upgrade", ("tests/upgrade",), seconds=75, proof_seconds=400, pick="tests/upgrade~2", lane="waits"),
    Suite("scale", ("tests/scale",), seconds=100, proof_seconds=300, pick="tests/scale~2", lane="waits"),
    Suite("model", ("tests/model",), seconds=70, proof_seconds=600),
    Suite("sim", ("tests/sim",), seconds=280, proof_seconds=1500, pick=f"{TEETH}~3"),
    Suite("backup", ("tests/backup",), seconds=70, proof_seconds=300, arguments=("--ignore=tests/backup/stores",)),
    # What an operator installs: mostly it waits for a service to start, and to end.
    Suite("packaging", ("tests/packaging",), seconds=45, proof_seconds=800, lane="waits"),
    # Three machines with databases, services and clients of their own, from the first package to a lost one.
    Suite("guide", ("tests/guide",), seconds=75, proof_seconds=240, lane="waits"),
    Suite("events", ("tests/events",), seconds=45, proof_seconds=90, lane="waits"),
    # Storage that changes hands or backends, by nodes that may die anywhere.
    Suite("moves", ("tests/managing", "tests/migration"), seconds=45, proof_seconds=60),
    # Services whose database is lost; each waits for a lease to end.
    Suite("rebuild", ("tests/rebuild",), seconds=70, proof_seconds=60, lane="waits"),
    Suite(
        "drivers",
        ("tests/drivers",),
        seconds=45,
        proof_seconds=120,
        arguments=PAIRS,
        pick="tests/drivers~2",
        lane="waits",
    ),
    Suite(
        "stores", ("tests/backup/stores",), seconds=50, proof_seconds=150, pick="tests/backup/stores~3", lane="waits"
    ),
    Suite("doorbells", ("tests/doorbells",), seconds=45, proof_seconds=180, pick="tests/doorbells~2", lane="waits"),
    Suite("api", ("tests/api", "tests/conformance"), seconds=90, proof_seconds=200),
    # What reaches the service from a network, and as whom it runs.
    Suite("edge", ("tests/edge",), seconds=30, proof_seconds=60, lane="waits"),
    # With a Keystone, and the clients that log in there.
    Suite("identity", ("tests/identity",), seconds=80, proof_seconds=150, pick="tests/identity~2", lane="waits"),
    Suite("clients", ("tests/clients",), seconds=100, proof_seconds=120, lane="alone"),
    # What does not run without an identity service, and takes its time to install.
    Suite("clouds", ("tests/clouds",), seconds=IN_PROOFS, proof_seconds=600, lane="alone"),
    Suite("race", ("tests/race",), seconds=75, proof_seconds=320, lane="alone"),
    Suite("fuzz", ("tests/fuzz",), seconds=70, proof_seconds=900, pick="tests/fuzz~2"),
    Suite("chaos", ("tests/chaos/test_chaos.py",), seconds=110, proof_seconds=720, lane="alone"),
    # Mostly they wait for leases to end, so three of them fit the machine.
    Suite(
        "kills",
        ("tests/chaos",),
        seconds=80,
        proof_seconds=900,
        arguments=(*THREES, "--ignore=tests/chaos/test_chaos.py"),
        pick="tests/chaos~3",
        lane="alone",
    ),
    on_server("postgresql", PROCESSES, 25, 150, name="postgresql-processes", pick=IN_TURN, proof_pick=SOME),
    on_server("mariadb", PROCESSES, 30, 150, name="mariadb-processes", pick=IN_TURN, proof_pick=SOME),
    on_server("galera", PROCESSES, 40, 200, name="galera-processes", pick=IN_TURN, proof_pick=SOME, spread="turns"),
    on_server("galera", PROCESSES, IN_PROOFS, 200, name="galera-own-processes", proof_pick=SOME, spread="own"),
)

LINTERS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
)


@dataclass(frozen=True)
class Result:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    note: str = ""


def run(command: Sequence[str], *, environ: dict[str, str], seconds: float, out: IO[bytes] | None) -> int | None:
    """The exit code, or None when the time was up. Then nothing the command started in its group is left running."""
    process = subprocess.Popen(command, cwd=ROOT, env=environ, start_new_session=True, stdout=out, stderr=out)
    with _running(process):
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            stop(process)


# What runs now in either lane. Who is interrupted ends all of it.
_processes: set["subprocess.Popen[bytes]"] = set()


@contextlib.contextmanager
def _running(process: subprocess.Popen[bytes]) -> Iterator[None]:
    _processes.add(process)
    try:
        yield
    finally:
        _processes.discard(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the command's whole group, politely first: a suite may have daemons to take down."""
    if process.poll() is None:
        signal_group(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE_S)
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


def signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # everything in it has ended
        os.killpg(group, number)


def run_lint(environ: dict[str, str], seconds: float, out: IO[bytes] | None) -> Result:
    """Each linter counts as one test."""
    deadline = time.monotonic() + seconds
    failed = [
        " ".join(command)
        for command in LINTERS
        if run(
            [str(BIN / command[0]), *command[1:]],
            environ=environ,
            seconds=max(1.0, deadline - time.monotonic()),
            out=out,
        )
    ]
    return Result(passed=len(LINTERS) - len(failed), failed=len(failed), note=", ".join(failed))


def run_pytest(
    suite: Suite, paths: list[str], *, proof: bool, environ: dict[str, str], seconds: float, out: IO[bytes] | None
) -> Result:
    """Run one suite. Whatever goes wrong around the tests (no report, no test, out of time) counts as one failure."""
    report = REPORTS / f"{suite.name}.xml"
    report.parent.mkdir(exist_ok=True)
    report.unlink(missing_ok=True)  # the report of an earlier run must not speak for this one
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", *paths, *suite.arguments, f"--junitxml={report}"]
    command += [f"--hypothesis-seed={environ['BREEZEBLOCK_SEED']}"]
    command += [f"--timeout={seconds:.0f}"] if proof else ["-m", "not proof"]

    code = run(command, environ=environ, seconds=seconds, out=out)
    result = read_report(report)
    if code is None:
        return Result(result.passed, result.failed + 1, result.skipped, note=f"not done within {seconds:.0f} s")
    if code == NO_TESTS_COLLECTED or (code == 0 and result == Result()):
        return Result(failed=1, note="no test was collected")
    if code != 0 and result.failed == 0:
        return Result(result.passed, 1, result.skipped, note=f"pytest ended with {code}")
    return result


def read_report(report: Path) -> Result:
    """Count a JUnit report; nothing at all when pytest died before it wrote one."""
    if not report.exists():
        return Result()
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failed, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites for name in names)
        for names in (("tests",), ("failures", "errors"), ("skipped",))
    )
    return Result(passed=max(0, total - failed - skipped), failed=failed, skipped=skipped)


def clean_commit() -> str | None:
    """The commit that a proof is about; None when the files here are not those of any commit."""
    answers = [
        subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False)
        for command in (("status", "--porcelain"), ("rev-parse", "HEAD"))
    ]
    status, head = answers
    if status.returncode or head.returncode or status.stdout.strip():
        return None
    return head.stdout.strip()


class Finished:
    """The suites that are done, in a file named after the commit: a proof of other code is no proof of this."""

    def __init__(self, commit: str | None) -> None:
        self._path = PROOF / f"{commit}.json" if commit else None
        self._results: dict[str, Result] = {}
        if self._path and self._path.exists():
            self._results = {name: Result(**fields) for name, fields in json.loads(self._path.read_text()).items()}

    def get(self, suite: Suite) -> Result | None:
        return self._results.get(suite.name)

    def add(self, suite: Suite, result: Result) -> None:
        """Remember a suite that passed. Written beside and renamed: a stop half-way leaves the former file."""
        if self._path is None or result.failed:
            return
        self._results[suite.name] = result
        self._path.parent.mkdir(exist_ok=True)
        fresh = self._path.with_suffix(".tmp")
        fresh.write_text(json.dumps({name: asdict(result) for name, result in self._results.items()}, indent=1))
        fresh.replace(self._path)


def run_suite(suite: Suite, *, proof: bool, environ: dict[str, str], out: IO[bytes] | None = None) -> Result | None:
    """Run a suite; None when nothing of it is in this checkout. What it prints goes to `out`, or to ours."""
    seconds = suite.proof_seconds if proof else suite.seconds
    paths = [path for path in suite.paths if (ROOT / path.partition("::")[0]).exists()]
    if suite is not LINT and not paths:
        say(f"--- {suite.name}: left out, there is no {' or '.join(suite.paths)}", out)
        return None
    say(f"--- {suite.name}: seed {environ['BREEZEBLOCK_SEED']}, its share is {seconds} s", out)
    started = time.monotonic()
    if suite is LINT:
        result = run_lint(environ, seconds * PATIENCE, out)
    else:
        environ = {**environ, "BREEZEBLOCK_SUITE_SECONDS": str(seconds), "BREEZEBLOCK_DATABASE": suite.database}
        environ["BREEZEBLOCK_PICK"] = suite.proof_pick if proof else suite.pick
        environ["BREEZEBLOCK_SPREAD"] = suite.spread if proof else ""
        result = run_pytest(suite, paths, proof=proof, environ=environ, seconds=seconds * PATIENCE, out=out)
    took = time.monotonic() - started
    note = result.note or (f"over its share of {seconds} s" if took > seconds else "")
    return Result(result.passed, result.failed, result.skipped, took, note)


def say(text: str, out: IO[bytes] | None = None) -> None:
    if out is None:
        print(text, flush=True)
    else:
        out.write(f"{text}\n".encode())
        out.flush()


def tell(suite: Suite, result: Result, out: IO[bytes] | None = None) -> None:
    verdict = "FAILED" if result.failed else "ok"
    skipped = f", {result.skipped} skipped" if result.skipped else ""
    note = f" ({result.note})" if result.note else ""
    counts = f"{result.passed} passed, {result.failed} failed{skipped}"
    say(f"--- {suite.name}: {verdict} in {result.seconds:.1f} s: {counts}{note}\n", out)


class Runner:
    """Runs suites in their lanes, and remembers what came of them."""

    def __init__(self, finished: Finished, *, proof: bool, environ: dict[str, str]) -> None:
        self._finished = finished
        self._proof = proof
        self._environ = environ
        self._turn = threading.Lock()
        self._interrupted = False
        self.results: list[Result] = []

    def run(self, suites: Sequence[Suite]) -> None:
        """All of them. An interrupt ends what runs, in both lanes."""
        lanes = {lane: [suite for suite in suites if suite.lane == lane] for lane in ("waits", "computes", "alone")}
        if lanes["waits"] and lanes["computes"]:
            beside = threading.Thread(
                target=self._one_by_one, args=(lanes["waits"],), kwargs={"quietly": True}, daemon=True
            )
            beside.start()
            try:
                self._one_by_one(lanes["computes"], quietly=True)
                beside.join()
            except BaseException:
                self._interrupted = True
                for process in tuple(_processes):
                    stop(process)
                raise
        else:
            self._one_by_one([*lanes["waits"], *lanes["computes"]], quietly=False)
        self._one_by_one(lanes["alone"], quietly=False)

    def _one_by_one(self, suites: Sequence[Suite], *, quietly: bool) -> None:
        for suite in suites:
            if self._interrupted:
                return
            if not quietly:
                self._one(suite, None)
                continue
            with tempfile.TemporaryFile() as out:
                self._one(suite, out)
                out.seek(0)
                with self._turn:
                    sys.stdout.buffer.write(out.read())
                    sys.stdout.flush()

    def _one(self, suite: Suite, out: IO[bytes] | None) -> None:
        known = self._finished.get(suite)
        if known:
            say(f"--- {suite.name}: done before for this commit", out)
        result = known or run_suite(suite, proof=self._proof, environ=self._environ, out=out)
        if result is None:
            return
        with self._turn:
            if known is None:
                self._finished.add(suite, result)
            self.results.append(result)
        tell(suite, result, out)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the suites, each within its share of time.")
    parser.add_argument("--proof", action="store_true", help="the long runs; resumes what was stopped")
    parser.add_argument("--only", action="append", choices=[suite.name for suite in SUITES], help="just this suite")
    options = parser.parse_args()

    seed = os.environ.get("BREEZEBLOCK_SEED") or str(random.SystemRandom().randrange(2**32))
    environ = {**os.environ, "BREEZEBLOCK_SEED": seed}
    finished = Finished(None)
    if options.proof:
        environ["BREEZEBLOCK_PROOF"] = "1"
        commit = clean_commit()
        finished = Finished(commit)
        if commit is None:
            print("The checkout has changes that are in no commit: this proof will not be remembered.")

    # As Ctrl-C: what runs here runs in groups of its own, and would go on without us.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    runner = Runner(finished, proof=options.proof, environ=environ)
    wanted = [suite for suite in SUITES if options.proof or suite.seconds != IN_PROOFS]
    runner.run([suite for suite in wanted if not options.only or suite.name in options.only])
    results = runner.results
    passed, failed = sum(result.passed for result in results), sum(result.failed for result in results)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
