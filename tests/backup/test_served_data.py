"""A real service: volumes and chains of backups at random, collected all the while; everything is compared."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from tests.backup.served import NO_QUOTA, Chains
from tests.drivers.filesystems import mounted
from tests.proof import PROOF
from tests.service import StartService, running_service

from breezeblock.chaos.hurry import hurried

__all__ = ["running_service"]

SEED: Final = int(os.environ.get("BREEZEBLOCK_SEED") or random.SystemRandom().randrange(2**32))
MIB: Final = 1024**2
# Beside other suites nobody's lease is to end.
TTL_S: Final = 30.0
KEY: Final = bytes(range(32))


MUCH_PROMISED: Final = {"BREEZEBLOCK_BACKENDS__FILE__MAX_OVER_SUBSCRIPTION_RATIO": "1000"}
# What is backed up often in one chain needs room for what it was, too.
DISK_MIB: Final = 8192


class Disk(NamedTuple):
    """`keeps`: so many objects are kept at the same time, at the least, to tell what has changed since."""

    path: Path
    keeps: int


@pytest.fixture(params=[pytest.param("disk", marks=pytest.mark.proof), "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Where files cannot share their data, as a rule, and where they can: there incrementals are told what has changed."""
    if request.param == "disk":
        yield Disk(tmp_path, keeps=0)
        return
    with mounted(tmp_path, "mkfs.xfs", "-q", "-m", "reflink=1", size_mib=DISK_MIB) as at:
        yield Disk(at, keeps=1)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("sealed", [False, pytest.param(True, marks=pytest.mark.proof)])
def test_what_is_restored_is_what_was_backed_up(
    disk: Disk, running_service: StartService, tmp_path: Path, sealed: bool
) -> None:
    """In any order of full and incremental ones, deletions and collections; afterwards nothing is left in the folders."""
    environ = MUCH_PROMISED | NO_QUOTA | hurried(tmp_path / "site", every_s=0.2, again_s=0.5)
    if sealed:
        (tmp_path / "key").write_bytes(KEY)
        environ["BREEZEBLOCK_BACKUP_STORES__DEFAULT__ENCRYPTION_KEY_FILE"] = str(tmp_path / "key")
    nodes = 2 if PROOF else 1
    service = running_service(data=disk.path / "service", nodes=nodes, workers=1, ttl_s=TTL_S, environ=environ)
    chains = Chains(service, SEED, written_most=4 * MIB)

    chains.run(40 if PROOF else 3)
    chains.finish()
    chains.packs_gone()

    print(f"BREEZEBLOCK_SEED={SEED}", chains.counts)
    left = {path.name for path in (service.data / "backups").rglob("*") if path.is_file()}
    volumes = [path for path in (service.data / "volumes").glob("file/??/*") if path.is_file()]
    assert left <= {".breezeblock-store", "archive.json"}
    assert volumes == []
    assert chains.counts["kept at once"] >= disk.keeps
    assert min(chains.counts["compared"], chains.counts["full"] + chains.counts["incremental"]) > 3
