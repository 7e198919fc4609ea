"""How a command says no."""


class Failed(Exception):
    """The command cannot do what was asked; the text is for the one who asked. Ends with `status`."""

    def __init__(self, text: str, *, status: int = 1) -> None:
        super().__init__(text)
        self.status = status
