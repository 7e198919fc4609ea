"""As in `tests/backup/test_served_data.py`, with the backups in stores that are reached over the network."""

import asyncio
import os
import random
import time
from pathlib import Path
from typing import Final

import pytest
from tests.backup.served import NO_QUOTA, Chains
from tests.backup.stores.places import S3Place, ServedPlace, on
from tests.backup.stores.test_contract import listed
from tests.clients.storage import Storage, fill
from tests.proof import PROOF
from tests.service import StartService, eventually, running_service

from breezeblock.backup.contract import ObjectStore
from breezeblock.chaos.hurry import hurried

__all__ = ["running_service"]

SEED: Final = int(os.environ.get("BREEZEBLOCK_SEED") or random.SystemRandom().randrange(2**32))
MIB: Final = 1024**2
# Beside other suites nobody's lease is to end.
TTL_S: Final = 30.0
KEY: Final = bytes(range(32))
COPY_RATE_LIMIT: Final = "BREEZEBLOCK_BACKENDS__FILE__COPY_RATE_LIMIT"
# A listing of Swift's may lag behind.
LISTED_S: Final = 20.0


def settings_of(place: ServedPlace, *, key_file: Path | None) -> dict[str, str]:
    """The store as a service is told of it."""
    options = {
        "TYPE": "s3" if isinstance(place, S3Place) else "swift",
        "ENDPOINT": place.endpoint,
        "BUCKET": place.bucket,
        "PREFIX": place.prefix,
        "CREDENTIALS_FILE": str(place.credentials_file),
    }
    if isinstance(place, S3Place):
        options["PATH_STYLE"] = "true"
    if key_file is not None:
        options["ENCRYPTION_KEY_FILE"] = str(key_file)
    return {f"BREEZEBLOCK_BACKUP_STORES__DEFAULT__{name}": value for name, value in options.items()}


@pytest.fixture(params=["s3", "openstack", pytest.param("swift", marks=pytest.mark.proof)])
def served(request: pytest.FixtureRequest) -> ServedPlace:
    """The gateway's S3, the real Swift; and the gateway's Swift."""
    found: ServedPlace = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("sealed", [pytest.param(False, marks=pytest.mark.proof), True])
def test_what_is_restored_is_what_was_backed_up(
    running_service: StartService, tmp_path: Path, served: ServedPlace, sealed: bool
) -> None:
    """Whatever the store; afterwards there is nothing in it but what says that there is an archive."""
    (tmp_path / "key").write_bytes(KEY)
    environ = settings_of(served, key_file=tmp_path / "key" if sealed else None)
    environ |= hurried(tmp_path / "site", every_s=0.2, again_s=0.5) | NO_QUOTA
    service = running_service(nodes=2 if PROOF else 1, workers=1, ttl_s=TTL_S, environ=environ)
    chains = Chains(service, SEED, written_most=4 * MIB)

    chains.run(12 if PROOF else 1)
    chains.finish()
    chains.packs_gone()

    print(f"BREEZEBLOCK_SEED={SEED}", chains.counts)
    assert on(served, left) == {"archive.json"}


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_a_server_that_is_killed_in_the_middle_costs_nothing_but_time(
    running_service: StartService, tmp_path: Path, served: ServedPlace
) -> None:
    """Of a backup, then of its restore; for longer than an answer may take."""
    slow = {"BREEZEBLOCK_BACKUP_STORES__DEFAULT__RATE_LIMIT": str(8 * MIB), COPY_RATE_LIMIT: str(16 * MIB)}
    environ = settings_of(served, key_file=None) | NO_QUOTA | slow
    service = running_service(nodes=2, workers=1, ttl_s=TTL_S, environ=environ)
    storage, volume = Storage(service), service.create_volume()
    service.wait_status(volume)
    fill(storage.file_of("volumes", volume), random.Random(SEED), offset=MIB, length=96 * MIB)
    before = storage.content_of("volumes", volume)

    made = service.request("POST", "/v3/admin/backups", {"backup": {"volume_id": volume}}).body["backup"]["id"]
    eventually(lambda: service.database.rows("SELECT 1 FROM packs"), message="nothing is uploaded")
    away(served, seconds=30.0)
    service.wait_status(volume, within_s=240)
    status = service.request("GET", f"/v3/admin/backups/{made}").body["backup"]["status"]
    restore = service.request("POST", f"/v3/admin/backups/{made}/restore", {"restore": {}})
    new = restore.body["restore"]["volume_id"]
    eventually(lambda: service.database.rows("SELECT 1 FROM operations WHERE owner IS NOT NULL"))
    away(served, seconds=30.0)
    service.wait_status(new, within_s=240)

    assert status == "available"
    assert storage.content_of("volumes", new) == before


def away(served: ServedPlace, *, seconds: float) -> None:
    time.sleep(2.0)
    served.server.kill()
    time.sleep(seconds)
    served.server.start()


async def left(store: ObjectStore) -> set[str]:
    """The last parts of the names of all objects, as soon as the listing has no more than it should."""
    until = asyncio.get_running_loop().time() + LISTED_S
    while True:
        found = {one.key.rpartition("/")[2] for one in await listed(store, "")}
        if found == {"archive.json"} or asyncio.get_running_loop().time() > until:
            return found
        await asyncio.sleep(0.1)
