"""`breezeblock backup policy`: on a database as the service leaves it, typed as an operator types it."""

import functools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, Table, create_engine, insert, select, update

from breezeblock import cli
from breezeblock.resources.backup_policies import Ended
from breezeblock.resources.keeping import MARK
from breezeblock.store import schema, tables

VOLUME, OTHER, GONE = (f"{number:08x}-0000-4000-8000-000000000001" for number in (1, 2, 3))
QUEUE = "breezeblock@default"
DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")


def at_us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@dataclass(frozen=True)
class Told:
    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.out)
        return found

    def outcomes(self) -> dict[str | None, str]:
        return {one["name"]: one["outcome"] for one in self.lines}


class Site:
    """A data folder with a database in it, and nobody who works on it. `empty` is one without rows."""

    def __init__(self, folder: Path, empty: Path) -> None:
        self.folder = folder
        shutil.copy(empty, folder / "breezeblock.db")
        self._engine = create_engine(f"sqlite:///{folder}/breezeblock.db")
        with self.tx() as tx:
            pool = {"name": f"{QUEUE}#p", "queue": QUEUE, "total_gib": 9, "free_gib": 9, "availability_zone": "nova"}
            tx.execute(insert(tables.pools).values(**pool))

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def tx(self) -> Iterator[Connection]:
        with self._engine.begin() as tx:
            yield tx

    def volume(self, id_: str = VOLUME, **values: Any) -> None:
        row = {
            "id": id_, "project_id": "p1", "user_id": "u", "size_gib": 1, "status": "available", "charged_gib": 1,
            "availability_zone": "nova", "pool_name": f"{QUEUE}#p", "object_name": f"{id_}.1.1", "created_at_us": 1,
        }  # fmt: skip
        with self.tx() as tx:
            tx.execute(insert(tables.volumes).values(**(row | values)))

    def backup(self, name: str, *, volume_id: str = VOLUME, mark: str | None = None, **values: Any) -> None:
        """One of that day, which is its name."""
        with self.tx() as tx:
            number = len(tx.execute(select(tables.backups.c.id)).all()) + 1
            row = {
                "id": f"b{number:07x}-0000-4000-8000-000000000001", "name": name, "volume_id": volume_id, "project_id": "p1",
                "user_id": "u", "status": "available", "size_gib": 1, "store": "default", "host": QUEUE,
                "metadata_json": json.dumps({} if mark is None else {MARK: mark}), "data_timestamp_us": at_us(name),
                "created_at_us": at_us(name), "manifest": "m",
            }  # fmt: skip
            tx.execute(insert(tables.backups).values(**(row | values)))

    def rows(self, table: Table) -> list[Mapping[str, Any]]:
        with self.tx() as tx:
            return [dict(row) for row in tx.execute(select(table)).mappings()]

    def statuses(self) -> dict[str, str]:
        return {row["name"]: row["status"] for row in self.rows(tables.backups)}

    def kinds(self) -> list[str]:
        return sorted(row["kind"] for row in self.rows(tables.operations))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "breezeblock.db"
    schema.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def site(tmp_path: Path, empty: Path) -> Iterator[Site]:
    made = Site(tmp_path, empty)
    yield made
    made.close()


@pytest.fixture
def policy(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    def typed(*arguments: str) -> Told:
        monkeypatch.delenv("BREEZEBLOCK_CONFIG", raising=False)
        whole = ["breezeblock", "backup", "policy", *arguments, "--data", str(site.folder)]
        monkeypatch.setattr("sys.argv", whole)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return Told(int(ended.value.code or 0), told.out, told.err)

    return typed


@pytest.fixture
def apply(policy: Callable[..., Told]) -> Callable[..., Told]:
    return functools.partial(policy, "apply")


def test_what_need_not_stay_is_deleted_by_ordinary_requests(site: Site, apply: Callable[..., Told]) -> None:
    """And a second run finds nothing more to do."""
    site.volume()
    for day in (*DAYS, "2026-01-03T10:00"):
        site.backup(day)

    told = apply("--all", "--keep-daily", "2", "--json")

    assert told.status == 0
    assert told.outcomes() == {
        "2026-01-03T10:00": "stays", "2026-01-03": "deleted", "2026-01-02": "stays", "2026-01-01": "deleted"
    }  # fmt: skip
    assert told.lines[0]["reasons"] == ["newest", "day 2026-01-03"]
    assert {name for name, status in site.statuses().items() if status == "deleting"} == {"2026-01-01", "2026-01-03"}
    assert site.kinds() == ["delete_backup"] * 2
    assert set(apply("--all", "--keep-daily", "2", "--json").outcomes().values()) == {"stays"}
    assert site.kinds() == ["delete_backup"] * 2


def test_a_dry_run_shows_the_same_and_changes_nothing(site: Site, apply: Callable[..., Told]) -> None:
    """What is due, too."""
    site.volume()
    for day in DAYS:
        site.backup(day)

    told = apply("--volume", VOLUME, "--keep-daily", "1", "--backup", "--dry-run", "--json")

    assert told.outcomes() == {None: "due", "2026-01-03": "stays", "2026-01-02": "goes", "2026-01-01": "goes"}
    assert site.kinds() == []
    assert set(site.statuses().values()) == {"available"}


def test_what_has_no_backup_of_this_period_gets_one(site: Site, apply: Callable[..., Told]) -> None:
    """Once: while it is being made it counts. It is incremental where there is one before it."""
    site.volume()
    site.volume(OTHER)
    site.backup(DAYS[0])
    asked = ("--project", "p1", "--keep-yearly", "1", "--backup", "--incremental", "--mark", "yearly", "--json")

    told = apply(*asked)

    assert [one["outcome"] for one in told.lines] == ["new", "new"]
    new = {row["volume_id"]: row for row in site.rows(tables.backups) if row["status"] == "creating"}
    assert new.keys() == {VOLUME, OTHER}
    assert new[VOLUME]["parent_id"] is not None
    assert new[OTHER]["parent_id"] is None
    assert json.loads(new[OTHER]["metadata_json"]) == {MARK: "yearly"}
    assert new[OTHER]["project_id"] == "p1"
    assert {one["outcome"] for one in apply(*asked).lines} == {"stays"}
    assert site.kinds() == ["create_backup"] * 2


def test_a_marked_policy_knows_only_its_own_backups(site: Site, apply: Callable[..., Told]) -> None:
    """Those made by hand are not deleted, and are not in the place of one of its own."""
    site.volume()
    site.backup(DAYS[0], mark="daily")
    site.backup(DAYS[1], mark="daily")
    site.backup(DAYS[2])

    told = apply("--all", "--keep-daily", "1", "--mark", "daily", "--json")

    assert told.outcomes() == {DAYS[1]: "stays", DAYS[0]: "deleted"}
    assert site.statuses()[DAYS[2]] == "available"


def test_volumes_are_chosen_by_project_by_id_and_by_metadata(site: Site, apply: Callable[..., Told]) -> None:
    """Backups of a volume that is gone belong to all, and to its id."""
    site.volume(metadata_json='{"keep":"yes","other":"x"}')
    site.volume(OTHER, project_id="p2", metadata_json='{"other":"keep"}')
    site.backup(DAYS[0])
    site.backup(DAYS[1], volume_id=OTHER, project_id="p2")
    site.backup(DAYS[2], volume_id=GONE)

    def seen(*chosen: str) -> set[str | None]:
        return set(apply(*chosen, "--keep-last", "1", "--json").outcomes())

    assert seen("--all") == set(DAYS)
    assert seen("--project", "p2") == {DAYS[1]}
    assert seen("--volume", GONE) == {DAYS[2]}
    assert seen("--metadata", "keep=yes") == {DAYS[0]}
    assert seen("--metadata", "keep=no") == set()
    assert seen("--all", "--project", "p1") == {DAYS[0], DAYS[2]}


def test_each_volume_keeps_its_own(site: Site, apply: Callable[..., Told]) -> None:
    """The newest of one does not stand for that of another, nor does one project's for another's."""
    site.backup(DAYS[0])
    site.backup(DAYS[1], project_id="p2")
    site.backup(DAYS[2], volume_id=OTHER)

    assert set(apply("--all", "--keep-last", "1", "--json").outcomes().values()) == {"stays"}


def test_a_refusal_is_told_and_the_rest_is_done(site: Site, apply: Callable[..., Told]) -> None:
    """By the quota, by the volume's status, by the backup's."""
    site.volume(status="extending")
    site.volume(OTHER)
    site.backup(DAYS[0])
    site.backup(DAYS[1], status="restoring")
    site.backup(DAYS[2])
    with site.tx() as tx:
        tx.execute(insert(tables.quotas).values(project_id="p1", resource="backups", hard_limit=0))

    told = apply("--all", "--keep-hourly", "1", "--backup", "--json")

    assert told.status == 1
    assert "3 requests refused" in told.err
    refused = {one["volume_id"]: one["reasons"] for one in told.lines if one["backup_id"] is None}
    assert "status extending" in refused[VOLUME][1]
    assert "backups" in refused[OTHER][1]
    assert told.outcomes() | {None: ""} == {None: "", DAYS[2]: "stays", DAYS[1]: "refused", DAYS[0]: "deleted"}


def test_what_failed_goes_when_something_newer_is_there(site: Site, apply: Callable[..., Told]) -> None:
    """But not what is in error and has its data: an operator has said so, or a check has."""
    site.backup(DAYS[0], status="error", manifest=None)
    site.backup(DAYS[1], status="error")
    site.backup(DAYS[2])
    site.backup("2026-01-04", status="error", manifest=None)

    told = apply("--all", "--keep-last", "9", "--json")

    assert told.outcomes() == {"2026-01-04": "stays", DAYS[2]: "stays", DAYS[1]: "stays", DAYS[0]: "deleted"}


def test_a_table_is_for_people(site: Site, apply: Callable[..., Told]) -> None:
    """With the reason for each."""
    site.backup(DAYS[0])
    site.backup(DAYS[1])

    told = apply("--all", "--keep-daily", "1", "--zone", "Europe/Berlin")

    assert "day 2026-01-02" in told.out
    assert "no rule keeps it" in told.out
    assert "2026-01-02 01:00:00+01:00" in told.out
    assert apply("--volume", OTHER, "--keep-last", "1").out == "There are no backups, and nothing is due.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "which volumes?"),
        (("--all", "--volume", VOLUME, "--keep-last", "1"), "expected one of them"),
        (("--all",), "Nothing says what is to stay"),
        (("--volume", "mine", "--keep-last", "1"), "takes the id of a volume, not 'mine'"),
        (("--metadata", "mine", "--keep-last", "1"), "takes KEY=VALUE, not 'mine'"),
        (("--all", "--keep-last", "1", "--zone", "Mars"), "no time zone 'Mars'"),
        (("--all", "--keep-last", "1", "--backup"), "besides last"),
        (("--all", "--keep-daily", "1", "--store", "tape"), "no backup store tape"),
    ],
)
def test_what_cannot_be_meant_is_refused(apply: Callable[..., Told], arguments: tuple[str, ...], said: str) -> None:
    """With the value at fault, before anything is done."""
    told = apply(*arguments)

    assert told.status == 2
    assert said in " ".join(told.err.replace("│", " ").split())


def test_there_has_to_be_a_database_of_this_release(
    tmp_path: Path, site: Site, apply: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is made for the asking, and an older one is not touched."""
    with site.tx() as tx:
        tx.exec_driver_sql("UPDATE alembic_version SET version_num = '0006'")
    assert "this release needs" in apply("--all", "--keep-last", "1").err

    site.folder = tmp_path / "nothing"
    told = apply("--all", "--keep-last", "1")

    assert told.status == 1
    assert "There is no database" in told.err
    assert not (tmp_path / "nothing").exists()


# --- policies that the service applies by itself ------------------------------------------------------------------


def test_a_policy_is_stored_shown_changed_and_forgotten(site: Site, policy: Callable[..., Told]) -> None:
    """Under its name."""
    asked = ("--metadata", "backup=daily", "--project", "p1", "--keep-daily", "7", "--zone", "Europe/Berlin")

    told = policy("set", "nightly", *asked, "--backup", "--incremental")

    assert told.status == 0
    assert "is applied at 2" in told.out
    assert "00:00:00+0" in told.out
    shown = policy("show", "nightly").out
    assert "volumes  backup=daily, project p1\n" in shown
    assert "keeps    7 day (Europe/Berlin)\n" in shown
    assert "makes    incremental backups in default\n" in shown
    assert "last     (never)\n" in shown
    policy("set", "nightly", "--all", "--keep-monthly", "2", "--all-backups")
    (found,) = policy("list", "--json").lines
    assert found["rule"]["keep"]["monthly"] == 2
    assert (found["rule"]["takes"], found["rule"]["only_marked"], found["rule"]["mark"]) == (False, False, "nightly")
    table = policy("list").out
    assert "2 month (UTC), of all backups" in table
    assert policy("remove", "nightly").status == 0
    assert policy("list").out == "There are no backup policies.\n"


def test_a_policy_tells_how_its_last_run_went(site: Site, policy: Callable[..., Told]) -> None:
    """And why something was refused; `run` lets it be due."""
    policy("set", "nightly", "--all", "--keep-daily", "7")
    ended = Ended(
        began_at_us=at_us("2026-01-02"), ended_at_us=at_us("2026-01-03"), outcome="done", detail=None, taken=3, removed=2,
        refused=1, reasons={VOLUME: "It is busy."},
    )  # fmt: skip
    with site.tx() as tx:
        tx.execute(update(tables.backup_policies).values(ended_json=msgspec.json.encode(ended).decode()))

    assert policy("run", "nightly").status == 0

    shown = policy("show", "nightly").out
    assert "next     soon\n" in shown
    assert "last     2026-01-02 00:00:00+00:00: 3 new, 2 deleted, 1 refused\n" in shown
    assert f"refused  {VOLUME}: It is busy.\n" in shown
    assert [row["due_at_us"] for row in site.rows(tables.backup_policies)] == [0]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("show", "nightly"), 1, "There is no backup policy nightly."),
        (("run", "nightly"), 1, "There is no backup policy nightly."),
        (("set", "nightly", "--all", "--keep-last", "1"), 2, "besides last"),
        (("set", "my own", "--all", "--keep-daily", "1"), 2, "'my own'"),
    ],
)
def test_what_cannot_be_done_with_a_policy_is_said(
    policy: Callable[..., Told], arguments: tuple[str, ...], status: int, said: str
) -> None:
    """In a line."""
    told = policy(*arguments)

    assert (told.status, told.out) == (status, "")
    assert said in told.err
