"""`breezeblock events` on a real database."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import create_engine, insert, select
from tests.api.builders import NODE, default_type, volume_row

from breezeblock import cli
from breezeblock.commands.events import Unit, last_period
from breezeblock.store import schema, tables

AT_US = 1_762_000_000_000_000  # 2025-11-01T12:26:40
EVENT = {"receiver": "old", "resource_id": "v", "op_seq": 1, "number": 0, "at_us": AT_US, "event_json": "{}"}


class Installed:
    """A data folder with a database and one receiver in the settings."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.config = folder / "settings.toml"
        self.database = f"sqlite:///{folder / 'breezeblock.db'}"
        self.config.write_text(
            f'[service]\ndata_dir = "{folder}"\n[database]\nurl = "{self.database}"\n[events.diary]\n[events.compute]\n'
            'type = "nova"\ncredentials_file = "nova.toml"\n'
        )
        schema.upgrade(self.database)

    def insert(self, table: Any, *rows: dict[str, Any]) -> None:
        with create_engine(self.database).begin() as tx:
            tx.execute(insert(table), list(rows))

    def rows(self, table: Any) -> list[dict[str, Any]]:
        with create_engine(self.database).begin() as tx:
            return [dict(row) for row in tx.execute(select(table)).mappings()]

    def run(self, *words: str) -> int:
        """Its exit status."""
        self.monkeypatch.setattr(sys, "argv", ["breezeblock", "events", *words, "--config", str(self.config)])
        try:
            cli.main()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 0
        return 0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    return Installed(tmp_path, monkeypatch)


def test_a_receiver_is_listed_and_removed_once_nobody_names_it(
    here: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    here.insert(tables.event_receivers, {"name": "old"})
    here.insert(tables.events, *(EVENT | {"id": str(number)} for number in range(3)))
    here.insert(tables.nodes, NODE | {"receivers_json": '["old"]'})

    assert here.run("list", "--json") == 0
    (seen,) = json.loads(capsys.readouterr().out)
    assert (seen["receiver"], seen["nodes"], seen["waiting"], seen["aside"]) == ("old", ["node-1"], 3, 0)
    assert here.run("list") == 0
    assert "node-1" in capsys.readouterr().out
    assert here.run("remove", "old") == 1
    assert "in the settings of node-1" in capsys.readouterr().err
    with create_engine(here.database).begin() as tx:
        tx.execute(tables.nodes.update().values(state="gone"))
    assert here.run("remove", "old", "--dry-run") == 0
    assert capsys.readouterr().out == "This would remove: receiver old and 3 events.\n"
    assert len(here.rows(tables.events)) == 3
    assert here.run("remove", "old") == 0
    assert (here.rows(tables.events), here.rows(tables.event_receivers)) == ([], [])
    assert here.run("remove", "old", "--dry-run") == 1
    assert "Receiver old could not be found" in capsys.readouterr().err


def test_a_receiver_of_this_machine_s_settings_stays(here: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    assert here.run("remove", "diary") == 1
    assert "[events.diary]" in capsys.readouterr().err


def test_what_was_set_aside_waits_again(here: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    here.insert(tables.event_receivers, {"name": "old"})
    here.insert(tables.events_aside, EVENT | {"id": "1", "reason": "It answered 422 instead of 2xx."})

    assert here.run("again", "old") == 0

    assert capsys.readouterr().out == "Events that wait again: 1.\n"
    assert ([row["id"] for row in here.rows(tables.events)], here.rows(tables.events_aside)) == (["1"], [])


def test_usage_of_a_period_is_told_once_to_all_but_nova(here: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    if not here.rows(tables.volume_types):
        here.insert(tables.volume_types, default_type())
    here.insert(tables.volumes, volume_row(id="v1", created_at_us=AT_US))
    period = ("--from", "2025-11-01", "--to", "2025-12-01 00:00:00")

    for expected in (1, 0):
        assert here.run("exists", *period, "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"diary": {"volume": expected, "snapshot": 0, "backup": 0}}

    (row,) = here.rows(tables.events)
    told = msgspec.json.decode(row["event_json"])
    assert (told["what"], told["resource_id"], told["begins_us"]) == ("exists", "v1", 1_761_955_200_000_000)
    assert here.run("exists", *period) == 0
    assert "2025-11-01 00:00:00 to 2025-12-01 00:00:00 UTC" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--from", "2025-11-01"), 2, "belong together"),
        (("--from", "2025-11-02", "--to", "2025-11-01"), 2, "--to must be after --from"),
        (("--from", "2025-11-02", "--to", "2999-11-01"), 2, "must not be in the future"),
        (("--from", "1999-11-02", "--to", "1999-12-02"), 2, "nobody knows any more"),
        (("--receiver", "nobody"), 1, "no receiver nobody"),
    ],
)
def test_a_period_that_cannot_be_told_is_refused(
    here: Installed, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, said: str
) -> None:
    assert here.run("exists", *words) == status
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("unit", "begins", "ends"),
    [
        ("hour", (2026, 1, 1, 23), (2026, 1, 2)),
        ("day", (2026, 1, 1), (2026, 1, 2)),
        ("month", (2025, 12, 1), (2026, 1, 1)),
        ("year", (2025, 1, 1), (2026, 1, 1)),
    ],
)
def test_the_last_period_is_one_that_is_over(unit: Unit, begins: tuple[int, ...], ends: tuple[int, ...]) -> None:
    def at(*parts: int) -> datetime:
        year, month, day, hour = (*parts, 0)[:4]
        return datetime(year, month, day, hour, tzinfo=UTC)

    assert last_period(unit, datetime(2026, 1, 2, 0, 59, 3, tzinfo=UTC)) == (at(*begins), at(*ends))
