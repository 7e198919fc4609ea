"""The documentation: links lead somewhere, generated pages are fresh, and commands that it names exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from scripts import generate_reference

from breezeblock import cli

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"\bbreezeblock ((?:[a-z]+|--[a-z]).*)")
CODE = re.compile(r"^ {4,}(\S.*)$|`([^`\n]+)`", re.MULTILINE)
# A page that is not finished is not committed.
FORBIDDEN = re.compile(r"\b(?:TODO|FIXME|TBD|XXX)\b|lorem ipsum", re.IGNORECASE)


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changelog").rglob("*.md")])


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", pages(), ids=name)


def anchors(page: Path) -> set[str]:
    """The places of a page that a link may name, as the usual renderers make them."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken(page: Path, text: str) -> Iterator[str]:
    for link in LINK.findall(FENCE.sub("", text)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    """Inside the repository; what is outside cannot be promised."""
    assert not list(broken(page, page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("link", ["missing.md", "docs/README.md#nowhere", "#nowhere"])
def test_a_broken_link_is_found(link: str) -> None:
    """A page that is not there, and a place that is not on the page."""
    assert list(broken(ROOT / "README.md", f"[here]({link})")) == [link]


def test_every_page_is_in_the_index() -> None:
    """What nobody links to nobody reads."""
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text(encoding="utf-8"))}

    assert [name(page) for page in (ROOT / "docs").rglob("*.md") if page not in linked | {index}] == []


def test_generated_pages_are_up_to_date() -> None:
    """If not: .venv/bin/python scripts/generate_reference.py"""
    assert generate_reference.out_of_date() == []


def commands(text: str) -> list[str]:
    """What follows `breezeblock` in every line of code that calls it."""
    lines = ("".join(groups) for groups in CODE.findall(FENCE.sub("", text)))
    return [found[1] for line in lines if (found := COMMAND.search(line.split(" #")[0]))]


def unknown(command: str) -> list[str]:
    """The words of a command line that the program does not know."""
    at: Any = typer.main.get_command(cli.app)
    left = [word for word in shlex.split(command) if word not in ("|", "…")]
    while left and left[0] in getattr(at, "commands", {}):
        at = at.commands[left.pop(0)]
    if getattr(at, "commands", None) and left and not left[0].startswith("-"):
        return [] if set(left[0].split("|")) <= set(at.commands) else left[:1]
    options = {option for one in at.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    return [word for word in left if word.startswith("--") and word.split("=")[0] not in options]


@every_page
def test_commands_and_options_exist(page: Path) -> None:
    """Each `breezeblock …` in the documentation can be typed."""
    assert [word for command in commands(page.read_text(encoding="utf-8")) for word in unknown(command)] == []


@pytest.mark.parametrize("command", ["dance", "status --loud", "node dance", "node drain node-1 --loud"])
def test_a_command_that_does_not_exist_is_found(command: str) -> None:
    """Also below a group, and after an argument."""
    assert unknown(command)


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_make_targets_exist() -> None:
    """Each `make …` in the README is a target."""
    wanted = {
        target
        for found in re.findall(r"^    make ([a-z-]+)|`make ([a-z-]+)`", readme(), re.MULTILINE)
        for target in found
        if target
    }
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert wanted
    assert wanted <= targets


@every_page
def test_no_page_is_a_draft(page: Path) -> None:
    """Notes to oneself are nothing to a reader."""
    assert not FORBIDDEN.findall(page.read_text(encoding="utf-8"))
