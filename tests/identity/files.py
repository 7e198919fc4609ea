"""The two files of users, as an operator writes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import bcrypt

CHEAP: Final = 4
ANN: Final = '[ann]\nproject = "p1"\nroles = ["member"]\n'


def hashed(password: str, *, cost: int = CHEAP, prefix: bytes = b"2y") -> str:
    """As `htpasswd -B` does it."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost, prefix=b"2b")).replace(b"2b", prefix, 1).decode()


class Files:
    """Both, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.passwords: Final = folder / "htpasswd"
        self.users: Final = folder / "users.toml"

    def write(self, passwords: Mapping[str, str], users: str) -> None:
        """Whole, each time."""
        self.passwords.write_text("".join(f"{name}:{hashed(password)}\n" for name, password in passwords.items()))
        self.users.write_text(users)
