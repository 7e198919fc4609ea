"""Running something in time that the test lets pass."""

from collections.abc import Coroutine
from random import Random
from typing import Any, TypeVar

from breezeblock.testing.loop import VirtualLoop

T = TypeVar("T")


def virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run it to its end; hours cost nothing."""
    done: T = VirtualLoop(Random(1)).run(main)  # type: ignore[abstract]
    return done
