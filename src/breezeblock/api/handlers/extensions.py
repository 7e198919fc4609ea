"""Extensions: what this API was once put together from. Clients still ask which of them are there.

Nothing is extended any more; the list says that a client finds what it looks for. What of it is not served yet answers
404 by its own URL.
"""

from typing import Final, NamedTuple

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.views.shapes import TEXT, many, named, object_of
from breezeblock.model.errors import NotFound


class Extension(NamedTuple):
    alias: str
    name: str
    updated: str
    description: str

    def shown(self) -> dict[str, object]:
        return {**self._asdict(), "links": []}


EXTENSIONS: Final = (
    Extension("backups", "Backups", "2012-12-12T00:00:00+00:00", "Backups support."),
    Extension("capabilities", "Capabilities", "2015-08-31T00:00:00+00:00", "Capabilities support."),
    Extension("cgsnapshots", "Cgsnapshots", "2014-08-18T00:00:00+00:00", "cgsnapshots support."),
    Extension("consistencygroups", "Consistencygroups", "2014-08-18T00:00:00+00:00", "consistency groups support."),
    Extension(
        "encryption", "VolumeTypeEncryption", "2013-07-01T00:00:00+00:00", "Encryption support for volume types."
    ),
    Extension("os-admin-actions", "AdminActions", "2012-08-25T00:00:00+00:00", "Enable admin actions."),
    Extension("os-availability-zone", "AvailabilityZones", "2013-06-27T00:00:00+00:00", "Describe Availability Zones."),
    Extension("os-extended-services", "ExtendedServices", "2014-01-10T00:00:00-00:00", "Extended services support."),
    Extension(
        "os-extended-snapshot-attributes",
        "ExtendedSnapshotAttributes",
        "2012-06-19T00:00:00+00:00",
        "Extended SnapshotAttributes support.",
    ),
    Extension("os-hosts", "Hosts", "2011-06-29T00:00:00+00:00", "Admin-only host administration."),
    Extension("os-quota-class-sets", "QuotaClasses", "2012-03-12T00:00:00+00:00", "Quota classes management support."),
    Extension("os-quota-sets", "Quotas", "2011-08-08T00:00:00+00:00", "Quota management support."),
    Extension(
        "OS-SCH-HNT", "SchedulerHints", "2013-04-18T00:00:00+00:00", "Pass arbitrary key/value pairs to the scheduler."
    ),
    Extension("os-services", "Services", "2012-10-28T00:00:00-00:00", "Services support."),
    Extension(
        "os-snapshot-actions", "SnapshotActions", "2013-07-16T00:00:00+00:00", "Enable snapshot manager actions."
    ),
    Extension(
        "os-snapshot-manage",
        "SnapshotManage",
        "2014-12-31T00:00:00+00:00",
        "Allows existing backend storage to be 'managed' by Cinder.",
    ),
    Extension(
        "os-snapshot-unmanage", "SnapshotUnmanage", "2014-12-31T00:00:00+00:00", "Enable volume unmanage operation."
    ),
    Extension("os-types-extra-specs", "TypesExtraSpecs", "2011-08-24T00:00:00+00:00", "Type extra specs support."),
    Extension("os-types-manage", "TypesManage", "2011-08-24T00:00:00+00:00", "Types manage support."),
    Extension(
        "os-used-limits",
        "UsedLimits",
        "2013-10-03T00:00:00+00:00",
        "Provide data on limited resources that are being used.",
    ),
    Extension(
        "os-vol-host-attr",
        "VolumeHostAttribute",
        "2011-11-03T00:00:00+00:00",
        "Expose host as an attribute of a volume.",
    ),
    Extension(
        "os-vol-image-meta",
        "VolumeImageMetadata",
        "2012-12-07T00:00:00+00:00",
        "Show image metadata associated with the volume.",
    ),
    Extension(
        "os-vol-mig-status-attr",
        "VolumeMigStatusAttribute",
        "2013-08-08T00:00:00+00:00",
        "Expose migration_status as an attribute of a volume.",
    ),
    Extension(
        "os-vol-tenant-attr",
        "VolumeTenantAttribute",
        "2011-11-03T00:00:00+00:00",
        "Expose the internal project_id as an attribute of a volume.",
    ),
    Extension("os-volume-actions", "VolumeActions", "2012-05-31T00:00:00+00:00", "Enable volume actions."),
    Extension(
        "os-volume-encryption-metadata",
        "VolumeEncryptionMetadata",
        "2013-07-10T00:00:00+00:00",
        "Volume encryption metadata retrieval support.",
    ),
    Extension(
        "os-volume-manage",
        "VolumeManage",
        "2014-02-10T00:00:00+00:00",
        "Allows existing backend storage to be 'managed' by Cinder.",
    ),
    Extension(
        "os-volume-transfer", "VolumeTransfer", "2013-05-29T00:00:00+00:00", "Volume transfer management support."
    ),
    Extension("os-volume-type-access", "VolumeTypeAccess", "2014-06-26T00:00:00Z", "Volume type access support."),
    Extension("os-volume-unmanage", "VolumeUnmanage", "2012-05-31T00:00:00+00:00", "Enable volume unmanage operation."),
    Extension("qos-specs", "Qos_specs_manage", "2013-08-02T00:00:00+00:00", "QoS specs support."),
    Extension("scheduler-stats", "Scheduler_stats", "2014-09-07T00:00:00+00:00", "Scheduler stats support."),
)
_BY_ALIAS: Final = {extension.alias: extension for extension in EXTENSIONS}


_SHOWN: Final = object_of(
    {"alias": TEXT, "name": TEXT, "updated": TEXT, "description": TEXT, "links": {"type": "array", "maxItems": 0}}
)
ONE: Final = named("extension", _SHOWN)
MANY: Final = named("extensions", many(_SHOWN))


async def list_extensions(call: Call) -> Response:
    """GET /v3/{project_id}/extensions. 200."""
    call.permit("discovery")
    return answers.json({"extensions": [extension.shown() for extension in EXTENSIONS]})


async def show(call: Call) -> Response:
    """GET /v3/{project_id}/extensions/{alias}. 200."""
    call.permit("discovery")
    alias = call.path["alias"]
    if alias not in _BY_ALIAS:
        raise NotFound(f"Extension {alias} could not be found.")
    return answers.json({"extension": _BY_ALIAS[alias].shown()})
