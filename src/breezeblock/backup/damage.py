"""What is wrong with stored bytes. Readers raise this and nothing else, whatever they are given."""

from breezeblock.model.errors import BackendFailed

__all__ = ["Damaged"]


class Damaged(BackendFailed):
    """An object of an archive is not what was stored, or is gone. `where` names the object, `what` says what is wrong."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"The archive is damaged: {where}: {what}")
        self.where = where
        self.what = what
