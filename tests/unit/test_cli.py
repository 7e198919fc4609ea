"""The command line: what is understood, what is refused, and how it says so."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, insert

from breezeblock import __version__, cli
from breezeblock.settings import Settings
from breezeblock.store import schema, tables


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a command in this process; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["breezeblock", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code if isinstance(ended.value.code, int) else 0


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BREEZEBLOCK_CONFIG", "BREEZEBLOCK_SERVICE__DATA_DIR", "BREEZEBLOCK_API__PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What `up` was to be run with; it is not run."""
    seen: list[Settings] = []

    def note(settings: Settings, environ: object) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr("breezeblock.supervisor.up.run", note)
    return seen


def test_options_of_up_become_settings(monkeypatch: pytest.MonkeyPatch, chosen: list[Settings], tmp_path: Path) -> None:
    """Each under its own name."""
    options = ("--port", "0", "--nodes", "5", "--workers", "4", "--host", "127.0.0.2")

    status = run(monkeypatch, "up", "--data", str(tmp_path / "here"), *options)

    assert status == 0
    (settings,) = chosen
    assert settings.service.data_dir == tmp_path / "here"
    assert (settings.api.port, settings.api.workers, settings.api.host) == (0, 4, "127.0.0.2")
    assert settings.nodes.count == 5


@pytest.mark.parametrize(("only", "apis", "nodes"), [("api", 2, 0), ("nodes", 0, 3)])
def test_one_part_may_run_by_itself(
    monkeypatch: pytest.MonkeyPatch, chosen: list[Settings], tmp_path: Path, only: str, apis: int, nodes: int
) -> None:
    """Of the other nothing is started."""
    run(monkeypatch, "up", "--data", str(tmp_path), "--only", only)

    (settings,) = chosen
    assert (settings.api.workers, settings.nodes.count) == (apis, nodes)


def test_the_command_line_wins_over_the_environment_and_the_file(
    monkeypatch: pytest.MonkeyPatch, chosen: list[Settings], tmp_path: Path
) -> None:
    """And what it does not say comes from them."""
    file = tmp_path / "settings.toml"
    file.write_text("[api]\nport = 1001\nworkers = 7\n[nodes]\ncount = 9\n")
    monkeypatch.setenv("BREEZEBLOCK_API__PORT", "1002")
    monkeypatch.setenv("BREEZEBLOCK_NODES__COUNT", "8")

    run(monkeypatch, "up", "--config", str(file), "--data", str(tmp_path), "--port", "1003")

    (settings,) = chosen
    assert (settings.api.port, settings.nodes.count, settings.api.workers) == (1003, 8, 7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("up", "--port", "70000"), "api.port = 70000 (command line)"),
        (("up", "--nodes", "-1"), "nodes.count = -1 (command line)"),
        (
            ("up", "--nodes", "0", "--workers", "0"),
            "nodes.count = 0 (command line): expected at least 1 where api.workers is 0",
        ),
        (("up", "--host", "0.0.0.0"), "only this machine may call"),
        (("config", "check", "--config", "/nowhere.toml"), "expected a readable TOML file"),
    ],
)
def test_wrong_settings_are_lines_and_not_tracebacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    """Each with its key, its value and where it came from."""
    status = run(monkeypatch, *arguments)

    printed = capsys.readouterr()
    assert status == 2
    assert printed.err.startswith("breezeblock: The settings cannot be used:\n")
    assert said in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("up", "--port", "many"),
        ("node", "drain"),
        ("sim", "--runs", "0"),
        ("up", "extra"),
        ("up", "--only", "web"),
        ("up", "--only", "api", "--nodes", "1"),
    ],
)
def test_wrong_usage_has_a_status_of_its_own(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    """Different from a command that was understood and refused."""
    assert run(monkeypatch, *arguments) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("status", "--json"),
        ("node", "list"),
        ("node", "fence", "node-1"),
        ("db", "current"),
        ("db", "check"),
    ],
)
def test_what_needs_a_database_says_where_it_looked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """And makes none."""
    status = run(monkeypatch, *arguments, "--data", str(tmp_path))

    assert status == 1
    assert f"There is no database at {tmp_path}/breezeblock.db" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Also before the service is started on it."""
    (tmp_path / "breezeblock.db").write_bytes(b"not a database, but long enough to be read as one" * 40)

    statuses = [run(monkeypatch, *words, "--data", str(tmp_path)) for words in (("status",), ("db", "upgrade"))]

    printed = capsys.readouterr().err.splitlines()
    assert statuses == [1, 1]
    assert [line.startswith("breezeblock: The database ") for line in printed] == [True, True]


def test_the_status_of_a_fresh_database_is_empty(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Nothing runs, nothing waits."""
    schema.upgrade(f"sqlite:///{tmp_path}/breezeblock.db")

    status = run(monkeypatch, "status", "--json", "--data", str(tmp_path))

    found = json.loads(capsys.readouterr().out)
    assert status == 0
    assert found["running"] is False
    assert [found[key] for key in ("api", "nodes", "operations", "queues", "failovers")] == [[], [], [], [], []]


def test_the_status_tells_how_far_backups_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """At 50 MiB/s, 125 s before the end; what waits has neither rate nor end, and what is no backup has none of it."""
    url = f"sqlite:///{tmp_path}/breezeblock.db"
    schema.upgrade(url)
    row: dict[str, Any] = {
        "version": 1, "queue": "c@b", "resource_type": "backup", "project_id": "p", "user_id": "u", "request_id": "r",
        "payload_json": '{"store":"offsite"}', "created_at_us": 1,
    }  # fmt: skip
    told = {"told": {"done": 3750 * 1024**2, "total": 10_000 * 1024**2, "rate": 50 * 1024**2}}
    rows: list[dict[str, Any]] = [
        {"id": "o1", "kind": "create_backup", "resource_id": "b1", "owner": "n-1", "state_json": json.dumps(told)},
        {"id": "o2", "kind": "restore_backup", "resource_id": "v2", "owner": None, "state_json": "{}"},
        {"id": "o3", "kind": "delete_backup", "resource_id": "b3", "owner": None, "state_json": "{}"},
    ]
    engine = create_engine(url)
    with engine.begin() as tx:
        tx.execute(insert(tables.operations), [row | one for one in rows])
    engine.dispose()

    run(monkeypatch, "status", "--json", "--data", str(tmp_path))
    one, waiting, other = (found["progress"] for found in json.loads(capsys.readouterr().out)["operations"])
    run(monkeypatch, "status", "--data", str(tmp_path))
    shown = " ".join(capsys.readouterr().out.split())

    assert (one["percent"], one["bytes_per_s"], one["eta_s"], one["store"]) == (37, 50 * 1024**2, 125, "offsite")
    assert (waiting["percent"], waiting["bytes_per_s"], waiting["eta_s"], waiting["total_bytes"]) == (
        0,
        None,
        None,
        None,
    )
    assert other is None
    assert "│ create_backup │ backup b1 │ offsite │ 37 % │ 50.0 MiB/s │ 2 min 5 s │ n-1 │" in shown
    assert "│ restore_backup │ backup v2 │ offsite │ 0 % │ │ │ │" in shown


def test_a_drain_without_a_service_counts_at_the_next_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Until it is resumed; a node that does not exist is refused by name."""
    drained = run(monkeypatch, "node", "drain", "node-2", "--data", str(tmp_path))
    unknown = run(monkeypatch, "node", "drain", "node-7", "--data", str(tmp_path))
    resumed = run(monkeypatch, "node", "resume", "node-2", "--data", str(tmp_path))
    again = run(monkeypatch, "node", "resume", "node-2", "--data", str(tmp_path))

    assert (drained, unknown, resumed, again) == (0, 1, 0, 1)
    assert "There is no node node-7 here" in capsys.readouterr().err


def test_the_settings_are_shown_with_their_sources(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As a file that could be read again."""
    status = run(monkeypatch, "config", "show", "--data", str(tmp_path))

    assert status == 0
    assert f'service.data_dir = "{tmp_path}"  # command line' in capsys.readouterr().out


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str) -> None:
    """By the word and by the option."""
    assert run(monkeypatch, word) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_loading_the_commands_loads_nothing_heavy() -> None:
    """What a command needs is imported when it is called: --help and mistakes are answered at once."""
    heavy = "('sqlalchemy', 'alembic', 'starlette', 'granian', 'structlog', 'rich', 'asyncio')"
    code = f"import sys, breezeblock.cli; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
