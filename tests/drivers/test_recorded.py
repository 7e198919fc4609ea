"""A recorded driver does what the driver does, and leaves two lines for each call, whatever becomes of it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest
from tests.drivers.guards import WithoutLocks

from breezeblock.chaos.evidence import Call, parse_calls
from breezeblock.drivers.contract import Driver, ObjectName
from breezeblock.drivers.file import FileDriver
from breezeblock.drivers.recorded import RecordedDriver, Recorder
from breezeblock.env.real import real_env
from breezeblock.model.errors import BackendFailed
from breezeblock.node.gate import Gate

VOLUME = "11111111-1111-1111-1111-111111111111"
NAME = ObjectName(VOLUME, 3, 2)
TOKENS: Mapping[str, tuple[int, int]] = {VOLUME: (3, 2)}


class Always:
    """The deadline of a lease that holds."""

    until = float("inf")
    lapses = 0


def made(folder: Path, lines: list[bytes], *, pause_s: float = 0.0) -> tuple[Driver, Driver]:
    """The recorded driver of a backend, and the same bound to an operation."""
    env = real_env()
    driver = FileDriver(env.files, name="file", path=PurePosixPath(folder), clock=env.clock, ids=env.ids)
    recorded = RecordedDriver(driver, Recorder(lines.append, env.clock, pause_s=pause_s))
    return recorded, recorded.bind(WithoutLocks(Gate(env.clock, Always()).guard(TOKENS)))


def calls(lines: list[bytes]) -> list[Call]:
    return list(parse_calls(b"".join(lines), incarnation="a", pid=1))


def test_each_call_is_written_before_and_after(tmp_path: Path) -> None:
    """With its token, its object, and instants that enclose it."""
    lines: list[bytes] = []
    recorded, bound = made(tmp_path, lines)

    async def use() -> bool:
        await recorded.check(known=False)
        await bound.create(NAME, size_bytes=4096)
        there = await bound.exists(NAME)
        await bound.delete(NAME)
        return there

    assert asyncio.run(use())
    found = calls(lines)
    assert [(one.call, one.object, one.changes) for one in found] == [
        ("create", str(NAME), True),
        ("exists", str(NAME), False),
        ("delete", str(NAME), True),
    ]
    assert all(one.tokens == TOKENS and one.end is not None and one.start <= one.end for one in found)
    assert all(line.endswith(b"\n") for line in lines)


def test_a_refusal_is_written_and_passed_on(tmp_path: Path) -> None:
    """By its own name, and by the name of the operating system's error behind it."""
    lines: list[bytes] = []
    recorded, bound = made(tmp_path, lines)

    async def use() -> None:
        await recorded.check(known=False)
        (tmp_path / VOLUME[:2]).mkdir()
        (tmp_path / VOLUME[:2] / f"{NAME}.part").mkdir()  # in the place of a file
        await bound.create(NAME, size_bytes=4096)

    with pytest.raises(BackendFailed):
        asyncio.run(use())

    (one,) = calls(lines)
    assert (one.call, one.error, one.errno) == ("create", "BackendFailed", "EISDIR")


def test_a_call_that_is_under_way_has_one_line(tmp_path: Path) -> None:
    """So a killed process shows what it was doing; and slow storage is slow after the first line."""
    lines: list[bytes] = []
    recorded, bound = made(tmp_path, lines, pause_s=30.0)

    async def use() -> tuple[Call, ...]:
        await recorded.check(known=False)
        task = asyncio.ensure_future(bound.create(NAME, size_bytes=4096))
        await asyncio.sleep(0.05)
        under_way = tuple(calls(lines))
        task.cancel()
        await asyncio.wait([task])
        return under_way

    (under_way,) = asyncio.run(use())

    assert (under_way.end, under_way.error) == (None, "")
    (one,) = calls(lines)
    assert one.error == "CancelledError"
    assert not list(tmp_path.glob("*/*"))
