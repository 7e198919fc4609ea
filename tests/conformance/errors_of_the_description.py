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
        "GET (volumes|snapshots|backups)(/detail)?|GET (messages|types)",
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
)
