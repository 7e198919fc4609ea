"""What is wrong with stored bytes. Readers raise this and nothing else, whatever they are given."""

from typing import Final

from breezeblock.model.errors import BackendFailed

__all__ = ["MISSING", "Damaged"]

# What is wrong with an object that is not there.
MISSING: Final = "it is missing"


class Damaged(BackendFailed):
    """An object of an archive is not what was stored, or is gone. `where` names the object, `what` says what is wrong."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"The archive is damaged: {where}: {what}")
        self.where = where
        self.what = what
