"""What the database servers have in common for those who test against them."""

import subprocess
from abc import abstractmethod
from pathlib import Path
from typing import Final

from tests.servers.server import Address, Server

__all__ = ["USER", "Address", "DatabaseServer", "run_as", "version_of"]

# Whom tests connect as, on every server, with the same word as the password: an ordinary user, who may do all with databases of
# its own and nothing with the server, so that a server that is read only is so for it.
USER: Final = "breezeblock"


class DatabaseServer(Server):
    """One real server that is this test's own."""

    @property
    @abstractmethod
    def patience(self) -> dict[str, int]:
        """The driver's arguments by which a client waits two seconds for a server that is silent, and no longer."""

    @abstractmethod
    def url(self, database: str, *, via: Address | None = None) -> str:
        """For SQLAlchemy; through a proxy, if there is one."""

    @abstractmethod
    def create_database(self, name: str) -> None:
        """An empty one."""

    @abstractmethod
    def drop_database(self, name: str) -> None:
        """With everybody's connections to it. Nothing happens when there is none."""

    @abstractmethod
    def read_only(self, on: bool) -> None:
        """Refuse to write, to ordinary users, or accept it again."""


def run_as(user: str | None, *command: str, cwd: Path, says: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program of a server as the user it wants. Raises CalledProcessError, with what it said."""
    return subprocess.run(
        command,
        cwd=cwd,
        check=True,
        input=says,
        capture_output=True,
        text=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


def version_of(program: str) -> str:
    """What it says of itself."""
    return subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
