"""Fence agents as they are really called: little programs that write down what they were told, and how."""

import asyncio
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.service import is_running

from breezeblock.env.commands import INPUT_MOST, OUTPUT_MOST, RealCommands, Said
from breezeblock.env.real import RealThreads
from breezeblock.model.ids import Incarnation
from breezeblock.node.fence_agent import External
from breezeblock.node.fences import FenceFailed
from breezeblock.options import FenceAgent
from breezeblock.protocol.membership import NodeRow

T = TypeVar("T")
SECRET = "correct horse battery"
HERE = "boot-of-this-machine"

# Writes down its input, arguments and environment, as the kernel shows them to every user of the machine.
TELLING = """
import json, os, sys
told = sys.stdin.read()
seen = {
    "told": told.splitlines(),
    "arguments": open("/proc/self/cmdline").read(),
    "environment": open("/proc/self/environ").read(),
    "group": os.getpgid(0) == os.getpid(),
    "files": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)),
}
open(FOLDER + "/seen.json", "w").write(json.dumps(seen))
"""
# Ignores SIGTERM, as its child does, and writes down both pids. A shell, since it starts at once on the busiest machine.
STUBBORN = """
trap "" TERM
sleep 600 &
: > $FOLDER/$!.pid
: > $FOLDER/$$.pid
echo switching it off
wait
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    return lambda body: executable(tmp_path, f"#!{sys.executable}\nFOLDER = {str(tmp_path)!r}\n{body}")


@pytest.fixture
def stubborn(tmp_path: Path) -> str:
    return executable(tmp_path, f"#!/bin/sh\nFOLDER={tmp_path}\n{STUBBORN}")


def executable(folder: Path, text: str) -> str:
    path = folder / "agent"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


def lost(boot_id: str = "another", name: str = "node-1") -> NodeRow:
    return NodeRow(
        incarnation=Incarnation("inc-1"), name=name, state="expired", heartbeat=1, fencer=None, fence_due=True,
        queues=("c@b",), kinds={}, lock_path="/run/inc-1.lock", lock_id="l", boot_id=boot_id,
    )  # fmt: skip


def external(command: str | list[str], *, scope: str = "machine", **values: Any) -> External:
    told = command if isinstance(command, list) else [command]
    agent = FenceAgent(command=told, scope=scope, **values)  # type: ignore[arg-type]
    return External(agent, name="ipmi", boot_id=HERE, commands=RealCommands(), threads=RealThreads())


def reason(fence: External, row: NodeRow | None = None) -> str:
    with pytest.raises(FenceFailed) as failed:
        run(fence.fence(row or lost(), "c@b"))
    return failed.value.reason


def seen(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "seen.json").read_text())
    return found


def alive(folder: Path) -> list[int]:
    """Who is left of those that wrote down their pids; one that was killed may need a moment to be gone."""
    pids = [int(path.stem) for path in folder.glob("*.pid")]
    assert pids
    until = time.monotonic() + 10
    while (left := [pid for pid in pids if is_running(pid)]) and time.monotonic() < until:
        time.sleep(0.02)
    return left


def _wait_for_both(folder: Path) -> None:
    while len(list(folder.glob("*.pid"))) < 2:
        time.sleep(0.02)


def test_an_agent_is_told_what_to_do_on_its_standard_input(tmp_path: Path, program: Callable[[str], str]) -> None:
    """One option a line: what to do, to which node, and what the configuration says, numbers as agents write them."""
    fence = external(
        program(TELLING), options={"lanplus": True, "ipaddr": "10.0.0.9"}, nodes={"node-1": {"plug": 3}, "node-2": {}}
    )

    assert run(fence.fence(lost(), "c@b"))

    assert seen(tmp_path)["told"] == ["action=off", "nodename=node-1", "lanplus=1", "ipaddr=10.0.0.9", "plug=3"]
    assert fence.whole_boot


def test_without_a_table_of_nodes_the_plug_is_the_nodes_name(tmp_path: Path, program: Callable[[str], str]) -> None:
    """And an agent that cuts off single nodes is told which incarnation is meant, and what its processes hold."""
    fence = external(program(TELLING), scope="node")

    assert run(fence.fence(lost(boot_id=HERE), "c@b"))

    incarnation = ["incarnation=inc-1", "lock_path=/run/inc-1.lock"]
    assert seen(tmp_path)["told"] == ["action=off", "nodename=node-1", *incarnation, "plug=node-1"]
    assert not fence.whole_boot


def test_the_configuration_may_ask_for_another_action(tmp_path: Path, program: Callable[[str], str]) -> None:
    """Some sites reboot: that ends the boot as well."""
    run(external(program(TELLING), options={"action": "reboot"}).fence(lost(), "c@b"))

    assert seen(tmp_path)["told"][0] == "action=reboot"


def test_nothing_secret_is_in_arguments_or_environment(
    tmp_path: Path, program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the password, which is in the input alone, nor what is in our own environment."""
    monkeypatch.setenv("OS_PASSWORD", SECRET)
    (tmp_path / "pw").write_text(SECRET + "\n")

    run(external(program(TELLING), option_files={"password": tmp_path / "pw"}).fence(lost(), "c@b"))

    found = seen(tmp_path)
    assert f"password={SECRET}" in found["told"]
    assert SECRET not in found["arguments"] + found["environment"]


def test_an_agent_has_a_process_group_of_its_own_and_none_of_our_files(
    tmp_path: Path, program: Callable[[str], str]
) -> None:
    """Above all not our lock file: it would hold the proof of our own death."""
    ours = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(ours, True)
    try:
        run(external(program(TELLING)).fence(lost(), "c@b"))
    finally:
        os.close(ours)

    found = seen(tmp_path)
    assert (found["group"], set(found["files"]) - {0, 1, 2, 3}) == (True, set())  # 3 lists its own files
    assert ours > 3


def test_any_other_exit_status_is_a_failure_with_the_agents_last_words(program: Callable[[str], str]) -> None:
    """Both streams, and the status."""
    told = reason(external(program("import sys; print('trying'); sys.stderr.write('no route'); sys.exit(3)")))

    assert told == "agent ipmi: exit status 3: trying\nno route" or told == "agent ipmi: exit status 3: no routetrying"


def test_a_signal_is_a_failure(program: Callable[[str], str]) -> None:
    """It may have been half way."""
    assert reason(external(program("import os; os.kill(os.getpid(), 9)"))) == "agent ipmi: ended by signal 9"


def test_an_agent_that_takes_too_long_is_killed_with_its_children(tmp_path: Path, stubborn: str) -> None:
    """Whatever they do about SIGTERM; what it said until then is in the error."""
    began = time.monotonic()

    told = reason(external(stubborn, timeout_s=1.5))

    assert told.startswith("agent ipmi: killed after 1.5 s: switching it off")
    assert (time.monotonic() - began < 20, alive(tmp_path)) == (True, [])


def test_a_fence_that_is_called_off_leaves_no_agent_behind(tmp_path: Path, stubborn: str) -> None:
    """One that went on could cut off the node when it has come back."""
    fence = external(stubborn)

    async def main() -> None:
        task = asyncio.ensure_future(fence.fence(lost(), "c@b"))
        await RealThreads().run(lambda: _wait_for_both(tmp_path))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert alive(tmp_path) == []


def test_a_process_that_the_agent_leaves_behind_does_not_hold_up_its_success(
    tmp_path: Path, program: Callable[[str], str]
) -> None:
    """It holds our pipe, and what counts is the agent's own end."""
    fence = external(program("import os, time\nif os.fork() == 0:\n    time.sleep(30)"))
    began = time.monotonic()

    assert run(fence.fence(lost(), "c@b"))

    assert time.monotonic() - began < 20


def test_an_agent_that_reads_nothing_is_no_problem(program: Callable[[str], str]) -> None:
    """It may know by itself what to do."""
    assert run(external(program("import os; os.close(0)")).fence(lost(), "c@b"))


def test_the_output_is_kept_up_to_a_bound(program: Callable[[str], str]) -> None:
    """Its end: there the reason is."""
    told = reason(external(program("import sys; print('x' * 9_000_000 + 'the reason'); sys.exit(1)")))

    assert told.endswith("xthe reason")
    assert len(told) < OUTPUT_MOST + 100


def test_a_secret_that_the_agent_repeats_is_hidden(tmp_path: Path, program: Callable[[str], str]) -> None:
    """Agents in verbose mode print what they were told; the error is kept in the database and shown."""
    (tmp_path / "pw").write_text(SECRET)
    echo = "import sys; print(sys.stdin.read()); sys.exit(1)"

    told = reason(external(program(echo), option_files={"password": tmp_path / "pw"}))

    assert "password=***" in told
    assert SECRET not in told


@pytest.mark.parametrize(
    ("command", "expected"),
    [("/nowhere/fence_ipmilan", "No such file or directory"), ("/etc/passwd", "Permission denied")],
)
def test_an_agent_that_cannot_be_run_is_a_failure(command: str, expected: str) -> None:
    """A package that was removed must not stop the fences after it."""
    assert reason(external(command)) == f"agent ipmi: {command} cannot be run: {expected}"


def test_a_node_that_the_configuration_does_not_know_is_not_cut_off() -> None:
    """The agent would take another plug, or the first."""
    told = reason(external("/bin/true", nodes={"node-2": {"plug": 2}}))

    assert told == "agent ipmi: there is nothing about node-1 in [fences.ipmi.nodes]"


def test_a_password_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    """With the file's name."""
    told = reason(external("/bin/true", option_files={"password": tmp_path / "pw"}))

    assert told == f"agent ipmi: {tmp_path}/pw cannot be read: No such file or directory"


def test_a_value_with_a_line_break_is_never_told(tmp_path: Path) -> None:
    """It would be another option: `action=on`, perhaps."""
    (tmp_path / "pw").write_text("a\naction=on")

    told = reason(external("/bin/true", option_files={"password": tmp_path / "pw"}))

    assert told == "agent ipmi: the value of password has more than one line"


def test_a_machine_is_never_cut_off_by_its_own_nodes() -> None:
    """It could not tell about the outcome. One on another machine has to."""
    assert "would cut off this very machine" in reason(external("/bin/true"), lost(boot_id=HERE))


def test_input_that_no_pipe_holds_is_refused() -> None:
    """Nobody would feed it while the program waits."""
    with pytest.raises(OSError, match="bytes of input"):
        run(RealCommands().run(["/bin/cat"], text=b"x" * (INPUT_MOST + 1), limit_s=5))

    said: Said = run(RealCommands().run(["/bin/cat"], text=b"x" * INPUT_MOST, limit_s=5))
    assert (said.status, said.output) == (0, "x" * OUTPUT_MOST)
