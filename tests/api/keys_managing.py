"""Which keys the answers about what could be managed have, and of which types."""

from tests.api.keys import NULL, Expected

MANAGEABLE_VOLUME = {
    "reference": Expected((dict,)),
    "size": Expected((int,)),
    "safe_to_manage": Expected((bool,)),
}
MANAGEABLE_VOLUME_DETAIL = MANAGEABLE_VOLUME | {
    "reason_not_safe": Expected((str, NULL)),
    "cinder_id": Expected((str, NULL)),
    "extra_info": Expected((str, NULL)),
}
_SOURCE = {"source_reference": Expected((dict,))}
MANAGEABLE_SNAPSHOT = MANAGEABLE_VOLUME | _SOURCE
MANAGEABLE_SNAPSHOT_DETAIL = MANAGEABLE_VOLUME_DETAIL | _SOURCE
