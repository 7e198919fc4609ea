"""Which call of the API was asked for by which client: all of them, and as `docs/reference/clients.md` has it.

This file comes last in a session, and is left out of one that does not run all the others. To write the page anew:

    BREEZEBLOCK_WRITE_DOCS=1 pytest tests/clients
"""

import os
from pathlib import Path

from tests.clients.conftest import PAGE
from tests.clients.requests import CINDER, CINDERCLIENT, CLIENTS, OPENSTACK, SDK, Asked, every_call

# What no client has a method or a command for; tests/api has each of them.
BY_NO_CLIENT = {
    "GET /healthcheck": "is for load balancers",
    "GET /healthcheck/live": "is for service managers",
    "GET /healthcheck/ready": "is for load balancers",
    "GET /v3/types/{type_id}/extra_specs/{key}": "clients read all extra specs at once",
    "PUT /v3/types/{type_id}/extra_specs/{key}": "clients send extra specs as a map, by POST",
    "GET /v3/types/{type_id}/encryption/{encryption_id}": "clients read all that a type says of encryption at once",
    "GET /v3/volumes/{volume_id}/encryption/{word}": "clients read all of it at once",
    "GET /metrics": "is for Prometheus and its like",
    "GET /openapi.json": "is for programs that read descriptions",
    "GET /v3/os-hosts": "clients have forgotten it, and list services",
    "GET /v3/os-hosts/{host}": "the same",
    "PUT /v3/os-hosts/{host}": "clients have forgotten it, and disable services",
    "PUT /v3/consistencygroups/{group_id}/update": "clients leave the last word out",
    "PUT /v3/os-services/fence": "is ours, and no client knows it",
    "PUT /v3/os-services/failover_host": "clients call it, and are refused: no driver of this release replicates",
    "PUT /v3/os-services/failover": "the same",
    "POST /v3/volumes/{volume_id}/action: os-volume_upload_image": "clients call it, and are refused: no image service",
    "POST /v3/volumes/{volume_id}/action: os-reimage": "the same",
    "POST /v3/volumes/{volume_id}/action: os-extend_volume_completion": "is for Nova, and no backend here waits for it",
    "POST /v3/groups/{group_id}/action: enable_replication": "clients call it, and are refused: no driver replicates groups",
    "POST /v3/groups/{group_id}/action: disable_replication": "the same",
    "POST /v3/groups/{group_id}/action: failover_replication": "the same",
    "POST /v3/groups/{group_id}/action: list_replication_targets": "the same",
    "POST /v3/consistencygroups/create_from_src": "clients call it, and are refused: no driver takes several at an instant",
    "POST /v3/cgsnapshots": "the same",
    "GET /v3/cgsnapshots/{group_snapshot_id}": "the same, so that there is none",
    "DELETE /v3/cgsnapshots/{group_snapshot_id}": "the same",
}
NAMES_SHOWN = 3
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def test_every_call_was_made_by_some_client(asked: Asked) -> None:
    """Or there is a reason why not."""
    missing = [call for call in every_call() if call not in asked.calls and call not in BY_NO_CLIENT]

    assert missing == []


def test_every_answer_was_as_described(asked: Asked) -> None:
    """As in tests/conformance/answers.py."""
    assert asked.wrong == set()


def test_the_reasons_are_still_needed(asked: Asked) -> None:
    """A call that some client makes needs none."""
    assert not asked.calls & BY_NO_CLIENT.keys()
    assert BY_NO_CLIENT.keys() <= set(every_call())


def test_the_page_says_what_was_seen(asked: Asked) -> None:
    """The table of the page, line by line."""
    if os.environ.get("BREEZEBLOCK_WRITE_DOCS"):
        write(PAGE, asked)

    written = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]

    assert written.splitlines() == table(asked)


def write(page: Path, asked: Asked) -> None:
    """Put the table between its marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(before + BEGIN + "\n".join(table(asked)) + "\n" + END + after, encoding="utf-8")


def table(asked: Asked) -> list[str]:
    """A line for each call of the API, with the names that clients have for it."""
    lines = ["", "| Call | python-cinderclient | openstacksdk | `openstack` | `cinder` |", "|---|---|---|---|---|"]
    assert CLIENTS == (CINDERCLIENT, SDK, OPENSTACK, CINDER)
    for call in every_call():
        cells = [_cell(asked.names(call, client)) for client in CLIENTS]
        reason = BY_NO_CLIENT.get(call)
        lines.append(f"| `{call}` | {' | '.join(cells)} |" if reason is None else f"| `{call}` | {reason} | | | |")
    return [*lines, ""]


def _cell(names: list[str]) -> str:
    """The names of a call, the first of them when it is a step of many."""
    shown = ", ".join(f"`{name}`" for name in names[:NAMES_SHOWN])
    return f"{shown}, …" if len(names) > NAMES_SHOWN else shown or "-"
