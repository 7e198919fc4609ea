"""`breezeblock chaos`: real processes, real faults, and a report."""

import signal
import tempfile
from pathlib import Path

from breezeblock.chaos.plan import any_seed, fence_of
from breezeblock.chaos.run import Options, main_say, run, summary
from breezeblock.chaos.scenarios import SCENARIOS, run_scenario
from breezeblock.chaos.servers import DATABASES, NoServers
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
    database: str = "sqlite",
) -> str:
    """Run it; returns what to print. Raises Failed when anything is wrong, and for what cannot be run."""
    # As Ctrl-C does: what was started is ended, and what was mounted is unmounted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = any_seed() if seed is None else seed
    if fence is not None and fence not in FENCES:
        raise Failed(f"--fence: expected one of {', '.join(FENCES)}, not {fence}.", status=2)
    if scenario is not None and scenario not in SCENARIOS:
        raise Failed(f"--scenario: expected one of {', '.join(SCENARIOS)}, not {scenario}.", status=2)
    if database not in DATABASES:
        raise Failed(f"--database: expected one of {', '.join(DATABASES)}, not {database}.", status=2)
    folder = out if out is not None else Path(tempfile.mkdtemp(prefix="breezeblock-chaos-report-"))
    if scenario is not None:
        return _scenario(scenario, folder, fence=fence or "kill")
    options = Options(
        seconds=minutes * 60, seed=chosen, fence=fence or fence_of(chosen), nodes=nodes, apis=apis, database=database
    )
    try:
        report = run(options, folder, say=main_say)
    except NoServers as error:
        raise Failed(str(error), status=2) from error
    text = f"{summary(report)}\nThe report is in {folder}: report.html, report.json. Again: --seed {chosen}"
    if report["findings_in_all"]:
        raise Failed(text)
    return text


def _scenario(name: str, folder: Path, *, fence: str) -> str:
    report = run_scenario(name, folder, fence=fence, say=main_say)
    findings = report.pop("findings")
    lines = [f"{key}: {value}" for key, value in report.items()]
    text = "\n".join([*lines, f"findings: {findings or 'none'}", f"The report is in {folder}: {name}.json"])
    broken = {code for code in report["answers"] if code >= "500"}
    if findings or broken or any(report[key] for key in ("stuck", "doubled", "lost", "failed")):
        raise Failed(text)
    return text
