"""What the database servers have in common for those who test against them."""

import subprocess
from pathlib import Path
from typing import Final, Protocol

__all__ = ["USER", "Address", "DatabaseServer", "run_as"]

# Whom tests connect as, on every server, with the same word as the password: an ordinary user, who may do all with databases of
# its own and nothing with the server, so that a server that is read only is so for it.
USER: Final = "breezeblock"


class Address(Protocol):
    """Where something listens: a server, or a proxy in front of it."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


class DatabaseServer(Address, Protocol):
    """One real server that is this test's own. After each verb but `pause` it is settled: ready, or gone."""

    @property
    def patience(self) -> dict[str, int]:
        """The driver's arguments by which a client waits two seconds for a server that is silent, and no longer."""
        ...

    def url(self, database: str, *, via: Address | None = None) -> str:
        """For SQLAlchemy; through a proxy, if there is one."""
        ...

    def create_database(self, name: str) -> None:
        """An empty one."""
        ...

    def drop_database(self, name: str) -> None:
        """With everybody's connections to it. Nothing happens when there is none."""
        ...

    def start(self) -> None:
        """Again, on the same data."""
        ...

    def stop(self) -> None:
        """Orderly; open connections are closed."""
        ...

    def kill(self) -> None:
        """SIGKILL for all its processes."""
        ...

    def pause(self) -> None:
        """SIGSTOP for all its processes: connections stay open, and nothing answers."""
        ...

    def resume(self) -> None:
        """SIGCONT."""
        ...

    def read_only(self, on: bool) -> None:
        """Refuse to write, to ordinary users, or accept it again."""
        ...


def run_as(user: str | None, *command: str, cwd: Path) -> None:
    """Run a program of a server as the user it wants. Raises CalledProcessError, with what it said."""
    subprocess.run(
        command,
        cwd=cwd,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
