"""The application with a file of policies that a test writes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.api.world import Api

__all__ = ["Open", "opening"]

Open = Callable[[str], Api]


@contextmanager
def opening(folder: Path, loop: asyncio.AbstractEventLoop, **more: Any) -> Iterator[Open]:
    """Gives a call that opens it by these policies; `more` is for `Api`. All are closed in the end."""
    made: list[Api] = []

    def open_with(policies: str) -> Api:
        file = folder / "policy.yaml"
        file.write_text(policies, encoding="utf-8")
        made.append(Api(folder, loop, policy=file, **more))
        return made[-1]

    yield open_with
    for api in made:
        api.close()
