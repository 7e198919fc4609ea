"""What Prometheus makes of rules and series, by its own tool: no server runs, and half an hour passes at once."""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from tests.proof import not_here
from tests.servers.packages import Missing, find

__all__ = ["Case", "check", "evaluate", "series_of"]

MINUTES: Final = 30


@dataclass(frozen=True)
class Case:
    """Series in Prometheus' notation of tests, minute by minute, and the alerts that fire at the end of half an hour."""

    name: str
    series: Mapping[str, str]
    firing: Iterable[str]


def series_of(scraped: str, *, job: str = "breezeblock", instance: str = "here:8776") -> dict[str, str]:
    """What a service has answered, as if it answered the same for half an hour."""
    found = {f'up{{job="{job}",instance="{instance}"}}': f"1+0x{MINUTES}"}
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            labels = {**sample.labels, "job": job, "instance": instance}
            shown = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels.items()))
            found[f"{sample.name}{{{shown}}}"] = f"{sample.value}+0x{MINUTES}"
    return found


def check(rules: Path) -> None:
    """Whether Prometheus would load these rules."""
    _run("check", "rules", str(rules))


def evaluate(folder: Path, rules: Path, cases: Sequence[Case]) -> None:
    """Whether exactly the expected alerts fire, of each case. Raises AssertionError with what fires instead."""
    tests = [
        {
            "name": case.name,
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
            "promql_expr_test": [
                {
                    "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": f"{MINUTES}m",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in case.firing],
                }
            ],
        }
        for case in cases
    ]
    file = folder / "alerts.test.json"  # which is YAML, too
    file.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    _run("test", "rules", str(file))


def _run(*words: str) -> None:
    try:
        promtool = find("promtool", package="prometheus")
    except Missing as missing:
        not_here(str(missing))
    ended = subprocess.run([promtool, *words], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
