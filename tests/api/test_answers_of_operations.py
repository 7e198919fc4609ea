"""Waiting for what an operation finds out: how often is looked, how long, and what is said when that was not enough."""

import asyncio
from typing import Any, cast

import msgspec
import pytest
from sqlalchemy import Connection
from tests.api.world import Api
from tests.store.given import in_virtual_time, virtual_env

from breezeblock.api.answers_of_operations import wait_for
from breezeblock.api.call import Call, Services
from breezeblock.api.microversions import NEWEST
from breezeblock.model.errors import StillRunning, StorageFailed, Unavailable


class Store:
    """Answers what it is told to; counts how often it is asked, and whether it is asked by two at a time."""

    def __init__(self, ready_after: int) -> None:
        self.ready_after = ready_after
        self.asked_at: list[float] = []

    async def read(self, look: Any, *args: Any, **kwargs: Any) -> Any:
        self.asked_at.append(asyncio.get_running_loop().time())
        return look(cast(Connection, self), *args, **kwargs)


def call_on(api: Api, store: Store, *, timeout_s: float) -> Call:
    """A request in virtual time."""
    limits = msgspec.structs.replace(api.settings.api, answer_timeout_s=timeout_s)
    settings = msgspec.structs.replace(api.settings, api=limits)
    held = Services(store=cast(Any, store), env=virtual_env(), doorbell=api.bell, settings=settings)
    nobody = cast(Any, None)  # who asks matters nothing here
    return Call(held, nobody, nobody, nobody, NEWEST, "GET", {}, {}, "", "", None)


def found(tx: Connection, *, wanted: str) -> str | None:
    store = cast(Store, tx)
    return wanted if len(store.asked_at) > store.ready_after else None


def test_an_answer_is_given_as_soon_as_it_is_there(api: Api) -> None:
    store = Store(ready_after=3)

    assert in_virtual_time(wait_for(call_on(api, store, timeout_s=9), "It", found, wanted="here")) == "here"
    assert len(store.asked_at) == 4
    assert store.asked_at[-1] - store.asked_at[0] < 0.1


def test_nobody_waits_for_ever_and_the_message_says_what_to_do(api: Api) -> None:
    """It is looked for less and less often, and a last time at the very end."""
    store = Store(ready_after=10**6)

    with pytest.raises(StillRunning, match=r"Connecting volume v1 takes longer than 9 s\. .*ask again"):
        in_virtual_time(wait_for(call_on(api, store, timeout_s=9), "Connecting volume v1", found, wanted=""))
    assert len(store.asked_at) < 60
    assert store.asked_at[-1] - store.asked_at[0] == pytest.approx(9)


def test_what_a_failure_means_is_told_at_once(api: Api) -> None:
    def look(tx: Connection) -> None:
        raise StorageFailed("The disk is full.")

    with pytest.raises(StorageFailed, match="full"):
        in_virtual_time(wait_for(call_on(api, Store(0), timeout_s=9), "It", look))


def test_a_database_that_is_away_meanwhile_is_waited_for(api: Api) -> None:
    """What was asked for is accepted: 503 with the word that nothing was changed would be a lie."""
    store = Store(ready_after=3)

    def away(tx: Connection, *, wanted: str) -> str | None:
        if len(store.asked_at) < 3:
            raise Unavailable("The database cannot be reached. Nothing was changed.")
        return found(tx, wanted=wanted)

    assert in_virtual_time(wait_for(call_on(api, store, timeout_s=9), "It", away, wanted="here")) == "here"
