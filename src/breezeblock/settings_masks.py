"""What is a secret by its name, or a part of a URL, and is hidden wherever something is shown or logged."""

import re
from functools import lru_cache

__all__ = ["HIDDEN", "mask_url_secrets", "names_a_secret"]

HIDDEN = "***"
_SECRET_NAME = re.compile(r"passw(or)?d|passphrase|secret|token|authorization|credential", re.IGNORECASE)
# Where a secret is, is none.
_PLACE_OF_SECRET = re.compile(r"_(file|directory)$", re.IGNORECASE)
# Greedy up to the last @: hiding too much costs a moment, showing a part of a password costs the password.
_URL_PASSWORD = re.compile(r"(://[^\s/:@\"'<>]*):[^\s\"'<>]*@")
_URL_QUERY_SECRET = re.compile(r"([?&][\w.-]*(?:passw(?:or)?d|secret|token)[\w.-]*=)[^\s&\"'<>]+", re.IGNORECASE)


@lru_cache(maxsize=1024)  # the names in log lines are few and come again for every line
def names_a_secret(name: str) -> bool:
    """Whether a value under this name is hidden wherever we show it."""
    return _SECRET_NAME.search(name) is not None and _PLACE_OF_SECRET.search(name) is None


def mask_url_secrets(text: str) -> str:
    """The text with the passwords in its URLs hidden."""
    if "://" not in text:
        return text
    return _URL_QUERY_SECRET.sub(rf"\1{HIDDEN}", _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text))
