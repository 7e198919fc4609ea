"""Three machines that are as bare as Debian's installer and one's own image leave them, and what is around them."""

import secrets
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from tests.guide.machine import HOME, CannotBoot, Fresh, Machine, remove_remains, switch
from tests.guide.outside import Outside
from tests.guide.page import MACHINES
from tests.packaging.test_wheel import ROOT, built
from tests.proof import not_here
from tests.servers.database import run_as, version_of
from tests.servers.home import Home
from tests.servers.packages import Missing, find
from tests.servers.seeds import copy_seed

# Of several machines that flush each commit; memory is as good a disk as any for what is asked here.
MEMORY: Final = Path("/dev/shm")
NEEDED: Final = {
    "systemd": "/usr/lib/systemd/systemd",
    "keepalived": "keepalived",
    "apache2-utils": "htpasswd",
    "galera-4": "/usr/lib/galera/libgalera_smm.so",
    "rsync": "rsync",
    "iproute2": "ip",
    "nftables": "nft",
    "curl": "curl",
}
FIRST: Final = 11


@pytest.fixture
def outside(release: object) -> Iterator[Outside]:
    """What is begun before it is not on their network."""
    with ExitStack() as stack:
        try:
            for package, program in NEEDED.items():
                find(program, package=package)
            remove_remains()
            network = stack.enter_context(switch())
            home = stack.enter_context(Home("guide", within=MEMORY))
            fresh = Fresh(
                home.folder("fresh", user=None), home.folder("outside", user=None), Path(sysconfig.get_path("purelib"))
            )
            copy_seed("debian", recipe=_recipe(), make=_as_installed, to=fresh.folder / "mysql", user="mysql")
            exports = home.folder("outside/exports", user=None)
            password = secrets.token_hex(8)
            around = Outside(fresh.outside, password)
            stack.callback(around.close)
            for number, name in enumerate(MACHINES, start=FIRST):
                machine = Machine(home, network, fresh, name=name, number=number)
                around.machines[name] = machine
                stack.callback(machine.take_down)
                machine.switch_on()
        except (Missing, CannotBoot) as reason:
            not_here(str(reason))
        _export(exports)
        (around.machines[MACHINES[0]].root(HOME) / "ipmi.password").write_text(password + "\n")
        yield around


@pytest.fixture
def release(tmp_path: Path) -> "Iterator[Future[Path]]":
    """What somebody brings to each machine. Building a wheel asks the package index, so that others begin meanwhile."""
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(_release, tmp_path)


def _release(folder: Path) -> Path:
    release = folder / "release"
    release.mkdir()
    built(_made(folder / "source"), release)
    shutil.copy(ROOT / "constraints.txt", release)
    shutil.copytree(ROOT / "packaging", release / "packaging")
    return release


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _export(folder: Path) -> None:
    """On the file server; the page says how."""
    command = ["install", "-d", "-o", "10776", "-g", "10776", "-m", "700"]
    subprocess.run([*command, str(folder / "volumes"), str(folder / "backups")], check=True)


def _recipe() -> str:
    return f"{version_of(find('mariadbd', package='mariadb-server'))} as Debian's package leaves it"


def _as_installed(folder: Path) -> None:
    """As the package does it: root of the machine is root of the database, by the socket."""
    how = ("--auth-root-authentication-method=socket", "--skip-test-db", "--disable-log-bin")
    done = run_as("mysql", "mariadb-install-db", "--no-defaults", f"--datadir={folder}", *how, cwd=folder)
    assert done.returncode == 0, done.stderr
