"""Log levels that operators set: what is kept of what they say, who obeys, and what each process tells of itself."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import structlog
from tests.databases import urls
from tests.store.beside import beside
from tests.store.given import ME, NOW_US, Base, in_virtual_time, store_on, virtual_env

from breezeblock import logs
from breezeblock.model.errors import BadRequest, Unavailable
from breezeblock.processes.log_levels import LOOK_EVERY_S, LogLevels
from breezeblock.resources import log_levels
from breezeblock.resources.log_levels import API, REPORT_EVERY_S, SAID_MOST, Said, Who
from breezeblock.resources.services import BACKUP, SCHEDULER, VOLUME
from breezeblock.store import tables

SERVERS = frozenset({"n1", "n1@b", "c@b"})
WHO = Who(frozenset({VOLUME, BACKUP}), SERVERS)


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    yield base
    base.close()
    logs.obey([])
    structlog.reset_defaults()


def said(prefix: str = "", level: str = "DEBUG", *, binary: str = "", server: str = "") -> Said:
    return Said(binary=binary, server=server, prefix=prefix, level=level)


def say(base: Base, *words: Said) -> list[Said]:
    """What is kept after these were said."""
    for one in words:
        base.run(log_levels.say, said=one)
    return list(base.run(log_levels.read)[1])


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_nothing_is_said_at_first(base: Base) -> None:
    assert base.run(log_levels.read) == (0, ())


def test_words_are_kept_in_order_and_numbered(base: Base) -> None:
    kept = say(base, said("a"), said("b", "ERROR"), said("a.b", "INFO", binary=VOLUME))

    assert kept == [said("a"), said("b", "ERROR"), said("a.b", "INFO", binary=VOLUME)]
    assert base.run(log_levels.read)[0] == 3


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        (said("a.b"), said("a"), False),
        (said("a"), said("a.b"), True),
        (said("a"), said("a", "ERROR"), False),
        (said("a", binary=VOLUME), said("a"), False),
        (said("a"), said("a", binary=VOLUME), True),
        (said("a", server="n1"), said("a", server="n2"), True),
        (said("a", server="n1"), said("", binary=API), True),
        (said("a", server="n1", binary=API), said("", binary=API), False),
    ],
)
def test_a_word_replaces_those_of_which_it_leaves_nothing(base: Base, before: Said, after: Said, left: bool) -> None:
    assert say(base, before, after) == ([before] * left) + [after]


def test_words_have_a_bound_and_a_way_out(base: Base) -> None:
    say(base, *(said(f"a{number}.") for number in range(SAID_MOST)))

    with pytest.raises(BadRequest, match="32 levels are set already"):
        say(base, said("b"))

    assert len(base.run(log_levels.read)[1]) == SAID_MOST
    assert say(base, said("", "INFO")) == [said("", "INFO")]


@pytest.mark.skipif(not urls(), reason="takes two transactions at once: BREEZEBLOCK_TEST_DATABASE names servers")
def test_of_two_first_words_none_is_lost(base: Base) -> None:
    one, other = said("a"), said("b")

    beside(base, lambda tx: log_levels.say(tx, said=one), lambda tx: log_levels.say(tx, said=other))

    assert sorted(base.run(log_levels.read)[1], key=lambda word: word.prefix) == [one, other]


# --- who obeys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        (said(), True),
        (said(binary=VOLUME), True),
        (said(binary=API), False),
        (said(server="n1"), True),
        (said(server="n1@b"), True),
        (said(server="c@b"), True),
        (said(server="n2"), False),
        (said(server="n1", binary=SCHEDULER), False),
    ],
)
def test_a_process_knows_what_is_said_to_it(word: Said, meant: bool) -> None:
    assert WHO.is_meant_by(word) is meant


class Process:
    """One process that looks, and what it told its keeper."""

    def __init__(self, base: Base) -> None:
        self.told: list[Sequence[tuple[str, str]]] = []
        self.env = virtual_env()
        self.looking = LogLevels(
            store=store_on(base, self.env), env=self.env, who=WHO, binary=VOLUME, host="n1", tell=self.told.append
        )

    def look_for(self, seconds: float) -> None:
        async def run() -> None:
            task = self.looking.start()
            await self.env.clock.sleep(seconds)
            task.cancel()

        in_virtual_time(run())


def test_a_process_obeys_within_seconds_what_is_meant_for_it(base: Base) -> None:
    say(base, said("breezeblock.work", "ERROR"), said("breezeblock.node", "ERROR", binary=API))
    process = Process(base)

    process.look_for(LOOK_EVERY_S)

    levels = logs.levels()
    assert {levels[name] for name in levels if name.startswith("breezeblock.work")} == {"ERROR"}
    assert levels["breezeblock.node.upkeep"] != "ERROR"
    assert process.told == [[("breezeblock.work", "ERROR")]]


def test_what_is_said_later_is_heard_once(base: Base) -> None:
    """The keeper is told when there is something new, and not with every look."""
    process = Process(base)
    process.look_for(4 * LOOK_EVERY_S)
    say(base, said("breezeblock.node", "DEBUG", server="n1"))

    process.look_for(4 * LOOK_EVERY_S)

    assert process.told == [[], [("breezeblock.node", "DEBUG")]]
    assert logs.levels("breezeblock.node.upkeep") == {"breezeblock.node.upkeep": "DEBUG"}
    (row,) = base.rows(tables.log_reports)
    assert '"breezeblock.node.upkeep": "DEBUG"' in row["levels_json"]


def test_looking_writes_only_now_and_then(base: Base) -> None:
    """Looks are reads. A process tells of itself when its levels change, and once a minute."""
    process = Process(base)

    process.look_for(3 * REPORT_EVERY_S + 2 * LOOK_EVERY_S)

    assert 3 <= len(base.rows(tables.tx_done)) <= 5


def test_a_database_that_is_away_changes_nothing(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    say(base, said("breezeblock.node", "DEBUG"))
    process = Process(base)
    process.look_for(LOOK_EVERY_S)

    def away(tx: Any) -> Any:
        raise Unavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(log_levels, "read", away)
        process.look_for(3 * LOOK_EVERY_S)
    say(base, said("breezeblock.node", "ERROR"))
    assert logs.levels("breezeblock.node.upkeep") == {"breezeblock.node.upkeep": "DEBUG"}
    process.look_for(2 * LOOK_EVERY_S)

    assert logs.levels("breezeblock.node.upkeep") == {"breezeblock.node.upkeep": "ERROR"}


# --- what is told -----------------------------------------------------------------------------------------------------


def tell(base: Base, id_: str, binary: str, host: str, **levels: str) -> None:
    base.run(log_levels.report, process_id=id_, binary=binary, host=host, levels=levels)


def told(base: Base, *, binary: str = "", server: str = "", prefix: str = "") -> list[tuple[str, str, dict[str, str]]]:
    found = base.run(
        log_levels.reports, binary=binary, server=server, prefix=prefix, own_cluster="c", default_zone="nova"
    )
    return [(one.binary, one.host, dict(one.levels)) for one in found]


@pytest.fixture
def service(base: Base) -> Base:
    """Two API processes on one host, one live node, one that is gone, and one that has told nothing yet."""
    tell(base, "1", API, "h1", x="INFO")
    tell(base, "2", API, "h1", x="INFO")
    tell(base, "3", VOLUME, "n1", x="DEBUG", y="INFO")
    tell(base, "4", VOLUME, "n2", x="ERROR")
    base.node(ME, name="n1")
    base.node("i2", name="n2", state="gone")
    base.node("i3", name="n3")
    return base


def test_every_live_service_is_told_with_its_levels(service: Base) -> None:
    assert told(service) == [
        (API, "h1", {"x": "INFO"}),
        (BACKUP, "n1", {"x": "DEBUG", "y": "INFO"}),
        (SCHEDULER, "c", {"x": "INFO"}),
        (VOLUME, "n1@b", {"x": "DEBUG", "y": "INFO"}),
    ]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"binary": VOLUME}, [(VOLUME, "n1@b", {"x": "DEBUG", "y": "INFO"})]),
        ({"server": "n1@b", "prefix": "y"}, [(VOLUME, "n1@b", {"y": "INFO"})]),
        ({"server": "c@b", "prefix": "z"}, [(VOLUME, "n1@b", {})]),
        ({"server": "c"}, [(SCHEDULER, "c", {"x": "INFO"})]),
        ({"server": "n2@b"}, []),
        ({"binary": API, "server": "h1"}, [(API, "h1", {"x": "INFO"})]),
    ],
)
def test_services_are_told_that_are_asked_for(service: Base, asked: dict[str, str], found: Any) -> None:
    assert told(service, **asked) == found


def test_processes_of_a_host_that_differ_are_both_told(service: Base) -> None:
    """As they do for some seconds after a change."""
    tell(service, "2", API, "h1", x="ERROR")

    assert told(service, binary=API) == [(API, "h1", {"x": "INFO"}), (API, "h1", {"x": "ERROR"})]


def test_what_a_killed_worker_said_is_over_when_its_successor_speaks(service: Base) -> None:
    """Found with the clients: for minutes after a kill a node had two levels, the older of which nothing could change."""
    service.now_us = NOW_US + 1
    tell(service, "0", VOLUME, "n1", x="ERROR")

    assert told(service, binary=VOLUME) == [(VOLUME, "n1@b", {"x": "ERROR"})]


def test_who_has_not_told_anything_for_long_is_not_there(service: Base) -> None:
    service.now_us = NOW_US + int(4 * REPORT_EVERY_S * 1_000_000)
    tell(service, "3", VOLUME, "n1", x="DEBUG")
    assert [one[:2] for one in told(service)] == [(BACKUP, "n1"), (VOLUME, "n1@b")]

    service.now_us += 24 * 3600 * 1_000_000 + 1
    tell(service, "5", API, "h1", x="INFO")

    assert [row["id"] for row in service.rows(tables.log_reports)] == ["5"]
