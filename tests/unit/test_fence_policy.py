"""From settings to fences: which a backend gets, in which order; and asking an agent something harmless."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.store.given import Base, store_on
from typer.testing import CliRunner

from breezeblock import cli, wiring
from breezeblock.commands.failure import Failed
from breezeblock.commands.fence_test import fence_test
from breezeblock.env.commands import RealCommands
from breezeblock.env.real import real_env
from breezeblock.node.fences import Fence
from breezeblock.settings import Settings, load

QUEUE = "breezeblock@a"
ECHO = "import sys; print(sys.stdin.read().replace('\\n', ' ')); sys.exit(FAILS)"


@pytest.fixture
def program(tmp_path: Path) -> Callable[[int], str]:
    """A fence agent that repeats what it is told, and ends with that status."""

    def write(fails: int) -> str:
        path = tmp_path / f"agent-{fails}"
        path.write_text(f"#!{sys.executable}\n{ECHO.replace('FAILS', str(fails))}\n")
        path.chmod(0o755)
        return str(path)

    return write


def written(folder: Path, text: str) -> Path:
    file = folder / "bb.toml"
    file.write_text(text)
    return file


def chosen(folder: Path, text: str) -> Settings:
    return load(written(folder, text), {}, {"service.data_dir": folder}).settings


def fences(settings: Settings) -> dict[str, list[Fence]]:
    env = real_env()
    opened = wiring.open_fences(
        settings,
        wiring.open_backends(settings, env),
        env=env,
        store=store_on(Base()),
        commands=RealCommands(),
        machine="m",
        boot_id="b",
    )
    return {queue: list(found) for queue, found in opened.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["same_machine", "boot"]),
        ('fence = ["boot", "same_machine"]', ["boot", "same_machine"]),
        ("trust_self_fencing = true", ["same_machine", "boot", "trust"]),
        ("fence = []\ntrust_self_fencing = true", ["trust"]),
        ('fence = ["external"]\nfence_agent = "x"', ["external"]),
    ],
)
def test_a_backend_gets_its_fences_in_the_order_of_its_policy(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Trust, where it is allowed, is the last resort."""
    agent = '[fences.x]\ncommand = "/bin/true"\n'

    found = fences(chosen(tmp_path, f"{agent}[backends.a]\n{text}\n"))[QUEUE]

    assert [fence.method for fence in found] == expected


def test_backends_share_what_counts_for_the_whole_node(tmp_path: Path) -> None:
    """So that it is tried once for all of them; another agent is another fence."""
    agents = '[fences.x]\ncommand = "/bin/true"\n[fences.y]\ncommand = "/bin/true"\n[nodes]\nfence_agent = "x"\n'

    found = fences(chosen(tmp_path, agents + '[backends.a]\n[backends.b]\n[backends.c]\nfence_agent = "y"\n'))
    a, b, c = (found[f"breezeblock@{name}"] for name in "abc")

    assert [one is other for one, other in zip(a, b, strict=True)] == [True, True, True]
    assert [one is other for one, other in zip(a, c, strict=True)] == [True, True, False]


@pytest.mark.parametrize(("settle", "expected"), [("", 65.0), ("settle_s = 90\n", 95.0)])
def test_trust_waits_as_long_as_the_driver_needs_or_longer(tmp_path: Path, settle: str, expected: float) -> None:
    """The limit is the wait and a margin."""
    text = f"[backends.a]\ntrust_self_fencing = true\n{settle}"

    assert fences(chosen(tmp_path, text))[QUEUE][-1].limit_s == expected


@pytest.mark.parametrize(("text", "continues"), [("", True), ("trust_self_fencing = true\n", False)])
def test_half_made_copies_are_continued_only_after_a_certain_fence(tmp_path: Path, text: str, continues: bool) -> None:
    """With trust the lost node may still be writing into them."""
    backends = wiring.open_backends(chosen(tmp_path, f"[backends.a]\n{text}"), real_env())

    assert backends[QUEUE].continues is continues


# --- fence-test -------------------------------------------------------------------------------------------------------


def agent(program: str, more: str = "") -> str:
    return f'[nodes]\nfence_agent = "x"\n[fences.x]\ncommand = "{program}"\n{more}'


def test_an_agent_is_asked_for_the_status_of_a_node(tmp_path: Path, program: Callable[[int], str]) -> None:
    """As a fence would call it, but for the action, whatever the configuration says of it."""
    settings = chosen(tmp_path, agent(program(0), 'options = { action = "reboot", lanplus = 1 }\n'))

    told = fence_test(settings, "node-2", action="status", agent=None)

    assert told == ("agent x: status of node-2 succeeded: action=status nodename=node-2 plug=node-2 lanplus=1")


@pytest.mark.parametrize("action", ["off", "on", "reboot", "cycle"])
def test_a_test_never_cuts_anybody_off(tmp_path: Path, program: Callable[[int], str], action: str) -> None:
    """Nor switches anything on."""
    with pytest.raises(Failed, match="would cut node-2 off"):
        fence_test(chosen(tmp_path, agent(program(0))), "node-2", action=action, agent=None)


def test_an_agent_that_fails_fails_the_test(tmp_path: Path, program: Callable[[int], str]) -> None:
    """With what it said."""
    with pytest.raises(Failed, match="agent x: exit status 4: action=monitor nodename=n"):
        fence_test(chosen(tmp_path, agent(program(4))), "n", action="monitor", agent="x")


def test_a_node_that_is_off_is_an_answer_too(tmp_path: Path, program: Callable[[int], str]) -> None:
    """Exit status 2 of `status`, by the agents' convention; of anything else it is a failure."""
    settings = chosen(tmp_path, agent(program(2)))

    told = fence_test(settings, "n", action="status", agent=None)

    assert told.startswith("agent x: answers that n is off: action=status")
    with pytest.raises(Failed, match="exit status 2"):
        fence_test(settings, "n", action="monitor", agent=None)


def test_a_node_that_the_agent_knows_nothing_about_fails_the_test(
    tmp_path: Path, program: Callable[[int], str]
) -> None:
    """That is what a test is for."""
    with pytest.raises(Failed, match="there is nothing about node-2"):
        fence_test(
            chosen(tmp_path, agent(program(0), "nodes = { node-1 = { plug = 1 } }\n")),
            "node-2",
            action="status",
            agent=None,
        )


def test_without_an_agent_there_is_nothing_to_test(tmp_path: Path) -> None:
    """And an agent that there is not is named."""
    with pytest.raises(Failed, match="No backend has a fence agent"):
        fence_test(chosen(tmp_path, ""), "n", action="status", agent=None)
    with pytest.raises(Failed, match=r"There is no \[fences.y\]. There are: none"):
        fence_test(chosen(tmp_path, ""), "n", action="status", agent="y")


def test_the_command_line_tells_success_by_its_status(tmp_path: Path, program: Callable[[int], str]) -> None:
    """0 and the agent's answer."""
    file = written(tmp_path, agent(program(0)))

    done = CliRunner().invoke(cli.app, ["fence-test", "node-1", "--config", str(file), "--data", str(tmp_path)])

    assert (done.exit_code, done.output.startswith("agent x: status of node-1 succeeded")) == (0, True)
