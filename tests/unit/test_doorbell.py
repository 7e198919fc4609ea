"""Doorbells on one machine: they may lose a ring, and never block or fail."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from breezeblock.doorbells.local import DatagramBell, DatagramListener, InProcessBell
from breezeblock.doorbells.tally import Rings


@asynccontextmanager
async def listening(folder: Path, name: str, on_ring: Callable[[], None]) -> AsyncIterator[None]:
    listener = DatagramListener(str(folder), name, Rings())
    listener.listen(on_ring)
    yield
    listener.close()


async def heard(*events: asyncio.Event) -> None:
    await asyncio.wait_for(asyncio.gather(*(event.wait() for event in events)), 5)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def ring(folder: Path, times: int = 1) -> None:
    bell = DatagramBell(str(folder), Rings())
    for _ in range(times):
        bell.ring("c@b")
    bell.close()


def test_rings_go_round_the_listeners(tmp_path: Path) -> None:
    """One worker is enough to take the work; the next ring is the next one's."""

    async def main() -> None:
        one, two = asyncio.Event(), asyncio.Event()
        async with listening(tmp_path, "one", one.set), listening(tmp_path, "two", two.set):
            ring(tmp_path, times=2)
            await heard(one, two)

    asyncio.run(main())


def test_a_ring_goes_past_a_listener_that_is_full(tmp_path: Path) -> None:
    """A worker that was stopped has a full buffer: the others get its rings."""

    async def main() -> None:
        awake = asyncio.Event()
        stopped = DatagramListener(str(tmp_path), "stopped", Rings())
        ring(tmp_path, times=2_000)
        async with listening(tmp_path, "two", awake.set):
            ring(tmp_path)
            await heard(awake)
        stopped.close()

    asyncio.run(main())


def test_a_ring_without_listeners_is_lost_quietly(tmp_path: Path) -> None:
    """An API may be up before any node, and the folder before any of them."""
    ring(tmp_path / "bells")

    assert list((tmp_path / "bells").iterdir()) == []


def test_a_listener_that_does_not_listen_blocks_nobody(tmp_path: Path) -> None:
    """A stopped worker's buffer fills up; the rings beyond are dropped."""
    listener = DatagramListener(str(tmp_path), "stopped", Rings())

    ring(tmp_path, times=2_000)

    asyncio.run(_close(listener))


async def _close(listener: DatagramListener) -> None:
    listener.close()


def test_a_crowd_of_rings_is_one_look(tmp_path: Path) -> None:
    """All that wait in the buffer are taken together."""

    async def main() -> int:
        count = 0
        event = asyncio.Event()

        def on_ring() -> None:
            nonlocal count
            count += 1
            event.set()

        async with listening(tmp_path, "one", on_ring):
            ring(tmp_path, times=5)
            await heard(event)
        return count

    assert asyncio.run(main()) == 1


def test_the_socket_of_a_dead_worker_is_cleared_away(tmp_path: Path) -> None:
    """Its name is never used again."""
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(tmp_path / "dead.bell"))
    dead.close()

    ring(tmp_path)

    assert names(tmp_path) == []


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    """Only bells are rung."""
    (tmp_path / "notes.txt").write_text("mine")

    ring(tmp_path)

    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_closed_listener_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither a socket nor a name."""

    async def main() -> None:
        async with listening(tmp_path, "one", lambda: None):
            assert names(tmp_path) == ["one.bell"]

    asyncio.run(main())

    assert names(tmp_path) == []


def test_a_folder_with_a_long_name_is_no_obstacle(tmp_path: Path) -> None:
    """Addresses of sockets are short; the folder's path need not be."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)

    async def main() -> None:
        event = asyncio.Event()
        async with listening(deep, "one", event.set):
            ring(deep)
            await heard(event)

    asyncio.run(main())


def test_within_a_process_a_ring_is_a_call() -> None:
    """And after closing it is none."""
    bell, heard_by = InProcessBell(), list[str]()
    bell.listen(lambda: heard_by.append("one"))
    bell.listen(lambda: heard_by.append("two"))

    bell.ring("c@b")
    bell.close()
    bell.ring("c@b")

    assert heard_by == ["one", "two"]
