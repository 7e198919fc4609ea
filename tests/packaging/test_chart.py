"""The chart for Kubernetes: rendered and linted by Helm's own engine, and held against Kubernetes' own schemas.

The engine is a large library, so that most of this is for proofs; what needs none is looked at every day.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
import yaml
from tests.proof import not_here
from tests.servers.environments import environment
from tests.servers.packages import Missing

from breezeblock import __version__, cli
from breezeblock.api.routes import TOP
from breezeblock.settings import load

HERE: Final = Path(__file__).resolve().parent
CHART: Final = HERE.parents[1] / "packaging" / "helm" / "breezeblock"
LINTERS: Final = HERE / "requirements-linters.txt"
# The oldest that the chart allows for.
KUBERNETES: Final = "1.27"
SETTINGS: Final = """\
[service]
cluster = "east"
[auth]
strategy = "keystone"
auth_url = "https://keystone.example/v3"
[nodes]
ttl_s = 8.5
slots = 4
[quota]
volumes = -1
[backends.shared]
path = "/volumes/shared"
fence = ["external"]
fence_agent = "power"
thin = false
[fences.power]
command = "/agents/power"
options = { port = 623, lanplus = true }
"""
WHOLE: Final[dict[str, Any]] = {
    "settings": SETTINGS,
    "database": {"secretName": "the-database"},
    "env": [{"name": "BREEZEBLOCK_LOG__LEVEL", "value": "debug"}],
    "extraVolumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}],
    "extraVolumeMounts": [{"name": "shared", "mountPath": "/volumes/shared"}],
    "nodes": {"tolerations": [{"key": "storage", "operator": "Exists"}], "nodeSelector": {"disk": "shared"}},
    "service": {"annotations": {"a": "b"}},
    "imagePullSecrets": [{"name": "registry"}],
}


CASES: Final[dict[str, dict[str, Any]]] = {
    "whole": WHOLE,
    "no text": WHOLE | {"settings": {"auth": {"strategy": "keystone"}}},
    "open to everybody": WHOLE | {"settings": SETTINGS.replace('"keystone"', '"none"')},
    "no database": WHOLE | {"database": {"secretName": ""}},
    "no backend": WHOLE | {"settings": SETTINGS.replace("[backends.", "[others.")},
}


def test_every_value_that_templates_use_is_there() -> None:
    """With a default and, in values.yaml, a word of what it is for; and none is there for nothing."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    text = "".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))
    used = set(re.findall(r"\.Values\.([A-Za-z.]+)", text))

    def known(at: Any, path: list[str]) -> bool:
        return not path or (isinstance(at, dict) and path[0] in at and known(at[path[0]], path[1:]))

    leaves = {
        f"{top}.{key}" for top, inner in values.items() if top in ("api", "nodes", "image", "service") for key in inner
    }
    assert used
    assert {path for path in used if not known(values, path.split("."))} == set()
    assert {
        path for path in {*values, *leaves} if not any(one == path or one.startswith(f"{path}.") for one in used)
    } == set()


def test_it_is_of_this_release() -> None:
    """The image that it runs is the one that is built here."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["apiVersion"], chart["appVersion"]) == ("v2", __version__)
    assert KUBERNETES in chart["kubeVersion"]


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    try:
        python = environment("packaging", LINTERS) / "bin" / "python"
    except Missing as error:
        not_here(str(error))
    done = subprocess.run(
        [python, HERE / "render_chart.py", CHART, KUBERNETES],
        input=json.dumps(CASES),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def objects(told: dict[str, Any]) -> dict[str, Any]:
    """Kind and name -> what Kubernetes is given."""
    assert told["cases"]["whole"]["refused"] == ""
    return {f"{one['kind']} {one['metadata']['name']}": one for one in told["cases"]["whole"]["objects"]}


def pod(objects: dict[str, Any], name: str) -> dict[str, Any]:
    spec: dict[str, Any] = objects[name]["spec"]["template"]["spec"]
    return spec


PODS: Final = ("Deployment breezeblock-api", "StatefulSet breezeblock-node")


@pytest.mark.proof
def test_helm_and_kubernetes_take_it(told: dict[str, Any], objects: dict[str, Any]) -> None:
    """No word of the linter, also none of warning; every object is one that the oldest Kubernetes knows."""
    assert told["lint"]["errors"] == []
    assert [one for one in told["lint"]["messages"] if one["severity"] > 1] == []
    assert told["cases"]["whole"]["invalid"] == []
    assert set(objects) == {
        "ConfigMap breezeblock",
        "Service breezeblock",
        "Service breezeblock-node",
        *PODS,
        "PodDisruptionBudget breezeblock-api",
        "PodDisruptionBudget breezeblock-node",
    }


@pytest.mark.proof
@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("no text", "settings: expected the text of a settings file"),
        ("open to everybody", 'settings: expected strategy = "http_basic" or "keystone"'),
        ("no database", "database.secretName: expected the name of a Secret"),
        ("no backend", "settings: expected at least one [backends.NAME]"),
    ],
)
def test_what_no_pod_could_run_with_is_refused(told: dict[str, Any], case: str, said: str) -> None:
    """Before anything is installed, with what was expected."""
    assert said in told["cases"][case]["refused"]


@pytest.mark.proof
def test_settings_arrive_as_they_were_written(objects: dict[str, Any], tmp_path: Path) -> None:
    """Every line; the service reads them."""
    text = objects["ConfigMap breezeblock"]["data"]["breezeblock.toml"]
    file = tmp_path / "breezeblock.toml"
    # Who may call is asked of services elsewhere, which are not there; that section has tests of its own.
    file.write_text(re.sub(r"(?ms)^\[auth\].*?(?=^\[)", "", text))
    loaded = load(file, {}, {}).settings

    assert text.strip() == SETTINGS.strip()
    assert (loaded.nodes.slots, loaded.quota.volumes, loaded.backends["shared"].thin) == (4, -1, False)
    assert loaded.fences["power"].options == {"port": 623, "lanplus": True}


@pytest.mark.proof
@pytest.mark.parametrize("name", PODS)
def test_pods_start_what_can_be_typed(objects: dict[str, Any], name: str) -> None:
    """Commands, options, and URLs of probes are those of this release."""
    (container,) = pod(objects, name)["containers"]
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    command, *options = container["args"]
    known = {name for one in commands[command].params for name in one.opts}
    probes = [container[probe] for probe in ("startupProbe", "livenessProbe", "readinessProbe") if probe in container]

    assert {option for option in options if option.startswith("--")} <= known
    assert probes
    for probe in probes:
        if "httpGet" in probe:
            assert probe["httpGet"]["path"] in TOP
        else:
            assert probe["exec"]["command"][0] == "breezeblock" and probe["exec"]["command"][1] in commands
    assert all(isinstance(word, str) for word in container["args"])


@pytest.mark.proof
@pytest.mark.parametrize("name", PODS)
def test_pods_have_no_rights(objects: dict[str, Any], name: str) -> None:
    """Nor a token for Kubernetes' own API; what they write to is a volume; secrets come from a Secret."""
    spec = pod(objects, name)
    (container,) = spec["containers"]
    environ = {one["name"]: one for one in container["env"]}

    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {one["mountPath"] for one in container["volumeMounts"]} > {"/var/lib/breezeblock", "/tmp", "/volumes/shared"}
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in spec["volumes"]}
    assert environ["BREEZEBLOCK_DATABASE__URL"]["valueFrom"]["secretKeyRef"] == {"name": "the-database", "key": "url"}
    assert "example" not in json.dumps(environ)
    assert spec["terminationGracePeriodSeconds"] >= (90 if "node" in name else 30)


@pytest.mark.proof
def test_budgets_and_services_mean_the_pods(objects: dict[str, Any]) -> None:
    """Each selector fits one kind of pod, and all of its pods."""
    labels = {name: objects[name]["spec"]["template"]["metadata"]["labels"] for name in PODS}

    def meant(selector: dict[str, str]) -> list[str]:
        return [name for name, its in labels.items() if selector.items() <= its.items()]

    for part, name in zip(("api", "node"), PODS, strict=True):
        assert meant(objects[f"PodDisruptionBudget breezeblock-{part}"]["spec"]["selector"]["matchLabels"]) == [name]
        assert meant(objects[name]["spec"]["selector"]["matchLabels"]) == [name]
    assert meant(objects["Service breezeblock"]["spec"]["selector"]) == [PODS[0]]
    assert meant(objects["Service breezeblock-node"]["spec"]["selector"]) == [PODS[1]]
    (node,) = pod(objects, PODS[1])["containers"]
    named = next(one for one in node["env"] if one["name"] == "BREEZEBLOCK_NODES__NAME")
    assert named["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
