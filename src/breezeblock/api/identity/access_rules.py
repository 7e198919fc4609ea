"""What an application credential was narrowed to: rules of method and path, as keystonemiddleware reads them.

Users write the paths, so they are matched in time that grows with pattern and path, not with what a regular expression may try.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

from breezeblock.api.identity.tokens import AccessRule

__all__ = ["allows"]

# What this service is called in rules: by the names that it has in catalogues.
SERVICE_TYPES: Final = frozenset({"block-storage", "block-store", "volume", "volumev2", "volumev3"})
# Far above the URLs here. None that is longer is matched.
PATH_CHARACTERS_MOST: Final = 512
# Of all rules together, for one request: a place in the path that a part of a pattern may end at is a step. Keystone takes any
# number of rules, and whoever asks has written them: what costs more than this is allowed nothing.
STEPS_MOST: Final = 50_000
# `{name}` and `*` are a part between slashes, `**` is anything.
_PARTS: Final = re.compile(r"\{[^}]*\}|\*\*|\*|[^{*]+|\{")


def allows(rules: Collection[AccessRule], method: str, path: str) -> bool:
    """Whether one of these rules is for such a request."""
    if len(path) > PATH_CHARACTERS_MOST:
        return False
    left = STEPS_MOST
    for one in rules:
        if one.service in SERVICE_TYPES and one.method == method:
            is_matched, steps = _match(one.path, path, most=left)
            if is_matched:
                return True
            left -= steps
            if left <= 0:
                return False
    return False


def _match(pattern: str, path: str, *, most: int) -> tuple[bool, int]:
    """By where the path may have been read to after each part of the pattern; and how many steps that took."""
    ends, steps = {0}, 0
    for part in _PARTS.findall(pattern):
        steps += 1 + len(ends)
        if not ends or steps > most:
            return False, steps
        if part == "**":
            ends = set(range(min(ends), len(path) + 1))
        elif part == "*" or (part[0] == "{" and len(part) > 1):
            ends = set(_within_slashes(path, ends))
        else:
            ends = {end + len(part) for end in ends if path.startswith(part, end)}
    return len(path) in ends, steps


def _within_slashes(path: str, begins: Collection[int]) -> Iterable[int]:
    has_begun = False
    for at in range(min(begins), len(path)):
        has_begun = (has_begun or at in begins) and path[at] != "/"
        if has_begun:
            yield at + 1
