"""Who may do what: every call of the API, asked by every persona, and the page that says what came out.

The page is written anew by

    BREEZEBLOCK_WRITE_DOCS=1 pytest tests/api/test_matrix.py
"""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.api.every_call import OTHERWISE, ROWS, every_call
from tests.api.personas import OTHER, OWN, PERSONAS, Persona, Seen, by_role, see_all
from tests.api.world import Api

from breezeblock.api.auth import IMPLIED
from breezeblock.api.policy import BASE, NOT_ASKED, RULES
from breezeblock.api.routes import ROUTES

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "policy.md"
# Cinder 29's rules and their default checks.
FACTS: Final[dict[str, str]] = json.loads(
    (Path(__file__).resolve().parents[1] / "conformance" / "policies.json").read_text(encoding="utf-8")
)
ADMINS, MEMBERS, READERS = ("admin",), ("admin", "manager", "member"), ("admin", "manager", "member", "reader")
# Whom Cinder's checks let, of the project that owns what is asked for.
MEANS: Final = {
    "rule:admin_api": ADMINS,
    "rule:xena_system_admin_or_project_member": MEMBERS,
    "rule:xena_system_admin_or_project_reader": READERS,
}
# Rules that Cinder has not: whom they let, and why they are there.
OURS: Final = {
    "discovery": (READERS, "what an API offers is for everybody to see"),
    "volume:attachment_get": (READERS, "Cinder lets anybody who finds the attachment"),
    "volume:attachment_get_all": (READERS, "the same"),
    "group:group_types:get": (READERS, "Cinder lets anybody"),
    "group:group_types:get_all": (READERS, "the same"),
    "volume_extension:availability_zone_list": (READERS, "the same"),
    "services:fence": (ADMINS, "no call of Cinder's declares a node dead"),
}
# Rules that no request of the matrix asks, and which one does: `test_rules_of_rows` makes it.
ASKED_ELSEWHERE: Final = {
    "volume:force_delete": "a deletion with force=true",
    "volume:reimage_reserved": "a reimage with reimage_reserved",
    "volume_extension:volume_actions:upload_public": "an upload whose image everybody is to see",
}
# What names a project, not something of a project's: it is no secret that there is none of that name, and it is refused.
BY_PROJECT: Final = ("GET os-quota-sets/{owner}", "GET os-quota-sets/{owner}/defaults")
# What is for another project to do.
FOR_OTHERS: Final = ("POST volume-transfers/{transfer_id}/accept", "POST os-volume-transfer/{transfer_id}/accept")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Seen]]:
    loop = asyncio.new_event_loop()
    folder = tmp_path_factory.mktemp("matrix")
    api = Api(folder, loop, authenticate=by_role)
    api.limit_waiting(0.001)
    api.reset(ROWS)
    yield list(see_all(api))
    api.close()
    loop.close()


def audience(rule: str) -> tuple[str, ...]:
    return MEANS[FACTS[rule]] if rule in FACTS else OURS[rule][0]


def expected(seen: Seen, persona: Persona) -> int:
    """By what Cinder says of the rules, and by whose it is."""
    role, project = persona
    if any(role not in audience(rule) for rule in seen.rules):
        return 403
    if project == OWN or role == "admin" or seen.ask.name in FOR_OTHERS:
        return seen.ask.status
    if seen.ask.name in BY_PROJECT:
        return 403
    return 404 if seen.ask.words() else seen.ask.status


def test_every_persona_gets_of_every_call_what_cinder_would_give_it(matrix: list[Seen]) -> None:
    """Allowed, forbidden, or not found because it is another project's."""
    wrong = {
        (seen.ask.name, *persona): (status, expected(seen, persona))
        for seen in matrix
        for persona, status in seen.statuses.items()
        if status != expected(seen, persona)
    }

    assert wrong == {}


def test_no_call_and_no_persona_is_left_out(matrix: list[Seen]) -> None:
    calls = sum(1 if route.handler else len(route.actions or ()) for route in ROUTES)

    assert len({seen.ask.name for seen in matrix}) == len(matrix) == calls
    assert {len(seen.statuses) for seen in matrix} == {len(PERSONAS)} == {2 * len(IMPLIED)}
    assert all(seen.rules for seen in matrix)


def test_nearly_every_good_request_succeeds(matrix: list[Seen]) -> None:
    """Or a matrix of refusals would prove nothing."""
    failing = {seen.ask.name for seen in matrix if seen.ask.status >= 400}

    assert len(failing) == len(OTHERWISE)


def test_the_rules_are_cinders() -> None:
    """By name and by default, but for what is listed with its reason."""
    ours = {name: rule.check for name, rule in RULES.items()} | BASE

    assert {name: check for name, check in ours.items() if FACTS.get(name) != check and name not in OURS} == {}
    assert FACTS.keys() - ours.keys() == NOT_ASKED.keys()
    assert OURS.keys() == RULES.keys() - FACTS.keys()


def test_every_rule_is_asked_by_some_call(matrix: list[Seen]) -> None:
    """A rule that nothing asks would be a promise that an operator's file does something."""
    considered = frozenset[str]().union(*(seen.considered for seen in matrix))

    assert sorted(RULES.keys() - considered) == sorted(ASKED_ELSEWHERE)


def test_readers_change_nothing(matrix: list[Seen]) -> None:
    """Whatever is not reading is refused; the two that are not GET only show something."""
    changed = {
        seen.ask.name for seen in matrix if seen.ask.method != "GET" and seen.statuses["reader", OWN] not in (403, 404)
    }

    assert changed == {"POST volumes/{volume_id}/action: os-show_image_metadata"}


def test_the_page_says_what_came_out(matrix: list[Seen]) -> None:
    if os.environ.get("BREEZEBLOCK_WRITE_DOCS"):
        PAGE.write_text(page(matrix), encoding="utf-8")

    assert PAGE.read_text(encoding="utf-8") == page(matrix)


# --- the page ---------------------------------------------------------------------------------------------------------

INTRODUCTION: Final = """
<!-- Made by tests/api/test_matrix.py, which says how to make it anew. -->

# Who may do what

What each of the usual roles may do with what its own project has, and with what another has. This is what came out when
every call was made by everybody, with the rules as they are by default; [the how-to](../howto/write-policies.md) says how
to change them.

* **yes**: it is done.
* **no**: 403, whatever the request is about.
* **not found**: 404, as if there were no such thing.

Administrators (the role `admin`) may do all of it, with what any project has. Somebody with none of these roles may only
discover the API: its versions, extensions and resource filters.

## Calls
"""
RULES_OF: Final = """
## Rules

The rules of the calls above, and those that decide what is shown of a resource. Names and defaults are those of Cinder 29.
"""
OWN_RULES: Final = """
## Rules that Cinder has not
"""
UNASKED: Final = """
## Rules of Cinder that nothing asks here

A policy file may have them; it is told that they do nothing.
"""


def page(matrix: list[Seen]) -> str:
    roles = ("reader", "member", "manager")
    lines = [
        INTRODUCTION.strip(),
        "",
        f"| Call | Rule | {' | '.join(roles)} | of another project |",
        "|---|---|---|---|---|---|",
    ]
    for seen in matrix:
        own = [_word(seen, (role, OWN)) for role in roles]
        other = dict.fromkeys(_word(seen, (role, OTHER)) for role in roles)
        others = "no" if set(other) == {"no"} else ", ".join(word for word in other if word != "no")
        rules = ", ".join(f"`{rule}`" for rule in seen.rules)
        lines.append(f"| `{seen.ask.name or 'GET'}` | {rules} | {' | '.join(own)} | {others} |")
    lines += ["", RULES_OF.strip(), "", "| Rule | Default |", "|---|---|"]
    lines += [f"| `{name}` | `{rule.check}` |" for name, rule in sorted(RULES.items())]
    lines += [f"| `{name}` | `{check}` |" for name, check in sorted(BASE.items())]
    lines += ["", OWN_RULES.strip(), "", "| Rule | Why it is there |", "|---|---|"]
    lines += [f"| `{name}` | {why} |" for name, (_, why) in sorted(OURS.items())]
    lines += ["", UNASKED.strip(), "", "| Rule | Why |", "|---|---|"]
    lines += [f"| `{name}` | {why} |" for name, why in sorted(NOT_ASKED.items())]
    return "\n".join(lines) + "\n"


def _word(seen: Seen, persona: Persona) -> str:
    status = seen.statuses[persona]
    return "yes" if status == seen.ask.status else {403: "no", 404: "not found"}[status]


def test_every_word_of_the_facts_is_known() -> None:
    """A base rule is what others refer to; every other default is one of the three."""
    assert {check for name, check in FACTS.items() if name not in BASE} == MEANS.keys()
    assert len(every_call()) > 200
