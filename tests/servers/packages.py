"""What tests need of Debian's packages, servers above all: where their programs are, and how they get here.

    python tests/servers/packages.py            installs what is missing, as root, and starts nothing
    python tests/servers/packages.py spin gcc   these, and fails when it cannot

Without imports of ours: `make install-test` runs it before anything else is there.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["PACKAGES", "Missing", "fetch", "find"]

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
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "ceph-common": "ceph-authtool",
    "radosgw": "radosgw",
    "python3-swift": "/usr/lib/python3/dist-packages/swift/proxy/server.py",
    "memcached": "memcached",
    "xfsprogs": "mkfs.xfs",
    "e2fsprogs": "mkfs.ext4",
    "mount": "mount",
    "spin": "spin",
    "gcc": "gcc",
    "libc6-dev": "/usr/include/stdio.h",
    "prometheus": "promtool",
    "systemd": "/usr/lib/systemd/systemd",
    "iproute2": "ip",
    "keepalived": "keepalived",
    "nftables": "nft",
    "apache2-utils": "htpasswd",
    "curl": "curl",
}

# What only proofs want, which fetch it themselves: with all that it needs it is a third of a gigabyte.
FOR_PROOFS: Final = {
    "python3-barbican": "/usr/lib/python3/dist-packages/barbican/api/app.py",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
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


def fetch(*packages: str) -> None:
    """Have packages here, and start nothing of them. Raises Missing."""
    if not (wanted := _missing(packages)):
        return
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        raise Missing(f"Not installed, because that takes root on Debian: {' '.join(wanted)}")
    with _one_at_a_time(), _nothing_starts():
        if wanted := _missing(packages):
            print(f"installing {' '.join(wanted)}", flush=True)
            try:
                _install(wanted)
            except subprocess.CalledProcessError as error:
                raise Missing(f"apt-get failed ({error}) for {' '.join(wanted)}") from error


def _missing(packages: Iterable[str]) -> list[str]:
    return [package for package in packages if _look((PACKAGES | FOR_PROOFS)[package]) is None]


def _install(packages: list[str]) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
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
def _one_at_a_time() -> Iterator[None]:
    """Tests run side by side: whoever comes second finds the policy and the packages of the first."""
    with (Path(tempfile.gettempdir()) / "breezeblock-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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


def main(names: list[str]) -> int:
    """Whoever asks for all goes on without: then there are fewer tests, and they say so."""
    try:
        fetch(*(names or _missing(PACKAGES)))
    except Missing as error:
        print(f"{error}; the tests that need them are skipped, or fail.", file=sys.stderr)
        return 1 if names else 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
