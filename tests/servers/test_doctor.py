"""`breezeblock doctor` on real servers: it finds each of many planted mistakes, and nothing where all is well."""

import json
import resource
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import insert, update
from tests.servers.galera import Galera
from tests.servers.mariadb import MariaDB
from tests.servers.needed import needed
from tests.servers.postgresql import PostgreSQL
from tests.servers.server import running
from tests.service import Service, start

from breezeblock.commands.doctor import doorbell
from breezeblock.commands.doctor.examine import examine
from breezeblock.commands.doctor.finding import ERROR, NOTE, Finding
from breezeblock.store import schema
from breezeblock.store.servers import Session, open_server
from breezeblock.store.tables import nodes, pools

pytestmark = pytest.mark.timeout(240)

# About the machine that the test runs on, whatever is planted.
OF_MACHINES: Final = {"clocks.sync", "machine.files"}


class Durable(PostgreSQL):
    """As an operator's should be."""

    def command(self) -> Sequence[str]:
        """Of an option that is given twice the last counts."""
        return (*super().command(), "--fsync=on", "--full_page_writes=on", "--max_connections=300")


@pytest.fixture(scope="module")
def durable() -> Iterator[PostgreSQL]:
    with needed(running("pg", Durable)) as server:
        yield server


@contextmanager
def database(server: PostgreSQL | MariaDB | Galera) -> Iterator[str]:
    name = f"doctor_{uuid.uuid4().hex[:8]}"
    server.create_database(name)
    try:
        yield name
    finally:
        server.drop_database(name)


def looked(file: Path, *parts: str) -> dict[str, Finding]:
    """What was found, by its check; of several of one check, the last."""
    return {one.check: one for one in examine(file, {}, {}, parts=parts)}


def written(folder: Path, text: str) -> Path:
    file = folder / "breezeblock.toml"
    file.write_text(text)
    file.chmod(0o600)
    return file


def ordinary(found: Mapping[str, Finding]) -> set[str]:
    return set(found) - OF_MACHINES


# --- where all is well ------------------------------------------------------------------------------------------------


@pytest.fixture
def service(durable: PostgreSQL, tmp_path: Path) -> Iterator[Service]:
    with database(durable) as name:
        environ = {
            "BREEZEBLOCK_DATABASE__URL": durable.url(name),
            "BREEZEBLOCK_DATABASE__CONNECTIONS": "4",
            "BREEZEBLOCK_NODES__ONE_MACHINE": "true",
            "BREEZEBLOCK_API__PORT": "0",
        }
        made = start(tmp_path / "service", nodes=1, workers=1, environ=environ)
        try:
            yield made
        finally:
            made.end()


def test_where_all_is_well_nothing_is_found(service: Service) -> None:
    """Beside the running service, and after its end; for programs as for people."""
    beside = service.command("doctor", "--json")
    service.end()
    after = service.command("doctor")

    found = json.loads(beside.stdout)
    assert {one["check"] for one in found["findings"] if one["level"] != NOTE} <= OF_MACHINES
    assert {one["check"] for one in found["findings"]} <= {*OF_MACHINES, "backends.reflink"}
    assert found["looked_at"] == ["machine", "folders", "clocks", "database", "doorbell", "fences"]
    assert (beside.returncode, after.returncode) == (0, 0)
    assert after.stdout.splitlines()[-1].startswith(("0 errors", "Nothing was found"))


# --- planted mistakes -------------------------------------------------------------------------------------------------


@contextmanager
def few_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def used_before(url: str) -> None:
    """A database of this release in which a backend has reported, and another machine has a node that is called as ours."""
    schema.upgrade(url)
    engine = open_server(url, Session(connections=1), reading=False)
    pool = {
        "name": "breezeblock@gone#gone",
        "queue": "breezeblock@gone",
        "availability_zone": "nova",
        "reported_at_us": 1,
    }
    node = {
        "incarnation": str(uuid.uuid4()),
        "name": "node-1",
        "cluster": "breezeblock",
        "boot_id": str(uuid.uuid4()),
        "state": "up",
        "version": "0.0.9",
        "lock_path": "/x",
        "lock_id": "x",
        "keeper_pid": 1,
        "started_at_us": 1,
    }
    with engine.begin() as connection:
        connection.execute(insert(pools).values(**pool))
        connection.execute(insert(nodes).values(**node))
    engine.dispose()


@contextmanager
def renewing(url: str) -> Iterator[None]:
    """The other machine's node renews its lease, for the length of the block."""
    engine = open_server(url, Session(connections=1), reading=False)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.2):
            with engine.begin() as connection:
                connection.execute(update(nodes).values(heartbeat=nodes.c.heartbeat + 1))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        engine.dispose()


PLANTED: Final = """
[service]
data_dir = "{data}"
[api]
port = {port}
[database]
url = "{url}"
connections = 64
[doorbell]
kind = "rabbitmq"
urls = ["amqp://guest:guest@127.0.0.1:1/"]
[nodes]
count = 1
fence_agent = "missing"
[backends.gone]
path = "{base}/gone"
[backends.full]
path = "{base}/full"
fence_agent = "failing"
[backends.nowhere]
path = "{base}/not/there"
fence_agent = "forgetful"
[fences.missing]
command = ["{base}/no-such-agent"]
[fences.failing]
command = ["/bin/sh", "-c", "echo no route to host; exit 1"]
option_files = {{ password = "{base}/password" }}
[fences.forgetful]
command = ["/bin/true"]
nodes = {{ node-7 = {{ ip = "10.0.0.7" }} }}
[backup_stores.default]
type = "folder"
encryption_key_file = "{base}/lost.key"
"""


def test_each_planted_mistake_is_found(
    a_postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by its name, with what it is about, why it matters and what to do."""
    monkeypatch.setattr(doorbell, "CONNECTED_S", 1.0)
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    for name in ("gone", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "somebody's").touch()
    (tmp_path / "password").write_text("hidden-word")
    (tmp_path / "password").chmod(0o644)
    with database(a_postgresql) as name, socket.create_server(("127.0.0.1", 0)) as taken, few_files():
        url = a_postgresql.url(name)
        used_before(url)
        with a_postgresql.admin() as admin:
            admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        text = PLANTED.format(data=data, base=tmp_path, url=url, port=taken.getsockname()[1])
        file = written(tmp_path, text)
        file.chmod(0o666)
        with renewing(url):
            found = looked(file)

    wanted = {
        "settings.secrets": "there is a password in it",
        "settings.writable": "mode 666",
        "machine.port": "is taken",
        "machine.files": "1024 files",
        "folders.data": "mode 755",
        "files.secret": "option_files.password",
        "files.unreadable": "lost.key",
        "backups.key": "cannot be read",
        "backups.local": "store default",
        "backends.local": "this machine's own",
        "backends.folder": "not/there",
        "backends.marker": "full",
        "backends.unmounted": "/gone",
        "database.fsync": "fsync = off",
        "database.full_page_writes": "full_page_writes = off",
        "database.flush": "synchronous_commit = off",
        "database.connections": "connections",
        "database.names": "node-1",
        "doorbell.server": "127.0.0.1:1",
        "fences.command": "no-such-agent",
        "fences.status": "no route to host",
        "fences.node": "node-1",
    }
    assert {
        check: found[check].what for check in wanted if check in found and wanted[check] not in found[check].what
    } == {}
    assert wanted.keys() <= found.keys()
    assert all(len(one.why) > 10 and len(one.do) > 10 for one in found.values())
    assert "hidden-word" not in "".join(map(str, found.values()))
    assert "breezeblock:breezeblock@" not in "".join(map(str, found.values()))


def test_what_a_machine_left_when_it_was_switched_off_is_no_namesake(a_postgresql: PostgreSQL, tmp_path: Path) -> None:
    """Its rows are of another boot and stand still."""
    with database(a_postgresql) as name:
        url = a_postgresql.url(name)
        used_before(url)
        agent = '[fences.a]\ncommand = "/bin/true"\n'
        settings = f'[database]\nurl = "{url}"\n[nodes]\nttl_s = 1.0\nfence_agent = "a"\n{agent}'
        file = written(tmp_path, f'[service]\ndata_dir = "{tmp_path}/data"\n{settings}')
        found = looked(file, "database")
        with renewing(url):
            beside = looked(file, "database")

    assert "database.names" not in found
    assert "database.names" in beside


def test_a_database_that_does_not_answer_is_said_once(tmp_path: Path) -> None:
    """Its password is not."""
    url = "postgresql://somebody:hidden-word@127.0.0.1:1/volumes"
    text = f'[service]\ndata_dir = "{tmp_path}/data"\n[database]\nurl = "{url}"\n[nodes]\none_machine = true\n'
    found = looked(written(tmp_path, text), "database", "clocks", "fences")

    assert ordinary(found) == {"database.unreachable"}
    assert "hidden-word" not in str(found)
    assert found["database.unreachable"].level == ERROR


def test_mariadb_is_told_to_flush(a_mariadb: MariaDB, tmp_path: Path) -> None:
    """And to keep idle sessions; what was put right is not told any more."""
    with database(a_mariadb) as name:
        a_mariadb.ask("SET GLOBAL wait_timeout = 20")
        text = f'[service]\ndata_dir = "{tmp_path}/data"\n[database]\nurl = "{a_mariadb.url(name)}"\n'
        file = written(tmp_path, text + "connections = 2\n[nodes]\none_machine = true\n")
        try:
            wrong = looked(file, "database")
            a_mariadb.ask("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
            a_mariadb.ask("SET GLOBAL wait_timeout = 28800")
            a_mariadb.ask(f"ALTER DATABASE {name} CHARACTER SET latin1")
            better = looked(file, "database")
        finally:
            a_mariadb.ask("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
            a_mariadb.ask("SET GLOBAL wait_timeout = 28800")

    assert set(wrong) == {"database.flush", "database.idle", "database.doublewrite"}
    assert "innodb_flush_log_at_trx_commit = 2" in wrong["database.flush"].what
    assert set(better) == {"database.encoding", "database.doublewrite"}


def test_a_galera_node_is_asked_about_its_cluster(a_galera: Galera, tmp_path: Path) -> None:
    """Three nodes are well; one that goes on without a majority is not."""
    first = a_galera.nodes[0]
    with database(a_galera) as name:
        text = f'[service]\ndata_dir = "{tmp_path}/data"\n[database]\nurl = "{first.url(name)}"\n'
        file = written(tmp_path, text + "connections = 2\n[nodes]\none_machine = true\n")
        well = looked(file, "database")
        first.ask("SET GLOBAL wsrep_provider_options = 'pc.ignore_quorum=true'")
        try:
            wrong = looked(file, "database")
        finally:
            first.ask("SET GLOBAL wsrep_provider_options = 'pc.ignore_quorum=false'")

    assert set(well) == {"database.flush", "database.doublewrite"}
    assert set(wrong) - set(well) == {"galera.quorum"}
