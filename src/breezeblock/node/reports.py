"""A worker's report about the pools of its backends, from which placement chooses."""

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from breezeblock.env.contract import Env
from breezeblock.model.errors import BackendFailed
from breezeblock.node.backends import Backend
from breezeblock.placement import allocate
from breezeblock.resources.backend_changes import TARGETS
from breezeblock.resources.backends import active_target, introduce
from breezeblock.resources.services import apply_words
from breezeblock.store.run import Store

GIB = 1024**3

log = structlog.get_logger(__name__)


async def report(backend: Backend, *, store: Store, env: Env, starting: bool = False) -> None:
    """Measure the backend's pools and swap the result in, unless another node has reported since we began.

    The first report of a worker that is `starting` also lets the pools obey what operators have said about its service.
    """
    names = [f"{backend.queue}#{backend.name}"]
    read, target = await store.read(_before, names=names, queue=backend.queue)
    try:
        pools = await backend.on(target).report()
    except BackendFailed as error:
        log.warning("backend.report_failed", backend=backend.name, reason=error.message)
        return
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
            "multiattach": "False",
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


def _before(tx: Connection, *, names: Sequence[str], queue: str) -> tuple[dict[str, int | None], str | None]:
    """What each pool's report is made against, and the target that is measured."""
    return {name: allocate.report_seq(tx, name=name) for name in names}, active_target(tx, queue=queue)


def _report(tx: Connection, /, *, queue: str, replicates: bool, starting: bool, **measured: Any) -> bool:
    introduce(tx, queue=queue, replicates=replicates)
    swapped = allocate.report(tx, queue=queue, **measured)
    if starting:
        apply_words(tx, queue)
    return swapped
