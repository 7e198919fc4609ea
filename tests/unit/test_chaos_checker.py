"""The checker of chaos runs finds each invariant broken in a history that was made by hand, and nothing in a sound one."""

import resource
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from breezeblock.chaos import checker
from breezeblock.chaos.answers import Outage, broken_answers, outages
from breezeblock.chaos.asked import ACCEPTED, BROKEN, REFUSED, UNAVAILABLE, Asked
from breezeblock.chaos.contents import ZEROS, holds, pattern, write
from breezeblock.chaos.database import SqliteFile
from breezeblock.chaos.evidence import Call, Rest, Token, declared_moves, killed_holders, parse_calls, unsettled
from breezeblock.chaos.failover import failovers, percentile
from breezeblock.chaos.load import Backup, Client, Volume
from breezeblock.chaos.nemesis import Strike
from breezeblock.chaos.pardons import NONE
from breezeblock.chaos.plan import EVERY_KIND, draw, fence_of
from breezeblock.chaos.report import History, judge
from breezeblock.chaos.watching import Event
from breezeblock.chaos.witness import NodeSeen, Owned

V = "11111111-1111-1111-1111-111111111111"
S = "22222222-2222-2222-2222-222222222222"
B = "33333333-3333-3333-3333-333333333333"
NAME = f"{V}.1.1"
GIB = 1024**3
ALWAYS = [Outage(float("-inf"), float("inf"))]
NOBODY: Mapping[tuple[str, int], float] = {}


def call(
    token: Token, start: float, end: float | None, *, by: str = "a", what: str = "extend", pid: int = 0, errno: str = ""
) -> Call:
    """A call on the volume's object."""
    error = "BackendFailed" if errno else ""
    return Call(by, pid or ord(by), 0, what, NAME, "", {V: token}, start, end, error, errno)


def copy_of_it(token: Token, start: float, end: float | None, *, by: str = "a") -> Call:
    """A call that reads the volume's object."""
    return Call(by, ord(by), 0, "copy", f"{by}.1.1", NAME, {V: token, by: (1, 1)}, start, end)


# --- Exclusion --------------------------------------------------------------------------------------------------------


def test_calls_one_after_another_are_fine() -> None:
    """By rising tokens, also after a claim by another process; readers may stand side by side."""
    calls = [call((1, 1), 0, 1), call((1, 2), 1, 2, by="b"), copy_of_it((2, 1), 2, 5), copy_of_it((3, 1), 3, 4, by="b")]

    assert checker.exclusion(calls, NOBODY) == []
    assert checker.overlaps(calls, NOBODY) == []


@pytest.mark.parametrize("second", [(1, 1), (2, 0)])
def test_a_call_after_one_with_a_higher_token_is_found(second: Token) -> None:
    """A lower place in the line, or an earlier claim of the same one."""
    assert len(checker.exclusion([call((2, 1), 0, 1), call(second, 2, 3, by="b")], NOBODY)) == 1


def test_an_effect_that_lands_late_is_found() -> None:
    """It began under the lower token first, and ended after the higher one had begun."""
    calls = [call((1, 1), 0, 5), call((1, 2), 3, 4, by="b")]

    assert len(checker.exclusion(calls, NOBODY)) == 1
    assert len(checker.overlaps(calls, NOBODY)) == 1


@pytest.mark.parametrize(("seen_alive", "wrong"), [(2.9, 0), (3.5, 1)])
def test_a_call_that_never_ended_counts_as_long_as_its_process_lived(seen_alive: float, wrong: int) -> None:
    """Killed before the next claim, it is over; alive after it, it may have landed at any instant."""
    calls = [call((1, 1), 0, None), call((1, 2), 3, 4, by="b")]
    alive = {("a", ord("a")): seen_alive}

    assert len(checker.exclusion(calls, alive)) == wrong
    assert len(checker.overlaps(calls, alive)) == wrong


def test_a_reader_beside_a_writer_is_found() -> None:
    """It would read half of what is written; but it is no second writer."""
    calls = [copy_of_it((1, 1), 0, 5), call((2, 1), 3, 4, by="b")]

    assert len(checker.exclusion(calls, NOBODY)) == 1
    assert checker.overlaps(calls, NOBODY) == []


def test_two_processes_under_one_token_are_found() -> None:
    """A token belongs to one claim, and a claim to one process."""
    assert len(checker.exclusion([call((1, 1), 0, 1), call((1, 1), 2, 3, pid=7)], NOBODY)) == 1


def test_what_only_looks_is_left_out() -> None:
    """It has no effect, however late it is."""
    calls = [call((2, 1), 0, 1), call((1, 1), 2, 3, what="exists", by="b")]

    assert checker.exclusion(calls, NOBODY) == []


def test_a_change_without_a_token_is_found() -> None:
    """Of its own object, or of the source that it reads; a switch of the whole storage is about no object."""
    without = replace(call((1, 1), 0, 1), tokens={})
    source = replace(copy_of_it((1, 1), 0, 1), tokens={"a": (1, 1)})
    switch = replace(without, call="failover", object="secondary")

    assert [len(checker.exclusion([one], NOBODY)) for one in (without, source, switch)] == [1, 1, 0]


def test_anybody_may_remove_what_a_backup_has_kept() -> None:
    """And do nothing else with it; nor remove what is no backup's."""
    removal = replace(call((1, 1), 0, 1, what="delete"), tokens={})
    resource = removal.object.split(".")[0]

    assert checker.exclusion([removal], NOBODY, {resource}) == []
    assert len(checker.exclusion([removal], NOBODY, {"another"})) == 1
    assert len(checker.exclusion([replace(removal, call="create")], NOBODY, {resource})) == 1


# --- Order and Transitions --------------------------------------------------------------------------------------------


def events(*told: tuple[str, str, str | None, str | None]) -> list[Event]:
    return [Event(number, *one) for number, one in enumerate(told)]


IN_LINE = (("locked", "first", V, "1 1"), ("locked", "second", V, "2 1"))


def test_one_after_another_is_in_order() -> None:
    """Shared places may be side by side."""
    told = events(
        *IN_LINE, ("claimed", "first", "a", "1"), ("ended", "first", "done", "x"), ("claimed", "second", "a", "1"),
        ("locked", "r1", S, "1 0"), ("locked", "r2", S, "2 0"), ("claimed", "r2", "a", "1"), ("ended", "r2", "done", "x"),
    )  # fmt: skip

    assert checker.order(told) == []


@pytest.mark.parametrize("what", ["claimed", "ended"])
def test_whoever_overtakes_is_found(what: str) -> None:
    """At its claim, and at its end."""
    assert len(checker.order(events(*IN_LINE, (what, "second", "a", "1")))) == 1


def test_a_place_that_is_handed_out_late_is_found() -> None:
    """A lower one after a higher one, or the same twice."""
    assert (
        len(checker.order(events(("locked", "a", V, "2 1"), ("locked", "b", V, "2 1"), ("locked", "c", V, "1 1")))) == 2
    )


def test_only_declared_changes_of_status_pass() -> None:
    """The product's own declarations, and some that are none."""
    moves = declared_moves()
    good = events(("volumes", V, None, "creating"), ("volumes", V, "creating", "available"))
    bad = events(
        ("volumes", V, None, "available"), ("snapshots", S, "deleting", "creating"), ("volumes", V, "deleting", "x"),
        ("volumes", V, "error", "available"), ("snapshots", S, "error", "available"), ("volumes", V, "in-use", "error"),
    )  # fmt: skip

    assert checker.transitions(good, moves) == []
    assert len(checker.transitions(bad, moves)) == len(bad)


# --- Once, Data -------------------------------------------------------------------------------------------------------


def asked(kind: str = "extend", outcome: str = ACCEPTED, request: str = "r1") -> Asked:
    return Asked(0, kind, "volume-0-1", outcome, 202, request, "", 0.0, 0.1)


def logged(operation: str = "o1", request: str = "r1", outcome: str = "done", **more: Any) -> dict[str, Any]:
    row = {"operation_id": operation, "request_id": request, "outcome": outcome, "kind": "extend_volume"}
    return row | {"resource_id": V, "detail": None, "locks": [[V, 1, True]]} | more


def volume_row(**more: Any) -> dict[str, Any]:
    row = {"id": V, "name": "volume-0-1", "status": "available", "size_gib": 1, "object_name": NAME}
    return row | {"volume_type_id": "t", "metadata_json": "{}", "pool_name": "p"} | more


def rest(**more: Any) -> Rest:
    """One volume, made by one request."""
    sound = Rest(
        volumes=[volume_row()], snapshots=[], operations=[], log=[logged()], told=set(), types={"t": "gold"},
        contradictions=[], files={NAME: GIB}, heads={NAME: pattern("tag")},
    )  # fmt: skip
    return replace(sound, **more)


def client(**more: Any) -> Client:
    found = Client(0, "http://127.0.0.1:1", 1)
    volume: dict[str, Any] = {"sizes": {1}, "types": {"gold"}, "there": {True}, "content": {"tag"}}
    found.volumes = [Volume("volume-0-1", V, **(volume | more))]
    return found


def everything(one: Client, at_rest: Rest) -> list[checker.Finding]:
    return [
        *checker.expectations([one], at_rest, NONE, set()),
        *checker.storage(at_rest, NONE),
        *checker.data([one], at_rest, NONE)[1],
    ]


def test_a_sound_history_has_no_findings() -> None:
    """One request, one operation, one row, one file, and its content."""
    assert checker.once([asked()], rest(), NONE, set()).findings == []
    assert everything(client(), rest()) == []
    assert checker.data([client()], rest(), NONE)[0] == 1


@pytest.mark.parametrize(
    ("one", "log", "counted"),
    [
        (asked(), [], "lost"),
        (asked("create"), [], "lost"),
        (asked(), [logged("o1"), logged("o2")], "doubled"),
    ],
)
def test_a_lost_and_a_doubled_request_are_counted(one: Asked, log: list[dict[str, Any]], counted: str) -> None:
    """And told."""
    found = checker.once([one], rest(log=log), NONE, set())

    assert getattr(found, counted) == 1
    assert len(found.findings) == 1


@pytest.mark.parametrize(
    ("one", "log"),
    [
        (asked(outcome=REFUSED), [logged()]),
        (asked(), [logged(outcome="failed")]),
        (asked(), [logged(outcome="parked")]),
    ],
)
def test_each_wrong_end_of_a_request_is_found(one: Asked, log: list[dict[str, Any]]) -> None:
    """Done though refused; failed or given up for no reason."""
    assert len(checker.once([one], rest(log=log), NONE, set()).findings) == 1


@pytest.mark.parametrize(
    "at_rest",
    [
        rest(volumes=[]),
        rest(volumes=[volume_row(), volume_row()]),
        rest(volumes=[volume_row(status="error")]),
        rest(volumes=[volume_row(size_gib=2)], files={NAME: 2 * GIB}),
        rest(volumes=[volume_row(), volume_row(id=S, name="stranger", object_name=None)]),
        rest(volumes=[volume_row(id=S)]),
        rest(types={"t": "silver"}),
        rest(files={}),
        rest(files={NAME: GIB - 1}),
        rest(files={NAME: GIB, f"{S}.1.1": 1}),
        rest(files={NAME: GIB, f"{NAME}.part": 1}),
        rest(heads={NAME: pattern("other")}),
        rest(heads={NAME: pattern(ZEROS)}),
    ],
)
def test_each_difference_at_rest_is_found(at_rest: Rest) -> None:
    """Rows that are gone, twice, wrong or nobody's; files that are gone, short, left over; and wrong contents."""
    assert everything(client(), at_rest)


def backup_row(**more: Any) -> dict[str, Any]:
    return {"id": B, "name": "backup-0-2", "status": "available", "size_gib": 1} | more


def with_backup() -> Client:
    found = client()
    found.backups = [
        Backup("backup-0-2", B, sizes={1}, there={True}, content={"tag"}, sizes_ever={1, 2}, of="volume-0-1")
    ]
    return found


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [backup_row(), backup_row()],
        [backup_row(id=S)],
        [backup_row(status="creating")],
        [backup_row(status="error")],
        [backup_row(size_gib=2)],
        [backup_row(), backup_row(id=S, name="stranger")],
    ],
)
def test_each_difference_of_a_backup_at_rest_is_found(rows: list[dict[str, Any]]) -> None:
    assert everything(with_backup(), rest(backups=[backup_row()])) == []
    assert everything(with_backup(), rest(backups=rows))


def test_a_backup_of_a_volume_whose_extension_found_no_room_may_have_its_former_size() -> None:
    one = asked()
    small = client()
    small.asked = [one]
    small.backups = with_backup().backups
    at_rest = rest(backups=[backup_row(size_gib=2)])

    assert one.request_id is not None
    assert checker.expectations([small], at_rest, NONE, {one.request_id}) == []
    assert len(checker.expectations([small], at_rest, NONE, set())) == 1


def test_a_volume_that_came_back_is_found() -> None:
    """It was deleted, and is there."""
    assert everything(client(there={False}), rest())


@pytest.mark.parametrize(
    ("files", "right"),
    [
        ({f"{V}.1.1": pattern("tag") + b"more"}, True),
        ({f"{V}.1.1": pattern("tag"), f"{V}.1.2.part": b"half"}, True),
        ({f"{V}.1.1": pattern("other")}, False),
        ({f"{V}.1.1": pattern("tag")[:-1]}, False),
        ({f"{V}.1.1": pattern("tag")[4096:] + bytes(4096)}, False),
        ({f"{V}.1.1": bytes(3 << 20)}, False),
        ({f"{V}.1.1.part": pattern("tag")}, None),
        ({f"{V}.1.1": pattern("tag"), f"{V}.1.2": pattern("tag")}, None),
    ],
)
def test_what_is_in_a_file_is_compared(tmp_path: Path, files: dict[str, bytes], right: bool | None) -> None:
    """Another writer's, one byte too few, blocks that moved, zeros; and what cannot be told."""
    (tmp_path / V[:2]).mkdir()
    for name, content in files.items():
        (tmp_path / V[:2] / name).write_bytes(content)

    assert holds(tmp_path, V, {"tag"}) is right


def test_a_content_that_did_not_fit_is_not_taken_as_written(tmp_path: Path) -> None:
    """A file that may not grow takes the first part, as a full disk does, and then nothing."""
    paths = [tmp_path / name for name in ("whole", "part", "none")]
    for path in paths:
        path.touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        whole = write(paths[0], "tag")
        resource.setrlimit(resource.RLIMIT_FSIZE, (128 * 1024, hard))
        part = write(paths[1], "tag")
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        none = write(paths[2], "tag")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert (whole, part, none) == (True, False, False)
    assert [path.stat().st_size for path in paths] == [len(pattern("tag")), 128 * 1024, 0]


def test_a_wrong_content_that_a_client_saw_on_the_way_is_found() -> None:
    """Though all is right in the end."""
    one = client()
    one.compared, one.wrong_contents = 3, ["volume-0-1 held something else"]

    assert checker.data_on_the_way([one, client()]) == (3, [checker.Finding("Data", "volume-0-1 held something else")])
    assert judge(history(clients=[one]))["verdict"] == "wrong"


@pytest.mark.parametrize(("of", "wrong"), [("a1", 0), ("a2", 1), (None, 1)])
def test_a_connection_is_cancelled_by_a_detach_of_the_same_attachment_alone(of: str | None, wrong: int) -> None:
    log = [logged(), logged("o2", "r2", "cancelled", kind="connect_attachment", locks=[[V, 2, False], ["a1", 1, True]])]
    if of is not None:
        log.append(logged("o3", "r3", kind="disconnect_attachments", locks=[[V, 3, False], [of, 2, True]]))

    assert len(checker.once([asked()], rest(log=log), NONE, set()).findings) == wrong


# --- Answers ----------------------------------------------------------------------------------------------------------


def answered(status: int | None, *, sent_at: float = 10.0, retry_after: bool = True, kind: str = "extend") -> Asked:
    outcome = {None: UNAVAILABLE, 202: ACCEPTED, 404: REFUSED, 503: UNAVAILABLE}.get(status, BROKEN)
    return Asked(0, kind, "volume-0-1", outcome, status, "r1", "", sent_at, 1.0, retry_after)


@pytest.mark.parametrize("status", [500, 501, 502, 504])
@pytest.mark.parametrize("kind", ["extend", "read"])
def test_a_mistake_of_the_service_is_found_whatever_was_done_to_it(status: int, kind: str) -> None:
    """Reading or changing, and in the middle of an outage, too."""
    assert [one.invariant for one in broken_answers([answered(status, kind=kind)], ALWAYS)] == ["Answers"]


@pytest.mark.parametrize(("status", "sent_at", "wrong"), [(504, 1.0, 0), (500, 15.0, 0), (500, 1.0, 1), (502, 15.0, 1)])
@pytest.mark.parametrize("kind", ["attach", "detach"])
def test_who_waits_for_storage_may_be_told_that_it_takes_longer_or_refused(
    kind: str, status: int, sent_at: float, wrong: int
) -> None:
    """That it refused only while something was done to it; the outage lasts from 10 to 20."""
    asked = answered(status, sent_at=sent_at, kind=kind)

    assert len(broken_answers([asked], [Outage(10.0, 20.0)])) == wrong


def test_answers_that_are_none_of_the_services_mistakes_pass() -> None:
    """Accepted, refused, or nobody there."""
    assert broken_answers([answered(202), answered(404), answered(None)], []) == []


@pytest.mark.parametrize(("sent_at", "wrong"), [(8.9, 1), (9.0, 0), (15.0, 0), (20.0, 0), (20.1, 1)])
def test_only_an_outage_explains_that_nobody_serves(sent_at: float, wrong: int) -> None:
    """The request takes a second; the outage lasts from 10 to 20."""
    assert len(broken_answers([answered(503, sent_at=sent_at)], [Outage(10.0, 20.0)])) == wrong


def test_an_answer_that_does_not_say_when_to_try_again_is_found() -> None:
    """However good the reason is."""
    assert len(broken_answers([answered(503, retry_after=False)], ALWAYS)) == 1


def struck(kind: str, *, at: float = 10.0, until: float = 20.0, name: str = "node-1", pid: int = 7) -> Strike:
    return Strike(at, kind, name, (pid,), until)


@pytest.mark.parametrize(
    ("strikes", "explained"),
    [
        ([struck("stop in a transaction")], True),
        ([struck("full disk")], True),
        ([struck("stop worker")], False),
        ([struck("stop worker", pid=99)], True),
        ([struck("kill api")], False),
        ([struck("stop api", name="api-1")], False),
        ([struck("stop api", name="api-1"), struck("stop api", name="api-2", at=14.0)], True),
        ([struck("stop api", name="api-1"), struck("stop api", name="api-1", at=14.0)], False),
        ([struck("stop api", name="api-1"), struck("stop api", name="api-2", at=21.0, until=22.0)], False),
        ([struck("stop node"), struck("stop keeper", name="node-2")], True),
        ([struck("stop node"), struck("stop api", name="node-2")], False),
    ],
)
def test_what_explains_that_nobody_serves(strikes: list[Strike], explained: bool) -> None:
    """One process less is none of it, unless it was killed since it held up every writer (99)."""
    found = outages(strikes, {99}, nodes=2, apis=2)

    assert (not broken_answers([answered(503, sent_at=15.0)], found)) is explained


def test_who_held_up_every_writer_is_read_from_the_log(tmp_path: Path) -> None:
    """Among lines that are none, and a last one that is not whole."""
    log = tmp_path / "up.log"
    log.write_text('Traceback\n{"event":"child.ended","pid":1}\n{"event":"database.holder_killed","pid":99}\n{"eve')

    assert killed_holders(log) == {99}


def history(**more: Any) -> History:
    """A run in which one request was made and nothing was done to the service."""
    told: dict[str, Any] = {
        "options": {"nodes": 2, "apis": 2, "poison_limit": 2}, "began": 0.0, "ended": 60.0, "settled_s": 0.0,
        "clients": [client()], "asked": [asked()], "reads": Counter(), "broken_reads": [], "strikes": [],
        "missed": Counter(), "holders": set(), "calls": [], "alive": {}, "events": [], "moves": {}, "owned": [],
        "nodes": [], "marks": [], "stuck": [],
        "rest": rest(log=[logged(epoch=1)]), "swept": rest(log=[logged(epoch=1)]),
    }  # fmt: skip
    return History(**(told | more))


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        ({}, "right"),
        ({"broken_reads": [answered(500, kind="read")]}, "wrong"),
        ({"broken_reads": [answered(503, kind="read")]}, "wrong"),
        ({"broken_reads": [answered(503, kind="read")], "strikes": [struck("full disk")]}, "right"),
    ],
)
def test_one_broken_answer_makes_a_run_wrong(more: dict[str, Any], verdict: str) -> None:
    """Also one that only looked."""
    assert judge(history(**more))["verdict"] == verdict


# --- failures that are nobody's fault ---------------------------------------------------------------------------------

FULL = Strike(10.0, "full disk", "storage", (), 20.0)


@pytest.mark.parametrize(
    ("sent_at", "told", "kind", "pardoned"),
    [
        (10.0, {"r1"}, "full disk", True),
        (49.9, {"r1"}, "full disk", True),
        (9.8, {"r1"}, "full disk", False),
        (50.1, {"r1"}, "full disk", False),
        (15.0, {"r1"}, "read-only storage", False),
        (15.0, {"r1"}, "stop worker", False),
        (15.0, set(), "full disk", False),
    ],
)
def test_a_request_for_space_may_be_refused_with_a_message_only_while_there_is_none(
    sent_at: float, told: set[str], kind: str, pardoned: bool
) -> None:
    """And until the pool was measured again. Not before, not later, not otherwise, and not without a word."""
    one, at_rest = replace(asked("create"), sent_at=sent_at), rest(log=[], told=told)

    unplaced = checker.unplaced_requests([one], at_rest, [replace(FULL, kind=kind)])

    assert unplaced == ({"r1"} if pardoned else set())
    assert bool(checker.once([one], at_rest, NONE, unplaced).findings) is not pardoned


def test_a_lost_node_that_nobody_fences_is_not_at_rest(tmp_path: Path) -> None:
    """Though it owned nothing. Once it is fenced, all is at rest."""
    path = tmp_path / "breezeblock.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE operations (id); CREATE TABLE volumes (id, status); CREATE TABLE snapshots (id, status);"
            "CREATE TABLE backups (id, status); CREATE TABLE nodes (incarnation, state, fencer);"
            "INSERT INTO nodes VALUES ('a', 'up', NULL), ('b', 'expired', 'a'), ('c', 'gone', NULL)"
        )
        before = unsettled(SqliteFile(path))
        database.execute("UPDATE nodes SET state = 'fenced' WHERE incarnation = 'b'")
        database.commit()

    assert before == ["node b is expired (fencer a)"]
    assert unsettled(SqliteFile(path)) == []


# --- what the checker reads -------------------------------------------------------------------------------------------


def test_a_call_without_its_second_line_was_under_way() -> None:
    """As a kill leaves it."""
    text = (
        b'{"number":0,"boot_s":1.0,"wall_us":1,"call":"create","object":"x.1.1","tokens":{"x":[1,1]}}\n'
        b'{"number":1,"boot_s":2.0,"wall_us":1,"call":"delete","object":"x.1.1","tokens":{"x":[1,1]}}\n'
        b'{"number":1,"boot_s":3.0,"wall_us":1,"ended":true,"error":"BackendFailed","errno":"ENOSPC"}\n'
    )

    first, second = parse_calls(text, incarnation="a", pid=1)

    assert (first.call, first.end, first.tokens) == ("create", None, {"x": (1, 1)})
    assert (second.end, second.error, second.errno) == (3.0, "BackendFailed", "ENOSPC")


def owned(at: float, owner: str | None, *, gone: bool = False) -> Owned:
    return Owned(at, "o1", "create_volume", V, owner, 1, gone)


A_AND_B = [NodeSeen(0, "a", "node-1", "up", None, 10, 11), NodeSeen(0, "b", "node-2", "up", None, 20, 21)]


def test_a_fail_over_is_timed_from_the_fault_to_the_next_owner() -> None:
    """Whether the operation had nobody in between or not."""
    kill = Strike(5.0, "kill worker", "node-1", (11,), fatal=True)

    (one,) = failovers([kill], [owned(1, "a"), owned(6, None), owned(7.5, "b"), owned(9, "b", gone=True)], A_AND_B)

    assert (one.fault, one.seconds) == ("kill worker", 2.5)


@pytest.mark.parametrize(
    "seen",
    [
        [owned(1, "a"), owned(9, "a", gone=True)],
        [owned(1, "a"), owned(3, "b")],
        [owned(6, "b"), owned(7, "a")],
    ],
)
def test_what_did_not_go_over_because_of_the_fault_is_not_timed(seen: list[Owned]) -> None:
    """It ended where it was; it had gone before; another node's was taken."""
    assert failovers([Strike(5.0, "kill worker", "node-1", (11,), fatal=True)], seen, A_AND_B) == []


def test_percentiles_are_values_that_occurred() -> None:
    """The smallest that so many percent do not exceed."""
    assert [percentile([3.0, 1.0, 2.0, 4.0], one) for one in (50, 90, 100)] == [2.0, 4.0, 4.0]
    assert percentile([], 50) is None


def test_a_plan_is_the_same_for_its_seed_and_has_every_kind() -> None:
    """Leaving one kind out changes nothing about the others."""
    plan = draw(7, seconds=30)

    assert plan == draw(7, seconds=30)
    assert plan != draw(8, seconds=30)
    assert {fault.kind for fault in plan} == set(EVERY_KIND)
    assert all(0 <= fault.at_s <= 30 for fault in plan)
    assert draw(7, seconds=30, without=frozenset({"full disk"})) == tuple(
        one for one in plan if one.kind != "full disk"
    )


def test_where_fenced_nodes_live_on_they_are_stopped_for_longer_than_a_lease() -> None:
    """More often than they are killed, and of every other kind there is some, too."""
    plan = draw(7, seconds=120, living_on=True)
    stops = [fault.seconds for fault in plan if fault.kind == "stop node"]

    assert {fault.kind for fault in plan} == set(EVERY_KIND)
    assert min(stops) > 1.5
    assert len(stops) > sum(fault.kind in ("kill worker", "kill keeper", "kill node") for fault in plan)


def test_every_way_of_fencing_has_its_seeds() -> None:
    """Half of them are killed by the service, a quarter by an agent, and a quarter live on."""
    assert Counter(map(fence_of, range(8))) == {"kill": 4, "external": 2, "storage": 2}
