"""The benchmarks run from their beginning to their end, and say what they are to say. What they measure here means nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
MIB: Final = 1024**2
FIGURES: Final = {"per_s": 60.0, "end_to_end_per_s": 48.0, "p50_ms": 1.0, "p99_ms": 2.0}


def run(*arguments: object, fails: bool = False) -> str:
    """What a benchmark prints."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == int(fails), done.stderr
    return done.stdout


def test_the_api_is_measured_from_beginning_to_end(tmp_path: Path) -> None:
    """A small run on SQLite: every create is available in the end, every delete gone."""
    kept = tmp_path / "api.json"
    small = ("--clients", 2, "--runs", 1, "--seconds", 0.2, "--fill", 12, "--count", 6, "--failovers", 0)

    printed = run("benchmarks/api.py", *small, "--nodes", 1, "--workers", 1, "--json", kept)

    report = json.loads(kept.read_text())
    by_name = report["clients"]["2"]
    assert [by_name[name]["breezeblock"]["failed"] for name in ("create", "delete")] == [0, 0]
    assert all(row["breezeblock"]["per_s"] > 0 for row in by_name.values())
    assert report["memory_idle_mib"]["worker"] > 0
    assert "| created, until available |" in printed


@pytest.mark.proof
@pytest.mark.timeout(300)
def test_failover_is_measured_from_beginning_to_end(tmp_path: Path) -> None:
    """All that a lost machine was doing runs again, and ends."""
    kept = tmp_path / "api.json"
    small = ("--clients", 1, "--runs", 1, "--seconds", 0.1, "--fill", 2, "--count", 2, "--failovers", 1)

    run("benchmarks/api.py", *small, "--json", kept)

    for one in json.loads(kept.read_text())["failover"].values():
        assert one["available"] == one["accepted"] == len(one["seconds"])
        assert one["max_s"] >= one["ttl_s"] / 2


@pytest.mark.proof
@pytest.mark.timeout(300)
def test_nodes_are_measured_from_beginning_to_end(tmp_path: Path) -> None:
    """A small run on a real server, with the fairness that belongs to it."""
    kept = tmp_path / "nodes.json"

    run("benchmarks/nodes.py", "--quick", "--databases", "postgresql", "--json", kept)

    report = json.loads(kept.read_text())
    assert report["postgresql"]["idle"].keys() == {"1", "2"}
    assert report["fairness"]["flood"]["figures"]["count"] == 24


def _api_report(*, ours: float) -> dict[str, Any]:
    by_name = {
        name: {"breezeblock": {key: value * ours for key, value in FIGURES.items()}, "peer": FIGURES}
        for name in ("list1000", "list50", "show", "create", "delete")
    }
    failed_over = {"ttl_s": 6.0, "p50_s": 7.0, "max_s": 8.0, "available": 8, "accepted": 8}
    return {
        "date": "2026-01-01",
        "took_s": 60,
        "database": "MariaDB",
        "doorbell": "auto",
        "runs": 1,
        "count": 1,
        "machine": {"cpus": 2, "load": 0.0},
        "clients": {"1": by_name},
        "memory_idle_mib": {"sum": 100.0},
        "memory_after_mib": {"sum": 110.0},
        "peer_memory_mib": 300.0,
        "peer_memory_after_mib": 330.0,
        "failover": {
            "default": failed_over,
            "tuned": failed_over,
            "peer": {"noticed_s": 55.0, "became": {"creating": 4, "available": 4}},
        },
    }


@pytest.mark.parametrize(("ours", "missed"), [(25.0, {"tuned"}), (13.0, {"list", "tuned"})])
def test_the_page_says_which_targets_were_missed(tmp_path: Path, ours: float, missed: set[str]) -> None:
    """By the figures of one run, kept in a file."""
    kept = tmp_path / "api.json"
    kept.write_text(json.dumps(_api_report(ours=ours)))

    printed = run("benchmarks/api.py", "--from", kept)

    lines = [line for line in printed.splitlines() if "**missed**" in line]
    assert {next(word for word in ("tuned", "list") if word in line) for line in lines} == missed
    assert len([line for line in printed.splitlines() if "| reached |" in line]) == 7 - len(missed)
    assert "4 available, 4 creating" in printed


@pytest.mark.proof
@pytest.mark.timeout(300)
def test_each_call_is_measured_from_beginning_to_end(tmp_path: Path) -> None:
    """Alone and on SQLite: each gets the answer that is expected of it, with things of every kind to list."""
    kept = tmp_path / "calls.json"

    run("benchmarks/calls.py", "--quick", "--backups", "--json", kept)

    calls = json.loads(kept.read_text())["calls"]
    assert len(calls) > 75
    assert all(by_target["breezeblock"]["per_s"] > 0 for by_target in calls.values())


@pytest.mark.parametrize(("ms", "per_s", "is_slower"), [(1.0, 90.0, False), (9.0, 90.0, True), (1.0, 10.0, True)])
def test_the_page_names_each_call_that_is_slower(tmp_path: Path, ms: float, per_s: float, is_slower: bool) -> None:
    """By either way of counting."""
    kept = tmp_path / "calls.json"
    figures = {
        "breezeblock": {"p50_ms": ms, "p99_ms": ms, "per_s": per_s},
        "peer": {"p50_ms": 5.0, "p99_ms": 5.0, "per_s": 50.0},
    }
    report = {"date": "2026-01-01", "took_s": 60, "machine": {"cpus": 2, "load": 0.0}, "fill": 1, "runs": 1}
    kept.write_text(json.dumps(report | {"calls": {"list of things": figures}}))

    printed = run("benchmarks/calls.py", "--from", kept)

    assert ("**list of things**" in printed) is is_slower
    assert ("counting: none." in printed) is not is_slower


def test_backups_are_measured_from_beginning_to_end(tmp_path: Path) -> None:
    """A small run on a volume that is mostly holes: it is restored as it was, and being told what changed saves reading."""
    kept = tmp_path / "backup.json"
    ours = "breezeblock,breezeblock_told,breezeblock_afar"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    printed = run(
        *("benchmarks/backup.py", "--size", 8, "--data", "sparse", "--only", ours),
        *("--files", ROOT / "src", "--folder", tmp_path, "--elsewhere", elsewhere, "--warm", "--json", kept),
    )

    report = json.loads(kept.read_text())
    figures = report["figures"]["sparse"]
    assert report["failures"] == []
    assert figures.keys() == {"full", "incremental", "restore"}
    assert all(one["seconds"] > 0 for act in figures.values() for one in act.values())
    assert 0 < figures["incremental"]["breezeblock_told"]["stored_bytes"] < 2 * MIB
    assert "| peak memory | all | < 300 MiB |" in printed
    assert "| full, stored elsewhere, of what the machine allows | 90 % holes | ≥ 80% |" in printed
    assert {path.name for path in tmp_path.rglob("*")} == {kept.name, elsewhere.name}


def test_a_way_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    """One program that breaks does not cost the figures of all others."""
    kept = tmp_path / "backup.json"
    broken = ("--only", "cinder_zlib,breezeblock", "--cinder-python", "/bin/false")

    printed = run(
        *("benchmarks/backup.py", "--size", 4, "--data", "random", *broken),
        *("--folder", tmp_path, "--warm", "--json", kept),
        fails=True,
    )

    report = json.loads(kept.read_text())
    assert len(report["failures"]) == 1
    assert "failed in full" in report["failures"][0]
    assert [list(by_way) for by_way in report["figures"]["random"].values()] == [["breezeblock"]] * 3
    assert "**Failed:** Cinder" in printed


def _backup_report(*, failures: list[str], ours_s: float) -> dict[str, Any]:
    def figure(seconds: float) -> dict[str, float]:
        return {"seconds": seconds, "cpu_s": 1.0, "peak_mib": 200.0, "flush_s": 0.0, "stored_bytes": 1}

    others = {"cinder_zlib": figure(100.0), "cinder_zstd": figure(30.0), "restic": figure(11.0)}
    acts = {
        act: {"breezeblock": figure(ours_s), "breezeblock_told": figure(ours_s / 2), **others}
        for act in ("full", "incremental", "restore")
    }
    setting = {"date": "2026-01-01", "took_s": 60, "cpus": 2, "size_bytes": 4 * 1024 * MIB, "rounds": 1, "load": 0.0}
    return {
        "setting": setting | {"caches_dropped": True},
        "figures": {"random": acts},
        "bound": {"random": {"read": 1.0, "hash": 2.0, "compress": 8.5, "write": 9.0}},
        "missing": {"benji": "--benji was not given"},
        "failures": failures,
    }


@pytest.mark.parametrize(
    ("failures", "ours_s", "missed"),
    [
        ([], 10.0, set()),
        (["restic restored something else, random bytes"], 10.0, {"failures"}),
        (
            [],
            10.5,
            {
                "full, by Cinder, chunked driver at its defaults (zlib)",
                "full, by Cinder, chunked driver with zstd",
                "incremental, told, by Cinder, chunked driver at its defaults (zlib)",
            },
        ),
    ],
)
def test_the_page_says_which_backups_were_too_slow(
    tmp_path: Path, failures: list[str], ours_s: float, missed: set[str]
) -> None:
    """By the figures of one run, kept in a file; a restore that differs is told, and fails the run."""
    kept = tmp_path / "backup.json"
    kept.write_text(json.dumps(_backup_report(failures=failures, ours_s=ours_s)))

    printed = run("benchmarks/backup.py", "--from", kept, fails=bool(failures))

    lines = [line for line in printed.splitlines() if "**missed**" in line]
    assert {line.split(" | ")[0].removeprefix("| ") for line in lines} == missed
    assert len([line for line in printed.splitlines() if "| reached |" in line]) == 9 - len(missed)
    assert "Benji: not measured; --benji was not given." in printed
