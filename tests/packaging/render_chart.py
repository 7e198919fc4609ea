"""Helm's own engine, in an environment of its own (`requirements-linters.txt`): renders, lints and checks the chart.

    python render_chart.py CHART KUBERNETES < {"case": {values}, ...}  > {"case": {"objects": [...], "refused": "", ...}, ...}

Without imports of ours: nothing of the project is installed there.
"""

import json
import sys
from typing import Any

import helm_python
import kubernetes_validate
import yaml


def rendered(chart: Any, values: dict[str, Any], kubernetes: str) -> dict[str, Any]:
    """The objects of the chart with these values, and what Kubernetes' schemas say of them; or why it refuses them."""
    try:
        files = chart.render(values, name="breezeblock", namespace="storage", is_install=True)
    except helm_python.HelmError as error:
        return {"refused": str(error), "objects": [], "invalid": []}
    texts = {path: text for path, text in files.items() if path.endswith(".yaml")}
    objects = [one for text in texts.values() for one in yaml.safe_load_all(text) if one]
    invalid = []
    for one in objects:
        try:
            kubernetes_validate.validate(one, kubernetes, strict=True)
        except kubernetes_validate.ValidationError as error:
            invalid.append(f"{one['kind']} {one['metadata']['name']}: {error.message}")
    notes = next((text for path, text in files.items() if path.endswith("NOTES.txt")), "")
    return {"refused": "", "objects": objects, "invalid": invalid, "notes": notes}


def main(path: str, kubernetes: str) -> None:
    """See the module."""
    cases = json.load(sys.stdin)
    with helm_python.Chart.load(path) as chart:
        found = {name: rendered(chart, values, kubernetes) for name, values in cases.items()}
    lint = helm_python.lint(path, cases["whole"], strict=True)
    print(json.dumps({"cases": found, "lint": lint}))


if __name__ == "__main__":
    main(*sys.argv[1:])
