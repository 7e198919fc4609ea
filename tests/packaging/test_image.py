"""The container's image, read as a builder reads it. `test_image_build.py` lets a builder do so."""

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import typer.main
from tests.packaging.test_chart import LINTERS
from tests.packaging.test_wheel import BUILD
from tests.proof import not_here
from tests.servers.environments import environment
from tests.servers.packages import Missing

from breezeblock import cli

ROOT: Final = Path(__file__).resolve().parents[2]
DOCKERFILE: Final = ROOT / "packaging" / "Dockerfile"
# What a builder of this project may be asked to do besides pip: in an order by which nothing is fetched by hand.
PROGRAMS: Final = {
    "python": "both",
    "/opt/breezeblock/bin/pip": "both",
    "/opt/breezeblock/bin/python": "both",
    "groupadd": "debian",
    "useradd": "debian",
    "install": "debian",
}


class Line(NamedTuple):
    """One instruction."""

    word: str
    rest: str


def lines() -> list[Line]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", " ", text)
    return [Line(*line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def of(word: str) -> list[str]:
    return [line.rest for line in lines() if line.word == word]


def test_both_stages_are_of_one_pinned_release() -> None:
    """A virtual environment works with the interpreter that it was made with; a tag that moves is another image tomorrow."""
    bases = [line.split()[0] for line in of("FROM")]

    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0])


def test_what_is_copied_is_there_or_built_before() -> None:
    """Sources are relative to the project's folder; the wheel comes from `make wheel`."""
    sources = [words[0] for rest in of("COPY") if not (words := rest.split())[0].startswith("--from")]
    wheel = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip wheel" in line]

    assert sources == ["constraints.txt", "dist/*.whl"]
    assert (ROOT / "constraints.txt").is_file()
    assert len(wheel) == 1
    assert " ".join(BUILD) in wheel[0] and "-w dist" in wheel[0]


def test_only_known_programs_run_and_nothing_is_fetched_by_hand() -> None:
    """No curl, no script from somewhere: packages come by pip, held to constraints.txt."""
    commands = [part for rest in of("RUN") for part in rest.split("&&")]
    programs = [shlex.split(re.sub(r"^\s*\w+=\"?\$\([^)]*\)\"?", "", part)) for part in commands]
    installs = [part for part in commands if "pip install" in part]

    assert {words[0] for words in programs if words} <= PROGRAMS.keys()
    assert installs and all("-c /build/constraints.txt" in part for part in installs)
    assert not re.search(r"https?://", "".join(of("RUN") + of("ADD")))


def test_the_extras_are_those_of_the_project() -> None:
    """All that a service may use; connecting volumes to hosts is not a container's business."""
    (named,) = re.findall(r"\$\{wheel\}\[([\w,]+)\]", DOCKERFILE.read_text())
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert set(named.split(",")) == set(extras) - {"test", "attach"}


def test_it_runs_as_nobody_special() -> None:
    """By number, so that Kubernetes can see that it is not root; the same as in the chart."""
    (user,) = of("USER")
    values = (ROOT / "packaging" / "helm" / "breezeblock" / "values.yaml").read_text()

    assert re.fullmatch(r"(\d+):\1", user)
    assert f"runAsUser: {user.split(':')[0]}\n" in values
    assert f"fsGroup: {user.split(':')[0]}\n" in values
    assert lines().index(Line("USER", user)) > max(n for n, line in enumerate(lines()) if line.word == "RUN")


@pytest.mark.proof
def test_the_linter_of_dockerfiles_finds_nothing() -> None:
    """Also no matter of taste; it parses the shell's lines as well."""
    try:
        hadolint = environment("packaging", LINTERS) / "bin" / "hadolint"
    except Missing as error:
        not_here(str(error))
    done = subprocess.run(
        [hadolint, "--failure-threshold", "style", str(DOCKERFILE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_it_starts_can_be_typed() -> None:
    """Its command and its health check are commands of the program."""
    known = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    (check,) = of("HEALTHCHECK")
    program, asked = json.loads(check.partition("CMD ")[2])

    assert json.loads(of("ENTRYPOINT")[0]) == [program] == ["breezeblock"]
    assert {asked, *json.loads(of("CMD")[0])} <= set(known)
