"""`breezeblock chaos`: real processes, real faults, and a report."""

import signal
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from breezeblock.chaos import outages
from breezeblock.chaos.outages import OUTAGES, run_outage
from breezeblock.chaos.plan import any_seed, fence_of
from breezeblock.chaos.run import Options, main_say, run, summary
from breezeblock.chaos.scenarios import SCENARIOS, run_scenario
from breezeblock.chaos.servers import DATABASES, DOORBELLS, NoServers
from breezeblock.commands.failure import Failed

__all__ = ["chaos"]

FENCES = ("kill", "external", "storage")


def chaos(
    *,
    minutes: float,
    seed: int | None,
    nodes: int,
    apis: int,
    out: Path | None,
    fence: str | None,
    scenario: str | None,
    database: str | None = None,
    doorbell: str = "auto",
) -> str:
    """Run it; returns what to print. Raises Failed when anything is wrong, and for what cannot be run."""
    # As Ctrl-C does: what was started is ended, and what was mounted is unmounted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _check("--fence", fence, FENCES)
    _check("--scenario", scenario, (*SCENARIOS, *OUTAGES))
    _check("--database", database, DATABASES)
    _check("--doorbell", doorbell, DOORBELLS)
    folder = out if out is not None else Path(tempfile.mkdtemp(prefix="breezeblock-chaos-report-"))
    try:
        if scenario is not None:
            return _scenario(scenario, folder, fence=fence or "kill", database=database)
        chosen = any_seed() if seed is None else seed
        options = Options(
            seconds=minutes * 60, seed=chosen, fence=fence or fence_of(chosen), nodes=nodes, apis=apis,
            database=database or "sqlite", doorbell=doorbell,
        )  # fmt: skip
        report = run(options, folder, say=main_say)
    except NoServers as error:
        raise Failed(str(error), status=2) from error
    text = f"{summary(report)}\nThe report is in {folder}: report.html, report.json. Again: --seed {chosen}"
    if report["findings_in_all"]:
        raise Failed(text)
    return text


def _check(option: str, value: str | None, known: Collection[str]) -> None:
    if value is not None and value not in known:
        raise Failed(f"{option}: expected one of {', '.join(known)}, not {value}.", status=2)


def _scenario(name: str, folder: Path, *, fence: str, database: str | None) -> str:
    if name in OUTAGES:
        if database not in (None, outages.DATABASE):
            raise Failed(f"--scenario {name} runs on {outages.DATABASE}, not on {database}.", status=2)
        report = run_outage(name, folder, say=main_say)
    else:
        report = run_scenario(name, folder, fence=fence, database=database or "sqlite", say=main_say)
    findings = report.pop("findings")
    lines = [f"{key}: {value}" for key, value in report.items()]
    text = "\n".join([*lines, f"findings: {findings or 'none'}", f"The report is in {folder}: {name}.json"])
    if findings or _broken(report) or any(report[key] for key in ("stuck", "doubled", "lost", "failed")):
        raise Failed(text)
    return text


def _broken(report: dict[str, Any]) -> set[str]:
    """Answers 5xx; a database that is down explains 503, and the findings say of each whether it does."""
    allowed = {"503"} if report["scenario"] in OUTAGES else set()
    return {code for code in report["answers"] if code >= "500" and code != "None"} - allowed
