"""The command: one seed shown, or many seeds on all cores.

breezeblock sim --seed 1234                one run and its time line; of a run that fails, the smallest that still does
breezeblock sim --seed 1234 --html a.html  the same as a picture
breezeblock sim --seed 1234 --faults 3,17  only these faults strike: what a time line of a shrunk run ends with
breezeblock sim --runs 500 --jobs 8        many, from a drawn seed on
breezeblock sim --minutes 10               as many as fit

Each worker process has its own share of the seeds, so that whoever dies is known with the seed at which it did.
"""

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any, Final

from breezeblock.env.real import RealClock
from breezeblock.testing.counts import counted
from breezeblock.testing.database import Database
from breezeblock.testing.history import Entry
from breezeblock.testing.page import page
from breezeblock.testing.run import START_S, Failed, simulate
from breezeblock.testing.shrink import RUNS_MOST, AllBut, Shrunk, numbers_of, shrink
from breezeblock.testing.timeline import Names, matters, timeline

__all__ = ["Left", "Outcome", "Tally", "add_up", "main", "many", "one", "run_seed"]

INTERRUPTED: Final = 130
VIOLATIONS_SHOWN: Final = 10


@dataclass(frozen=True)
class Outcome:
    """What became of one seed. `problem` is what to print of one that failed."""

    seed: int
    requests: int = 0
    accepted: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    problem: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    """What happened in it, as `counts.py` has it."""


@dataclass(frozen=True)
class Left:
    """The numbers of the faults and requests of a seed that are left; None for all of them."""

    faults: Sequence[int] | None
    requests: Sequence[int] | None

    @classmethod
    def read(cls, faults: str | None, requests: str | None) -> "Left | None":
        """From numbers with commas between them; "" is none of them. Raises ValueError."""
        if faults is None and requests is None:
            return None
        return cls(
            *(None if text is None else [int(word) for word in text.split(",") if word] for text in (faults, requests))
        )

    def options(self) -> dict[str, Any]:
        """For `simulate`."""
        names = {"without": self.faults, "unasked": self.requests}
        left = {name: AllBut(frozenset(kept)) for name, kept in names.items() if kept is not None}
        return {**left, "brief": True}

    def __str__(self) -> str:
        words = {"faults": self.faults, "requests": self.requests}
        return " ".join(f"--{name} '{','.join(map(str, kept))}'" for name, kept in words.items() if kept is not None)


RunSeed = Callable[[int, Database], Outcome]


def main(
    *,
    seed: int | None,
    runs: int,
    minutes: float | None,
    jobs: int | None,
    full: bool = False,
    html: Path | None = None,
    left: "Left | None" = None,
) -> int:
    """Run it. Returns the exit status."""
    first = Random().randrange(1 << 32) if seed is None else seed
    if runs == 1 and minutes is None:
        return one(first, full=full, html=html, left=left)
    return many(first, runs=None if minutes is not None else runs, minutes=minutes, jobs=jobs or os.cpu_count() or 1)


# --- one ------------------------------------------------------------------------------------------------------------


def one(seed: int, *, full: bool, html: Path | None, left: "Left | None" = None) -> int:
    """Run a seed and show what happened: readable, or as it was told (`full`); and as a picture.

    With `left` only these faults and requests of it, and nothing is shrunk.
    """
    database, options = Database(), {} if left is None else left.options()
    shrunk: Shrunk | None = None
    try:
        whole: list[Entry] = simulate(seed, database=database, **options).history
        history, shown = whole, timeline(matters(whole), Names.given(whole))
    except Failed as failed:
        shrunk = shrink(failed, database=database, runs_most=RUNS_MOST if left is None else 0)
        whole, history, shown = failed.history, shrunk.failed.history, [explained(failed, shrunk)]
    finally:
        database.close()
    if html is not None:
        html.write_text(page(f"Seed {seed}" + (", shrunk" if shrunk else ""), history), encoding="utf-8")
    if full:
        print(*whole, sep="\n")
    if shrunk is not None or not full:
        print(*shown, sep="\n")
    return 0 if shrunk is None else 1


def explained(failed: Failed, shrunk: Shrunk) -> str:
    """What fell, and the time line of the smallest run in which it still does."""
    history = shrunk.failed.history
    faults, requests = numbers_of(failed.history, "fault"), numbers_of(failed.history, "request")
    search = "none can be spared" if shrunk.complete else "not all were tried"
    return "\n".join(
        [
            f"seed {failed.seed} failed:",
            *(f"  {violation}" for violation in failed.violations[:VIOLATIONS_SHOWN]),
            f"{len(shrunk.faults)} of {len(faults)} faults and {len(shrunk.requests)} of {len(requests)} requests are left "
            f"after {shrunk.runs} runs; {search}:",
            "",
            *timeline(matters(history), Names.given(history)),
            "",
            f"All of it: breezeblock sim --seed {failed.seed} --full",
            f"What is left: breezeblock sim --seed {failed.seed} {Left(shrunk.faults, shrunk.requests)}",
        ]
    )


# --- many -----------------------------------------------------------------------------------------------------------


def run_seed(seed: int, database: Database) -> Outcome:
    """One of many."""
    started = time.process_time()
    try:
        report = simulate(seed, database=database)
    except Failed as failed:
        cpu_s = time.process_time() - started
        history = failed.history
        problem = explained(failed, shrink(failed, database=database))
        requests = len(numbers_of(history, "request"))
        virtual_s, counts = history[-1].at - START_S, counted(history)
        return Outcome(seed, requests, virtual_s=virtual_s, cpu_s=cpu_s, problem=problem, counts=counts)
    cpu_s = time.process_time() - started
    virtual_s, counts = report.virtual_s - START_S, counted(report.history)
    return Outcome(seed, report.requests, report.accepted, virtual_s, cpu_s, counts=counts)


@dataclass
class _Share:
    """A worker process, and the seed at which it is."""

    process: BaseProcess
    pipe: Connection
    seed: int


@dataclass
class Tally:
    """What all runs add up to."""

    seeds: list[int] = field(default_factory=list)
    requests: int = 0
    accepted: int = 0
    failed: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count a run, and print why it failed if it did."""
        self.seeds.append(outcome.seed)
        self.requests += outcome.requests
        self.accepted += outcome.accepted
        self.virtual_s += outcome.virtual_s
        self.cpu_s += outcome.cpu_s
        self.counts.update(outcome.counts)
        if outcome.problem is not None:
            self.failed += 1
            print(outcome.problem, end="\n\n", flush=True)

    def __str__(self) -> str:
        seeds = f"seeds {min(self.seeds)} to {max(self.seeds)}" if self.seeds else "no seeds"
        return (
            f"{len(self.seeds)} runs, {seeds}: {self.requests} requests, {self.accepted} accepted, {self.failed} runs failed, "
            f"{self.virtual_s / max(self.cpu_s, 0.001):.0f} simulated cluster-hours per CPU-hour"
        )


def many(first: int, *, runs: int | None, minutes: float | None, jobs: int, run: RunSeed = run_seed) -> int:
    """`runs` seeds from `first` on, or those that fit into `minutes`, in so many processes. Returns the exit status."""
    tally = Tally()
    try:
        add_up(tally, first, runs=runs, minutes=minutes, jobs=jobs, run=run)
    except KeyboardInterrupt:
        print(f"interrupted; {tally}", flush=True)
        return INTERRUPTED
    print(tally, flush=True)
    return 1 if tally.failed else 0


def add_up(
    tally: Tally, first: int, *, runs: int | None, minutes: float | None, jobs: int, run: RunSeed = run_seed
) -> None:
    """The same, counted into `tally` as it comes; failures are printed. Leaves no process behind."""
    jobs = jobs if runs is None else min(jobs, runs)
    until = None if minutes is None else RealClock().boottime() + minutes * 60
    shares: list[_Share] = []
    try:
        for number in range(jobs):
            shares.append(_start(first + number, first, runs, until, jobs, run))
        for outcome in _outcomes(list(shares), jobs):
            tally.add(outcome)
    finally:
        for share in shares:
            share.process.kill()
            share.process.join()


def _start(seed: int, first: int, runs: int | None, until: float | None, jobs: int, run: RunSeed) -> _Share:
    context = multiprocessing.get_context("spawn")  # a fork would copy an open database
    ours, theirs = context.Pipe(duplex=False)
    end = None if runs is None else first + runs
    process = context.Process(target=_work, args=(theirs, seed, end, until, jobs, run), daemon=True)
    process.start()
    theirs.close()  # so that the pipe ends with the worker
    return _Share(process, ours, seed)


def _work(pipe: Connection, seed: int, end: int | None, until: float | None, step: int, run: RunSeed) -> None:
    """In a worker: every `step`th seed. What it runs when its parent is gone ends at the next answer."""
    database = Database()
    with suppress(KeyboardInterrupt, BrokenPipeError):  # both mean that nobody listens any more
        while (end is None or seed < end) and (until is None or RealClock().boottime() < until):
            pipe.send(run(seed, database))
            seed += step
        pipe.send(None)


def _outcomes(shares: list[_Share], step: int) -> Iterator[Outcome]:
    """What the workers say, as it comes; a worker that dies has failed at its seed."""
    while shares:
        ready = wait([share.pipe for share in shares])
        for share in [share for share in shares if share.pipe in ready]:
            try:
                outcome: Outcome | None = share.pipe.recv()
            except EOFError:
                share.process.join()
                yield Outcome(share.seed, problem=f"seed {share.seed}: its worker ended with {share.process.exitcode}")
                outcome = None
            if outcome is None:
                shares.remove(share)
            else:
                share.seed = outcome.seed + step
                yield outcome
