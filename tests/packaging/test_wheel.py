"""The wheel: what is in it is all that a service needs, and it serves where there is no checkout."""

import email
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.service import eventually

from breezeblock import __version__

ROOT: Final = Path(__file__).resolve().parents[2]
# What pip is told by `make wheel`, and by the Dockerfile.
BUILD: Final = ("-m", "pip", "wheel", "-q", "--no-deps")


def run(*command: str | Path, seconds: float = 120) -> str:
    """What a program says, outside of every checkout and without our environment's paths."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "BREEZEBLOCK"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd="/",
        env=environ,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what is here, in a copy: setuptools leaves folders behind."""
    return built(tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel"))


def built(source: Path, out: Path) -> Path:
    """The wheel of what is here."""
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    run(sys.executable, *BUILD, "-w", out, source)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """An environment with the wheel, and with what it depends on from the one that runs the tests.

    Folders that a .pth file names are searched, but .pth files in them are not read: the checkout itself is not found.
    """
    made = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(made, with_pip=False, symlinks=True)
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        made / "bin" / "python",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        wheel,
    )
    (site,) = made.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_everything_is_in_it_and_nothing_else(wheel: Path) -> None:
    """Each file of the package, also those that are no modules; no tests."""
    ours = [path for path in (ROOT / "src").rglob("*") if path.is_file()]
    wanted = {
        path.relative_to(ROOT / "src").as_posix()
        for path in ours
        if "__pycache__" not in path.parts and ".egg-info" not in path.as_posix()
    }
    info = f"breezeblock-{__version__}.dist-info/"

    assert {name for name in names(wheel) if not name.startswith(info)} == wanted
    assert {f"{info}{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")} < names(wheel)


def test_it_says_what_it_is(wheel: Path) -> None:
    """Name, version, licence, and what it needs, as the project does; it is for every machine with Python 3.11 or later."""
    with zipfile.ZipFile(wheel) as archive:
        told = email.message_from_bytes(archive.read(f"breezeblock-{__version__}.dist-info/METADATA"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {line.split(";")[0].strip() for line in told.get_all("Requires-Dist", []) if "extra ==" not in line}

    assert wheel.name == f"breezeblock-{__version__}-py3-none-any.whl"
    assert (told["Name"], told["Version"]) == ("breezeblock", __version__)
    assert (told["Requires-Python"], told["License-Expression"]) == (">=3.11", "Apache-2.0")
    assert {line.replace(" ", "") for line in needed} == {line.replace(" ", "") for line in project["dependencies"]}
    assert set(told.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])


def serves(installed: Path, data: Path) -> None:
    """From an empty folder to a volume, and to a good end, by nothing but the installed program."""
    program = installed / "bin" / "breezeblock"
    assert run(program, "--version").strip() == __version__
    run(
        program, "doctor", "--data", data, "--part", "folders", "--part", "database"
    )  # a finding of its own would be status 1
    output = data.parent / "up.out"
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "BREEZEBLOCK"))}
    with output.open("wb") as stream:
        command = [str(program), "up", "--data", str(data), "--port", "0", "--nodes", "1", "--workers", "1"]
        process = subprocess.Popen(command, cwd="/", env=environ, stdout=stream, stderr=stream, start_new_session=True)
    try:
        told = data / "run" / "up.json"
        eventually(
            lambda: told.exists() and json.loads(told.read_text())["ready"], within_s=60, message=output.read_text()
        )
        asked = (
            "import json, sys, urllib.request as http\n"
            "import breezeblock\n"
            "assert breezeblock.__file__.startswith(sys.prefix), breezeblock.__file__\n"
            "request = http.Request(sys.argv[1] + '/v3/admin/volumes', json.dumps({'volume': {'size': 1}}).encode(),\n"
            "                       {'Content-Type': 'application/json'})\n"
            "print(http.urlopen(request).status)\n"
        )
        endpoint = json.loads(told.read_text())["endpoint"]
        assert run(installed / "bin" / "python", "-c", asked, endpoint).strip() == "202"
        assert run(program, "healthy", "--data", data) == "Healthy.\n"
        assert run(program, "db", "current", "--data", data).endswith("(this release's)\n")
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_it_serves_outside_of_a_checkout(beside: Path, tmp_path: Path) -> None:
    """The database's revisions and everything else come from the wheel."""
    serves(beside, tmp_path / "data")


@pytest.fixture
def empty(tmp_path: Path, wheel: Path) -> Iterator[Path]:
    made = tmp_path / "venv"
    venv.create(made, with_pip=True, symlinks=True)
    constraints = ROOT / "constraints.txt"
    run(made / "bin" / "python", "-m", "pip", "install", "-q", "-c", constraints, wheel, seconds=600)
    yield made


@pytest.mark.proof
def test_it_serves_in_an_environment_that_was_empty(empty: Path, tmp_path: Path) -> None:
    """With what it says that it needs, in the versions of constraints.txt, and nothing else."""
    run(empty / "bin" / "python", "-m", "pip", "check")
    serves(empty, tmp_path / "data")
