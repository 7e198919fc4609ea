"""Requests that cannot both be, sent at the same instant: one wins, and the others are told what it did."""

import json
import os
import random
from collections import Counter
from typing import Final

import pytest
from tests.chaos import verdict
from tests.race.asking import PROJECT, THREADS, UNLIMITED, Ask, CrowdOf, Got, given_snapshots, given_volumes, on
from tests.race.model import State, explain
from tests.service import Service, StartService, eventually

PROOF: Final = os.environ.get("BREEZEBLOCK_PROOF") == "1"
SEED: Final = int(os.environ.get("BREEZEBLOCK_SEED") or random.SystemRandom().randrange(2**32))
ROUNDS: Final = 60 if PROOF else 12
VOLUMES_A_ROUND: Final = 4
SETTLE_S: Final = 60.0
# Asked of a volume as often as it says here; the rest of the crowd repeats them.
KINDS: Final = ("delete", "extend", "snapshot", "clone", "retype", "delete", "extend", "cascade")
KINDS_WITH_SNAPSHOT: Final = ("delete", "extend", "revert", "clone", "retype", "cascade", "revert", "snapshot")
KINDS_OF_OPERATORS: Final = ("delete", "extend", "reset", "clone", "retype", "force_delete", "reset", "snapshot")


def drain(service: Service, word: str) -> None:
    """Let nothing run, or let it run again: what was accepted waits, so that every answer is about requests alone."""
    done = service.command("node", word, "node-1")
    assert done.returncode == 0, done.stderr


def check_all(service: Service, got: list[Got]) -> None:
    """After everything has run: accounts, order, storage, and each accepted request exactly once."""
    path = verdict.database(service)
    verdict.settle(path, within_s=SETTLE_S)
    wrongs = [
        *verdict.contradictions(path),
        *verdict.out_of_order(path),
        *verdict.not_on_storage(path, service.data / "volumes" / "file"),
    ]
    assert not wrongs, "\n".join([f"BREEZEBLOCK_SEED={SEED}", *wrongs])
    logged = Counter(row["request_id"] for row in verdict.rows(path, "SELECT request_id FROM operation_log"))
    for one in got:
        expected = 1 if one.accepted and one.ask.kind != "reset" else 0
        assert logged[one.request_id] == expected, one
    assert not verdict.rows(path, "SELECT * FROM operation_log WHERE outcome NOT IN ('done', 'cancelled')")


@pytest.mark.parametrize(
    "kinds", [KINDS, KINDS_WITH_SNAPSHOT, KINDS_OF_OPERATORS], ids=["users", "reverts", "operators"]
)
def test_conflicting_requests_have_one_winner_and_true_reasons(
    running_service: StartService, crowd_of: CrowdOf, kinds: tuple[str, ...]
) -> None:
    """Nothing runs while they are asked. For the answers of each volume there is one order that explains them all."""
    service = running_service(nodes=1, workers=2, environ=UNLIMITED)
    assert service.request("POST", f"/v3/{PROJECT}/types", {"volume_type": {"name": "gold"}}).status == 200
    crowd, chance = crowd_of(service), random.Random(f"{SEED}-{kinds}")
    volumes = given_volumes(service, crowd, ROUNDS * VOLUMES_A_ROUND)
    reverts = "revert" in kinds
    snapshots = given_snapshots(service, crowd, volumes) if reverts else {}
    drain(service, "drain")

    got: list[Got] = []
    for start in range(0, len(volumes), VOLUMES_A_ROUND):
        asks = [
            on(volume, kind, snapshot_id=snapshots.get(volume))
            for volume in volumes[start : start + VOLUMES_A_ROUND]
            for kind in kinds
        ]
        chance.shuffle(asks)
        assert len(asks) == THREADS
        got += crowd.ask(asks)

    winners: Counter[str] = Counter()
    for volume in volumes:
        answers = [one.answered for one in got if one.ask.volume_id == volume]
        assert explain(State(latest=reverts), answers) is not None, (
            f"no order explains these, BREEZEBLOCK_SEED={SEED}:\n" + "\n".join(map(str, sorted(answers)))
        )
        winners.update(one.kind for one in answers if one.accepted)
    print(f"\nBREEZEBLOCK_SEED={SEED} {len(got)} requests on {len(volumes)} volumes; accepted: {dict(winners)}")
    drain(service, "resume")
    check_all(service, got)


def test_conflicting_requests_while_everything_runs(running_service: StartService, crowd_of: CrowdOf) -> None:
    """The same without a pause: volumes come and go under the requests, and every account is right in the end."""
    service = running_service(nodes=2, workers=2, ttl_s=3, environ=UNLIMITED)
    assert service.request("POST", f"/v3/{PROJECT}/types", {"volume_type": {"name": "gold"}}).status == 200
    crowd, chance = crowd_of(service), random.Random(f"{SEED}-running")
    kinds = sorted({*KINDS, *KINDS_OF_OPERATORS})
    volumes = given_volumes(service, crowd, 12)
    weights = [1 if "delete" in kind or kind == "cascade" else 8 for kind in kinds]

    got: list[Got] = []
    for _ in range(ROUNDS * 4):
        asked = chance.choices(kinds, weights, k=THREADS)
        got += crowd.ask([on(chance.choice(volumes), kind) for kind in asked])
        gone = {one.ask.volume_id for one in got if one.status == 404}
        volumes = [one for one in volumes if one not in gone]
        while len(volumes) < 8:
            answer = service.request("POST", f"/v3/{PROJECT}/volumes", {"volume": {"size": 1}})
            volumes.append(answer.body["volume"]["id"])

    print(f"\nBREEZEBLOCK_SEED={SEED} {dict(Counter((one.ask.kind, one.status) for one in got))}")
    assert {one.status for one in got} <= {202, 400, 404}
    assert all(one.message for one in got if not one.accepted)
    check_all(service, got)


@pytest.mark.parametrize("limit", [1, 7])
def test_exactly_as_many_volumes_as_the_quota_has_room_for(
    running_service: StartService, crowd_of: CrowdOf, limit: int
) -> None:
    """Thirty-two at once, round after round: the rest is told which limit, and usage is exact."""
    service = running_service(nodes=1, workers=2, environ=UNLIMITED)
    crowd = crowd_of(service)
    quota = {"quota_set": {"volumes": limit}}
    assert service.request("PUT", f"/v3/{PROJECT}/os-quota-sets/{PROJECT}", quota).status == 200
    create = Ask("create", "", "POST", "/volumes", {"volume": {"size": 1}})

    got: list[Got] = []
    for _ in range(3):
        answers = crowd.ask([create] * THREADS)
        assert Counter(one.status for one in answers) == {202: limit, 413: THREADS - limit}
        assert {one.message.partition(":")[0] for one in answers if one.status == 413} == {"Quota exceeded for volumes"}
        got += answers
        for volume in service.request("GET", f"/v3/{PROJECT}/volumes").body["volumes"]:
            got.append(crowd.ask([on(volume["id"], "force_delete")])[0])
        eventually(lambda: not service.request("GET", f"/v3/{PROJECT}/volumes").body["volumes"])

    check_all(service, got)


def test_exactly_as_many_extends_as_the_quota_has_room_for(running_service: StartService, crowd_of: CrowdOf) -> None:
    """Sixteen volumes grow at once by one GiB each, and there is room for five."""
    service = running_service(nodes=1, workers=2, environ=UNLIMITED)
    crowd = crowd_of(service)
    volumes = given_volumes(service, crowd, 16)
    quota = {"quota_set": {"gigabytes": 21}}
    assert service.request("PUT", f"/v3/{PROJECT}/os-quota-sets/{PROJECT}", quota).status == 200

    got = crowd.ask([on(volume, "extend") for volume in volumes])

    assert Counter(one.status for one in got) == {202: 5, 413: 11}
    check_all(service, got)
    shown = service.request("GET", f"/v3/{PROJECT}/os-quota-sets/{PROJECT}?usage=true").body["quota_set"]
    assert shown["gigabytes"]["in_use"] == 21
    assert json.dumps(shown["volumes"]["in_use"]) == "16"
