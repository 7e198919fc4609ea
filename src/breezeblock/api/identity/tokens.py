"""Tokens that Keystone has been asked about, remembered by their digests.

How long an answer holds:

* a good token `cache_s`, the revocation window, and never longer than it lives;
* while Keystone does not answer, `outage_s` more, still no longer than it lives: better an hour in which a revoked token works
  than one in which nobody does. 0 is for who thinks otherwise;
* a token that has expired, for a service that vouches for its user, `cache_s` after Keystone has said so of an expired one;
* a bad token a few seconds, so that a program that repeats it does not reach Keystone each time.

However many ask about a token at the same time, Keystone is asked once. When it does not answer, one request is let through now
and then to find out whether it does again; all others are answered at once, from memory or with 503.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import structlog

from breezeblock.api.identity.remembered import Crowded, Flights, Remembered
from breezeblock.env.contract import Clock

__all__ = ["AccessRule", "KeystoneAway", "Token", "Tokens"]

log = structlog.get_logger(__name__)

# About a kilobyte each: ten megabytes a process at most.
TOKENS_MOST: Final = 10_000
BAD_MOST: Final = 10_000
BAD_S: Final = 10.0
# Asked about at the same time, and waiting to be; more would wait longer than their clients.
ASKED_MOST: Final = 8
KEPT_FOR_KNOWN: Final = 3
WAITING_MOST: Final = 512
# How often somebody looks whether Keystone is back.
LOOK_EVERY_S: Final = 2.0


class AccessRule(NamedTuple):
    """What an application credential was narrowed to: one method on paths of one service."""

    service: str
    method: str
    path: str


class Token(NamedTuple):
    """What Keystone says of a token."""

    user_id: str
    project_id: str | None
    """None: it is for a domain, for the whole system, or for nothing."""
    roles: frozenset[str]
    expires_at_us: int
    rules: tuple[AccessRule, ...] | None = None
    """None: whatever the roles allow."""
    is_admin_project: bool = True


class KeystoneAway(Exception):
    """Nobody can say whether a token is good. The text is for the log; it has no secret.

    `for_all`: it is not this token alone about which Keystone says nothing. Whoever could make that so by the token that he
    sends would cut off all others.
    """

    def __init__(self, reason: str, *, for_all: bool = True) -> None:
        super().__init__(reason)
        self.for_all = for_all


Ask = Callable[[str, bool], Awaitable[Token | None]]
"""Of Keystone: token, and whether an expired one will do. None: it is bad. Raises KeystoneAway."""


class _Known(NamedTuple):
    token: Token
    asked_at: float
    had_expired: bool
    """When Keystone said that it is good: for a service."""


class Tokens:
    """Implements the above. Only of digests is there any memory: a token is as good as a password."""

    def __init__(self, ask: Ask, *, clock: Clock, cache_s: float, outage_s: float) -> None:
        self._ask = ask
        self._clock = clock
        self._cache_s = cache_s
        self._outage_s = outage_s
        self._known: Remembered[bytes, _Known] = Remembered(most=TOKENS_MOST)
        self._bad: Remembered[tuple[bytes, bool], float] = Remembered(most=BAD_MOST)
        self._flights: Flights[tuple[bytes, bool], Token | KeystoneAway | None] = Flights(most=WAITING_MOST)
        self._asking = asyncio.Semaphore(ASKED_MOST - KEPT_FOR_KNOWN)
        # Tokens that were good have ways of their own: those that anybody makes up are not to keep them from being asked about.
        self._renewals: Flights[tuple[bytes, bool], Token | KeystoneAway | None] = Flights(most=WAITING_MOST)
        self._renewing = asyncio.Semaphore(KEPT_FOR_KNOWN)
        self._away: KeystoneAway | None = None
        self._look_at = 0.0

    async def look_up(self, text: str, *, expired_too: bool = False) -> Token | None:
        """Whose a token is; None if it is bad. Raises KeystoneAway."""
        digest = hashlib.sha256(text.encode()).digest()
        key, now = (digest, expired_too), self._clock.boottime()
        known = self._known.get(digest)
        if known is not None:
            has_expired = self._has_expired(known.token)
            if has_expired and not expired_too:
                return None
            # How long after its end a service may use it is Keystone's to say, and what it said before was not about that.
            if now < known.asked_at + self._cache_s and (known.had_expired or not has_expired):
                return known.token
        if now < (self._bad.get(key) or 0.0):
            return None
        return await self._find_out(text, key, known, now)

    async def _find_out(self, text: str, key: tuple[bytes, bool], known: _Known | None, now: float) -> Token | None:
        outcome: Token | KeystoneAway | None = self._away
        if self._away is None or self._is_time_to_look(now):
            try:
                flights, gate = (self._flights, self._asking) if known is None else (self._renewals, self._renewing)
                flight = flights.start(key, lambda: self._fly(text, key, gate))
            except Crowded:
                if self._away is None:
                    # No outage: whoever crowds us is not to make a token live on that was revoked.
                    raise KeystoneAway("too many tokens are being validated") from None
                outcome = self._away
            else:
                if self._away is not None and (fallback := self._in_an_outage(known)) is not None:
                    return fallback  # whether it is back is found out without this one's waiting for it
                outcome = await asyncio.shield(flight)
        if not isinstance(outcome, KeystoneAway):
            return outcome
        if (fallback := self._in_an_outage(known)) is not None:
            return fallback
        raise KeystoneAway(str(outcome))

    def _in_an_outage(self, known: _Known | None) -> Token | None:
        """What is believed of a token while Keystone says nothing: nothing once it has ended, whoever vouches for its user."""
        if known is None or self._has_expired(known.token):
            return None
        until = known.asked_at + self._cache_s + self._outage_s
        return known.token if self._clock.boottime() < until else None

    def _is_time_to_look(self, now: float) -> bool:
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_EVERY_S
        return True

    async def _fly(self, text: str, key: tuple[bytes, bool], gate: asyncio.Semaphore) -> Token | KeystoneAway | None:
        """Ask, and remember the answer. An outage is an answer as well: an exception would be raised in many places."""
        was_away = self._away
        async with gate:
            if self._away is not was_away and self._away is not None:
                return self._away  # found out by another one while this one waited
            asked_at = self._clock.boottime()  # before the answer: what was revoked since is not known to it
            try:
                token = await self._ask(text, key[1])
            except KeystoneAway as error:
                if error.for_all:
                    self._has_gone(error)
                else:
                    log.warning("identity.keystone_failed", reason=str(error))
                return error
        self._is_back()
        if token is None or (self._has_expired(token) and not key[1]):
            self._known.forget(key[0])
            self._bad.put(key, self._clock.boottime() + BAD_S)
            return None
        self._known.put(key[0], _Known(token, asked_at, self._has_expired(token)))
        return token

    def _has_gone(self, error: KeystoneAway) -> None:
        if self._away is None:
            log.error("identity.keystone_away", reason=str(error))
            self._look_at = self._clock.boottime() + LOOK_EVERY_S
        self._away = error

    def _is_back(self) -> None:
        if self._away is not None:
            log.info("identity.keystone_back")
        self._away = None

    def _has_expired(self, token: Token) -> bool:
        return token.expires_at_us <= self._clock.now_us()
