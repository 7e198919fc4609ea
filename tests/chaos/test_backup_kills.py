"""A backup, a restore or a deletion is under way, and its node dies, is stopped or drained, or the store goes away.

Another node goes on, uploads little of it again, and what comes back is what was there.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from tests.backup.served import NO_QUOTA, VERSION
from tests.clients.storage import GIB, Storage
from tests.proof import PROOF
from tests.service import Service, StartService, eventually

from breezeblock.chaos.database import Row

SEED: Final = int(os.environ.get("BREEZEBLOCK_SEED") or random.SystemRandom().randrange(2**32))
MIB: Final = 1024**2
TTL_S: Final = 1.5
# As long as all of it takes: what is struck at is to be under way.
UPLOAD_BYTES_PER_S: Final = 24 * MIB if PROOF else 64 * MIB
RESTORE_BYTES_PER_S: Final = 36 * MIB if PROOF else 96 * MIB
# What a killed node may have had on its way, whole or in part.
AGAIN_MOST: Final = 64 * MIB
# Indexes, maps and the manifest; random bytes do not shrink.
BESIDE_DATA: Final = 1.02
ENDED_S: Final = 120.0
FULL_SIZE: Final = 640 * MIB if PROOF else 192 * MIB
PATH: Final = "/v3/admin"


@dataclass
class Site:
    """Two nodes and a volume of several GiB with random data in some places."""

    service: Service
    storage: Storage
    chance: random.Random
    volume: str
    digest: str
    strikes: int = 0

    @property
    def store(self) -> Path:
        return self.service.data / "backups"

    def uploaded(self) -> int:
        """All bytes that ever arrived: nothing is collected so soon, and parts of packs are kept for a day."""
        return sum(path.stat().st_size for path in self.store.rglob("*") if path.is_file())

    def owner(self, resource: str) -> Row | None:
        """The node that works on it now."""
        query = "SELECT n.* FROM nodes n JOIN operations o ON o.owner = n.incarnation WHERE o.resource_id = ?"
        found = self.service.database.rows(query, resource)
        return found[0] if found and found[0]["worker_pid"] is not None else None

    def under_way(self, resource: str) -> bool:
        return bool(self.service.database.rows("SELECT 1 FROM operations WHERE resource_id = ?", resource))

    def struck_in_time(self, resource: str, how: "Strike") -> bool:
        """Strike at whoever works on it; False when there was nobody any more."""

        def owner_or_over() -> Row | bool:
            return self.owner(resource) or not self.under_way(resource)

        found = eventually(owner_or_over, within_s=60, message="nobody works on it")
        if isinstance(found, bool):
            return False
        how(self, found)
        self.strikes += 1
        return True

    def ask(self, method: str, path: str, body: object = None) -> Any:
        answer = self.service.request(method, f"{PATH}/{path}", body, headers=VERSION)
        assert answer.status in (200, 202), (method, path, answer)
        return answer.body

    def at_rest(self, table: str, id_: str) -> None:
        def there() -> bool:
            (found,) = self.ask("GET", f"{table}/{id_}").values()
            assert not found["status"].startswith("error"), found
            return bool(found["status"] == "available")

        eventually(there, within_s=ENDED_S, message=f"{table} {id_} is not available")

    def gone(self, table: str, id_: str) -> None:
        eventually(
            lambda: self.service.request("GET", f"{PATH}/{table}/{id_}").status == 404,
            within_s=ENDED_S,
            message=f"{table} {id_} is still there",
        )


Strike = Callable[[Site, Row], None]


def kill_worker(site: Site, node: Row) -> None:
    os.kill(node["worker_pid"], signal.SIGKILL)


def kill_node(site: Site, node: Row) -> None:
    """Its keeper; the worker dies with it."""
    os.kill(node["keeper_pid"], signal.SIGKILL)


def stop_node(site: Site, node: Row) -> None:
    """For longer than its lease; then it goes on, if it was let live."""
    pids = (node["worker_pid"], node["keeper_pid"])
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2.5 * TTL_S)
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:  # who had given it up has killed it
            continue


def drain_node(site: Site, node: Row) -> None:
    """And let it serve again, once it has nothing any more."""
    assert site.service.command("node", "drain", node["name"]).returncode == 0
    query = "SELECT 1 FROM operations WHERE owner = ?"
    eventually(lambda: not site.service.database.rows(query, node["incarnation"]), within_s=60)
    assert site.service.command("node", "resume", node["name"]).returncode == 0


def take_store_away(site: Site, node: Row) -> None:
    """The folder is not there for a while, as when it is not mounted; in a proof for longer than the engine itself waits."""
    away = site.store.with_name("away")
    site.store.rename(away)
    time.sleep(70.0 if PROOF else 1.5)
    away.rename(site.store)


KILLS: Final = (kill_worker, kill_node)
WAYS: Final = {
    "kills": KILLS,
    "outages": (take_store_away,),
    "stops": (stop_node,),
    "drains": (drain_node,),
    "anything": (*KILLS, stop_node, drain_node),
}


@contextmanager
def site(running_service: StartService) -> Iterator[Site]:
    environ = NO_QUOTA | {
        "BREEZEBLOCK_NODES__POISON_LIMIT": "100",
        "BREEZEBLOCK_BACKUP_STORES__DEFAULT__RATE_LIMIT": str(UPLOAD_BYTES_PER_S),
        "BREEZEBLOCK_BACKENDS__FILE__COPY_RATE_LIMIT": str(RESTORE_BYTES_PER_S),
    }
    service = running_service(nodes=2, workers=1, ttl_s=TTL_S, environ=environ)
    chance, size_gib = random.Random(SEED), 4
    volume = service.create_volume(size_gib=size_gib)
    service.wait_status(volume)
    storage = Storage(service)
    file = storage.file_of("volumes", volume)
    places = chance.sample(range(size_gib * GIB // (16 * MIB)), FULL_SIZE // (16 * MIB))
    with file.open("r+b") as opened:
        for place in places:
            opened.seek(place * 16 * MIB)
            opened.write(chance.randbytes(16 * MIB))
    yield Site(service, storage, chance, volume, storage.content_of("volumes", volume))
    assert service.database.contradictions() == []


def strike_while(
    site: Site, resource: str, progress: Callable[[], int], strikes: int, ways: tuple[Strike, ...]
) -> None:
    """So many times, each when it has got on by a random amount since the last, for as long as it is under way."""
    for _ in range(strikes):
        wanted = progress() + site.chance.randint(0, 2 * FULL_SIZE // (3 * strikes))

        def reached(least: int = wanted) -> bool:
            return progress() >= least or not site.under_way(resource)

        eventually(reached, within_s=ENDED_S, message="it does not get on")
        if not site.struck_in_time(resource, site.chance.choice(ways)):
            return


def backed_up(site: Site, strikes: int, ways: tuple[Strike, ...]) -> str:
    """A backup that is struck at. Little of it is uploaded twice."""
    made: str = site.ask("POST", "backups", {"backup": {"volume_id": site.volume}})["backup"]["id"]
    strike_while(site, made, site.uploaded, strikes, ways)
    site.at_rest("backups", made)
    site.at_rest("volumes", site.volume)
    again = site.uploaded() - int(FULL_SIZE * BESIDE_DATA)
    print(f"BREEZEBLOCK_SEED={SEED}: {site.strikes} strikes, {max(0, again) / MIB:.1f} MiB uploaded again")
    assert again <= site.strikes * AGAIN_MOST
    return made


def restored(site: Site, backup: str, strikes: int, ways: tuple[Strike, ...]) -> int:
    """A restore that is struck at gives what was there. Returns how often it was struck at."""
    before = site.strikes
    made = site.ask("POST", "volumes", {"volume": {"size": 4, "backup_id": backup}})["volume"]["id"]

    def filled() -> int:
        found = site.storage.operation_on(made)
        return found.done_bytes * FULL_SIZE // (4 * GIB) if found else 0

    strike_while(site, made, filled, strikes, ways)
    site.at_rest("volumes", made)
    assert site.storage.content_of("volumes", made) == site.digest
    return site.strikes - before


def deleted(site: Site, backup: str, ways: tuple[Strike, ...]) -> None:
    """Its node is struck at as soon as there is one."""
    site.ask("DELETE", f"backups/{backup}")
    site.struck_in_time(backup, site.chance.choice(ways))
    site.gone("backups", backup)
    assert not list(site.store.glob("*/manifests/**/*.*"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("way", "strikes"),
    [
        ("kills", 8 if PROOF else 2),
        ("outages", 2 if PROOF else 1),
        pytest.param("stops", 4, marks=pytest.mark.proof),
        pytest.param("drains", 4, marks=pytest.mark.proof),
        pytest.param("anything", 12, marks=pytest.mark.proof),
    ],
)
def test_what_is_struck_at_is_gone_on_with(running_service: StartService, way: str, strikes: int) -> None:
    """First the backup, then its restore, then its deletion."""
    ways = WAYS[way]
    with site(running_service) as at:
        backup = backed_up(at, strikes, ways)
        struck = at.strikes
        restores = restored(at, backup, max(1, strikes // 2), ways)
        deleted(at, backup, ways)

    # Whoever takes over from one that is drained may be done before that one serves again.
    assert min(struck, restores) > 0, "it was over before: nothing is proved"
