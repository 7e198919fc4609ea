"""The dashboard and the alerts against the table of metrics, and the alerts against their pages."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from breezeblock.api import metrics
from breezeblock.api.metrics import Declared

ROOT: Final = Path(__file__).resolve().parents[2]
ALERTS: Final = ROOT / "packaging" / "prometheus" / "alerts.yaml"
DASHBOARD: Final = ROOT / "packaging" / "grafana" / "breezeblock.json"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
PARTS: Final = ("What the service does by itself", "Look", "Do", "It is over when")
# What Prometheus adds to every series.
ADDED: Final = {"job", "instance"}
SERIES: Final = re.compile(r"\b(breezeblock_\w+)(?:\{([^}]*)\})?")
LABEL: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
GROUPED: Final = re.compile(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)")
SHOWN: Final = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")


def samples() -> dict[str, set[str]]:
    """Every name of a series with its labels, as the text format has it."""
    found: dict[str, set[str]] = {}
    for one in metrics.DECLARED:
        for name, more in _samples_of(one):
            found[name] = {*one.labels, *more, *ADDED}
    return found


def _samples_of(one: Declared) -> Iterator[tuple[str, Sequence[str]]]:
    if one is metrics.REQUESTS:
        yield from ((f"{one.name}_bucket", ("le",)), (f"{one.name}_count", ()), (f"{one.name}_sum", ()))
    elif one in (metrics.RINGS, metrics.EVENTS_SENT, metrics.BACKUP_BYTES):
        yield f"{one.name}_total", ()
    else:
        yield one.name, ()


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return list(dashboard["panels"])


def targets() -> list[dict[str, Any]]:
    return [target for panel in panels() for target in panel.get("targets", ())]


def wrong(expression: str, shown: str = "") -> list[str]:
    """What an expression, and the text shown for its series, name that is not there."""
    known = samples()
    found = [f"{name}: no such series" for name, _ in SERIES.findall(expression) if name not in known]
    labels = {label for name, _ in SERIES.findall(expression) for label in known.get(name, ADDED)} | {"job", "instance"}
    for name, matchers in SERIES.findall(expression):
        found += [f"{name}{{{label}}}" for label in LABEL.findall(matchers) if label not in known.get(name, labels)]
    for group in GROUPED.findall(expression):
        found += [f"by ({label})" for label in filter(None, re.split(r"[,\s]+", group)) if label not in labels]
    grouped = {label for group in GROUPED.findall(expression) for label in re.split(r"[,\s]+", group)}
    there = grouped - {"le"} if GROUPED.search(expression) else labels
    found += [f"{{{{{label}}}}} is not kept" for label in SHOWN.findall(shown) if label not in there]
    return found


every_alert = pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))


@every_alert
def test_an_alert_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    """Names, labels, and the labels in its words."""
    words = rule["annotations"]["summary"] + rule["annotations"]["description"]

    assert wrong(rule["expr"], words) == []


@every_alert
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """How urgent it is, in one line and in a few, and on a page."""
    page = ROOT / rule["annotations"]["runbook_url"]
    text = page.read_text(encoding="utf-8")

    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert f"Alert `{rule['alert']}`." in text
    assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == PARTS


def test_every_page_has_its_alert() -> None:
    named = sorted(ROOT / rule["annotations"]["runbook_url"] for rule in rules())

    assert named == sorted(RUNBOOKS.glob("*.md"))
    assert len({rule["alert"] for rule in rules()}) == len(rules())


@pytest.mark.parametrize("target", targets(), ids=lambda target: str(target["expr"])[:60])
def test_a_panel_asks_for_what_there_is(target: dict[str, Any]) -> None:
    """Of the job that was chosen, and no other."""
    assert wrong(target["expr"], target["legendFormat"]) == []
    assert all('job="$job"' in matchers for _, matchers in SERIES.findall(target["expr"]))


def test_every_metric_is_on_the_dashboard() -> None:
    """A number that nobody sees need not be measured."""
    shown = {name for target in targets() for name, _ in SERIES.findall(target["expr"])}
    asked = {name for rule in rules() for name, _ in SERIES.findall(rule["expr"])}
    declared = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in samples()}

    seen = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in shown | asked}
    assert declared - seen == {"breezeblock_build_info"}


def test_panels_do_not_lie_on_each_other() -> None:
    places = {panel["id"]: panel["gridPos"] for panel in panels()}
    cells = {
        id_: {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        for id_, at in places.items()
    }

    assert len(places) == len(panels())
    assert [pair for pair in combinations(cells, 2) if cells[pair[0]] & cells[pair[1]]] == []
    assert max(at["x"] + at["w"] for at in places.values()) == 24


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("breezeblock_node", ""),
        ('breezeblock_nodes{color="up"}', ""),
        ("max by (color) (breezeblock_nodes)", ""),
        ("max by (state) (breezeblock_nodes)", "{{ $labels.node }}"),
        ("breezeblock_backup_bytes", ""),
    ],
)
def test_what_is_not_there_is_found(expression: str, shown: str) -> None:
    assert len(wrong(expression, shown)) == 1
