"""What is a secret by its name, or a part of a URL, and is hidden wherever something is shown or logged."""

import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote

__all__ = ["HIDDEN", "mask_url_secrets", "names_a_secret"]

HIDDEN = "***"
_SECRET_NAME = re.compile(r"passw(or)?d|passphrase|secret|token|authorization|credential", re.IGNORECASE)
# Where a secret is, is none.
_PLACE_OF_SECRET = re.compile(r"_(file|directory)$", re.IGNORECASE)
# What a URL's query may call it besides, whole or as its last word: `pwd`, keys, and the signatures that make a URL a key.
_SECRET_IN_QUERY = re.compile(r"(^|[^a-z])(pass|pwd|passwd|sig|signature|(api)?key|code|auth|jwt)$", re.IGNORECASE)
_WORD = re.compile(r"\S+")
_QUERY_NAME = re.compile(r"[?&;#](?P<name>[^\s?&;#=]*)=")


@lru_cache(maxsize=1024)  # the names in log lines are few and come again for every line
def names_a_secret(name: str) -> bool:
    """Whether a value under this name is hidden wherever we show it."""
    return _is_secret(name)


def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None and _PLACE_OF_SECRET.search(name) is None


def mask_url_secrets(text: str, *, is_url: bool = False) -> str:
    """The text with the passwords in its URLs hidden. `is_url`: it is one, from its beginning to its end."""
    if "://" not in text:
        return text
    words = [(0, len(text))] if is_url else [found.span() for found in _WORD.finditer(text)]
    shown, at = "", 0
    # By where they are in the text as it is: a secret that was cut out first would hide the signs by which another is found.
    for begin, end in words:
        for start, stop in sorted((*_passwords(text, begin, end), *_in_query(text, begin, end))):
            if start >= at:
                shown += text[at:start] + HIDDEN
            at = max(at, stop)
    return shown + text[at:]


def _passwords(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """From the first colon after the scheme up to the last @.

    A user's name and a password may have any sign when a person has written them, another @ and quotes among them, and there
    may be several hosts. Hiding too much costs a moment, showing a part of a password costs the password.
    """
    scheme = text.find("://", begin, end)
    colon = text.find(":", scheme + 3, end) if scheme >= 0 else -1
    last = text.rfind("@", colon, end) if colon >= 0 else -1
    if last > colon:
        yield colon + 1, last


def _in_query(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Each value of a secret name, up to the next &: it may have all other signs."""
    while found := _QUERY_NAME.search(text, begin, end):
        begin = found.end()
        name = unquote(found["name"])  # libraries read `pass%77ord` as well
        if _is_secret(name) or _SECRET_IN_QUERY.search(name):
            stop = text.find("&", begin, end)
            begin, start = stop if stop >= 0 else end, begin
            yield start, begin
