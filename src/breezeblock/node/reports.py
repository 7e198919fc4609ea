"""A worker's report about the pools of its backends, from which placement chooses."""

import msgspec
import structlog

from breezeblock.env.contract import Env
from breezeblock.model.errors import BackendFailed
from breezeblock.node.backends import Backend
from breezeblock.placement import allocate
from breezeblock.store.run import Store

GIB = 1024**3

log = structlog.get_logger(__name__)


async def report(backend: Backend, *, store: Store, env: Env) -> None:
    """Measure the backend's pools and swap the result in, unless another node has reported since we began."""
    names = [f"{backend.queue}#{backend.name}"]
    read = {name: await store.read(allocate.report_seq, name=name) for name in names}
    try:
        pools = await backend.driver.report()
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
            **pool.capabilities,
            **offered.extra,
            **backend.extra,
        }
        await store.run(
            allocate.report,
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
