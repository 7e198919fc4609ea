"""Which command and function of clients did its work: all of them, or there is a reason. It is in `docs/reference/clients.md`.

As `test_every_call.py`, whose way of writing the page anew is this one's.
"""

import os
import textwrap
from collections.abc import Iterator

from tests.clients.commands import KINDS, every_command
from tests.clients.conftest import PAGE
from tests.clients.reasons import REASONS
from tests.clients.requests import Asked

BEGIN, END = "<!-- commands: begin -->\n", "<!-- commands: end -->\n"
WIDTH = 120


def test_every_command_did_its_work(asked: Asked) -> None:
    """Or there is a reason why not."""
    missing = [
        (kind, name)
        for kind, names in every_command().items()
        for name in names
        if (kind, name) not in asked.ran and name not in REASONS[kind]
    ]

    assert missing == []


def test_the_reasons_are_still_needed(asked: Asked) -> None:
    """A command that did its work needs none, and one that is gone neither."""
    known = every_command()
    reasons = {(kind, name) for kind, of_kind in REASONS.items() for name in of_kind}

    assert not asked.ran & reasons
    assert {(kind, name) for kind, name in reasons if name not in known[kind]} == set()


def test_the_page_says_what_was_run(asked: Asked) -> None:
    """Line by line."""
    text = "\n".join(lines()) + "\n"
    page = PAGE.read_text(encoding="utf-8")
    if os.environ.get("BREEZEBLOCK_WRITE_DOCS"):
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(before + BEGIN + text + END + rest.partition(END)[2], encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")

    assert page.partition(BEGIN)[2].partition(END)[0] == text


def lines() -> Iterator[str]:
    """For each client what works, and why the rest does not."""
    for kind in KINDS:
        names = every_command()[kind]
        works = [f"`{name}`" for name in names if name not in REASONS[kind]]
        yield from ("", f"### {kind}", "", f"{len(works)} of {len(names)} work:")
        yield from textwrap.wrap(f"{', '.join(works)}.", WIDTH, break_long_words=False, break_on_hyphens=False)
        yield from ("", "| Does not | Why |", "|---|---|")
        yield from (f"| `{name}` | {reason} |" for name, reason in sorted(REASONS[kind].items()))
    yield ""
