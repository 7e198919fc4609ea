"""The doctor's single looks, where no server is needed to plant what they find."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from breezeblock.commands.doctor import clocks, mariadb
from breezeblock.commands.doctor.capacity import connections_of, few_connections
from breezeblock.commands.doctor.examine import CHECKS, as_data, examine, told
from breezeblock.commands.doctor.finding import ERROR, NOTE, WARNING, Finding
from breezeblock.commands.doctor.machine import look_at_units
from breezeblock.env.probes import mount_of, probe
from breezeblock.env.real import RealClock
from breezeblock.settings import Settings, load


def settings(tmp_path: Path, **more: object) -> Settings:
    return load(None, {}, {"service.data_dir": tmp_path / "data", **more}).settings


def checks(found: object) -> dict[str, str]:
    return {one.check: one.level for one in found}  # type: ignore[attr-defined]


# --- clocks -----------------------------------------------------------------------------------------------------------


class Made(RealClock):
    """A clock that goes as it is told: it stands still but for pauses and for being read."""

    def __init__(self, *, rate: float = 1.0) -> None:
        self.true_s = 1000.0
        self._rate = rate

    def boottime(self) -> float:
        self.true_s += 1e-6
        return self.true_s * self._rate

    def pause(self, seconds: float) -> None:
        self.true_s += seconds


@pytest.mark.parametrize(
    ("rate", "level"), [(1.0, None), (1.0005, None), (1.01, WARNING), (0.99, WARNING), (1.08, ERROR), (0.9, ERROR)]
)
def test_a_clock_that_goes_too_fast_is_found(rate: float, level: str | None) -> None:
    """Against one that is right; half a thousandth is what time synchronisation may correct."""
    clock = Made(rate=rate)
    faster = clocks.compare(clock, lambda: clock.true_s, 1.0)

    assert faster == pytest.approx(rate - 1, abs=1e-5)
    assert checks(clocks.judge("clocks.hardware", "another", faster, 0.05)) == (
        {} if level is None else {"clocks.hardware": level}
    )


def test_one_slow_answer_is_not_a_slow_clock() -> None:
    """Of several readings the quickest counts."""
    clock = Made()
    slow = iter([0.0, 0.4, 0.0, 0.0, 0.0] * 2)

    def other() -> float:
        clock.true_s += next(slow)
        return clock.true_s

    assert abs(clocks.compare(clock, other, 1.0)) < 1e-4


def test_this_machines_clock_is_right() -> None:
    """By the hardware's oscillator, which is what the doctor asks."""
    clock = RealClock()

    assert abs(clocks.compare(clock, clock.raw, 0.2)) < 0.005


# --- filesystems ------------------------------------------------------------------------------------------------------

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:40 / /srv rw - nfs4 files:/export rw
24 23 0:41 / /srv/my\\040disk rw - xfs /dev/sdb1 rw
25 22 0:42 / /mnt rw - fuse.glusterfs a:/v rw
26 22 0:43 / /twice rw - ext4 /dev/sdc1 rw
27 22 0:44 / /twice rw - ceph a:/ rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "is_network"),
    [
        ("/", "ext4", False),
        ("/nowhere/at/all", "ext4", False),
        ("/srv/x", "nfs4", True),
        ("/srv/my disk/x", "xfs", False),
        ("/mnt/x", "fuse.glusterfs", True),
        ("/twice/x", "ceph", True),
        ("/srvx", "ext4", False),
    ],
)
def test_where_a_path_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, kind: str, is_network: bool
) -> None:
    """The longest mount point above it; of two on one place, the later."""
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    monkeypatch.setattr("breezeblock.env.probes._existing", lambda path: path)

    mount = mount_of(Path(path), table)

    assert (mount.kind, mount.is_network) == (kind, is_network)


def test_a_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    """And says which call failed where one does."""
    well = probe(tmp_path, name="probe")
    nowhere = probe(tmp_path / "missing", name="probe")

    assert well.failed == ""
    assert list(tmp_path.iterdir()) == []
    assert nowhere.failed == "cannot make a file: No such file or directory"


def test_filesystems_without_nameless_files_are_probed_by_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS is. The name is gone at once."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)

    assert probe(tmp_path, name="probe").failed == ""
    assert list(tmp_path.iterdir()) == []


# --- units ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mode", "wanted"),
    [
        ("[Service]\nType=notify\nUser=breezeblock\n", 0o644, {}),
        ("[Service]\nType=notify\n", 0o644, {"units.root": WARNING}),
        ("[Service]\nType=notify\nUser=root\n", 0o644, {"units.root": WARNING}),
        ("[Service]\nType=notify\n#User=breezeblock\n", 0o644, {"units.root": WARNING}),
        ("[Service]\nType=simple\nUser=breezeblock\n", 0o644, {"units.type": NOTE}),
        ("[Service]\nType=notify\nUser=breezeblock\n", 0o664, {"units.writable": ERROR}),
    ],
)
def test_units_with_too_many_rights_are_found(tmp_path: Path, text: str, mode: int, wanted: dict[str, str]) -> None:
    """Who may change a unit is root; who runs as root has the machine."""
    unit = tmp_path / "breezeblock-api.service"
    unit.write_text(text)
    unit.chmod(mode)
    (tmp_path / "other.service").write_text("[Service]\n")

    assert checks(look_at_units(tmp_path)) == wanted


def test_the_units_that_are_shipped_are_well() -> None:
    """By the doctor's own measure."""
    units = Path(__file__).resolve().parents[2] / "packaging" / "systemd"

    assert not list(look_at_units(units))


# --- databases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "options", "wanted"),
    [
        ({"wsrep_cluster_size": "3"}, "", {}),
        ({"wsrep_cluster_size": "2"}, "", {"galera.size": WARNING}),
        ({"wsrep_cluster_size": "1"}, "", {"galera.size": WARNING}),
        ({"wsrep_cluster_size": "1", "wsrep_cluster_status": "non-Primary"}, "", {"galera.primary": ERROR}),
        ({"wsrep_cluster_size": "3", "wsrep_ready": "OFF"}, "", {"galera.primary": ERROR}),
        ({"wsrep_cluster_size": "5"}, "base_port = 1; pc.ignore_sb = true;", {"galera.quorum": ERROR}),
        ({"wsrep_cluster_size": "5"}, "pc.ignore_sb = false; pc.ignore_quorum = false", {}),
    ],
)
def test_a_cluster_without_a_majority_is_found(status: dict[str, str], options: str, wanted: dict[str, str]) -> None:
    """One that could lose it, and one that would not care."""
    status = {"wsrep_cluster_status": "Primary", "wsrep_ready": "ON", **status}

    assert checks(mariadb.judge_cluster({"wsrep_provider_options": options}, status, "galera")) == wanted


@pytest.mark.parametrize(("most", "level"), [(500, None), (300, None), (100, WARNING), (60, ERROR)])
def test_too_few_connections_are_found(tmp_path: Path, most: int, level: str | None) -> None:
    """An error when they do not suffice for this machine, a warning when they do not for three like it."""
    url = "postgresql://host/name"
    chosen = settings(tmp_path, **{"database.url": url, "nodes.fence_agent": "x", "fences.x.command": '["/bin/true"]'})

    assert connections_of(chosen) == 2 * (8 + 4 + 1) + 3 * (8 + 4 + 3)
    assert checks(few_connections(chosen, url, most=most, others=0, option="max_connections")) == (
        {} if level is None else {"database.connections": level}
    )


# --- the whole --------------------------------------------------------------------------------------------------------


def test_settings_that_cannot_be_used_are_findings(tmp_path: Path) -> None:
    """All at once; nothing else is looked at."""
    found = examine(None, {"BREEZEBLOCK_API__PORT": "70000", "BREEZEBLOCK_NODES__COUNT": "many"}, {})

    assert [(one.check, one.level) for one in found] == [("settings", ERROR)] * 2
    assert "api.port" in found[0].what + found[1].what


def test_a_folder_that_cannot_be_made_is_found(tmp_path: Path) -> None:
    """Where a file is in the way."""
    (tmp_path / "file").touch()
    found = examine(None, {}, {"service.data_dir": tmp_path / "file" / "data"}, parts=["folders"])

    assert "folders.data" in checks(found)


def test_a_path_that_cannot_be_looked_at_is_found(tmp_path: Path) -> None:
    """Below somebody else's folder, or, as here, one with a name that no filesystem has."""
    found = examine(None, {}, {"service.data_dir": tmp_path / ("x" * 300) / "data"}, parts=["folders"])

    assert checks(found) == {"folders.hidden": ERROR}
    assert "File name too long" in found[0].what


def test_two_backends_on_one_filesystem_are_told(tmp_path: Path) -> None:
    """Both count its space."""
    file = tmp_path / "x.toml"
    file.write_text(f'[service]\ndata_dir = "{tmp_path}/data"\n[backends.a]\npath = "a"\n[backends.b]\npath = "b"\n')
    for name in "ab":
        (tmp_path / name).mkdir()

    assert checks(examine(file, {}, {}, parts=["folders"]))["backends.device"] == WARNING


def test_what_is_found_is_told_worst_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its reason and the way out; and as data."""

    def finds(level: str) -> Callable[[Settings], list[Finding]]:
        return lambda chosen: [Finding(f"x.{level}", level, "What.", "Why.", "Do.")]  # type: ignore[arg-type]

    for part, level in zip(CHECKS, (NOTE, ERROR, WARNING, NOTE, NOTE, NOTE), strict=True):
        monkeypatch.setitem(CHECKS, part, finds(level))
    found = examine(None, {}, {"service.data_dir": tmp_path})

    text = told(found)
    assert text.startswith("ERROR   x.error: What.\n        why: Why.\n        do:  Do.\nWARNING ")
    assert text.endswith("\n1 error, 1 warning, 4 notes.")
    assert as_data(found, ())["findings"][0] == {
        "check": "x.error", "level": "error", "what": "What.", "why": "Why.", "do": "Do.",
    }  # fmt: skip
    assert told([]) == "Nothing was found that is not as it should be."
