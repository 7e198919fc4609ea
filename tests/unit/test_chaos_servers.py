"""What faults of servers, of the network and of brokers explain, and when they come."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from breezeblock.chaos.answers import broken_answers, outages
from breezeblock.chaos.asked import UNAVAILABLE, Asked
from breezeblock.chaos.interpreter import interpreter
from breezeblock.chaos.nemesis import Strike
from breezeblock.chaos.network import Network
from breezeblock.chaos.pardons import full_times
from breezeblock.chaos.plan import BROKER_RATES, EVERY_KIND, NEEDS_NETWORK, NEEDS_SERVERS, ONLY_SQLITE, draw, rates


@pytest.mark.parametrize(
    ("kind", "explained"),
    [
        ("kill database", True),
        ("stop database", True),
        ("part database", True),
        ("cut api", True),
        ("half-cut api", True),
        ("cut node", False),
        ("half-cut node", False),
        ("kill broker", False),
        ("stop broker", False),
    ],
)
def test_a_503_is_explained_by_a_database_that_an_api_does_not_reach(kind: str, explained: bool) -> None:
    """And by nothing that happens to a node's network or to a broker, which cost time only."""
    answer = Asked(0, "create", "v", UNAVAILABLE, 503, "r1", "", 15.0, 0.1, retry_after=True)

    found = broken_answers([answer], outages([Strike(10.0, kind, "it", (), 20.0)], set(), nodes=2, apis=2))

    assert (not found) is explained


@pytest.mark.parametrize("kind", ["kill database", "cut api"])
def test_an_outage_that_is_over_explains_nothing_more(kind: str) -> None:
    """Some seconds after it at the latest everything is answered as ever."""
    answer = Asked(0, "create", "v", UNAVAILABLE, 503, "r1", "", 35.0, 0.1, retry_after=True)

    assert len(broken_answers([answer], outages([Strike(10.0, kind, "it", (), 20.0)], set(), nodes=2, apis=2))) == 1


def test_nobody_knows_of_room_while_nobody_can_tell() -> None:
    """A full disk that was emptied counts as full until somebody has measured it, and told the database."""
    full = Strike(10.0, "full disk", "storage", (), 20.0)
    away = Strike(45.0, "stop database", "galera-1", (), 57.0)
    later = Strike(100.0, "stop database", "galera-1", (), 110.0)

    assert full_times([full]) == [(10.0, 50.0)]
    assert full_times([later, away, full]) == [(10.0, 87.0)]


@pytest.mark.parametrize("database", ["postgresql", "mariadb", "galera"])
def test_each_kind_comes_where_it_means_something(database: str) -> None:
    """At least once, and a member leaves only where there are several."""
    kinds = {one.kind for one in draw(5, seconds=10, database=database, broker=True)}

    alone = {"part database"} if database != "galera" else set()
    assert kinds == ({*EVERY_KIND} - ONLY_SQLITE) | (NEEDS_SERVERS - alone) | NEEDS_NETWORK | {*BROKER_RATES}
    assert kinds == {*rates(database, broker=True)}


def test_faults_of_servers_change_nothing_about_the_others() -> None:
    """A seed has the same kills and stops on every database."""
    on_file, on_server = draw(5, seconds=60), draw(5, seconds=60, database="galera", broker=True)

    more = NEEDS_SERVERS | NEEDS_NETWORK | {*BROKER_RATES}
    assert [one for one in on_file if one.kind not in ONLY_SQLITE] == [one for one in on_server if one.kind not in more]


REFUSED = """
import sys, pathlib
from breezeblock.chaos.network import networked
with networked(pathlib.Path(sys.argv[1]), ["a"]) as network:
    print("inside:", network)
print("and out again")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root has something to lose")
def test_where_no_network_may_be_made_it_says_so_and_goes_on(tmp_path: Path) -> None:
    """Also at the end, when there is nothing to come back from."""
    without = ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", REFUSED, str(tmp_path / "network")]
    done = subprocess.run(without, capture_output=True, text=True, check=False)

    assert done.stdout.splitlines() == ["inside: [Errno 1] unshare: Operation not permitted", "and out again"], (
        done.stderr
    )


def test_the_folder_of_a_run_may_have_any_name(tmp_path: Path) -> None:
    """Its interpreter is a script for the shell."""
    folder = tmp_path / 'a $(touch gone) "b" `c`'
    folder.mkdir()
    python = interpreter(folder, None, Network(folder))

    done = subprocess.run([python, "-c", "print(1 + 1)"], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
