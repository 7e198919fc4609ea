"""Each fence for itself, and how a node walks through those of a lost one: in virtual time, on a real database."""

import asyncio
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.store.given import ME, OTHER, QUEUE, Base, in_virtual_time, note, store_on, virtual_env

from breezeblock.model.errors import BackendFailed, Unavailable
from breezeblock.model.ids import Incarnation
from breezeblock.node.fences import Boot, Fence, FenceFailed, SameMachine, Storage, Trust
from breezeblock.node.fencing import Fencer
from breezeblock.node.observer import Watch
from breezeblock.protocol import membership
from breezeblock.protocol.leases import Terms
from breezeblock.protocol.membership import NodeRow
from breezeblock.store.run import Store
from breezeblock.store.tables import node_backends, node_events, nodes
from breezeblock.testing.loop import Process
from breezeblock.testing.virtual import LockFiles, VirtualClock

FAST, SLOW = QUEUE, "c@slow"
TERMS = Terms(ttl_s=6.0, drift=0.05)
LOST = NodeRow(
    incarnation=ME, name="n1", state="expired", heartbeat=1, fencer=None, fence_due=True, queues=(FAST, SLOW), kinds={},
    lock_path="/run/lock", lock_id="l", boot_id="old", identities={FAST: {"machine": "m", "nonce": "7"}},
)  # fmt: skip


SEEDS = itertools.count(1)


def now() -> float:
    return asyncio.get_running_loop().time()


def store_of(base: Base) -> Store:
    """Each with transaction ids of its own."""
    return store_on(base, virtual_env(next(SEEDS)))


# --- same_machine -----------------------------------------------------------------------------------------------------


def test_a_kill_is_proof_when_the_lock_file_says_so() -> None:
    """The processes are gone, and the file names the node's own id."""
    files, process = LockFiles(), Process("n1.worker")
    files.take("/run/lock", lock_id="l", holder=process)

    assert in_virtual_time(SameMachine(files).fence(LOST, FAST))
    assert not process.alive


def test_without_the_lock_file_a_kill_proves_nothing() -> None:
    """The reason names the file that the operator has to look for."""
    with pytest.raises(FenceFailed, match="no proof that the processes holding /run/lock are gone"):
        in_virtual_time(SameMachine(LockFiles()).fence(LOST, FAST))


# --- boot -------------------------------------------------------------------------------------------------------------


class Cluster:
    """What the table says, reading by reading; the last one stays."""

    def __init__(self, *readings: list[NodeRow]) -> None:
        self._readings = readings
        self.reads = 0

    async def read(self) -> list[NodeRow]:
        self.reads += 1
        return self._readings[min(self.reads, len(self._readings)) - 1]


def boot(cluster: Cluster | None = None, *, machine: str = "another", boot_id: str = "b2") -> Boot:
    read = (cluster or Cluster([])).read
    return Boot(machine=machine, boot_id=boot_id, clock=VirtualClock(), terms=TERMS, read=read)


def alive(heartbeat: int, **values: Any) -> NodeRow:
    known: dict[str, Any] = {
        "incarnation": Incarnation("later"), "state": "up", "heartbeat": heartbeat, "boot_id": "new", "name": "n1",
    }  # fmt: skip
    return dataclasses.replace(LOST, **(known | values))


def test_who_runs_on_that_machine_under_another_boot_is_the_proof() -> None:
    """The boot before is over, whatever it had begun."""
    assert in_virtual_time(boot(machine="m").fence(LOST, FAST))


def test_the_same_boot_of_the_same_machine_proves_nothing() -> None:
    """The lost node may hang beside us."""
    assert not in_virtual_time(boot(machine="m", boot_id="old").fence(LOST, FAST))


def test_another_node_that_renews_on_that_machine_under_another_boot_is_proof() -> None:
    """It has renewed twice since we look, so it sent one of them after the lost node had been expired."""
    cluster = Cluster([alive(5)], [alive(6)], [alive(7)])

    assert in_virtual_time(boot(cluster).fence(LOST, FAST))
    assert cluster.reads == 3


@pytest.mark.parametrize(
    "readings",
    [
        pytest.param([[alive(5)]], id="its row says up, and it is silent: it may be of a boot before"),
        pytest.param([[alive(5)], [alive(6)]], id="one renewal may have been sent long ago"),
        pytest.param([[alive(n, boot_id="old")] for n in range(9)], id="the same boot"),
        pytest.param([[alive(n, boot_id="")] for n in range(9)], id="no boot"),
        pytest.param([[alive(n, identities={})] for n in range(9)], id="it may be on another machine"),
        pytest.param([[alive(n, state="expired")] for n in range(9)], id="lost itself"),
        pytest.param([[]], id="nobody there"),
    ],
)
def test_what_else_the_table_may_say_proves_nothing(readings: list[list[NodeRow]]) -> None:
    """And the answer comes within a lease."""

    async def main() -> tuple[bool, float]:
        began = now()
        return await boot(Cluster(*readings)).fence(LOST, FAST), now() - began

    proved, took_s = in_virtual_time(main())
    assert (proved, took_s <= TERMS.ttl_s + 1) == (False, True)


@pytest.mark.parametrize("values", [{"identities": {}}, {"boot_id": ""}])
def test_without_a_certain_machine_there_is_no_proof(values: dict[str, Any]) -> None:
    """Two empty identities are not the same machine."""
    assert not in_virtual_time(boot(machine="").fence(dataclasses.replace(LOST, **values), FAST))


# --- storage ----------------------------------------------------------------------------------------------------------


@dataclass
class Refusing:
    """The part of a driver that fences."""

    error: str = ""
    asked: list[Mapping[str, str]] = field(default_factory=list)

    async def fence(self, identity: Mapping[str, str]) -> None:
        self.asked.append(identity)
        if self.error:
            raise BackendFailed(self.error)


def test_the_storage_is_told_what_it_knows_the_node_by() -> None:
    """And not on which machine that was: this is ours, not the driver's."""
    driver = Refusing()

    assert in_virtual_time(Storage(driver).fence(LOST, FAST))
    assert driver.asked == [{"nonce": "7"}]


def test_a_storage_that_fails_to_refuse_gives_its_reason() -> None:
    """As the driver says it."""
    with pytest.raises(FenceFailed, match="the monitor does not answer"):
        in_virtual_time(Storage(Refusing("the monitor does not answer")).fence(LOST, FAST))


def test_a_node_whose_identity_was_not_recorded_cannot_be_refused() -> None:
    """Nothing is guessed."""
    with pytest.raises(FenceFailed, match="not recorded what the storage of c@slow knows n1 by"):
        in_virtual_time(Storage(Refusing()).fence(LOST, SLOW))


# --- trust ------------------------------------------------------------------------------------------------------------


def test_trust_waits_until_what_was_under_way_has_settled() -> None:
    """From its own first sight of the node as expired: what it waited before it was called off counts."""

    async def main() -> list[float]:
        began = now()
        trust = Trust(clock=VirtualClock(), settle_s=60.0)
        first = asyncio.ensure_future(trust.fence(LOST, FAST))
        await VirtualClock().sleep(20.0)
        first.cancel()
        assert await trust.fence(LOST, SLOW)
        second = now()
        assert await trust.fence(dataclasses.replace(LOST, incarnation=OTHER), SLOW)
        return [second - began, now() - second]

    assert in_virtual_time(main()) == pytest.approx([60.0, 60.0])


def test_trust_counts_on_the_clock_of_its_own_machine() -> None:
    """One that runs fast has waited less: the settle time must hold that, too."""

    async def main() -> float:
        began = now()
        await Trust(clock=VirtualClock(rate=1.05), settle_s=63.0).fence(LOST, FAST)
        return now() - began

    assert in_virtual_time(main()) == pytest.approx(60.0)


# --- the walk ---------------------------------------------------------------------------------------------------------


@dataclass
class Scripted:
    """A fence with an outcome: True, False, a reason, or an exception; and how long it takes."""

    method: str
    outcome: bool | str | Exception
    whole_node: bool = False
    whole_boot: bool = False
    limit_s: float = 30.0
    takes_s: float = 0.0
    asked: list[tuple[Incarnation, str]] = field(default_factory=list)

    async def fence(self, row: NodeRow, queue: str) -> bool:
        self.asked.append((row.incarnation, queue))
        await VirtualClock().sleep(self.takes_s)
        if isinstance(self.outcome, str):
            raise FenceFailed(self.outcome)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def base() -> Iterator[Base]:
    """A lost node with two backends, of which this node is the fencer."""
    base = Base()
    base.node(ME, queues_json="[]")
    base.node(OTHER)
    announced = {FAST: {"machine": "m"}, SLOW: {"machine": "m"}}
    base.run(membership.announce, incarnation=ME, identities=announced, kinds={}, worker_pid=1)
    base.run(membership.expire, incarnation=ME, heartbeat=1, fencer=OTHER, note=note())
    yield base
    base.close()


def fencer(store: Store, fences: Mapping[str, Sequence[Fence]], *, lease: bool = True) -> Fencer:
    env = virtual_env(next(SEEDS))
    return Fencer(env=env, store=store, cluster="c", me=OTHER, name="n2", fences=fences, may_act=lambda: lease)


def walk(base: Base, fences: Mapping[str, Sequence[Fence]]) -> float:
    """Fence the lost node; how long that took."""

    async def main() -> float:
        began = now()
        await fencer(store_of(base), fences).fence(row(base))
        return now() - began

    return in_virtual_time(main())


def row(base: Base, incarnation: Incarnation = ME) -> NodeRow:
    found = base.run(membership.read_nodes, cluster="c")
    return next(one for one in found if one.incarnation == incarnation)


def how(base: Base) -> dict[str, str | None]:
    return {one["queue"]: one["fenced_by"] for one in base.rows(node_backends) if one["incarnation"] == ME}


def state(base: Base, incarnation: str = ME) -> tuple[str, str | None]:
    found = base.row(nodes, incarnation)
    return found["state"], found["fence_error"]


def test_the_fences_of_a_backend_are_tried_in_order_until_one_gives_proof(base: Base) -> None:
    """What comes after it is not touched."""
    first, second, third = Scripted("boot", False), Scripted("storage", "no"), Scripted("trust", True)
    last = Scripted("external", True)

    walk(base, {FAST: (first, second, third, last), SLOW: (Scripted("storage", True),)})

    assert [len(one.asked) for one in (first, second, third, last)] == [1, 1, 1, 0]
    assert (how(base), state(base)) == ({FAST: "trust", SLOW: "storage"}, ("fenced", None))


def test_a_backend_does_not_wait_for_another_ones_fence(base: Base) -> None:
    """It is recorded when it is certain; the slow one is recorded later."""

    async def main() -> list[Any]:
        slow = Scripted("storage", True, takes_s=20.0)
        walking = asyncio.ensure_future(
            fencer(store_of(base), {FAST: (Scripted("storage", True),), SLOW: (slow,)}).fence(row(base))
        )
        await VirtualClock().sleep(1.0)
        between = how(base)
        await walking
        return [between, how(base)]

    assert in_virtual_time(main()) == [{FAST: "storage", SLOW: None}, {FAST: "storage", SLOW: "storage"}]


def test_what_counts_for_the_whole_node_is_tried_once_for_all_its_backends(base: Base) -> None:
    """An agent is not called twice at the same time for one node."""
    agent = Scripted("external", True, whole_node=True, takes_s=3.0)

    walk(base, {FAST: (agent,), SLOW: (Scripted("storage", "no"), agent)})

    assert len(agent.asked) == 1
    assert (how(base), state(base)) == ({FAST: "external", SLOW: "external"}, ("fenced", None))


def test_an_agent_that_fails_fails_for_all_that_ask_it_and_is_called_once(base: Base) -> None:
    """The rest of each backend's fences follow."""
    agent = Scripted("external", "no route", whole_node=True)

    walk(base, {FAST: (agent, Scripted("trust", True)), SLOW: (agent,)})

    assert len(agent.asked) == 1
    assert (how(base), state(base)) == (
        {FAST: "trust", SLOW: None},
        ("expired", "c@slow: external: no route"),
    )


def test_why_nothing_could_be_fenced_is_told_backend_by_backend(base: Base) -> None:
    """Each fence's reason; and the node is given to the next one."""
    walk(base, {FAST: (Scripted("boot", False), Scripted("storage", "no")), SLOW: ()})

    assert state(base) == ("expired", "c@b: boot: does not apply, storage: no; c@slow: no fence is configured here")
    assert base.row(nodes, ME)["fencer"] is None


def test_a_fence_that_hangs_is_given_up_at_its_own_limit(base: Base) -> None:
    """And the next one is tried."""
    hanging = Scripted("external", True, limit_s=7.0, takes_s=1000.0)

    took_s = walk(base, {FAST: (hanging, Scripted("trust", True)), SLOW: (Scripted("storage", True),)})

    assert 7.0 <= took_s < 8.0
    assert how(base) == {FAST: "trust", SLOW: "storage"}


def test_the_next_fencer_tries_only_what_is_left(base: Base) -> None:
    """The first one's success stays."""
    done, again = Scripted("storage", True), Scripted("storage", True)
    walk(base, {FAST: (done,), SLOW: (Scripted("storage", "no"),)})
    base.change(nodes, ME, fencer=OTHER)

    walk(base, {FAST: (done,), SLOW: (again,)})

    assert (len(done.asked), len(again.asked), state(base)) == (1, 1, ("fenced", None))


def test_a_backend_that_is_not_ours_is_fenced_by_what_ends_the_whole_boot(base: Base) -> None:
    """Whoever switches machines off can help any node; a kill or his own storage may be less than that backend asks for."""
    agent = Scripted("external", True, whole_node=True, whole_boot=True)
    with_agent = {"c@mine": (Scripted("storage", True), agent)}
    without = {"c@mine": (Scripted("storage", True), Scripted("same_machine", True, whole_node=True))}

    can = [fencer(store_of(base), fences).can_help(row(base)) for fences in (with_agent, without)]
    walk(base, with_agent)

    assert (can, state(base)) == ([True, False], ("fenced", None))


def test_a_proof_about_the_whole_node_counts_only_for_backends_whose_policy_has_it(base: Base) -> None:
    """A killed process is no proof for storage that may still write what it was handed."""
    kill, storage = Scripted("same_machine", True, whole_node=True), Scripted("storage", True, takes_s=20.0)

    async def main() -> list[Any]:
        walking = asyncio.ensure_future(
            fencer(store_of(base), {FAST: (kill,), SLOW: (storage,), "c@mine": (kill,)}).fence(row(base))
        )
        await VirtualClock().sleep(1.0)
        between = [how(base), state(base)[0]]
        await walking
        return [*between, how(base), state(base)[0]]

    assert in_virtual_time(main()) == [
        {FAST: "same_machine", SLOW: None}, "expired", {FAST: "same_machine", SLOW: "storage"}, "fenced",
    ]  # fmt: skip


def test_a_kill_says_nothing_about_a_backend_that_the_fencer_does_not_serve(base: Base) -> None:
    """Its policy is not known here; the rest is left to somebody who knows it."""
    walk(base, {FAST: (Scripted("same_machine", True, whole_node=True),)})

    assert how(base) == {FAST: "same_machine", SLOW: None}
    assert state(base) == ("expired", "c@slow: no fence is configured here")


def test_the_end_of_a_boot_is_the_end_of_another_node_only_where_its_backends_accept_it(base: Base) -> None:
    """The same rule for every lost node of that boot."""
    base.node("same", state="expired", boot_id="b", queues_json=f'["{FAST}", "{SLOW}", "c@unknown"]')
    agent = Scripted("external", True, whole_node=True, whole_boot=True)

    walk(base, {FAST: (agent,), SLOW: (Scripted("storage", "no"),)})

    assert state(base, "same")[0] == "expired"
    assert row(base, Incarnation("same")).unfenced == (SLOW,)


def test_one_machine_cut_off_is_the_end_of_everything_that_ran_in_that_boot(base: Base) -> None:
    """Also of nodes that were lost with it, and of no other."""
    for name, values in {"same": {"boot_id": "b"}, "other": {"boot_id": "b2"}, "live": {"state": "up"}}.items():
        base.node(name, **({"state": "expired", "boot_id": "b"} | values))
    agent = Scripted("external", True, whole_node=True, whole_boot=True)

    walk(base, {FAST: (agent,), SLOW: (agent,)})

    assert {name: state(base, name)[0] for name in (ME, "same", "other", "live")} == {
        ME: "fenced", "same": "fenced", "other": "expired", "live": "up",
    }  # fmt: skip


def test_a_node_that_never_announced_a_backend_has_used_none(base: Base) -> None:
    """Its announcement is refused by now: there is nothing to prove."""
    base.node("new", state="expired", queues_json="[]")

    in_virtual_time(fencer(store_of(base), {FAST: ()}).fence(row(base, Incarnation("new"))))

    assert state(base, "new")[0] == "fenced"
    assert [one["detail"] for one in base.rows(node_events) if one["incarnation"] == "new"] == ["unused, by n2"]


def test_a_node_that_announced_before_it_was_expired_is_fenced_on_what_it_announced(base: Base) -> None:
    """Whoever expires it has read its row before."""
    before = dataclasses.replace(row(base), queues=(), identities={}, state="up")
    fast, slow = Scripted("storage", True), Scripted("storage", "no")

    in_virtual_time(fencer(store_of(base), {FAST: (fast,), SLOW: (slow,)}).fence(before))

    assert (how(base), state(base)) == ({FAST: "storage", SLOW: None}, ("expired", "c@slow: storage: no"))


def test_who_is_not_expired_any_more_is_not_fenced(base: Base) -> None:
    """The row that began this is old."""
    before = row(base)
    base.run(membership.confirm_fenced, incarnation=ME, note=note("root"))
    fast = Scripted("storage", True)

    in_virtual_time(fencer(store_of(base), {FAST: (fast,), SLOW: (fast,)}).fence(before))

    assert fast.asked == []


def test_a_database_that_goes_away_in_the_middle_leaves_the_fence_with_its_fencer(base: Base) -> None:
    """It is no failed fence: nothing is recorded, and the next round of the same node begins again."""
    gone = Scripted("boot", Unavailable("away"))

    with pytest.raises(Unavailable):
        walk(base, {FAST: (gone,), SLOW: (Scripted("storage", True),)})

    assert (how(base), state(base)) == ({FAST: None, SLOW: "storage"}, ("expired", None))
    assert base.row(nodes, ME)["fencer"] == OTHER


@pytest.mark.parametrize("error", [KeyError("nonce"), OSError(5, "Input/output error")])
def test_a_fence_that_breaks_has_failed(base: Base, error: Exception) -> None:
    """Whatever a driver raises: the next fence is tried, and what is left goes to the next fencer, with the reason."""
    broken = Scripted("storage", error)

    walk(base, {FAST: (broken, Scripted("external", True)), SLOW: (broken,)})

    assert how(base) == {FAST: "external", SLOW: None}
    assert state(base) == ("expired", f"c@slow: storage: {type(error).__name__}: {error}")
    assert base.row(nodes, ME)["fencer"] is None


def test_what_was_fenced_meanwhile_is_left_alone(base: Base) -> None:
    """By an operator's word, for one; the machine may have been switched on again since."""
    slow, agent = Scripted("storage", "no", takes_s=10.0), Scripted("external", True, whole_node=True)

    async def main() -> None:
        walking = asyncio.ensure_future(
            fencer(store_of(base), {FAST: (slow, agent), SLOW: (slow, agent)}).fence(row(base))
        )
        await VirtualClock().sleep(1.0)
        base.run(membership.confirm_fenced, incarnation=ME, note=note("root"))
        await walking

    in_virtual_time(main())
    assert (agent.asked, how(base), state(base)) == ([], {FAST: "operator", SLOW: "operator"}, ("fenced", None))


def test_who_holds_no_lease_fences_nobody(base: Base) -> None:
    """It was stopped, perhaps, and the node that it is about to cut off has been fenced by others and works again."""
    agent = Scripted("external", True, whole_node=True)

    with pytest.raises(Unavailable, match="holds no lease"):
        in_virtual_time(fencer(store_of(base), {FAST: (agent,), SLOW: (agent,)}, lease=False).fence(row(base)))

    assert (agent.asked, state(base), base.row(nodes, ME)["fencer"]) == ([], ("expired", None), OTHER)


def test_nodes_whose_boot_is_not_known_are_not_fenced_together(base: Base) -> None:
    """Two empty names are not the same boot."""
    base.change(nodes, ME, boot_id="")
    base.node("other", state="expired", boot_id="")
    agent = Scripted("external", True, whole_node=True, whole_boot=True)

    walk(base, {FAST: (agent,), SLOW: (agent,)})

    assert (state(base)[0], state(base, "other")[0]) == ("fenced", "expired")


# --- the watch --------------------------------------------------------------------------------------------------------


def watched(base: Base, fences: Mapping[str, Sequence[Fence]], *, seconds: float) -> list[list[str]]:
    """Watch for a while; what became claimable, each time."""
    released: list[list[str]] = []

    async def main() -> None:
        watch = Watch(
            env=virtual_env(next(SEEDS)),
            store=store_of(base),
            cluster="c",
            me=OTHER,
            name="n2",
            terms=TERMS,
            fences=fences,
            may_act=lambda: True,
            on_release=released.append,
        )
        at_work = [
            asyncio.ensure_future(watch.run()),
            asyncio.ensure_future(base.keep(OTHER, every_s=TERMS.renew_every_s)),
        ]
        await VirtualClock().sleep(seconds)
        for task in at_work:
            task.cancel()

    in_virtual_time(main())
    return released


def test_a_silent_node_is_expired_by_somebody_who_can_fence_it_or_left_to_others(base: Base) -> None:
    """Expired it is in any case; the fencer is whoever can do something."""
    base.change(nodes, ME, state="up", fencer=None)
    watched(base, {"c@mine": (Scripted("storage", True),)}, seconds=8.0)

    assert (state(base), base.row(nodes, ME)["fencer"]) == (("expired", None), None)
    assert [one["event"] for one in base.rows(node_events)] == ["expired", "expired"]


def test_who_has_none_of_its_backends_leaves_a_lost_node_to_those_who_have_for_a_while(base: Base) -> None:
    """Then it does what it can: an agent, for one, cuts off any node."""
    base.change(nodes, ME, fencer=None, fence_after_us=base.now_us)
    agent = Scripted("external", True, whole_node=True, whole_boot=True)

    watched(base, {"c@mine": (agent,)}, seconds=3.0)
    early = len(agent.asked)
    base.now_us += int(TERMS.ttl_s * 1_000_000)
    watched(base, {"c@mine": (agent,)}, seconds=3.0)

    assert (early, len(agent.asked), state(base)[0]) == (0, 1, "gone")


@pytest.mark.parametrize(("tries", "helped"), [(0, False), (1, False), (2, True)])
def test_who_has_none_of_its_backends_waits_for_two_tries_of_those_who_have(
    base: Base, tries: int, helped: bool
) -> None:
    """They would take the fence over again as soon as it is due, for ever, and fail again."""
    base.change(nodes, ME, fencer=None, fence_after_us=base.now_us, fence_tries=tries)
    agent = Scripted("external", True, whole_node=True, whole_boot=True)

    watched(base, {"c@mine": (agent,)}, seconds=3.0)

    assert bool(agent.asked) is helped


def test_no_fence_is_run_before_the_lease_is_over(base: Base) -> None:
    """Silence is counted to its end first."""
    base.change(nodes, ME, state="up", fencer=None)
    fence = Scripted("external", True, whole_node=True)

    watched(base, {FAST: (fence,)}, seconds=TERMS.silence_s - 0.1)
    early = len(fence.asked)
    watched(base, {FAST: (fence,)}, seconds=TERMS.silence_s + 2.0)

    assert (early, len(fence.asked)) == (0, 1)


def test_a_fence_that_its_fencer_gave_up_is_taken_over_by_who_can_help(base: Base) -> None:
    """And by nobody else."""
    base.change(nodes, ME, fencer=None)
    base.now_us += int(TERMS.ttl_s * 1_000_000)
    watched(base, {"c@mine": (Scripted("storage", True),)}, seconds=3.0)
    before = state(base)[0]
    watched(base, {FAST: (Scripted("storage", True),), SLOW: (Scripted("storage", True),)}, seconds=3.0)

    assert (before, state(base)[0]) == ("expired", "gone")
    assert [one["event"] for one in base.rows(node_events)] == [
        "expired", "fence_taken_over", "backend_fenced", "fenced",
    ]  # fmt: skip


@dataclass
class Away:
    """`run.Lane` to a database that nobody reaches for a while."""

    base: Base
    until: float = 0.0

    async def write(self, body: Any) -> Any:
        if now() < self.until:
            raise Unavailable("the database cannot be reached")
        return await self.base.write(body)

    read = write


def test_a_proof_outlives_an_outage_of_the_database(base: Base) -> None:
    """The agent is not asked again: the machine may be back by then, and at work."""
    agent = Scripted("external", True, whole_node=True, whole_boot=True, takes_s=3.0)
    lane = Away(base)

    async def main() -> None:
        hand = fencer(Store(lane, virtual_env(next(SEEDS))), {FAST: (agent,), SLOW: (agent,)})
        fencing = asyncio.ensure_future(hand.fence(row(base)))
        await VirtualClock().sleep(2.0)
        lane.until = now() + 120.0
        await fencing

    in_virtual_time(main())
    assert (len(agent.asked), state(base)[0]) == (1, "fenced")


def test_what_a_fence_has_proved_dead_is_released_at_once(base: Base) -> None:
    """And not at the next look at the nodes, most of a second later."""
    fence = Scripted("external", True, whole_node=True, takes_s=0.05)

    watched(base, {FAST: (fence,), SLOW: (fence,)}, seconds=0.3)

    assert state(base)[0] == "gone"
