"""Fixtures of the API's tests; `world.py` has what they are made of."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api.world import Api


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def api(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[Api]:
    """The application, told who is an administrator by the user's name."""
    api = Api(tmp_path, loop)
    yield api
    api.close()


@pytest.fixture
def open_api(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[Api]:
    """The application as it is without an identity service: everyone is believed."""
    api = Api(tmp_path, loop, believe_everyone=True)
    yield api
    api.close()
