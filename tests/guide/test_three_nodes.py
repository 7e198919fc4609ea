"""The guide of three machines, done as it says: what is typed there is typed here, at its own addresses, under its own paths.

Each machine is a set of namespaces with Debian's own systemd in it, which starts the units that are shipped: as their user,
with all that they restrict. Galera, keepalived, the certificate, the users and the clients are real. What is not, and stands in
(`programs`): packages are here already, so `apt-get` only looks whether they are; `pip` finds what the program needs without a
package index; an NFS export is a folder that all machines have mounted, which the doctor takes for local, and says so; there
is no sshd, so `scp` hands files over by another way; a management controller is a socket behind which the power goes off.
"""

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from tests.guide.clients import AGAIN, PROJECT, Api, Makers
from tests.guide.machine import HOME, Machine, finished
from tests.guide.outside import Outside
from tests.guide.page import COMPUTER, MACHINES, Piece, is_seen, pieces
from tests.proof import PROOF
from tests.service import eventually

from breezeblock.settings import load

GUIDE: Final = Path(__file__).resolve().parents[2] / "docs" / "howto" / "three-nodes.md"
LOST: Final = "When a machine is lost"
REPLACED: Final = "To replace a machine"
RENEWED: Final = "The certificate ends after a year"
UPGRADES: Final = "Upgrades"
POSTGRESQL: Final = "With PostgreSQL instead"
SERVICE: Final = "10.0.0.10"
# What the guide names; what is of the machine that the test runs on; and what comes of the stand-in for NFS.
NAMED: Final = {"doorbell.reach", "backends.reflink"}
OF_THE_TEST: Final = {"clocks.sync", "backends.local", "backups.local", "backends.device"}
GONE_OVER_S: Final = 40.0
API_PORT: Final = 8776
SSH_PORT: Final = 22
# Of the database: its clients, and its machines among themselves.
CLOSED: Final = (3306, 4567)
CONNECT_S: Final = 0.5

pytestmark = pytest.mark.timeout(500)


class Reader:
    """Does what the guide says."""

    def __init__(self, outside: Outside, release: "Future[Path]", folder: Path) -> None:
        self._release = release
        self._machines = outside.machines
        self._folder = folder
        self._door = outside.folder
        self.doctors: dict[str, str] = {}

    def do_all(self, *, but: tuple[str, ...] = (), only: str = "") -> None:
        """The page in order, or one section."""
        for piece in pieces(GUIDE):
            if piece.where and piece.section not in but and only in ("", piece.section):
                self.do(piece)

    def do_as_new(self, name: str, *, steps: str) -> None:
        """What a new machine does of the steps with these numbers: it has its own name, else it is as the last one."""
        for piece in pieces(GUIDE):
            is_told = piece.section.startswith("1.") and len(piece.where) == 1
            does = (name if is_told else MACHINES[-1]) in piece.where
            if does and piece.section.startswith(tuple(steps)):
                self.do(replace(piece, where=(name,)))

    def do(self, piece: Piece) -> None:
        """On all its machines at once where the page leaves that open, and see what the page says."""
        if "cd ~/breezeblock" in piece.text:
            self._bring()
        began = time.monotonic()
        if piece.where == (COMPUTER,):
            said = {COMPUTER: self._on_computer(piece.text)}
        elif piece.in_turn:
            said = {name: self._machines[name].type(piece.text) for name in piece.where}
        else:
            started = {name: self._machines[name].start(piece.text) for name in piece.where}
            said = {name: self._machines[name].finish(process, piece.text) for name, process in started.items()}
        print(f"{time.monotonic() - began:5.1f} s  {' '.join(piece.where)}: {piece.text.splitlines()[1]}")
        for name, output in said.items():
            missing = [line for line in piece.seen if not is_seen(line, output)]
            assert not missing, f"{name} does not show {missing}, but:\n{output}"
            if "breezeblock-doctor" in piece.text:
                self.doctors[name] = output

    def _bring(self) -> None:
        for machine in self._machines.values():
            shutil.copytree(self._release.result(), machine.root(HOME) / "breezeblock", dirs_exist_ok=True)

    def _on_computer(self, text: str) -> str:
        own = Path(__file__).parent / "programs"
        path = f"{self._folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        if not (self._folder / "scp").exists():
            (self._folder / "scp").symlink_to(own / "scp")
        environ = {"PATH": path, "HOME": str(self._folder), "OUTSIDE": str(self._door), "MACHINE": COMPUTER}
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self._folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return finished(process, f"your computer: {text}")


def has_address(machine: Machine) -> bool:
    """Whether it is where clients are sent."""
    return f" {SERVICE}/" in machine.type("ip -o address show dev eth0")


def holder(machines: dict[str, Machine]) -> str:
    """Who has the address; nobody, or two, is an error."""
    (name,) = [one.name for one in machines.values() if one.is_on and has_address(one)]
    return name


@contextmanager
def told(machines: dict[str, Machine]) -> Iterator[None]:
    """Of a failure, what the service says of itself."""
    try:
        yield
    except BaseException:
        asked = (
            ". /etc/profile.d/breezeblock.sh; breezeblock status; tail -n 15 /var/lib/breezeblock/log/*.log; ip address"
        )
        for machine in machines.values():
            if machine.is_on:
                print(machine.name, machine.start(asked).communicate(timeout=60)[0])
        raise


def statuses(api: Api) -> dict[str, str]:
    status, answer = api.ask("GET", "/volumes/detail?limit=1000")
    assert status == 200, answer
    return {one["id"]: one["status"] for one in answer["volumes"]}


def test_the_guide_is_right(outside: Outside, release: "Future[Path]", tmp_path: Path) -> None:
    """Each piece does what it says, and a machine may be lost and come back while clients go on.

    In a proof one is replaced as well, all are upgraded, another machine is lost, and then all of them at once.
    """
    machines = outside.machines
    computer = tmp_path / "computer"
    computer.mkdir()
    reader = Reader(outside, release, computer)
    with told(machines):
        reader.do_all(but=(LOST, REPLACED, RENEWED, UPGRADES))

        assert_doctors_find_no_more(reader.doctors)
        assert_nodes_run_as_they_should(machines)
        assert holder(machines) == "alpha"
        password = (computer / "admin.password").read_text().strip()
        api = Api(SERVICE, password=password, trusted=computer / "api.crt")
        status, _ = api.ask("PUT", f"/os-quota-sets/{PROJECT}", {"quota_set": {"volumes": -1, "gigabytes": -1}})
        assert status == 200

        lose(machines["alpha"], outside, api, by=Machine.unplug)
        reader.do_all(only=LOST)
        machines["alpha"].switch_on()
        eventually(lambda: is_whole(machines), within_s=GONE_OVER_S)
        assert accepts(api)
        assert_strangers_reach_the_api_alone(machines)
        make_settings_again(machines["alpha"], reader)
        reader.do_all(only=RENEWED)
        api = assert_next_certificate_is_served(machines, password=password, computer=computer)
        if PROOF:
            lose(machines["alpha"], outside, api, by=Machine.switch_off)
            make_anew(machines["alpha"], reader)
            eventually(lambda: is_whole(machines), within_s=GONE_OVER_S)
            reader.do_all(only=UPGRADES)
            again = machines[holder(machines)]
            lose(again, outside, api, by=Machine.switch_off)
            again.switch_on()
            eventually(lambda: is_whole(machines), within_s=GONE_OVER_S)
            cut_all_power(machines)
            eventually(lambda: is_whole(machines), within_s=2 * GONE_OVER_S)
            assert accepts(api)


def assert_doctors_find_no_more(doctors: dict[str, str]) -> None:
    """Than the page says."""
    assert doctors.keys() == set(MACHINES)
    for name, output in doctors.items():
        found = set(re.findall(r"^(?:ERROR|WARNING|NOTE) +([\w.]+):", output, re.MULTILINE))
        assert "doorbell.reach" in found
        assert found - OF_THE_TEST <= NAMED, f"{name}: {output}"


def assert_nodes_run_as_they_should(machines: dict[str, Machine]) -> None:
    """As nobody special, and each incarnation in a control group of its own, which the unit lets it make."""
    for machine in machines.values():
        users = machine.type(
            "find /sys/fs/cgroup/breezeblock.slice -name cgroup.procs -exec cat {} + | xargs ps -o user:20="
        )
        groups = machine.type("ls -d /sys/fs/cgroup/breezeblock.slice/breezeblock-node.service/breezeblock-*/worker")

        assert set(users.split()) == {"breezeblock"}
        assert len(groups.splitlines()) == 1


def assert_strangers_reach_the_api_alone(machines: dict[str, Machine]) -> None:
    """Also a machine that has been switched on again. Nobody listens for `ssh`, and it is the machine that says so."""
    for machine in machines.values():
        socket.create_connection((machine.address, API_PORT), timeout=CONNECT_S).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((machine.address, SSH_PORT), timeout=CONNECT_S)
        for port in CLOSED:
            with pytest.raises(TimeoutError):
                socket.create_connection((machine.address, port), timeout=CONNECT_S)


def make_settings_again(machine: Machine, reader: Reader) -> None:
    """As for a new machine in the place of this one: they are what they were."""
    look = "stat -c '%n %a %U %G' /etc/breezeblock/*; sha256sum /etc/breezeblock/*"
    before = machine.type(look)
    machine.type("rm /etc/breezeblock/*")
    for piece in pieces(GUIDE):
        if piece.where == (machine.name,) and piece.section.startswith("1."):
            reader.do(piece)
    reader.do_all(only=REPLACED)
    reader.do_as_new(machine.name, steps="5")

    assert machine.type(look) == before


def make_anew(machine: Machine, reader: Reader) -> None:
    """All of it, on an empty disk."""
    machine.replace()
    machine.switch_on()
    reader.do_as_new(machine.name, steps="1234")
    reader.do_all(only=REPLACED)
    reader.do_as_new(machine.name, steps="567")


def assert_next_certificate_is_served(machines: dict[str, Machine], *, password: str, computer: Path) -> Api:
    """By each machine, under its own address as well. Returns a client who trusts it."""
    wanted = ssl.PEM_cert_to_DER_cert((computer / "next.crt").read_text())
    addresses = [machine.address for machine in machines.values()]

    def served(address: str) -> bytes:
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((address, API_PORT)))

    eventually(lambda: all(served(address) == wanted for address in addresses), within_s=GONE_OVER_S)
    for address in [*addresses, SERVICE]:
        assert accepts(Api(address, password=password, trusted=computer / "api.crt"))
    return Api(SERVICE, password=password, trusted=computer / "api.crt")


def lose(machine: Machine, outside: Outside, api: Api, *, by: Callable[[Machine], None]) -> None:
    """While clients make volumes. Each that was promised is made by those who are left, and they see to it that it is off."""
    outside.asked.clear()
    with Makers(api) as makers:
        eventually(lambda: len(makers.accepted) >= 4, within_s=30)
        before = len(makers.accepted)
        by(machine)
        lost_at = time.monotonic()
        eventually(lambda: len(makers.accepted) >= before + 4, within_s=GONE_OVER_S)
        back_s = time.monotonic() - lost_at
        eventually(lambda: ("off", machine.name) in outside.asked, within_s=GONE_OVER_S)
        fenced_s = time.monotonic() - lost_at
    print(f"{len(makers.accepted)} volumes, {makers.lost} requests without an answer")
    print(f"back after {back_s:.1f} s, fenced after {fenced_s:.1f} s")

    eventually(lambda: all(statuses(api).get(one) == "available" for one in makers.accepted), within_s=GONE_OVER_S)
    assert not makers.refused
    assert not machine.is_on
    assert {name for action, name in outside.asked if action == "off"} == {machine.name}
    assert holder(outside.machines) != machine.name


def cut_all_power(machines: dict[str, Machine]) -> None:
    for machine in machines.values():
        machine.switch_off()
    for machine in machines.values():
        machine.switch_on()


def is_whole(machines: dict[str, Machine]) -> bool:
    """Whether all do their part: in the database, as nodes, and one of them for clients. Who is off is switched on."""
    for machine in machines.values():
        if not machine.is_on:
            machine.switch_on()
    asked = (
        "mariadb -NBe \"SHOW STATUS LIKE 'wsrep_cluster_size'\"; . /etc/profile.d/breezeblock.sh; breezeblock node list"
    )
    said, _ = machines["alpha"].start(asked).communicate(timeout=60)
    nodes = set(re.findall(r"(\w+)-1\W+up\b", said))
    has = [machine for machine in machines.values() if has_address(machine)]
    return bool(re.search(r"wsrep_cluster_size\s+3", said)) and nodes == set(MACHINES) and len(has) == 1


def accepts(api: Api) -> bool:
    try:
        status, _ = api.ask("POST", "/volumes", {"volume": {"size": 1}})
    except AGAIN:
        return False
    return status == 202


def test_what_is_not_typed_can_be_used(tmp_path: Path) -> None:
    """The settings for PostgreSQL, in the place of those for Galera."""
    found = pieces(GUIDE)
    (other,) = [piece.text for piece in found if piece.section == POSTGRESQL]
    (whole,) = re.findall(
        r"breezeblock.toml <<END\n(.*?)^END$", "".join(piece.text for piece in found), re.MULTILINE | re.DOTALL
    )
    file = tmp_path / "breezeblock.toml"
    file.write_text(re.sub(r"\[database\]\n(.+\n)+", other, whole))

    chosen = load(file, {}).settings

    assert [url.split("@")[1] for url in chosen.database.urls] == [
        f"10.0.0.{number}/breezeblock" for number in (11, 12, 13)
    ]
    assert chosen.doorbell_kind == "postgresql"


def test_every_machine_is_told_of() -> None:
    """A page that is read wrongly is not tried."""
    told = {name for piece in pieces(GUIDE) for name in piece.where}

    assert told == {*MACHINES, COMPUTER}


@pytest.mark.parametrize("line", ["alpha-1 … fenced", "alpha-1 u", "beta-1"])
def test_what_is_not_there_is_not_seen(line: str) -> None:
    """What the page promises is in one line of what was printed, in whole words."""
    output = "│ alpha-1 │ up │\n│ gamma-1 │ fenced │"

    assert is_seen("alpha-1 … up", output)
    assert not is_seen(line, output)
