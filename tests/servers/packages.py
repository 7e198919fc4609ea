"""The servers that tests need, from Debian's packages: where their programs are, and how they get here.

    python tests/servers/packages.py      installs what is missing, as root, and starts nothing

Without imports of ours: `make install-test` runs it before anything else is there.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["PACKAGES", "Missing", "find", "install", "missing"]

# What a package is wanted for: one program or file of it, by which it is known to be there.
PACKAGES: Final = {
    "postgresql": "initdb",
    "mariadb-server": "mariadbd",
    "galera-4": "/usr/lib/galera/libgalera_smm.so",
    "rsync": "rsync",
    "haproxy": "haproxy",
    "rabbitmq-server": "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "redis-server": "redis-server",
    "etcd-server": "etcd",
}

# Of several installed versions, the newest.
_POSTGRESQL: Final = Path("/usr/lib/postgresql")
_APT: Final = ("apt-get", "-o", "DPkg::Lock::Timeout=600", "-qq", "-y", "--no-install-recommends")
_POLICY: Final = Path("/usr/sbin/policy-rc.d")


class Missing(Exception):
    """A program is not installed. The sentence says how to get it."""


def find(program: str, *, package: str) -> str:
    """The path of a program, or of a file when `program` is a path. Raises Missing."""
    found = _look(program)
    if found is None:
        raise Missing(f"{program} is not installed: run `make install-test` as root, or install the package {package}")
    return found


def missing() -> list[str]:
    """The packages of which something is not there."""
    return [package for package, program in PACKAGES.items() if _look(program) is None]


def install(packages: list[str]) -> None:
    """Install packages without starting what is in them. Raises CalledProcessError."""
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _nothing_starts():
        # No list of packages yet, or one that is out of date: only then ask for a fresh one, which is slow.
        if subprocess.run([*_APT, "install", *packages], env=environ, capture_output=True, check=False).returncode:
            subprocess.run([*_APT, "update"], env=environ, check=True)
            subprocess.run([*_APT, "install", *packages], env=environ, check=True)


def _look(program: str) -> str | None:
    if program.startswith("/"):
        return program if Path(program).exists() else None
    folders = [f"{path}/bin" for path in sorted(_POSTGRESQL.glob("*"), key=_version, reverse=True)]
    # A user's path often lacks the folders of servers.
    return shutil.which(program, path=os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def _version(folder: Path) -> int:
    return int(folder.name) if folder.name.isdigit() else 0


@contextlib.contextmanager
def _nothing_starts() -> Iterator[None]:
    """Debian asks this program before it starts a service; 101 means no."""
    if _POLICY.exists():  # the administrator's own rule
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def main() -> None:
    """Never fails: without the servers there are fewer tests, and they say so."""
    wanted = missing()
    if not wanted:
        return
    names = " ".join(wanted)
    consequence = "the tests that need them are skipped, and fail in a proof"
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        print(f"Not installed, because that takes root on Debian: {names}; {consequence}.", file=sys.stderr)
        return
    print(f"installing {names}")
    try:
        install(wanted)
    except subprocess.CalledProcessError as error:
        print(f"apt-get failed ({error}) for {names}; {consequence}.", file=sys.stderr)


if __name__ == "__main__":
    main()
