"""How volumes are encrypted, as JSON."""

from collections.abc import Mapping
from typing import Final

from breezeblock.api.views.shapes import FLAG, NULL, TEXT, TEXT_OR_NULL, Json, Shape, named, object_of

_WORDS: Final[Mapping[str, Json]] = {
    "provider": TEXT,
    "control_location": TEXT,
    "cipher": TEXT_OR_NULL,
    "key_size": {"type": ["integer", "null"]},
}
_OF_TYPE: Final[Mapping[str, Json]] = {
    "volume_type_id": TEXT,
    "encryption_id": TEXT,
    **_WORDS,
    "deleted": FLAG,
    "deleted_at": NULL,
    "created_at": TEXT,
    "updated_at": TEXT_OR_NULL,
}
_ONE: Final[Mapping[str, int]] = {"minProperties": 1, "maxProperties": 1}

OF_TYPE: Final = Shape({"anyOf": [object_of(_OF_TYPE), object_of({})]})
WORD_OF_TYPE: Final = Shape({**object_of({}, _OF_TYPE), **_ONE})
CREATED: Final = named("encryption", object_of({"volume_type_id": TEXT, "encryption_id": TEXT}, _WORDS))
UPDATED: Final = named("encryption", object_of({}, _WORDS))
OF_VOLUME: Final = Shape(object_of({"encryption_key_id": TEXT_OR_NULL}, _WORDS))
WORD_OF_VOLUME: Final = Shape({**object_of({}, {"encryption_key_id": TEXT_OR_NULL, **_WORDS}), **_ONE})
