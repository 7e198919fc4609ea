"""What is remembered of tokens, for how long, and what an outage of Keystone changes. The real one is in test_keystone.py."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.identity.virtually import virtually

from breezeblock.api.identity import tokens
from breezeblock.api.identity.tokens import KeystoneAway, Token, Tokens
from breezeblock.testing.virtual import VirtualClock

CACHE_S, OUTAGE_S, LIFE_S = 300.0, 1000.0, 4000.0


class Said:
    """What Keystone has to say, and how often it was asked."""

    def __init__(self, *, takes_s: float = 1.0) -> None:
        self.good: set[str] = set()
        self.away = False
        self.fails_at: set[str] = set()
        self.takes_s = takes_s
        self.expires_at_us = VirtualClock().now_us() + int(LIFE_S * 1e6)
        self.asked: list[tuple[str, bool]] = []
        self.at_once = self.at_once_most = 0

    async def ask(self, text: str, expired_too: bool) -> Token | None:
        self.asked.append((text, expired_too))
        self.at_once += 1
        self.at_once_most = max(self.at_once_most, self.at_once)
        try:
            await VirtualClock().sleep(self.takes_s)
        finally:
            self.at_once -= 1
        if text in self.fails_at:
            raise KeystoneAway("answered 500", for_all=False)
        if self.away:
            raise KeystoneAway("nobody answers")
        if text not in self.good or (VirtualClock().now_us() >= self.expires_at_us and not expired_too):
            return None
        return Token(f"user of {text}", "p1", frozenset({"member"}), self.expires_at_us)


def run(test: Callable[[Said, Tokens], Any], **said: Any) -> Any:
    """The test, with tokens that ask `Said`."""

    async def main() -> Any:
        keystone = Said(**said)
        keystone.good.add("a")
        held = Tokens(keystone.ask, clock=VirtualClock(), cache_s=CACHE_S, outage_s=OUTAGE_S)
        return await test(keystone, held)

    return virtually(main())


async def is_away(held: Tokens, text: str, **options: bool) -> bool:
    try:
        await held.look_up(text, **options)
    except KeystoneAway:
        return True
    return False


def test_a_good_token_is_asked_about_once_in_the_window() -> None:
    """And again after it, when it may have been revoked."""

    async def test(keystone: Said, held: Tokens) -> list[bool]:
        found = [await held.look_up("a") is not None]
        await VirtualClock().sleep(CACHE_S - 2)
        found.append(await held.look_up("a") is not None)
        keystone.good.clear()
        await VirtualClock().sleep(2)
        found.append(await held.look_up("a") is not None)
        assert keystone.asked == [("a", False)] * 2
        return found

    assert run(test) == [True, True, False]


def test_the_window_begins_when_keystone_is_asked() -> None:
    """A token that was revoked while the answer was on its way works no longer than the window."""

    async def test(keystone: Said, held: Tokens) -> None:
        await held.look_up("a")
        await VirtualClock().sleep(CACHE_S - keystone.takes_s + 0.1)
        await held.look_up("a")
        assert len(keystone.asked) == 2

    run(test, takes_s=100.0)


def test_an_expired_token_is_bad_without_a_question() -> None:
    """By its own time, however long the window is. For a service that vouches it is asked about."""

    async def test(keystone: Said, held: Tokens) -> None:
        await VirtualClock().sleep(LIFE_S - 10)
        assert await held.look_up("a") is not None
        await VirtualClock().sleep(20)
        assert await held.look_up("a") is None
        assert len(keystone.asked) == 1
        assert await held.look_up("a", expired_too=True) is not None

    run(test)


def test_what_keystone_said_before_a_token_ended_does_not_hold_for_a_service_after_it() -> None:
    """How long it may be used then is for Keystone to say. Its answer to that holds for the window, as any."""

    async def test(keystone: Said, held: Tokens) -> None:
        await VirtualClock().sleep(LIFE_S - 10)
        assert await held.look_up("a", expired_too=True) is not None
        await VirtualClock().sleep(20)
        keystone.good.clear()
        assert await held.look_up("a", expired_too=True) is None
        keystone.good.add("a")
        await VirtualClock().sleep(tokens.BAD_S)
        for _ in range(3):
            assert await held.look_up("a", expired_too=True) is not None
        assert keystone.asked == [("a", True)] * 3

    run(test)


def test_a_token_that_has_ended_is_good_for_nobody_in_an_outage() -> None:
    """A service that vouches does not make it live longer than Keystone says, which says nothing now."""

    async def test(keystone: Said, held: Tokens) -> None:
        await VirtualClock().sleep(LIFE_S + 10)
        assert await held.look_up("a", expired_too=True) is not None
        keystone.away = True
        await VirtualClock().sleep(CACHE_S - 20)
        assert await held.look_up("a", expired_too=True) is not None  # its window is not over
        await VirtualClock().sleep(20)
        assert await is_away(held, "a", expired_too=True)
        assert await held.look_up("a") is None

    run(test)


def test_a_token_that_ends_while_keystone_is_waited_for_has_ended() -> None:
    async def test(keystone: Said, held: Tokens) -> None:
        await VirtualClock().sleep(LIFE_S - CACHE_S - 5)
        await held.look_up("a")
        keystone.away, keystone.takes_s = True, 10.0
        await VirtualClock().sleep(CACHE_S)
        assert await is_away(held, "a")

    run(test)


def test_bad_tokens_are_remembered_for_a_moment() -> None:
    """And an expired one is bad only for who comes without a service."""

    async def test(keystone: Said, held: Tokens) -> None:
        for _ in range(3):
            assert await held.look_up("b") is None
        assert keystone.asked == [("b", False)]
        assert await held.look_up("b", expired_too=True) is None
        assert keystone.asked == [("b", False), ("b", True)]
        keystone.good.add("b")
        await VirtualClock().sleep(tokens.BAD_S)
        assert await held.look_up("b") is not None

    run(test)


def test_all_who_ask_at_once_share_one_question() -> None:
    """One of them gives up; the others have their answer."""

    async def test(keystone: Said, held: Tokens) -> None:
        askers = [asyncio.ensure_future(held.look_up("a")) for _ in range(20)]
        await VirtualClock().sleep(0.5)
        askers[0].cancel()
        found = await asyncio.gather(*askers, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert [one.user_id for one in found[1:] if isinstance(one, Token)] == ["user of a"] * 19
        assert keystone.asked == [("a", False)]

    run(test)


def test_only_so_many_are_asked_about_and_wait() -> None:
    """Who makes tokens up by the thousand fills a bounded queue; what is more is told to come back."""

    async def test(keystone: Said, held: Tokens) -> None:
        askers = [is_away(held, f"made up {n}") for n in range(tokens.WAITING_MOST + 5)]
        refused = await asyncio.gather(*askers)
        assert sum(refused) == 5
        assert keystone.at_once_most == tokens.ASKED_MOST - tokens.KEPT_FOR_KNOWN

    run(test)


def test_made_up_tokens_do_not_keep_a_revoked_one_alive() -> None:
    """What was good is asked about beside all that anybody makes up, and so is found to be revoked in time."""

    async def test(keystone: Said, held: Tokens) -> None:
        assert await held.look_up("a") is not None
        keystone.good.clear()
        await VirtualClock().sleep(CACHE_S)
        flood = [asyncio.ensure_future(is_away(held, f"made up {n}")) for n in range(tokens.WAITING_MOST + 5)]
        await VirtualClock().sleep(0.1)
        assert await held.look_up("a") is None
        assert not all(one.done() for one in flood), "it has not waited behind them"
        await asyncio.gather(*flood)

    run(test)


def test_who_crowds_does_not_keep_a_revoked_one_alive() -> None:
    """Who has many good tokens may fill the way of those as well. That is no outage: another one comes again later."""

    async def test(keystone: Said, held: Tokens) -> None:
        many = [f"good {n}" for n in range(tokens.WAITING_MOST)]
        keystone.good.update(many)
        for text in ("a", *many):
            assert await held.look_up(text) is not None
        keystone.good.remove("a")
        await VirtualClock().sleep(CACHE_S)
        crowd = [asyncio.ensure_future(held.look_up(text)) for text in many]
        await VirtualClock().sleep(0.1)
        assert await is_away(held, "a")
        await asyncio.gather(*crowd)
        assert await held.look_up("a") is None

    run(test)


def test_an_outage_leaves_what_is_known() -> None:
    """Beyond the window, for the time that was given; all else is refused at once, but for one look now and then."""

    async def test(keystone: Said, held: Tokens) -> None:
        await held.look_up("a")
        keystone.away = True
        await VirtualClock().sleep(CACHE_S)
        began = VirtualClock().boottime()
        assert await held.look_up("a") is not None
        assert await is_away(held, "unknown")
        waited_s = VirtualClock().boottime() - began
        asked = len(keystone.asked)
        for _ in range(100):
            assert await is_away(held, "unknown")
            assert await held.look_up("a") is not None
        assert (waited_s, VirtualClock().boottime() - began, len(keystone.asked)) == (5.0, 5.0, asked)
        await VirtualClock().sleep(OUTAGE_S)
        assert await is_away(held, "a")

    run(test, takes_s=5.0)


def test_a_token_that_ends_in_an_outage_has_ended() -> None:
    """Whatever was promised for the outage."""

    async def test(keystone: Said, held: Tokens) -> None:
        await VirtualClock().sleep(LIFE_S - 100)
        await held.look_up("a")
        keystone.away = True
        await VirtualClock().sleep(100)
        assert await held.look_up("a") is None

    run(test)


def test_when_keystone_is_back_it_is_asked_again() -> None:
    """After the pause between two looks, and what was good meanwhile and is not is found out."""

    async def test(keystone: Said, held: Tokens) -> None:
        keystone.away = True
        assert await is_away(held, "a")
        keystone.away = False
        assert await is_away(held, "a")
        await VirtualClock().sleep(tokens.LOOK_EVERY_S)
        assert await held.look_up("a") is not None
        assert await held.look_up("b") is None

    run(test)


def test_who_waits_when_keystone_goes_does_not_wait_for_each_other() -> None:
    """The queue's first ones find out, and the rest is told."""

    async def test(keystone: Said, held: Tokens) -> float:
        keystone.away = True
        began = VirtualClock().boottime()
        assert all(await asyncio.gather(*(is_away(held, f"made up {n}") for n in range(100))))
        assert len(keystone.asked) == tokens.ASKED_MOST - tokens.KEPT_FOR_KNOWN
        return VirtualClock().boottime() - began

    assert run(test, takes_s=10.0) == 10.0


def test_a_token_that_keystone_fails_at_cuts_nobody_else_off() -> None:
    """Or whoever found such a one could send it again and again."""

    async def test(keystone: Said, held: Tokens) -> None:
        keystone.fails_at.add("evil")
        assert await is_away(held, "evil")
        assert await held.look_up("a") is not None
        assert await is_away(held, "evil")

    run(test)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not used for the longest makes room."""
    monkeypatch.setattr(tokens, "TOKENS_MOST", 3)

    async def test(keystone: Said, held: Tokens) -> None:
        keystone.good |= {"b", "c", "d"}
        for text in ("a", "b", "c", "a", "d", "a", "b"):
            assert await held.look_up(text) is not None
        assert [text for text, _ in keystone.asked] == ["a", "b", "c", "d", "b"]

    run(test)
