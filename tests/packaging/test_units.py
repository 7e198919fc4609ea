"""The units for systemd: systemd itself reads them, and what they promise of the service is what the service does."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import typer.main

from breezeblock import cli
from breezeblock.settings import Settings, load
from breezeblock.supervisor import pinged, up
from breezeblock.supervisor.folder import SILENT_S

UNITS: Final = Path(__file__).resolve().parents[2] / "packaging" / "systemd"
SERVICES: Final = ("breezeblock-api.service", "breezeblock-node.service")
DOCTOR: Final = "breezeblock-doctor.service"
every_service = pytest.mark.parametrize("service", SERVICES)
SYSTEMD: Final = shutil.which("systemd-analyze")
with_systemd = pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not installed")


def unit(name: str) -> configparser.ConfigParser:
    read = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read(UNITS / name)
    return read


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they would lie on a machine, with a program that is here."""
    program = Path(sys.executable).parent / "breezeblock"
    for file in UNITS.glob("breezeblock*"):
        text = file.read_text().replace("/opt/breezeblock/bin/breezeblock", str(program))
        (tmp_path / file.name).write_text(text)
    return tmp_path


def settings(tmp_path: Path) -> Settings:
    return load(None, {}, {"service.data_dir": tmp_path}).settings


@with_systemd
def test_systemd_finds_nothing_wrong(installed: Path) -> None:
    """Misspelt options are only warned of, so that nothing at all may be said."""
    names = [str(installed / name) for name in (*SERVICES, DOCTOR, "breezeblock.slice")]
    done = subprocess.run(
        [str(SYSTEMD), "verify", "--man=no", *names], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")


@with_systemd
def test_systemd_finds_what_is_wrong(installed: Path) -> None:
    """The test above can fail."""
    file = installed / SERVICES[0]
    file.write_text(file.read_text().replace("WatchdogSec", "WatchdogSeconds"))
    done = subprocess.run(
        [str(SYSTEMD), "verify", "--man=no", str(file)], capture_output=True, text=True, check=False, timeout=60
    )

    assert "WatchdogSeconds" in done.stderr


@with_systemd
@every_service
def test_little_is_left_to_attack(installed: Path, service: str) -> None:
    """By systemd's own measure, from 0 to 10; as root and without restrictions a service has 9.6."""
    command = [str(SYSTEMD), "security", "--offline=yes", "--threshold=25", str(installed / service)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stdout[-300:]


@every_service
def test_the_program_takes_what_it_is_started_with(service: str) -> None:
    """The command of the unit is one that can be typed."""
    program, command, *options = unit(service)["Service"]["ExecStart"].split()
    known = {name for one in typer.main.get_command(cli.app).commands[command].params for name in one.opts}  # type: ignore[attr-defined]

    assert program == "/opt/breezeblock/bin/breezeblock"
    assert options[0] in known
    assert options[1] == ("api" if "api" in service else "nodes")


@every_service
def test_nobody_is_killed_who_is_about_to_end(service: str, tmp_path: Path) -> None:
    """A stop is longer than the service's own limits, one after the other."""
    chosen, options = settings(tmp_path), unit(service)["Service"]
    of_apis = chosen.api.drain_s + up.APIS_LEAVE_MORE_S
    longest_s = of_apis if "api" in service else up.KEEPERS_LEAVE_S

    assert float(options["TimeoutStopSec"]) > longest_s + up.KILLED_S
    assert options["KillMode"] == "mixed"


@every_service
def test_the_watchdog_is_patient_with_a_child_that_starts(service: str) -> None:
    """While it may yet come by itself, nothing is begun anew; nor is a container."""
    options = unit(service)["Service"]

    assert float(options["WatchdogSec"]) > pinged.START_S
    assert pinged.START_S < SILENT_S
    assert options["Type"] == "notify"


def test_settings_that_cannot_be_used_are_not_tried_again(tmp_path: Path) -> None:
    """The status with which they end is the one that the units name."""
    command = [sys.executable, "-m", "breezeblock.cli", "up", "--data", str(tmp_path), "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)

    assert {unit(service)["Service"]["RestartPreventExitStatus"] for service in SERVICES} == {str(done.returncode)}


def test_nodes_may_make_control_groups(tmp_path: Path) -> None:
    """And have no name that is taken for one of theirs (`env.cgroups`)."""
    options = unit("breezeblock-node.service")["Service"]

    assert (options["Delegate"], options["ProtectControlGroups"]) == ("yes", "no")
    # What the kernel keeps of processes is how a node's death is proven.
    assert "ProtectProc" not in options and "ProcSubset" not in options


def test_the_doctor_sees_what_nodes_see() -> None:
    """The same user, secrets, limits and restrictions: else it would find what is not so, or miss what is."""
    lines = [(UNITS / name).read_text().splitlines() for name in ("breezeblock-node.service", DOCTOR)]
    node, doctor = ({line for line in text if "=" in line and not line.startswith("#")} for text in lines)
    of_services = (
        "Type",
        "Exec",
        "Notify",
        "Timeout",
        "Watchdog",
        "Restart",
        "KillMode",
        "OOMPolicy",
        "Delegate",
        "StartLimit",
    )

    assert {
        line for line in node - doctor if not line.startswith((*of_services, "ProtectControlGroups", "Description"))
    } <= {
        "After=network-online.target nss-lookup.target time-sync.target remote-fs.target",
        "Wants=network-online.target",
        "WantedBy=multi-user.target",
    }


@every_service
def test_secrets_are_called_as_options(service: str) -> None:
    """Each from a file that may be missing: one by a whole path would keep the service from starting."""
    loaded = re.findall(r"^LoadCredential=(.*)$", (UNITS / service).read_text(), re.MULTILINE)

    assert loaded
    assert all(source == f"breezeblock.{option}" for option, _, source in (line.partition(":") for line in loaded))


@every_service
def test_folders_are_those_of_the_user_that_is_made(service: str, tmp_path: Path) -> None:
    """Units, sysusers.d, tmpfiles.d and the defaults of the settings name the same user and the same folders."""
    options = unit(service)["Service"]
    (user,) = re.findall(r"^u (\S+) ", (UNITS / "sysusers.d" / "breezeblock.conf").read_text(), re.MULTILINE)
    made = (UNITS / "tmpfiles.d" / "breezeblock.conf").read_text()

    assert options["User"] == options["Group"] == user
    assert f"d /var/lib/{options['StateDirectory']} {options['StateDirectoryMode']} {user} {user} -" in made
    assert load(None, {}).settings.service.data_dir == Path("/var/lib") / options["StateDirectory"]
    assert "BREEZEBLOCK_CONFIG=/etc/breezeblock/breezeblock.toml" in options["Environment"]
    assert "z /etc/breezeblock/breezeblock.toml 0640 root" in made


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None or os.geteuid() != 0, reason="needs systemd, and root")
def test_the_files_of_users_and_folders_are_read(tmp_path: Path) -> None:
    """By systemd's own programs, on a root of their own."""
    root = tmp_path / "root"
    (root / "etc" / "breezeblock").mkdir(parents=True)
    (root / "var" / "lib").mkdir(parents=True)
    (root / "etc" / "breezeblock" / "breezeblock.toml").touch(mode=0o666)
    for program, *options in (
        ("systemd-sysusers", str(UNITS / "sysusers.d" / "breezeblock.conf")),
        ("systemd-tmpfiles", "--create", str(UNITS / "tmpfiles.d" / "breezeblock.conf")),
    ):
        command = [program, f"--root={root}", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr

    users = dict(line.split(":", 1) for line in (root / "etc" / "passwd").read_text().splitlines())
    uid = int(users["breezeblock"].split(":")[1])
    state, file = root / "var" / "lib" / "breezeblock", root / "etc" / "breezeblock" / "breezeblock.toml"
    assert (state.stat().st_uid, state.stat().st_mode & 0o777) == (uid, 0o700)
    assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (0, 0o640)
