"""Moving volumes to other backends: actions of volumes."""

from typing import Final

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.microversions import MIGRATE_CLUSTER, OLDEST
from breezeblock.api.routing import Action
from breezeblock.api.schemas import migrations as schemas
from breezeblock.api.views.shapes import TEXT, named
from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import VolumeId
from breezeblock.resources import migrations


async def migrate(call: Call) -> Response:
    """os-migrate_volume. 202.

    `force_host_copy` asks that the storage does not do it by itself: none does, so it changes nothing.
    """
    call.permit("volume_extension:volume_admin_actions:migrate_volume")
    body: schemas.Migrate | schemas.MigrateToCluster
    if call.microversion >= MIGRATE_CLUSTER:
        body = call.body(schemas.MigrateToCluster)
        host, cluster = body.host, body.cluster
    else:
        body = call.body(schemas.Migrate)
        host, cluster = body.host, None
    if bool(host) == bool(cluster):
        raise BadRequest("Invalid os-migrate_volume: expected a host or, from 3.16 on, a cluster, and not both.")
    accepted = await call.store.run(
        migrations.begin_migrate,
        origin=call.origin,
        volume_id=_id(call),
        destination=str(host or cluster),
        lock_volume=bool(body.lock_volume),
    )
    call.ring(accepted.queue)
    return answers.empty(202)


async def complete(call: Call) -> Response:
    """os-migrate_volume_completion. 200, the id that the volume has from now on."""
    call.permit("volume_extension:volume_admin_actions:migrate_volume_completion")
    body = call.body(schemas.CompleteMigration)
    saved = await call.store.read(
        migrations.complete, origin=call.origin, volume_id=_id(call), new_volume_id=VolumeId(str(body.new_volume))
    )
    return answers.json({"save_volume_id": saved})


ACTIONS: Final = {
    "os-migrate_volume": Action(
        migrate, status=202, body={OLDEST: schemas.Migrate, MIGRATE_CLUSTER: schemas.MigrateToCluster}
    ),
    "os-migrate_volume_completion": Action(
        complete, status=200, body=schemas.CompleteMigration, answer=named("save_volume_id", TEXT)
    ),
}


def _id(call: Call) -> VolumeId:
    return VolumeId(call.path["volume_id"])
