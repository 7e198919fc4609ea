"""`breezeblock backend`, `cluster rename` and `node remove` on a real database and real storage."""

import asyncio
import json
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, select

from breezeblock import cli
from breezeblock.drivers.file import MARKER, FileDriver
from breezeblock.env.real import real_env
from breezeblock.store import schema, tables


class Installed:
    """A data folder with a backend `old` on storage that carries its marker, and a pool that has reported."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.storage = folder / "storage"
        self.config = folder / "settings.toml"
        self.database = f"sqlite:///{folder / 'breezeblock.db'}"
        self.configure("old")
        schema.upgrade(self.database)
        env = real_env(max_threads=2)
        driver = FileDriver(env.files, name="old", path=PurePosixPath(self.storage), clock=env.clock, ids=env.ids)
        asyncio.run(driver.check(known=False))
        pool = {"name": "breezeblock@old#old", "queue": "breezeblock@old", "availability_zone": "nova"}
        self.insert(tables.pools, pool)

    def configure(self, name: str) -> None:
        self.config.write_text(
            f'[service]\ndata_dir = "{self.config.parent}"\n[database]\nurl = "{self.database}"\n'
            f'[backends.{name}]\ndriver = "file"\npath = "{self.storage}"\n'
        )

    def insert(self, table: Any, *rows: dict[str, Any]) -> None:
        with create_engine(self.database).begin() as tx:
            tx.execute(insert(table), list(rows))

    def queues(self) -> list[str]:
        with create_engine(self.database).begin() as tx:
            return list(tx.execute(select(tables.pools.c.queue)).scalars())

    def marker(self) -> str:
        return (self.storage / MARKER).read_text().splitlines()[-1]

    def run(self, *words: str) -> int:
        """Its exit status."""
        self.monkeypatch.setattr(sys, "argv", ["breezeblock", *words, "--config", str(self.config)])
        try:
            cli.main()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 0
        return 0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    return Installed(tmp_path, monkeypatch)


def test_a_backend_is_renamed_in_the_database_and_on_its_storage(
    here: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    """First in the settings; a run that only looks changes nothing; and a second one finds all done."""
    assert here.run("backend", "rename", "old", "new") == 1
    assert "settings have no backend new" in capsys.readouterr().err
    here.configure("new")
    assert here.run("backend", "rename", "old", "new", "--dry-run") == 0
    assert capsys.readouterr().out == "This would change: 1 pools.\n"
    assert (here.queues(), here.marker()) == (["breezeblock@old"], "name: old")
    assert here.run("backend", "rename", "old", "new") == 0
    assert (here.queues(), here.marker()) == (["breezeblock@new"], "name: new")
    assert here.run("backend", "rename", "old", "new") == 0
    assert "done before" in capsys.readouterr().out


def test_a_run_that_died_half_way_is_finished_by_the_next(here: Installed) -> None:
    """The database said it, and the storage does not yet."""
    here.configure("new")
    marker = (here.storage / MARKER).read_text()
    assert here.run("backend", "rename", "old", "new") == 0
    (here.storage / MARKER).write_text(marker)
    assert here.run("backend", "rename", "old", "new") == 0
    assert here.marker() == "name: new"


def test_storage_of_somebody_else_is_not_taken(here: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    here.configure("new")
    (here.storage / MARKER).write_text("breezeblock file backend\nformat: 1\nname: third\n")
    assert here.run("backend", "rename", "old", "new") == 1
    assert "name: third" in capsys.readouterr().err
    assert here.marker() == "name: third"


def test_backends_are_listed_removed_and_a_cluster_renamed(here: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    assert here.run("cluster", "rename", "breezeblock", "breezeblock2") == 0
    assert here.queues() == ["breezeblock2@old"]
    assert here.run("cluster", "rename", "breezeblock2", "breezeblock") == 0
    capsys.readouterr()
    assert here.run("backend", "list", "--json") == 0
    assert [one["queue"] for one in json.loads(capsys.readouterr().out)] == ["breezeblock@old"]
    assert here.run("backend", "list") == 0
    assert "breezeblock@old" in capsys.readouterr().out
    assert here.run("backend", "remove", "old", "--dry-run") == 0
    assert here.queues() == ["breezeblock@old"]
    assert here.run("backend", "remove", "old") == 0
    assert here.queues() == []
    assert here.run("node", "remove", "nobody") == 1
    assert "no node nobody" in capsys.readouterr().err
