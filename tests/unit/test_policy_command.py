"""`breezeblock policy`: the rules in effect, and whether a file can be used."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from breezeblock.cli import app
from breezeblock.commands.failure import Failed
from breezeblock.supervisor import up


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings with a file of policies beside them."""
    (tmp_path / "policy.yaml").write_text('volume:create: "role:creator"\nvolume:gett: "!"\n', encoding="utf-8")
    file = tmp_path / "breezeblock.toml"
    file.write_text('[service]\ndata_dir = "data"\n[policy]\nfile = "policy.yaml"\n', encoding="utf-8")
    return file


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["policy", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_list_says_where_each_check_comes_from(config: Path) -> None:
    rows = {row["rule"]: row for row in json.loads(run("list", "--json", "--config", str(config)))}

    assert rows["volume:create"] == {
        "rule": "volume:create",
        "check": "role:creator",
        "from": str(config.parent / "policy.yaml"),
    }
    assert rows["volume:get"]["from"] == "default"
    assert "volume:get" in run("list", "--config", str(config))


def test_a_rule_is_shown_with_whom_it_lets(config: Path) -> None:
    shown = run("show", "volume:create", "--config", str(config)).splitlines()

    assert shown[0] == "volume:create"
    assert "role:creator" in shown[1] and "rule:xena_system_admin_or_project_member" in shown[2]
    assert [line.split() for line in shown[3:]] == [[who, "no"] for who in ("admin", "manager", "member", "reader")]


def test_a_rule_that_is_not_there_has_others_near_it() -> None:
    with pytest.raises(Failed, match="volume:extend"):
        run("show", "os-volume:extend")


def test_a_file_is_checked_without_a_service(config: Path) -> None:
    said = run("check", str(config.parent / "policy.yaml"))

    assert "volume:gett: there is no such rule" in said
    assert "2 of" in said


def test_all_that_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('volume:get: "rule:nope"\nvolume:create: "host:%(host)s"\n', encoding="utf-8")

    with pytest.raises(Failed) as failed:
        run("check", str(file))

    assert "rule:nope" in str(failed.value) and "%(host)s" in str(failed.value)


def test_the_sample_is_a_file_that_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(run("sample"), encoding="utf-8")

    assert run("check", str(file)).startswith("The policies can be used: 0 of")


def test_the_service_does_not_start_with_a_file_that_cannot_be_used(config: Path) -> None:
    """Before anything is started, with all that is wrong."""
    from breezeblock import settings

    (config.parent / "policy.yaml").write_text('volume:get: "rule:nope"\n', encoding="utf-8")
    chosen = settings.load(config, {}).settings

    with pytest.raises(up.CannotStart, match="rule:nope"):
        up.run(chosen, {})
