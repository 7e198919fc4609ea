"""rally-openstack: each of its scenarios for block storage that needs no compute and no image service, twice at the same time.

Left out, for servers or images that they want: `create_and_attach_volume`, `create_snapshot_and_attach_volume`,
`create_nested_snapshots_and_attach_volume` and `create_and_upload_volume_to_image`.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.clouds.conftest import Cloud
from tests.proof import not_here
from tests.servers.environments import environment
from tests.servers.packages import Missing

REQUIREMENTS: Final = Path(__file__).with_name("requirements-rally.txt")
USER, PASSWORD = "rally", "passwordofrally"
LIMIT_S: Final = 900.0

_ONE: Final = {"size": 1}
_LUKS: Final = {"provider": "luks", "cipher": "aes-xts-plain64", "key_size": 256, "control_location": "front-end"}
_QOS: Final = {"consumer": "both", "write_iops_sec": "10", "read_iops_sec": "5"}
# What is there before a scenario begins: a volume in each project, or a type for each of the two runs.
_VOLUME: Final = {"volumes@openstack": {"size": 1, "volumes_per_tenant": 1}}
_TYPES: Final = {"volume_types@openstack": ["gold", "silver"]}

SCENARIOS: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "Authenticate.validate_cinder": ({"repetitions": 2}, {}),
    "CinderQos.create_and_get_qos": (_QOS, {}),
    "CinderQos.create_and_list_qos": (_QOS, {}),
    "CinderQos.create_and_set_qos": (_QOS | {f"set_{name}": value for name, value in _QOS.items()}, {}),
    "CinderQos.create_qos_associate_and_disassociate_type": (_QOS, _TYPES),
    "CinderVolumeBackups.create_incremental_volume_backup": (_ONE, {}),
    "CinderVolumeTypes.create_and_delete_encryption_type": (_LUKS, _TYPES),
    "CinderVolumeTypes.create_and_delete_volume_type": ({}, {}),
    "CinderVolumeTypes.create_and_get_volume_type": ({}, {}),
    "CinderVolumeTypes.create_and_list_encryption_type": (_LUKS, _TYPES),
    "CinderVolumeTypes.create_and_list_volume_types": ({}, {}),
    "CinderVolumeTypes.create_and_set_volume_type_keys": ({"volume_type_key": {"volume_backend_name": "fast"}}, {}),
    "CinderVolumeTypes.create_and_update_encryption_type": (
        {f"create_{name}": value for name, value in _LUKS.items()}
        | {"update_provider": "plain", "update_cipher": "aes-cbc-essiv", "update_key_size": 128}
        | {"update_control_location": "back-end"},
        _TYPES,
    ),
    "CinderVolumeTypes.create_and_update_volume_type": ({"update_name": True, "update_description": "other"}, {}),
    "CinderVolumeTypes.create_get_and_delete_encryption_type": (_LUKS, _TYPES),
    "CinderVolumeTypes.create_volume_type_add_and_list_type_access": ({}, {}),
    "CinderVolumeTypes.create_volume_type_and_encryption_type": (_LUKS, {}),
    "CinderVolumes.create_and_accept_transfer": (_ONE, {}),
    "CinderVolumes.create_and_delete_snapshot": ({}, _VOLUME),
    "CinderVolumes.create_and_delete_volume": (_ONE, {}),
    "CinderVolumes.create_and_extend_volume": (_ONE | {"new_size": 2}, {}),
    "CinderVolumes.create_and_get_volume": (_ONE, {}),
    "CinderVolumes.create_and_list_snapshots": ({}, _VOLUME),
    "CinderVolumes.create_and_list_volume": (_ONE, {}),
    "CinderVolumes.create_and_list_volume_backups": (_ONE, {}),
    "CinderVolumes.create_and_restore_volume_backup": (_ONE, {}),
    "CinderVolumes.create_and_update_volume": (_ONE | {"update_volume_kwargs": {"description": "other"}}, {}),
    "CinderVolumes.create_from_volume_and_delete_volume": (_ONE, _VOLUME),
    "CinderVolumes.create_volume": (_ONE, {}),
    "CinderVolumes.create_volume_and_clone": (_ONE | {"nested_level": 2}, {}),
    "CinderVolumes.create_volume_and_update_readonly_flag": (_ONE, {}),
    "CinderVolumes.create_volume_backup": (_ONE, {}),
    "CinderVolumes.create_volume_from_snapshot": ({}, _VOLUME),
    "CinderVolumes.list_transfers": ({}, {}),
    "CinderVolumes.list_types": ({}, {}),
    "CinderVolumes.list_volumes": ({}, {}),
    "CinderVolumes.modify_volume_metadata": ({}, _VOLUME),
    "Quotas.cinder_get": ({}, {}),
    "Quotas.cinder_update": ({"max_quota": 1024}, {}),
    "Quotas.cinder_update_and_delete": ({"max_quota": 1024}, {}),
}
# Of these, several runs at once change what the others read: which default there is, or the quota of their one project.
ALONE: Final = ("Quotas.cinder_update", "Quotas.cinder_update_and_delete")


def task() -> dict[str, Any]:
    """All scenarios, in the form that Rally reads."""
    subtasks = [
        {
            "title": name,
            "scenario": {name: arguments},
            "runner": {"constant": {"times": 2, "concurrency": 1 if name in ALONE else 2}},
            "contexts": contexts,
            "sla": {"failure_rate": {"max": 0}},
        }
        for name, (arguments, contexts) in SCENARIOS.items()
    ]
    return {"version": 2, "title": "Block storage", "subtasks": subtasks}


class Rally:
    """The program, with a folder of its own."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.folder = folder
        self._program = program
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"}
        (folder / "rally.conf").write_text(f"[database]\nconnection = sqlite:///{folder}/rally.sqlite\n")

    def run(self, *words: str, may_fail: bool = False) -> str:
        """One of its commands."""
        command = [str(self._program), "--config-file", str(self.folder / "rally.conf"), *words]
        done = subprocess.run(command, env=self._environ, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert may_fail or done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def given(self, name: str, content: object) -> str:
        """A file for it."""
        path = self.folder / name
        path.write_text(json.dumps(content))
        return str(path)


@pytest.fixture(scope="module")
def rally(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rally]:
    """It knows the cloud, as its administrator and as a user."""
    try:
        program = environment("rally", REQUIREMENTS) / "bin" / "rally"
    except Missing as missing:
        not_here(str(missing))
    identity = cloud.identity
    identity.add_user(USER, PASSWORD, project=USER)
    domains = {"user_domain_name": "Default", "project_domain_name": "Default"}
    admin = {"username": identity.USER, "password": identity.PASSWORD, "project_name": identity.PROJECT}
    user = {"username": USER, "password": PASSWORD, "project_name": USER}
    known = {
        "auth_url": identity.url,
        "region_name": identity.REGION,
        "admin": admin | domains,
        "users": [user | domains],
    }
    made = Rally(program, tmp_path_factory.mktemp("rally"))
    made.run("db", "create")
    made.run("env", "create", "--name", "here", "--spec", made.given("spec.json", {"existing@openstack": known}))
    yield made


def test_every_scenario_succeeds(rally: Rally) -> None:
    """Each run of each, and nobody is left out."""
    rally.run("task", "start", "--task", rally.given("task.json", task()), may_fail=True)
    report = rally.folder / "report.json"
    rally.run("task", "report", "--json", "--out", str(report))

    ran: dict[str, int] = {}
    failed: dict[str, list[Any]] = {}
    for subtask in json.loads(report.read_text())["tasks"][0]["subtasks"]:
        for workload in subtask["workloads"]:
            (name,) = workload["scenario"]
            errors = [one["error"][:2] for one in workload["data"] if one["error"]]
            ran[name] = len(workload["data"])
            failed |= {name: errors} if errors else {}
    assert failed == {}
    assert ran == dict.fromkeys(SCENARIOS, 2)
