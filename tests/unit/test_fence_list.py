"""Storage that refuses: no effect of a client after it was refused, whatever stands between the look and the effect."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from breezeblock.chaos.checker import exclusion
from breezeblock.chaos.effects import Landed, late, parse_effects, took_effect
from breezeblock.chaos.evidence import Call
from breezeblock.chaos.service import eventually
from breezeblock.chaos.witness import Mark
from breezeblock.drivers.contract import FenceScope, ObjectName
from breezeblock.drivers.fenced_file import FencedFileDriver
from breezeblock.env import fence_list
from breezeblock.env.fence_list import REFUSED, FenceList
from breezeblock.env.real import real_env
from breezeblock.model.errors import BackendFailed
from breezeblock.node.gate import Gate

V = "11111111-1111-1111-1111-111111111111"
NAME = ObjectName(V, 1, 1)

# A client that is inside an effect until it is told to end it.
INSIDE = """
import sys
from pathlib import Path
from breezeblock.env.fence_list import FenceList
with FenceList(Path(sys.argv[1])).effect("a", {}):
    print("inside", flush=True)
    sys.stdin.readline()
"""


def is_refused(listed: FenceList, client: str) -> bool:
    try:
        with listed.effect(client, {}):
            return False
    except OSError as error:
        assert error.errno == REFUSED
        return True


def test_a_refused_client_stays_refused_and_no_other_is(tmp_path: Path) -> None:
    """Also when it was never seen before, and by a process that opens the list later."""
    listed = FenceList(tmp_path)
    before = is_refused(listed, "a")

    listed.refuse("a")
    listed.refuse("a")

    assert (before, is_refused(listed, "a"), is_refused(FenceList(tmp_path), "a")) == (False, True, True)
    assert not is_refused(listed, "b")


def test_a_refusal_waits_for_effects_under_way_and_lets_no_other_begin(tmp_path: Path) -> None:
    """Threads of one process have a lock each: the end of one is not the end of the others."""
    listed = FenceList(tmp_path)
    ended, refused = threading.Event(), threading.Event()
    inside = threading.Barrier(2)

    def long() -> None:
        with listed.effect("a", {}):
            inside.wait()
            ended.wait(10)

    def refuse() -> None:
        listed.refuse("a")
        refused.set()

    threads = [threading.Thread(target=long), threading.Thread(target=refuse)]
    threads[0].start()
    inside.wait()
    assert not is_refused(listed, "a")  # another one, which begins and ends meanwhile
    threads[1].start()
    early = refused.wait(0.3)
    ended.set()
    for thread in threads:
        thread.join(10)

    assert (early, refused.is_set()) == (False, True)
    assert is_refused(listed, "a")


@pytest.fixture
def client(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process in the middle of an effect."""
    command = [sys.executable, "-c", INSIDE, str(tmp_path)]
    with subprocess.Popen(command, stdin=-1, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        yield process
        process.kill()


def test_who_is_stopped_inside_an_effect_makes_the_refusal_fail(
    tmp_path: Path, client: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is proved then; it is tried again, and succeeds when that one is gone."""
    monkeypatch.setattr(fence_list, "GIVE_UP_AFTER_S", 0.3)
    listed = FenceList(tmp_path)
    os.kill(client.pid, signal.SIGSTOP)

    with pytest.raises(OSError, match="does not come to its end") as failed:
        listed.refuse("a")
    still_let_in = not is_refused(listed, "a")
    client.kill()
    client.wait()
    listed.refuse("a")

    assert (failed.value.errno, still_let_in, is_refused(listed, "a")) == (errno.EBUSY, True, True)


# --- the driver -------------------------------------------------------------------------------------------------------


class Always:
    """The deadline of a lease that holds."""

    until = float("inf")
    lapses = 0


def driver(tmp_path: Path, client: str, lines: list[bytes] | None = None, *, pause_s: float = 0.0) -> FencedFileDriver:
    env = real_env()
    note = lines.append if lines is not None else None
    return FencedFileDriver(
        env.files, name="file", path=PurePosixPath(tmp_path / "volumes"), clock=env.clock, ids=env.ids,
        fence_list=FenceList(tmp_path / "fences", note=note, pause_s=pause_s), client=client, threads=env.threads,
    )  # fmt: skip


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "volumes").glob("??/*"))


def test_a_call_that_left_in_time_and_arrives_late_changes_nothing(tmp_path: Path) -> None:
    """Its lease still holds as far as it knows. Another node works on, and all of it is in the records."""
    lines: list[bytes] = []
    lost, survivor = driver(tmp_path, "a", lines, pause_s=0.5), driver(tmp_path, "b")
    gate = Gate(real_env().clock, Always())

    async def story() -> None:
        await lost.check(known=False)
        late_call = asyncio.ensure_future(lost.bind(gate.guard({V: (1, 1)})).create(NAME, size_bytes=4096))
        await asyncio.sleep(0.1)
        await survivor.fence(lost.identity())
        await survivor.bind(gate.guard({V: (1, 2)})).create(ObjectName(V, 1, 2), size_bytes=4096)
        with pytest.raises(BackendFailed):
            await asyncio.wait_for(late_call, 10)

    asyncio.run(story())

    found = list(parse_effects(b"".join(lines), incarnation="a", pid=1))
    assert lost.capabilities.fence is FenceScope.STORAGE
    assert files(tmp_path) == [f"{V}.1.2"]
    assert found
    assert all(one.refused and one.tokens == {V: (1, 1)} for one in found)


def test_a_node_of_which_nothing_is_recorded_cannot_be_fenced(tmp_path: Path) -> None:
    """Success would prove nothing."""
    with pytest.raises(BackendFailed, match="not recorded"):
        asyncio.run(driver(tmp_path, "b").fence({}))


# --- the checker ------------------------------------------------------------------------------------------------------


def call(by: str, token: tuple[int, int], start: float, end: float | None, what: str = "create") -> Call:
    return Call(by, ord(by), 0, what, f"{V}.1.1", "", {V: token}, start, end)


def effect(by: str, token: tuple[int, int], start: float, end: float | None = None, *, refused: bool = False) -> Landed:
    return Landed(by, ord(by), {V: token}, start, start + 0.25 if end is None else end, refused)


LOST = call("a", (1, 1), 0.0, 9.0)
NEXT = call("b", (1, 2), 5.0, 6.0)


def test_a_call_that_was_refused_late_is_no_violation() -> None:
    """What it had changed before counts, and ends with its last effect."""
    effects = [effect("a", (1, 1), 1.0), effect("a", (1, 1), 8.0, refused=True), effect("b", (1, 2), 5.5)]

    found = took_effect([LOST, NEXT], effects)

    assert [(one.incarnation, one.start, one.end) for one in found] == [("a", 1.0, 1.25), ("b", 5.5, 5.75)]
    assert exclusion(found, {}) == []
    assert len(exclusion([LOST, NEXT], {})) == 1


def test_a_late_effect_is_a_violation() -> None:
    """Of the token, and of the fence."""
    effects = [effect("a", (1, 1), 1.0), effect("a", (1, 1), 8.0), effect("b", (1, 2), 5.1)]
    marks = [Mark(4.0, "a", "cut off", "storage"), Mark(3.0, "a", "expired", "b"), Mark(9.0, "a", "cut off", "exit")]

    assert len(exclusion(took_effect([LOST, NEXT], effects), {})) == 1
    assert [one.invariant for one in late(effects, marks)] == ["Fence"]
    assert late(effects[:1], marks) == []


def test_calls_that_changed_nothing_count_for_nothing() -> None:
    """They were begun late, and let go of nothing. What only looks stays in the records."""
    looks = call("a", (1, 1), 9.0, 9.1, what="exists")

    assert took_effect([call("a", (1, 1), 8.0, 9.0), looks], []) == [looks]


def test_effects_belong_to_the_call_that_had_begun_last() -> None:
    """One whose process died in the middle may have landed until that was seen."""
    first, second = call("a", (1, 1), 0.0, 1.0), call("a", (1, 1), 2.0, None)
    half = Landed("a", ord("a"), {V: (1, 1)}, 2.5, None)

    found = took_effect([second, first], [effect("a", (1, 1), 0.5), effect("a", (1, 1), 2.0), half])

    assert [(one.start, one.end) for one in found] == [(0.5, 0.75), (2.0, None)]
    assert len(exclusion([*found, call("b", (1, 2), 4.0, 5.0)], {("a", ord("a")): 4.5})) == 1


def test_a_pause_is_between_the_leave_of_the_lease_and_the_look_of_the_storage(tmp_path: Path) -> None:
    """A request on its way: refused while it is, it does not land."""
    listed, outcome = FenceList(tmp_path, pause_s=0.4), []
    sender = threading.Thread(target=lambda: outcome.append(is_refused(listed, "a")))
    began = time.monotonic()

    sender.start()
    FenceList(tmp_path).refuse("a")
    refused_s = time.monotonic() - began
    eventually(lambda: outcome, within_s=5)
    sender.join()

    assert refused_s < 0.4
    assert outcome == [True]
