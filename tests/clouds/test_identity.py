"""Commands and functions that ask an identity service for the id of a project: `openstack`, and openstacksdk's cloud layer."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import openstack
import pytest
from tests.clouds.conftest import Cloud

PROJECT: Final = "somebody"
LIMIT_S: Final = 120.0

# What the library warns of in itself is its own to change.
pytestmark = pytest.mark.filterwarnings("ignore")

OpenStack = Callable[..., Any]


@pytest.fixture(scope="module")
def project_id(cloud: Cloud) -> str:
    """Of a project that has a user."""
    return cloud.identity.add_user("ann", "passwordofann", project=PROJECT)


@pytest.fixture(scope="module")
def run(cloud: Cloud, project_id: str, tmp_path_factory: pytest.TempPathFactory) -> OpenStack:
    """The program `openstack`, as the administrator; what it answers, if it does."""
    home = str(tmp_path_factory.mktemp("home"))
    environ = {"PATH": os.environ["PATH"], "HOME": home, "OS_VOLUME_API_VERSION": "3.71", **cloud.identity.credentials}
    program = str(Path(sys.executable).with_name("openstack"))

    def run(*words: str, answers: bool = True) -> Any:
        command = [program, *words, *(("-f", "json") if answers else ())]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, f"{words}\n{done.stderr[-2000:]}"
        return json.loads(done.stdout) if answers else None

    return run


def test_quotas_of_a_project_by_its_name(run: OpenStack) -> None:
    """Set, shown, listed and taken back."""
    run("quota", "set", "--volumes", "7", PROJECT, answers=False)
    shown = run("quota", "show", "--volume", PROJECT)
    listed = run("quota", "list", "--volume")
    run("quota", "delete", "--volume", PROJECT, answers=False)
    after = run("quota", "show", "--volume", PROJECT)

    assert {one["Resource"]: one["Limit"] for one in shown}["volumes"] == 7
    assert [one["Volumes"] for one in listed] == [7]
    assert {one["Resource"]: one["Limit"] for one in after}["volumes"] == -1


def test_what_a_project_has_by_its_name(run: OpenStack, project_id: str) -> None:
    """Lists of one project, its limits, and a type that it alone may use."""
    type_ = run("volume", "type", "create", "--private", "--project", PROJECT, "for-somebody")
    shown = run("volume", "type", "show", "for-somebody")
    lists = [
        run("volume", "list", "--project", PROJECT),
        run("volume", "snapshot", "list", "--project", PROJECT),
        run("volume", "message", "list", "--project", PROJECT),
    ]
    limits = run("limits", "show", "--absolute", "--project", PROJECT)
    run("volume", "type", "delete", type_["id"], answers=False)

    assert (shown["access_project_ids"], lists) == ([project_id], [[], [], []])
    assert {one["Name"]: one["Value"] for one in limits}["total_volumes_used"] == 0


def test_versions_and_cleaning(run: OpenStack, cloud: Cloud) -> None:
    """What the catalogue has is found, and what cleaning would delete."""
    (version,) = run("versions", "show", "--service", "block-storage")
    made = run("volume", "create", "--size", "1", "to-be-cleaned")
    run("project", "cleanup", "--dry-run", "--auth-project", "--skip-resource", "compute", answers=False)
    run("volume", "delete", made["id"], answers=False)

    assert (version["Version"], version["Max Microversion"]) == ("3.0", "3.71")
    assert made["id"]


@pytest.fixture(scope="module")
def connection(cloud: Cloud) -> Iterator[Any]:
    """openstacksdk, as it is used with an identity service."""
    given: dict[str, Any] = {
        name.removeprefix("OS_").lower(): value for name, value in cloud.identity.credentials.items()
    }
    with openstack.connect(load_envvars=False, load_yaml_config=False, **given) as connection:
        yield connection


def test_quotas_and_limits_of_the_cloud_layer(connection: Any, project_id: str) -> None:
    """By the project's name."""
    connection.set_volume_quotas(PROJECT, volumes=9)
    changed = connection.get_volume_quotas(PROJECT).volumes
    connection.delete_volume_quotas(PROJECT)

    assert (changed, connection.get_volume_quotas(PROJECT).volumes) == (9, -1)
    assert connection.get_volume_limits(PROJECT).absolute.total_volumes_used == 0
