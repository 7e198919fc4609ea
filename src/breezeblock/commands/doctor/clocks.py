"""How fast this machine's clock goes, against the hardware's and against the database's.

Leases need no synchronised clocks, only such as go equally fast, give or take `nodes.drift`.
"""

import ctypes
import functools
import statistics
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from breezeblock.commands.doctor.finding import ERROR, NOTE, WARNING, Finding, Findings
from breezeblock.database_urls import is_server_url
from breezeblock.env.real import RealClock
from breezeblock.settings import Settings
from breezeblock.store.dialects import db_now_us
from breezeblock.store.servers import NoWrites, Session, open_server

__all__ = ["compare", "judge", "look"]

# Long enough that the time of asking is small beside it.
HARDWARE_S: Final = 1.0
DATABASE_S: Final = 3.0
# Of each end, the middle one of so many readings: one that was held up counts for nothing.
READINGS: Final = 5
# Half a thousandth is the most that time synchronisation corrects; a tenth of what is allowed leaves room for other machines.
SHARE: Final = 0.1
OFFSET_S: Final = 5.0

# adjtimex(2): the kernel's word on whether somebody keeps the clock right. The struct is longer than any version of it.
_TIMEX_BYTES: Final = 512
_STATUS_AT: Final = 40  # of 64-bit machines: modes, offset, freq, maxerror, esterror come before
_STA_UNSYNC: Final = 0x0040


def look(settings: Settings) -> Findings:
    """See `examine`. Takes some seconds: a rate is measured over time."""
    clock, drift = RealClock(), settings.nodes.drift
    yield from judge("clocks.hardware", "the hardware's oscillator", compare(clock, clock.raw, HARDWARE_S), drift)
    if is_server_url(settings.database.url):
        yield from _database(settings, clock)
    if _is_unsynchronised():
        yield Finding(
            "clocks.sync",
            NOTE,
            "Nobody keeps this machine's clock right, the kernel says.",
            "No lease needs synchronised clocks. But people compare logs, and tokens and certificates end at a time.",
            "Install chrony or systemd-timesyncd.",
        )


def compare(clock: RealClock, other: Callable[[], float], seconds: float) -> float:
    """By how much this machine's clock goes faster than another, as a share: 0.01 is one second in a hundred."""
    own_first, other_first = _reading(clock, other)
    clock.pause(seconds)
    own_last, other_last = _reading(clock, other)
    elsewhere = other_last - other_first
    return (own_last - own_first) / elsewhere - 1 if elsewhere > 0 else float("inf")


def _reading(clock: RealClock, other: Callable[[], float]) -> tuple[float, float]:
    """Both clocks at one moment: of several tries the one where asking took no longer than usual."""
    tries = []
    for _ in range(READINGS):
        before, there, after = clock.boottime(), other(), clock.boottime()
        tries.append((after - before, (before + after) / 2, there))
    _, own, there = min(tries)
    return own, there


def judge(check: str, other: str, faster: float, drift: float) -> Findings:
    """What a difference in rate means where `drift` is allowed."""
    if abs(faster) <= SHARE * drift:
        return
    too_much = abs(faster) > drift
    yield Finding(
        check,
        ERROR if too_much else WARNING,
        f"This machine's clock goes {faster:+.2%} against {other}, and nodes.drift is {drift:.2%}.",
        "A node whose clock goes slower than nodes.drift allows for believes in its lease when others have ended it."
        if too_much
        else "That is more than a healthy clock does, and other machines may differ the other way.",
        "Look at the kernel's clock source (/sys/devices/system/clocksource), the hypervisor, and what corrects the time.",
    )


def _database(settings: Settings, clock: RealClock) -> Findings:
    session = Session(ttl_s=settings.nodes.ttl_s, connections=1, reads_standbys=True)
    for url in settings.database.urls:
        engine = open_server(url, session, reading=True)
        try:
            with engine.connect() as connection:
                theirs = functools.partial(_now_of, connection)
                offset_s = statistics.median(theirs() - clock.now_us() / 1e6 for _ in range(READINGS))
                faster = compare(clock, theirs, DATABASE_S)
        except (SQLAlchemyError, NoWrites):
            continue  # which the look at the database tells
        finally:
            engine.dispose()
        yield from judge("clocks.database", "the database server's", faster, settings.nodes.drift)
        if abs(offset_s) > OFFSET_S:
            yield Finding(
                "clocks.offset",
                WARNING,
                f"The database server's clock is {offset_s:+.0f} s from this machine's.",
                "Nothing is decided by it, but times in lists come from the one and those in logs from the other.",
                "Let one source of time keep both right.",
            )
        return


def _now_of(connection: Connection) -> float:
    now_us: int = connection.execute(select(db_now_us())).scalar_one()
    connection.rollback()
    return now_us / 1e6


def _is_unsynchronised() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: only asks
    if libc.adjtimex(buffer) < 0:
        return False  # not asked, as in some containers: nothing is known
    status = ctypes.c_int.from_buffer(buffer, _STATUS_AT).value
    return bool(status & _STA_UNSYNC)
