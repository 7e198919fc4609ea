"""Names and passwords: who is believed, how fast, and what a change of the files does."""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

import pytest
from structlog.testing import capture_logs
from tests.identity.files import ANN, CHEAP, Files
from tests.identity.virtually import virtually

from breezeblock.api.auth import Asking, Caller
from breezeblock.api.errors import Refused
from breezeblock.api.identity import http_basic
from breezeblock.api.identity.http_basic import HttpBasic, UserFiles
from breezeblock.testing.virtual import VirtualClock, VirtualIds, VirtualThreads

T = TypeVar("T")

USERS: Final = f'{ANN}[root]\nproject = "p0"\nroles = ["admin"]\nquota = {{ volumes = 3 }}\n'
CACHE_S: Final = 300.0


class SlowThreads:
    """Implements `Threads`: each call takes a second, and is counted."""

    def __init__(self) -> None:
        self.calls = 0

    async def run(self, f: Callable[[], T]) -> T:
        self.calls += 1
        await VirtualClock().sleep(1.0)
        return f()


class Door(NamedTuple):
    """The strategy and what it stands on."""

    files: Files
    threads: SlowThreads
    authenticate: HttpBasic

    async def come(self, name: str, password: str, *, project: str | None = None, address: str = "10.0.0.1") -> Caller:
        """One request."""
        word = base64.b64encode(f"{name}:{password}".encode()).decode()
        return await self.authenticate(Asking({"authorization": f"Basic {word}"}, project, "admin", address))

    async def refusal(self, name: str, password: str, **more: Any) -> Refused:
        """One that is refused."""
        try:
            await self.come(name, password, **more)
        except Refused as refused:
            return refused
        raise AssertionError("it was not refused")


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Door], Any]], Any]:
    """A test with users of its own, in virtual time."""

    def run(test: Callable[[Door], Any]) -> Any:
        async def main() -> Any:
            files, clock, threads = Files(tmp_path), VirtualClock(), SlowThreads()
            files.write({"ann": "right", "root": "röot:"}, USERS)
            read = UserFiles(files.passwords, files.users, clock=clock, threads=VirtualThreads())
            strategy = HttpBasic(read, clock=clock, ids=VirtualIds(Random(1)), threads=threads, cache_s=CACHE_S)
            return await test(Door(files, threads, strategy))

        return virtually(main())

    return run


Run = Callable[[Callable[[Door], Any]], Any]


def test_who_knows_the_password_is_what_the_files_say(run: Run) -> None:
    """Name, project, roles, and the limits of the project; a password may have colons and any letters."""

    async def test(door: Door) -> None:
        ann, root = await door.come("ann", "right"), await door.come("root", "röot:", project="p0")
        assert ann == Caller(ann.user_id, ann.project_id, frozenset({"member", "reader"}), quotas=root.quotas)
        assert (ann.user_id, ann.project_id) == ("ann", "p1")
        assert (root.project_id, root.quotas["p0"], "admin" in root.roles) == ("p0", {"volumes": 3}, True)

    run(test)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !",
        "Bearer YW5uOnJpZ2h0",
        "Basic YW5u",
        "Basic OnJpZ2h0",
        "Basic " + base64.b64encode(b"\xff:right").decode(),
        "Basic " + base64.b64encode(b"a\0:right").decode(),
        "Basic " + base64.b64encode(b"a" * 256 + b":right").decode(),
        "Basic YW5uOnJpZ2h0,Basic YW5uOnJpZ2h0",
        "Basic é",
    ],
)
def test_what_is_no_name_and_password_is_401_without_hashing(run: Run, header: str) -> None:
    """With the challenge that tells clients what is expected."""

    async def test(door: Door) -> None:
        with pytest.raises(Refused) as raised:
            await door.authenticate(Asking({"authorization": header}, None, "admin", ""))
        assert raised.value.status == 401
        assert raised.value.headers == {"WWW-Authenticate": 'Basic realm="Breezeblock"'}
        assert door.threads.calls == 0

    run(test)


@pytest.mark.parametrize(
    "headers", [{"origin": "null"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-origin"}]
)
def test_a_page_does_not_ask_with_a_password_that_a_browser_has_kept(run: Run, headers: dict[str, str]) -> None:
    """What its user has asked for by hand is answered."""

    async def test(door: Door) -> None:
        word = {"authorization": "Basic " + base64.b64encode(b"ann:right").decode()}
        with pytest.raises(Refused) as raised:
            await door.authenticate(Asking(word | headers, None, "admin", ""))
        assert raised.value.status == 403
        assert (await door.authenticate(Asking(word | {"sec-fetch-site": "none"}, None, "admin", ""))).user_id == "ann"

    run(test)


@pytest.mark.parametrize(
    ("name", "password"), [("ann", "wrong"), ("ann", ""), ("nobody", "right"), ("ann", "r\0"), ("ann", "x" * 5000)]
)
def test_wrong_ones_are_all_refused_alike(run: Run, name: str, password: str) -> None:
    """Whether there is such a user is in neither the answer nor its time."""

    async def test(door: Door) -> None:
        refused = await door.refusal(name, password)
        assert (refused.status, refused.message) == (401, (await door.refusal("ann", "other")).message)
        assert door.threads.calls == 2

    with capture_logs() as lines:
        run(test)
    told = [line for line in lines if line["event"] == "identity.wrong_password"]
    assert [line["user"] for line in told] == ["ann" if name == "ann" else None, "ann"]


def test_a_password_that_was_right_is_remembered(run: Run) -> None:
    """For a while, and not for another user with the same."""

    async def test(door: Door) -> None:
        for _ in range(5):
            await door.come("ann", "right")
        assert door.threads.calls == 1
        assert (await door.refusal("root", "right")).status == 401
        await VirtualClock().sleep(CACHE_S)
        await door.come("ann", "right")
        assert door.threads.calls == 3

    run(test)


def test_many_requests_at_once_are_one_verification(run: Run) -> None:
    """A client that opens twenty connections is not taken for one that guesses."""

    async def test(door: Door) -> None:
        askers = [asyncio.ensure_future(door.come("ann", "right")) for _ in range(20)]
        await VirtualClock().sleep(0.5)
        askers[0].cancel()
        found = await asyncio.gather(*askers, return_exceptions=True)
        assert [isinstance(one, Caller) for one in found] == [False] + [True] * 19
        assert door.threads.calls == 1

    run(test)


def test_guessing_is_slowed_and_who_is_known_is_not(run: Run) -> None:
    """Of many guesses at once few wait, and the rest is 429 with the time after which it is worth another try."""

    async def test(door: Door) -> None:
        await door.come("ann", "right", address="10.0.0.9")
        refused = await asyncio.gather(*(door.refusal("ann", f"guess {n}") for n in range(30)))
        assert [one.status for one in refused].count(401) == 5 + 4
        assert {one.headers.get("Retry-After") for one in refused if one.status == 429} == {"8"}
        began = VirtualClock().boottime()
        await door.come("ann", "right")
        await door.come("root", "röot:", address="10.0.0.2")
        assert VirtualClock().boottime() - began == 1.0

    run(test)


def test_who_is_at_work_is_not_kept_out_by_guesses(run: Run) -> None:
    """However long they go on: what was right is right, and is not hashed again while it is used."""

    async def test(door: Door) -> None:
        await door.come("ann", "right", address="10.0.0.9")
        for _ in range(4):
            guessing = [asyncio.ensure_future(door.refusal("ann", f"guess {n}")) for n in range(30)]
            await VirtualClock().sleep(CACHE_S * 0.6)
            began = VirtualClock().boottime()
            await door.come("ann", "right", address="10.0.0.9")
            assert VirtualClock().boottime() == began
            await asyncio.gather(*guessing)

    run(test)


def test_who_waits_for_a_guess_is_looked_up_anew(run: Run) -> None:
    """He may be gone by then, or have another password."""

    async def test(door: Door) -> None:
        guessing = [asyncio.ensure_future(door.refusal("ann", f"guess {n}")) for n in range(8)]
        await VirtualClock().sleep(0.1)
        began = VirtualClock().boottime()
        waiting = asyncio.ensure_future(door.refusal("ann", "right"))
        await VirtualClock().sleep(0.1)
        door.files.write({"ann": "new"}, ANN)
        assert (await waiting).status == 401
        assert VirtualClock().boottime() - began > 2 * http_basic.LOOK_EVERY_S, "it has not waited"
        await asyncio.gather(*guessing)

    run(test)


def test_too_much_hashing_is_503(run: Run) -> None:
    """For whoever comes then, and it is not counted against him."""

    async def test(door: Door) -> None:
        asked = (door.refusal(f"user {n}", "?", address=f"10.0.{n}.1") for n in range(http_basic.HASHED_MOST + 3))
        refused = await asyncio.gather(*asked)
        assert [one.status for one in refused].count(503) == 3
        assert {one.headers["Retry-After"] for one in refused if one.status == 503} == {"1"}

    run(test)


def test_the_project_in_the_url_is_the_users(run: Run) -> None:
    """Another one is 400, for administrators as well: as with tokens."""

    async def test(door: Door) -> None:
        assert (await door.come("ann", "right", project="p1")).project_id == "p1"
        assert (await door.refusal("ann", "right", project="p2")).status == 400
        assert (await door.refusal("root", "röot:", project="p1")).status == 400

    run(test)


def test_changed_files_count_after_a_second(run: Run) -> None:
    """A new password, new roles, and somebody who is gone; no restart, and what was remembered is not believed."""

    async def test(door: Door) -> None:
        await door.come("ann", "right")
        await door.come("root", "röot:")
        await door.come("ann", "right")
        door.files.write({"ann": "new"}, ANN.replace("member", "admin"))
        assert (await door.come("ann", "right")).roles == {"member", "reader"}
        await VirtualClock().sleep(http_basic.LOOK_EVERY_S)
        assert (await door.refusal("ann", "right")).status == 401
        assert (await door.refusal("root", "röot:")).status == 401
        assert "admin" in (await door.come("ann", "new")).roles

    run(test)


def test_a_broken_file_keeps_the_last_good_one(run: Run) -> None:
    """It is told once, not for every request, and without a hash."""

    async def test(door: Door) -> None:
        await door.come("ann", "right")
        door.files.passwords.write_text("ann:hash-of-a-kind-nobody-knows\n")
        for _ in range(10):
            await VirtualClock().sleep(http_basic.LOOK_EVERY_S)
            await door.come("ann", "right")
        door.files.write({"ann": "new"}, ANN)
        await VirtualClock().sleep(http_basic.LOOK_EVERY_S)
        await door.come("ann", "new")

    with capture_logs() as lines:
        run(test)
    (told,) = [line for line in lines if line["event"] == "identity.users_unreadable"]
    assert told["in_use"]
    assert "hash of ann is not of the kind bcrypt" in told["reason"]
    assert "nobody-knows" not in str(lines)


def test_files_that_were_never_good_are_503(run: Run) -> None:
    """And the service begins to work when they are."""

    async def test(door: Door) -> None:
        door.files.users.unlink()
        refused = await asyncio.gather(*(door.refusal("ann", "right") for _ in range(3)))
        assert [(one.status, one.headers["Retry-After"]) for one in refused] == [(503, "5")] * 3
        door.files.write({"ann": "right"}, ANN)
        await VirtualClock().sleep(http_basic.LOOK_EVERY_S)
        assert (await door.come("ann", "right")).user_id == "ann"

    run(test)


def test_nobody_takes_as_long_as_the_slowest(run: Run) -> None:
    """The hash that stands for unknown users has the cost of the dearest."""

    async def test(door: Door) -> str:
        users = await UserFiles(
            door.files.passwords, door.files.users, clock=VirtualClock(), threads=VirtualThreads()
        ).read()
        assert users is not None
        return users.nobodys_hash

    assert run(test).startswith(f"$2b${CHEAP:02d}$")
