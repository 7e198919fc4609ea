"""A worker's reports about the pools of its backends, from which placement chooses."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Connection

from breezeblock.env.contract import Env
from breezeblock.model.errors import Ambiguous, BackendFailed, Contended, Unavailable
from breezeblock.node.backends import Backend
from breezeblock.placement import allocate
from breezeblock.resources.backend_changes import TARGETS
from breezeblock.resources.backends import in_use, introduce, lock_backend
from breezeblock.resources.services import apply_words
from breezeblock.store.run import Store

GIB: Final = 1024**3
REPORT_EVERY_S: Final = 10.0

log = structlog.get_logger(__name__)


class Reporter:
    """Looks after one backend: sees that its storage is there, and reports its pools again and again.

    Each backend has its own, beside the work: one that hangs must keep nobody from failing it over. What is measured when that
    happens is given up with the storage that it hangs in, and the new one is measured.
    """

    def __init__(self, backend: Backend, *, store: Store, env: Env) -> None:
        self._backend = backend
        self._store = store
        self._env = env
        self._checked = False
        self._starting = True

    async def run(self) -> None:
        """Report until cancelled. A database that cannot be used is waited for."""
        while True:
            try:
                await self._measure_in_use()
            except (Contended, Ambiguous, Unavailable) as error:
                log.info("worker.put_off", reason=str(error))
            await self._env.clock.sleep(REPORT_EVERY_S * self._env.random.uniform(0.8, 1.2))

    async def _measure_in_use(self) -> None:
        before = await self._store.read(in_use, queue=self._backend.queue)
        measuring = asyncio.ensure_future(self._measure())
        try:
            while not await self._ends(measuring):
                if await self._store.read(in_use, queue=self._backend.queue) != before:
                    log.warning("backend.report_abandoned", backend=self._backend.name, target=before[0])
                    return
            measuring.result()
        finally:
            measuring.cancel()

    async def _ends(self, measuring: "asyncio.Task[None]") -> bool:
        """Whether it ends within a while."""
        timer = asyncio.ensure_future(self._env.clock.sleep(REPORT_EVERY_S))
        await asyncio.wait((measuring, timer), return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        return measuring.done()

    async def _measure(self) -> None:
        backend = self._backend
        if not self._checked:
            known, target = await self._store.read(_seen_before, backend=backend)
            try:
                await backend.on(target).check(known=known)
            except BackendFailed as error:
                log.error("backend.unusable", backend=backend.name, reason=error.message)
                return
            self._checked = True
        if await report(backend, store=self._store, env=self._env, starting=self._starting):
            self._starting = False


async def report(backend: Backend, *, store: Store, env: Env, starting: bool = False) -> bool:
    """Measure the backend's pools and swap the result in, unless another node has reported since we began.

    The first report of a worker that is `starting` also lets the pools obey what operators have said about its service.
    Returns whether the storage could be measured.
    """
    names = [f"{backend.queue}#{backend.name}"]
    read, target = await store.read(_before, names=names, queue=backend.queue)
    try:
        pools = await backend.on(target).report()
    except BackendFailed as error:
        log.warning("backend.report_failed", backend=backend.name, reason=error.message)
        return False
    offered = backend.driver.capabilities
    for pool in pools:
        name = f"{backend.queue}#{pool.name}"
        capabilities = {
            "volume_backend_name": backend.name,
            "pool_name": pool.name,
            "vendor_name": offered.vendor_name,
            "storage_protocol": offered.storage_protocol,
            "thin_provisioning_support": str(offered.thin),
            "thick_provisioning_support": str(not offered.thin),
            "multiattach": str(offered.multiattach),
            "online_extend_support": str(offered.online_extend),
            "replication_enabled": str(bool(offered.replication)),
            TARGETS: " ".join(offered.replication),
            **pool.capabilities,
            **offered.extra,
            **backend.extra,
        }
        await store.run(
            _report,
            replicates=bool(offered.replication),
            starting=starting,
            name=name,
            queue=backend.queue,
            total_gib=pool.total_bytes // GIB,
            free_gib=pool.free_bytes // GIB,
            reserved_percentage=backend.reserved_percentage,
            over_subscription_percent=backend.over_subscription_percent,
            availability_zone=backend.availability_zone,
            capabilities_json=msgspec.json.encode(capabilities).decode(),
            report_seq=read.get(name),
            now_us=env.clock.now_us(),
        )
    return True


def _seen_before(tx: Connection, *, backend: Backend) -> tuple[bool, str | None]:
    """Whether a backend was ever reported, and the replication target that it works on."""
    pool = f"{backend.queue}#{backend.name}"
    return allocate.report_seq(tx, name=pool) is not None, in_use(tx, queue=backend.queue).target


def _before(tx: Connection, *, names: Sequence[str], queue: str) -> tuple[dict[str, int | None], str | None]:
    """What each pool's report is made against, and the target that is measured."""
    return {name: allocate.report_seq(tx, name=name) for name in names}, in_use(tx, queue=queue).target


def _report(
    tx: Connection, /, *, queue: str, replicates: bool, starting: bool, report_seq: int | None, **measured: Any
) -> bool:
    introduce(tx, queue=queue, replicates=replicates)
    obey = starting or report_seq is None  # a pool that nobody has seen has heard no operator's word yet
    if obey:
        lock_backend(tx, queue)
    swapped = allocate.report(tx, queue=queue, report_seq=report_seq, **measured)
    if obey:
        apply_words(tx, queue)
    return swapped
