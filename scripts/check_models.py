#!/usr/bin/env python3
"""Check the protocol on paper: the models hold, and each of them falls when a rule is taken out.

    .venv/bin/python scripts/check_models.py                  the models, and all mutations
    .venv/bin/python scripts/check_models.py --large          larger bounds, too (some minutes)
    .venv/bin/python scripts/check_models.py --trace NO_TXID  what happens without a rule, event by event
    .venv/bin/python scripts/check_models.py --write          put the tables into docs/explanation/protocol.md

Needs Debian's `spin` and `gcc`, and installs them through apt-get when they are missing. Ends with 1 when a model falls, when
a mutation does not (or falls otherwise than it should), or when a search was cut short: then nothing has been shown.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
MODELS: Final = ROOT / "models"
PAGE: Final = ROOT / "docs" / "explanation" / "protocol.md"
INSTALLER: Final = ROOT / "tests" / "servers" / "packages.py"
INVARIANTS: Final = (
    "Exclusion",
    "Order",
    "Once",
    "Termination",
    "Linearizable",
    "Transitions",
    "Lease",
    "Calm",
    "Named",
    "Gone",
)

# A search of the usual bounds takes a few seconds and a few hundred MiB. More than this is a mistake in a model.
SEARCH_LIMIT_S: Final = 240
LARGE_LIMIT_S: Final = 600
MEMORY_MIB: Final = 1900
LARGE_MEMORY_MIB: Final = 3800
DEPTH_MOST: Final = 100_000
# Two at a time: the most that they may take together is what a small machine has.
AT_ONCE: Final = 2

# Every state once, depth first, and nothing may be left out. Breadth first finds a shortest counterexample; that two states
# are taken for one (compacted hashes) could only hide one, never make one.
WHOLE: Final = ("-DSAFETY", "-DNOREDUCE")
SHORTEST: Final = ("-DSAFETY", "-DNOREDUCE", "-DBFS", "-DHC4")
LARGE_WHOLE: Final = ("-O2", "-DSAFETY", "-DNOREDUCE", "-DCOLLAPSE")
CYCLES: Final = ("-O2", "-DNP", "-DNOREDUCE", "-DCOLLAPSE")

# What no run of a model that holds can reach: the ends of processes that never end, and the breaches themselves.
NEVER_REACHED: Final = re.compile(r"-end-|assert\(0\)|printf\('MSC: (?:" + "|".join(INVARIANTS) + ")")


@dataclass(frozen=True)
class Case:
    """One search: a model with some rules taken out, and what has to come of it."""

    model: str
    what: str
    defines: str = ""
    """Names for spin's -D, apart by spaces: the rules taken out, and bounds that are not the model's own."""
    falls: str = ""
    """The invariant that has to fall; empty: all hold."""
    thorough: bool = False
    """Every statement of the model has to be reached: what is never executed has not been checked."""
    build: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    """For pan."""
    mib: int = MEMORY_MIB
    seconds: float = SEARCH_LIMIT_S

    @property
    def name(self) -> str:
        """What it is called in the list of tests."""
        return " ".join((self.model, self.defines, *self.arguments)).strip().replace(" ", "+")

    @property
    def options(self) -> tuple[str, ...]:
        # Most searches are so short that to compile them well takes longer than to run them as they are.
        optimise = "-O1" if self.thorough or self.model == "clock" else "-O0"
        return self.build or (optimise, *(SHORTEST if self.falls else WHOLE))


@dataclass(frozen=True)
class Found:
    """What a search told."""

    states: int = 0
    depth: int = 0
    seconds: float = 0.0
    mib: float = 0.0
    whole: bool = False
    """Nothing was left out for want of time, memory or depth."""
    errors: int = 0
    fell: str = ""
    """The invariant, or what pan said when it was none of them."""
    events: tuple[str, ...] = ()
    """The counterexample, without the last line: the invariant."""
    unreached: tuple[str, ...] = ()


CORRECT: Final = (
    Case("lease", "two nodes and a restart, two operations, two faults", thorough=True),
    Case("lease", "two nodes, two faults", "NODES=2"),
    Case("lease", "two backends, each with its own fence", "QUEUES=2 NODES=2"),
    Case("lease", "three operations, one fault", "OPS=3 FAULTS=1", thorough=True),
    Case("lease", "looking and claiming apart, one fault", "LOOK_APART FAULTS=1", thorough=True),
    Case("lease", "the rows of dead nodes go; looking and claiming apart", "FORGET LOOK_APART NODES=2"),
    Case("lease", "self-fencing is trusted, and writes settle", "TRUST NODES=2"),
    Case("lease", "no run is endless: a search for cycles, one fault", "FAULTS=1", build=CYCLES, arguments=("-l",)),
    Case("request", "a request: two lost answers, copies that lag", thorough=True),
    Case("clock", "the clocks: *Calm*, and *Lease*", thorough=True),
    Case("clock", "the clocks: *Lease*, more harshly", "LEASE_ONLY", thorough=True),
    Case("archive", "two backups, deletions, a collection", "COLLECTORS=1", thorough=True),
    Case("archive", "a backup, deletions, two collections at once", "BACKUPS=2"),
)
RULES: Final = (
    Case("request", "a transaction has an id", "NO_TXID", "Once"),
    Case("request", "a barrier before a miss is believed", "NO_BARRIER_BEFORE_MISS", "Linearizable"),
    Case(
        "request",
        "… and none after an unclear error",
        "NO_BARRIER_BEFORE_MISS NO_BARRIER_AFTER_ERROR ONCE_ONLY",
        "Once",
    ),
    Case("request", "lock first, ask later", "ASK_IN_THE_UPDATE", "Transitions"),
    Case("request", "who changes a fact writes the row that asks about it", "OWN_ROW_ONLY", "Transitions"),
    Case("lease", "who only reads writes the resource's row, too", "PLACE_DRAWN_EARLY NODES=2", "Order"),
    Case("lease", "the order of places", "NO_ORDER NODES=2", "Order"),
    Case("lease", "a claim writes its node's row", "NO_NODE_ROW NODES=2", "Once"),
    Case(
        "lease",
        "… where only silence expires",
        "NO_NODE_ROW SILENCE_ONLY FORGET LOOK_APART NODES=2",
        "Termination",
    ),
    Case(
        "lease",
        "a claim swaps the epoch, and reads the step after it",
        "NO_EPOCH_SWAP STALE_CHECKPOINT LOOK_APART NODES=2",
        "Once",
    ),
    Case("lease", "what a node owns is read, never remembered", "MARKS_REMEMBERED NODES=2", "Termination"),
    Case("lease", "the guard of Save", "NO_GUARD_ON_SAVE NODES=2", "Once"),
    Case("lease", "… where only silence expires", "NO_GUARD_ON_SAVE SILENCE_ONLY", "Exclusion"),
    Case("lease", "the guard of Finish", "NO_GUARD_ON_FINISH NODES=2", "Exclusion"),
    Case("lease", "the guards ask for the epoch, not only for the owner", "GUARD_BY_OWNER NODES=2", "Once"),
    Case("lease", "errors under a lost lease say nothing", "BELIEVE_ERRORS NODES=2", "Once"),
    Case("lease", "… also when the lease is back", "NO_COUNT_OF_LAPSES NODES=2", "Once"),
    Case("lease", "expiry revokes", "NO_REVOKE NODES=2", "Once"),
    Case("lease", "… in the same transaction", "REVOKE_APART NODES=2", "Once"),
    Case("lease", "release waits for the fence", "NO_FENCE_FIRST NODES=2", "Exclusion"),
    Case("lease", "a fence counts for its own queue only", "RELEASE_BY_ANY_FENCE QUEUES=2 NODES=2", "Exclusion"),
    Case("lease", "a proof of death waits for system calls under way", "PROOF_BY_PROCESS_ONLY NODES=2", "Exclusion"),
    Case("lease", "a restart needs proof of its predecessor's death", "BURY_BY_NAME", "Exclusion"),
    Case("lease", "another node takes over a fence", "NO_TAKEOVER NODES=2", "Termination"),
    Case("lease", "a fencer reads that it is one", "FENCE_REMEMBERED NODES=2", "Termination"),
    Case("lease", "release is a standing rule, not the fencer's act", "RELEASE_ONCE SILENCE_ONLY", "Termination"),
    Case("lease", "a node's row outlives what it owns", "FORGET_OWNERS FORGET NODES=2", "Termination"),
    Case("lease", "the gate, where self-fencing is trusted", "TRUST NO_LEASE_CHECK NODES=2", "Exclusion"),
    Case("lease", "settling begins when the lease has ended", "TRUST SETTLE_AT_ONCE NODES=2", "Exclusion"),
    Case("clock", "the holder counts from before it asked", "HOLDER_COUNTS_FROM_ANSWER LEASE_ONLY", "Lease"),
    Case("clock", "the observer counts from after it read", "OBSERVER_COUNTS_FROM_BEFORE LEASE_ONLY", "Lease"),
    Case("clock", "expiry names the counter that it saw", "NO_HEARTBEAT_SWAP LEASE_ONLY", "Lease"),
    Case("clock", "a margin for the clocks' rates", "MARGIN=0 LEASE_ONLY", "Lease"),
    Case("clock", "silence counts only across an observer's own readings", "NO_GAP_RULE", "Calm"),
    Case("clock", "a reading is a writing transaction", "READ_WITHOUT_WRITING", "Calm"),
    Case("archive", "packs go in two steps", "ONE_STEP COLLECTORS=1 BACKUPS=2", "Named"),
    Case(
        "archive", "what is condemned waits for the backups that had entered", "NO_PIN COLLECTORS=1 BACKUPS=2", "Named"
    ),
    Case("archive", "… for all of them", "NEWEST_PIN_ONLY COLLECTORS=1", "Named"),
    Case("archive", "what is condemned is not used any more", "USE_CONDEMNED COLLECTORS=1 BACKUPS=2", "Named"),
    Case("archive", "a backup looks only after it has entered", "LOOK_BEFORE_PIN COLLECTORS=1 BACKUPS=2", "Named"),
    Case("archive", "the pin goes in the transaction that publishes", "PIN_ENDS_EARLY COLLECTORS=1 BACKUPS=2", "Named"),
    Case("archive", "whoever goes on keeps the pin", "PIN_MOVES COLLECTORS=1 BACKUPS=2", "Named"),
    Case("archive", "a publication counts", "NO_COUNT COLLECTORS=1 BACKUPS=2", "Named"),
    Case("archive", "a collection compares the count", "NO_COMPARISON COLLECTORS=1 BACKUPS=2", "Named"),
    Case("archive", "a backup that fails gives its packs up", "LEAVE_BEHIND COLLECTORS=1 BACKUPS=2", "Gone"),
)
ASSUMPTIONS: Final = (
    Case("lease", "a fence that reports success keeps writes out", "NO_FENCE NODES=2", "Exclusion"),
    Case("lease", "trusted: nothing is on its way after the settle time", "TRUST FROZEN NODES=2", "Exclusion"),
    Case("lease", "trusted: the clocks' rates", "TRUST DRIFT SILENCE_ONLY NODES=2", "Exclusion"),
    Case("clock", "the clocks' rates differ by the drift at most", "SLOW=2 MARGIN=1 LEASE_ONLY", "Lease"),
    Case("lease", "a single-row update decides and writes at once", "UPDATE_IN_TWO LOOK_APART NODES=2", "Once"),
    Case("lease", "a commit that was acknowledged stays", "COMMITS_ARE_LOST NODES=2", "Once"),
    Case("clock", "one database outage at a time", "OUTAGES=2", "Calm"),
)
# Taken out alone, these change nothing that an invariant sees, for the reason given. They stay: what covers them may fail.
COVERED: Final = (
    Case(
        "lease",
        "the gate, where there is a fence: what a missing check lets through, the window does",
        "NO_LEASE_CHECK NODES=2",
    ),
    Case("lease", "the clocks' rates, where there is a fence: safety asks no clock", "DRIFT NODES=2"),
    Case("lease", "the settle time, if check and write were one act: the gate", "TRUST FROZEN NO_WINDOW NODES=2"),
    Case("lease", "the step is read after the swap: the swapped epoch", "STALE_CHECKPOINT LOOK_APART FAULTS=1"),
    Case("lease", "the epoch is swapped: the step that is read after it", "NO_EPOCH_SWAP LOOK_APART FAULTS=1"),
    Case("lease", "the guards ask for the owner: no two claims have one epoch", "GUARD_BY_EPOCH NODES=2"),
    Case(
        "lease", "expiry revokes, where only silence expires: the gate and the fence", "NO_REVOKE SILENCE_ONLY NODES=2"
    ),
    Case(
        "lease",
        "the guards ask for the epoch, where only silence expires: the same",
        "GUARD_BY_OWNER SILENCE_ONLY NODES=2",
    ),
    Case("request", "a barrier after an unclear error: the one before a miss", "NO_BARRIER_AFTER_ERROR"),
    Case("clock", "the rule of gaps, for *Lease*: it is there for *Calm*", "NO_GAP_RULE LEASE_ONLY"),
)


def _large(
    what: str, defines: str = "", *, build: tuple[str, ...] = LARGE_WHOLE, arguments: tuple[str, ...] = ()
) -> Case:
    return Case("lease", what, defines, build=build, arguments=arguments, mib=LARGE_MEMORY_MIB, seconds=LARGE_LIMIT_S)


LARGE: Final = (
    _large("three operations, two faults", "OPS=3"),
    _large("looking and claiming apart, two faults", "LOOK_APART"),
    _large("self-fencing is trusted, a restart", "TRUST"),
    _large("two nodes, three faults", "FAULTS=3 NODES=2"),
    _large("two nodes, two backends, three faults", "QUEUES=2 NODES=2 FAULTS=3"),
    _large("no run is endless, two faults", build=CYCLES, arguments=("-l",)),
)
USUAL: Final = (*CORRECT, *COVERED, *RULES, *ASSUMPTIONS)


# --- one search -----------------------------------------------------------------------------------------------------


def search(case: Case) -> Found:
    """Build the search in a folder of its own, and run it."""
    with tempfile.TemporaryDirectory(prefix="models-") as name:
        folder = Path(name)
        model = shutil.copy(MODELS / f"{case.model}.pml", folder)
        spin = ("spin", *(f"-D{define}" for define in case.defines.split()))
        command(*spin, "-a", model, folder=folder)
        command("gcc", "-w", *case.options, f"-DMEMLIM={case.mib}", "-o", "pan", "pan.c", folder=folder)
        pan = ("nice", "./pan", f"-m{DEPTH_MOST}", *case.arguments)
        try:
            # Pan ends with 0 also when it found something; what else it may end with is in its report.
            told = subprocess.run(
                pan, cwd=folder, capture_output=True, text=True, timeout=case.seconds, check=False
            ).stdout
        except subprocess.TimeoutExpired:
            return Found(fell=f"not done within {case.seconds:.0f} s")
        found = read(told)
        return with_trail(found, told, command(*spin, "-t", model, folder=folder)) if found.errors else found


def command(*words: str | Path, folder: Path) -> str:
    """What a program wrote. One that fails ends everything: it is our mistake, not the protocol's."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def read(told: str) -> Found:
    """Pan's report as numbers."""

    def number(pattern: str) -> float:
        match = re.search(pattern, told)
        return float(match[1]) if match else 0.0

    cut_short = re.search(r"reached -DMEMLIM|out of memory|max search depth too small|Search not completed", told)
    places = re.findall(r"^\t(\S+:\d+), state \d+, \"(.*)\"$", told, re.MULTILINE)
    return Found(
        states=int(number(r"(\d[\d.e+]*) states, stored")),
        depth=int(number(r"depth reached (\d+)")),
        seconds=number(r"elapsed time (\S+) seconds"),
        mib=number(r"([\d.]+)\s+total actual memory usage"),
        whole="errors: " in told and not cut_short,
        errors=int(number(r"errors: (\d+)")),
        unreached=tuple(f"{place} {text}" for place, text in places if not NEVER_REACHED.match(text)),
    )


def with_trail(found: Found, told: str, replay: str) -> Found:
    """Add the counterexample, and which invariant it breaks: the model names it as its last event."""
    events = [match[1].strip() for match in re.finditer(r"MSC: (.*)", replay)]
    broken = next((name for name in INVARIANTS if events and events[-1].startswith(name)), "")
    other = re.search(r"pan:\d+: (.*) \(at depth", told)
    fell = broken or (other[1] if other else "an error of the search")
    return replace(found, fell=fell, events=tuple(events[:-1] if broken else events))


def wrong(case: Case, found: Found) -> str:
    """Empty when the case is as it has to be, else what is not."""
    if case.falls:
        if not found.errors:
            return found.fell or "nothing was found"
        return "" if found.fell == case.falls else f"{found.fell} fell, and not {case.falls}"
    if found.errors:
        return f"{found.fell} fell:\n" + "\n".join(found.events)
    if not found.whole:
        return found.fell or "the search was cut short"
    return f"never reached: {', '.join(found.unreached)}" if case.thorough and found.unreached else ""


def switches(model: Path) -> set[str]:
    """The names that a model asks about: its rules that can be taken out, and its bounds that can be set."""
    text = model.read_text(encoding="utf-8")
    return set(re.findall(r"^#ifn?def (\w+)", text, re.MULTILINE)) | set(re.findall(r"defined\((\w+)\)", text))


# --- tables ---------------------------------------------------------------------------------------------------------

Results = Sequence[tuple[Case, Found]]


def rows_that_hold(results: Results) -> list[str]:
    lines = ["| what | model | options | states | depth |", "|---|---|---|--:|--:|"]
    for case, found in results:
        options = f"`{' '.join((case.defines, *case.arguments)).strip()}`" if case.defines or case.arguments else ""
        lines.append(f"| {case.what} | {case.model} | {options} | {found.states:,} | {found.depth} |")
    return lines


def rows_that_fall(results: Results) -> list[str]:
    lines = ["| taken out | model | options | falls | after events |", "|---|---|---|---|--:|"]
    for case, found in results:
        lines.append(f"| {case.what} | {case.model} | `{case.defines}` | *{found.fell}* | {len(found.events)} |")
    return lines


# The tables of the page, each by its mark.
TABLES: Final = {
    "the models hold": (CORRECT, rows_that_hold),
    "larger bounds": (LARGE, rows_that_hold),
    "rules taken out": (RULES, rows_that_fall),
    "rules that others cover": (COVERED, rows_that_hold),
    "assumptions broken": (ASSUMPTIONS, rows_that_fall),
}


def put(page: str, mark: str, lines: Sequence[str]) -> str:
    """Replace what stands between the two marks of a table."""
    begin, end = f"<!-- {mark}: made by scripts/check_models.py --write -->", f"<!-- end of {mark} -->"
    before, rest = page.split(begin)
    _, after = rest.split(end)
    return "\n".join((f"{before}{begin}", "", *lines, "", f"{end}{after}"))


# --- the command ----------------------------------------------------------------------------------------------------


def install() -> None:
    """Debian's packages, where they are missing."""
    if subprocess.run([sys.executable, str(INSTALLER), "spin", "gcc", "libc6-dev"], check=False).returncode:
        raise SystemExit("there is no spin, or no gcc, and nothing has been shown")


def run(cases: Sequence[Case], *, at_once: int) -> list[tuple[Case, Found]]:
    """Search them all and tell each as it ends."""
    results = []
    with ThreadPoolExecutor(at_once) as pool:
        for case, found in zip(cases, pool.map(search, cases), strict=True):
            bad = wrong(case, found)
            ended = f"WRONG: {bad}" if bad else f"{case.falls} falls" if case.falls else "holds"
            numbers = f"{found.states:>12,} states {found.seconds:6.1f} s {found.mib:6,.0f} MiB"
            print(f"{numbers}  {ended:<18} {case.model}: {case.what}  [{case.defines}]", flush=True)
            results.append((case, found))
    return results


def trace(names: set[str]) -> int:
    """Print the counterexample of the first case that takes out these rules."""
    for case in (*RULES, *ASSUMPTIONS):
        if names <= set(case.defines.split()):
            found = search(case)
            print(*found.events, f"{found.fell} falls", sep="\n")
            return 0
    print(f"Nothing falls by {' '.join(sorted(names))}.", file=sys.stderr)
    return 1


def write(found: dict[Case, Found]) -> None:
    """Put those tables into the page for which everything was searched."""
    page = PAGE.read_text(encoding="utf-8")
    for mark, (cases, rows) in TABLES.items():
        if all(case in found for case in cases):
            page = put(page, mark, rows([(case, found[case]) for case in cases]))
    PAGE.write_text(page, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the models of the protocol, and that each rule is needed.")
    parser.add_argument("--large", action="store_true", help="larger bounds, too")
    parser.add_argument("--trace", metavar="RULE", nargs="+", help="print what happens without these rules")
    parser.add_argument("--write", action="store_true", help="put the tables into the documentation")
    options = parser.parse_args()
    install()
    if options.trace:
        return trace(set(options.trace))

    results = run(USUAL, at_once=AT_ONCE)
    if options.large:
        results += run(LARGE, at_once=1)
    bad = [case for case, found in results if wrong(case, found)]
    if options.write and not bad:
        write(dict(results))
    print(f"{len(results) - len(bad)} cases are as they have to be, {len(bad)} are not")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
