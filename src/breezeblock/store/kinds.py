"""Column types that mean the same on every database: text is compared and ordered byte by byte, and holds all of Unicode.

SQLite compares so by itself. PostgreSQL would compare by the rules of the database's locale, and MariaDB without regard to
case and trailing spaces, so there the columns say how. On MariaDB plain `TEXT` ends at 64 KiB, which metadata can exceed.
"""

from typing import Any, Final

from sqlalchemy import String, Text
from sqlalchemy.dialects import mysql, postgresql

__all__ = ["ID", "LONG", "MARIADB_COLLATION", "NAME", "text_of"]

MARIADB_COLLATION: Final = "utf8mb4_nopad_bin"
"""MariaDB's collation by code points, which UTF-8 orders as its bytes, and with trailing spaces counted."""


def text_of(length: int) -> String:
    """Text of at most so many characters."""
    kind: Any = String(length).with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    return kind  # type: ignore[no-any-return]


ID: Final = text_of(36)
NAME: Final = text_of(255)
LONG: Final = (
    Text()
    .with_variant(postgresql.TEXT(collation="C"), "postgresql")
    .with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
)
