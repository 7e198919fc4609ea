"""The migrations make exactly the schema that the code reads, whole or not at all, however many run them at once."""

import sqlite3
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import breezeblock
from breezeblock.resources import types
from breezeblock.store import schema
from breezeblock.store.dialects import open_engine
from breezeblock.store.tables import metadata

ROOT = Path(__file__).resolve().parents[2]
MIGRATIONS = Path(schema.__file__).with_name("migrations")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "breezeblock.db"


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def made(path: Path) -> dict[str, str]:
    """Each table and index with the statement that made it, without the names' quotes and the white space."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'alembic_version'"
        )
        return {name: " ".join(sql.replace('"', "").split()) for name, sql in rows}


def test_the_migrated_schema_is_the_one_that_is_read(path: Path) -> None:
    """Tables, columns, types and indexes."""
    schema.upgrade(url(path))

    engine = open_engine(url(path), now_us=lambda: 0)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)

    assert differences == []


def test_sqlite_gets_the_same_tables_to_the_letter(path: Path, tmp_path: Path) -> None:
    """Also what comparing does not see: WITHOUT ROWID, names of constraints, foreign keys."""
    schema.upgrade(url(path))
    direct = tmp_path / "direct.db"
    engine = open_engine(url(direct), now_us=lambda: 0)
    with engine.begin() as connection:
        metadata.create_all(connection)

    migrated, expected = made(path), made(direct)

    assert migrated.keys() == expected.keys()
    assert {name: sorted(sql.split(", ")) for name, sql in migrated.items() if "ROWID" in sql}.keys() == {
        name for name, sql in expected.items() if "ROWID" in sql
    }
    indexes = {name for name, sql in expected.items() if sql.startswith("CREATE INDEX")}
    assert {name: migrated[name] for name in indexes} == {name: expected[name] for name in indexes}


def test_the_default_type_is_there(path: Path) -> None:
    """The same row that `resources.types` knows, whose constants a migration must not import."""
    schema.upgrade(url(path))

    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT id, name, description, is_public, extra_specs_json FROM volume_types"
        ).fetchall()

    assert rows == [(types.DEFAULT_TYPE_ID, types.DEFAULT_TYPE_NAME, types.DEFAULT_TYPE_DESCRIPTION, 1, "{}")]


def test_upgrading_again_changes_nothing(path: Path) -> None:
    """`up` does it at every start."""
    first = schema.upgrade(url(path))
    before = made(path)

    again = schema.upgrade(url(path))

    assert (first, again) == (True, False)
    assert made(path) == before
    assert schema.current(url(path)) == schema.head()


def test_many_at_once_upgrade_once(path: Path) -> None:
    """Processes, since the queue in front of the database is one of processes."""
    code = "import sys; from breezeblock.store import schema; print(schema.upgrade(sys.argv[1]))"
    command = [sys.executable, "-c", code, url(path)]

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: subprocess.run(command, capture_output=True, text=True, check=False), range(4)))

    assert [one.stderr for one in done] == [""] * 4
    assert sorted(one.stdout.strip() for one in done) == ["False", "False", "False", "True"]


def test_an_upgrade_that_breaks_off_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All statements are one transaction."""

    def breaks(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", breaks)
        with pytest.raises(RuntimeError, match="power cut"):
            schema.upgrade(url(path))

    assert made(path) == {}
    assert schema.current(url(path)) is None
    assert schema.upgrade(url(path))


def test_a_database_of_a_later_release_is_refused(path: Path) -> None:
    """And left as it is."""
    schema.upgrade(url(path))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(schema.TooNew, match="9999"):
        schema.upgrade(url(path))


def test_a_database_that_does_not_exist_has_no_revision(path: Path) -> None:
    """And asking does not make one."""
    found = schema.current(url(path))

    assert found is None
    assert not path.exists()


def test_the_head_is_the_newest_revision() -> None:
    """It is written in `schema`, too, so that a start without anything to do does not load Alembic."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_what_migrations_need_is_in_the_package() -> None:
    """Python files in packages are found by themselves; every other file must match a pattern of the package data."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    package = Path(breezeblock.__file__).parent
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]

    data = [path for path in files if path.suffix != ".py"]

    assert MIGRATIONS / "script.py.mako" in data
    assert [path for path in data if not any(path.match(pattern) for pattern in patterns)] == []
    assert [path for path in files if path.suffix == ".py" and not (path.parent / "__init__.py").exists()] == []
