"""The external fence: a configured command, called as cluster software calls its fence agents.

Options go to its standard input, one `key=value` in a line; exit status 0 means that the node is cut off, anything else that it
may not be. Nothing secret is in the arguments or environment that we give it, where every user of the machine could read it:
passwords are read from files each time, and go the same way as the other options. What an agent gives to programs of its own
is beyond us: `fence_ipmilan` calls `ipmitool` with the password among the arguments.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from breezeblock.env.commands import Commands, Said
from breezeblock.env.contract import Threads
from breezeblock.node.fences import FenceFailed
from breezeblock.options import FenceAgent, Options
from breezeblock.protocol.membership import NodeRow

OFF: Final = "off"
# What changes the state of a node: a test never asks for it.
CUTTING: Final = frozenset({OFF, "on", "reboot", "cycle", "diag", "disable", "enable"})
# Beyond the command's own limit: to kill it, and to be late.
KILL_MARGIN_S: Final = 10.0
MACHINE: Final = "machine"
HIDDEN: Final = "***"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """Whom an agent is to act on. `incarnation` and `lock_path` are empty when only the name counts."""

    name: str
    incarnation: str = ""
    lock_path: str = ""


async def call(
    agent: FenceAgent, target: Target, *, action: str, name: str, commands: Commands, threads: Threads
) -> Said:
    """Run a fence agent. Raises FenceFailed when it could not even be run. Secrets are hidden in what it said."""
    secrets = {
        option: await threads.run(functools.partial(_secret, path, name)) for option, path in agent.option_files.items()
    }
    lines = _lines(agent, target, action=action, name=name, secrets=secrets)
    try:
        said = await commands.run(agent.command, text=lines.encode(), limit_s=agent.timeout_s)
    except OSError as error:
        raise FenceFailed(f"agent {name}: {agent.command[0]} cannot be run: {error.strerror or error}") from error
    output = said.output
    for secret in secrets.values():
        output = output.replace(secret, HIDDEN) if secret else output
    return Said(said.status, output)


def failure(said: Said, name: str, limit_s: float) -> str | None:
    """Why an agent's answer is no success, or None when it is one."""
    if said.status == 0:
        return None
    how = f"exit status {said.status}"
    if said.status is None:
        how = f"killed after {limit_s:g} s"
    elif said.status < 0:
        how = f"ended by signal {-said.status}"
    last = f": {said.output}" if said.output else ""
    return f"agent {name}: {how}{last}"


class External:
    """Implements `node.fences.Fence` by an agent."""

    method: Final = "external"
    whole_node: Final = True

    def __init__(self, agent: FenceAgent, *, name: str, boot_id: str, commands: Commands, threads: Threads) -> None:
        self._agent = agent
        self._name = name
        self._boot_id = boot_id
        self._commands = commands
        self._threads = threads

    @property
    def whole_boot(self) -> bool:
        """See `Fence`."""
        return self._agent.scope == MACHINE

    @property
    def limit_s(self) -> float:
        """See `Fence`."""
        return self._agent.timeout_s + KILL_MARGIN_S

    async def fence(self, row: NodeRow, queue: str) -> bool:
        """See `Fence`."""
        if self.whole_boot and row.boot_id == self._boot_id:
            raise FenceFailed(f"agent {self._name} would cut off this very machine; a node on another one must call it")
        target = Target(row.name) if self.whole_boot else Target(row.name, row.incarnation, row.lock_path)
        log.warning("node.calling_fence_agent", agent=self._name, node=row.name, incarnation_expired=row.incarnation)
        said = await call(
            self._agent, target, action=OFF, name=self._name, commands=self._commands, threads=self._threads
        )
        if (why := failure(said, self._name, self._agent.timeout_s)) is not None:
            raise FenceFailed(why)
        return True


def _lines(agent: FenceAgent, target: Target, *, action: str, name: str, secrets: Mapping[str, str]) -> str:
    """What the agent reads, ours first, so that the configuration may say otherwise (`action=reboot`, for one)."""
    told: dict[str, str] = {"action": action, "nodename": target.name}
    if target.incarnation:
        told |= {"incarnation": target.incarnation, "lock_path": target.lock_path}
    if agent.nodes:
        if target.name not in agent.nodes:
            raise FenceFailed(f"agent {name}: there is nothing about {target.name} in [fences.{name}.nodes]")
    else:
        told["plug"] = target.name
    told |= _texts(agent.options) | _texts(agent.nodes.get(target.name, {}))
    if action != OFF:
        told["action"] = action
    told |= secrets
    for option, value in told.items():
        if "\n" in value or "\r" in value:
            raise FenceFailed(f"agent {name}: the value of {option} has more than one line")
    return "".join(f"{option}={value}\n" for option, value in told.items())


def _texts(options: Options) -> dict[str, str]:
    return {key: str(int(value)) if isinstance(value, bool) else str(value) for key, value in options.items()}


def _secret(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise FenceFailed(f"agent {name}: {path} cannot be read: {why}") from error
