"""Ansible's modules for block storage: each playbook makes, changes and removes, and finds nothing to do the second time.

Left out: `quota` reads the compute service's quotas first, whatever it is asked to change; `server_volume` is about servers.
"""

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest
from tests.clouds.conftest import Cloud
from tests.proof import not_here
from tests.servers.environments import environment
from tests.servers.packages import Missing

HERE: Final = Path(__file__).parent
REQUIREMENTS: Final = HERE / "requirements-ansible.txt"
PLAYBOOKS: Final = sorted(path.stem for path in (HERE / "playbooks").glob("*.yml"))
# Each task imports all of the library anew, for some seconds.
LIMIT_S: Final = 300.0


@pytest.fixture(scope="session")
def programs() -> Path:
    """Where `ansible-playbook` is."""
    try:
        return environment("ansible", REQUIREMENTS) / "bin"
    except Missing as missing:
        not_here(str(missing))


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_playbook_finds_all_as_it_says(cloud: Cloud, programs: Path, tmp_path: Path, playbook: str) -> None:
    """Its tasks fail where something is not as they expect."""
    environ = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        **cloud.identity.credentials,
    }
    words = ("-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={programs / 'python'}")
    command = [str(programs / "ansible-playbook"), *words, str(HERE / "playbooks" / f"{playbook}.yml")]

    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
