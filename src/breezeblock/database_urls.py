"""URLs of databases, without what is needed to open one: for settings, and for processes that have to stay small."""

from typing import Final
from urllib.parse import urlsplit

__all__ = ["POSTGRESQL", "is_server_url", "kind_of", "problem_of", "sqlite_path"]

POSTGRESQL: Final = "postgresql"
MARIADB: Final = "mariadb"
_KINDS: Final = {"postgresql": POSTGRESQL, "mysql": MARIADB, "mariadb": MARIADB}
_SQLITE: Final = "sqlite:///"


def kind_of(url: str) -> str:
    """`postgresql`, `mariadb`, or whatever else stands before the colon, without a driver."""
    scheme = url.partition(":")[0].partition("+")[0]
    return _KINDS.get(scheme, scheme)


def is_server_url(url: str) -> bool:
    """Whether a URL names a database server, and not a file."""
    return kind_of(url) in _KINDS.values()


def sqlite_path(url: str) -> str | None:
    """The file of a `sqlite:///` URL, or None for another database or one in memory."""
    path = url.removeprefix(_SQLITE)
    return path if url.startswith(_SQLITE) and path and path != ":memory:" else None


def problem_of(url: str) -> str:
    """What is wrong with a server's URL; nothing is empty."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # Its text quotes what stands where the port should: a part of a password with `/`, `?` or `#` in it.
        return "expected a URL such as postgresql://user:password@host:5432/name, with / ? # @ of a password as %2F %3F %23 %40"
    if not parts.path.strip("/"):
        return "expected the name of a database after the host, as in postgresql://host/name"
    if parts.scheme.partition("+")[2] not in ("", "psycopg", "pymysql"):
        return f"expected {kind_of(url)}:// without a driver"
    return ""
