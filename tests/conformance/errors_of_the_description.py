"""What the API's own description (OpenAPI, 3.70) has wrong, with the reason: what Cinder answers, or its samples show.

What a sample shows at the same place needs no entry (`answers.py`).
"""

import re
from typing import Final, NamedTuple


class Known(NamedTuple):
    """An error: the calls (a pattern), the place in their answers (a pattern), what a look finds there, and the reason."""

    calls: str
    place: str
    finds: str
    reason: str

    def covers(self, call: str, place: str, what: str) -> bool:
        """Whether this is why."""
        return all(
            re.fullmatch(pattern, text)
            for pattern, text in ((self.calls, call), (self.place, place), (self.finds, what))
        )


KNOWN: Final = (
    Known(
        r"GET [\w-]+(/detail)?",
        r"\.[a-z_]+_links",
        "is unknown",
        "Lists come in pages, and a full page has a link to the next one. Types call it volume_type_links.",
    ),
    Known(
        "(GET|POST|PUT) volumes(/detail|/{})?",
        r"\.volumes?(\[\])?\.group_id",
        "is for 3.63 and later",
        "Groups came with 3.13, and so did the key: the samples of 3.13 have it.",
    ),
    Known(
        "(GET|POST|PUT) types(/{})?",
        r"\.volume_types?(\[\])?\.description",
        "is null, not string",
        "A type needs no description, and the one that Cinder makes for itself has the only one in the samples.",
    ),
    Known(
        "GET backups/(detail|{})",
        r"\.backups?(\[\])?\.(updated_at|data_timestamp)",
        "is null, not string",
        "A new backup was never changed, and of an imported one it is not known yet what it is of.",
    ),
    Known(
        "GET messages(/{})?",
        r"\.messages?(\[\])?\.request_id",
        "is null, not string",
        "What happened without a request, such as a backup that a policy made, has none.",
    ),
    Known(
        "GET (os-volume-transfer|volume-transfers)/detail",
        r"\.transfers\[\]\.destination_project_id",
        "is null, not string",
        "Until somebody has accepted it, a transfer is to nobody.",
    ),
    Known(
        "GET os-volume-transfer/(detail|{})",
        r"\.transfers?(\[\])?\.(no_snapshots|accepted|(source|destination)_project_id)",
        "is unknown",
        "The older URL shows transfers as the newer one does, since both share their view.",
    ),
    Known(
        "GET volumes/(detail|{})",
        r"\.volumes?(\[\])?\.volume_image_metadata",
        "is unknown",
        "A volume that is of an image shows what the image was; the samples have none of that kind.",
    ),
    Known(
        "GET volumes/(detail|{})",
        r"\.volumes?(\[\])?\.encryption_key_id",
        "is unknown",
        "Since 3.64 an encrypted volume shows which key is its own; the samples have none of that kind.",
    ),
    Known(
        "(GET|POST|PUT) types/{}/encryption(/{})?",
        r"(\.encryption)?\.(cipher|key_size)",
        "is null, not (string|integer)",
        "Neither has to be said.",
    ),
    Known(
        "PUT qos-specs/{}",
        r"\.qos_specs\.\w+",
        "is unknown",
        "The answer is what was sent, and that has any keys.",
    ),
    Known(
        "(GET|POST|PUT) group_types(/{}(/group_specs(/{})?)?)?",
        r"\.group_types?(\[\])?\.description|\.group_specs\.\w+|\.\w+",
        "is null, not string",
        "A type needs no description, and a spec no value.",
    ),
    Known(
        "(GET|POST|PUT) attachments(/detail|/{})?",
        r"\.attachments?(\[\])?\.attach_mode",
        "is for 3.54 and later",
        "The answers had it from 3.27 on; with 3.54 a request may say it.",
    ),
)
