"""Leases by counter: the holder stops before anybody may take it for dead."""

from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from breezeblock.model.ids import Incarnation
from breezeblock.protocol.leases import Lease, Observer, Terms

TERMS = Terms(ttl_s=6.0, drift=0.25)
A, B = Incarnation("a"), Incarnation("b")
FOREVER_AGO = float("-inf")


def lease_sent_at(sent_at: float) -> Lease:
    lease = Lease(TERMS)
    assert lease.renewed(sent_at=sent_at, answered_at=sent_at)
    return lease


def reads(observer: Observer, *counters: tuple[float, int]) -> list[tuple[Incarnation, int]]:
    """Let the observer read one node's counter at these instants, its own moving; what it said at the last one."""
    return [observer.read(at=at, counters={A: counter}, own=round(at * 1000)) for at, counter in counters][-1]


def test_times_follow_from_the_ttl() -> None:
    """The fractions that the architecture names."""
    assert (TERMS.renew_every_s, TERMS.observer_gap_s, TERMS.silence_s) == (1.0, 2.0, 7.5)


def test_before_the_first_renewal_nothing_is_held() -> None:
    """No lease, and no instant at which calls might start."""
    lease = Lease(TERMS)

    assert (lease.until, lease.gate_until) == (FOREVER_AGO, FOREVER_AGO)


def test_a_lease_counts_from_before_the_renewal_was_sent() -> None:
    """How long the answer took does not lengthen it; the gate shuts a fifth of a ttl earlier."""
    lease = Lease(TERMS)

    assert lease.renewed(sent_at=10.0, answered_at=15.0)
    assert (lease.until, round(lease.gate_until, 9)) == (16.0, 14.8)


def test_a_renewal_answered_at_its_own_end_renews_nothing() -> None:
    """Who sees it that late may have been expired already."""
    lease = Lease(TERMS)

    assert not lease.renewed(sent_at=10.0, answered_at=16.0)
    assert lease.until == FOREVER_AGO


def test_a_renewal_answered_just_before_its_end_counts() -> None:
    """The bound is exact."""
    lease = Lease(TERMS)

    assert lease.renewed(sent_at=10.0, answered_at=15.999999)
    assert lease.until == 16.0


def test_a_late_answer_leaves_the_lease_that_there_is() -> None:
    """A newer renewal that is answered too late neither ends nor lengthens the one before."""
    lease = lease_sent_at(10.0)

    assert not lease.renewed(sent_at=11.0, answered_at=17.0)
    assert lease.until == 16.0


def test_answers_out_of_order_never_shorten_a_lease() -> None:
    """The older of two renewals, answered last."""
    lease = lease_sent_at(12.0)

    assert lease.renewed(sent_at=11.0, answered_at=13.0)
    assert lease.until == 18.0


def test_silence_of_exactly_its_limit_is_not_enough() -> None:
    """Only longer than ttl and drift together."""
    assert reads(Observer(TERMS), (0.0, 1), (2.0, 1), (4.0, 1), (6.0, 1), (7.5, 1)) == []


def test_longer_silence_names_the_node_and_the_counter_that_stood_still() -> None:
    """The counter is what the expiry will compare."""
    assert reads(Observer(TERMS), (0.0, 7), (2.0, 7), (4.0, 7), (6.0, 7), (7.6, 7)) == [(A, 7)]


def test_a_gap_of_exactly_a_third_of_a_ttl_still_counts() -> None:
    """The other exact bound: all reads above are two seconds apart, one more hundredth starts the timers anew."""
    assert reads(Observer(TERMS), (0.0, 1), (2.0, 1), (4.0, 1), (6.01, 1), (7.6, 1)) == []


def test_after_a_gap_the_silence_counts_from_the_first_read_behind_it() -> None:
    """An outage proves nothing, but what is silent after it is found all the same."""
    observer = Observer(TERMS)
    reads(observer, (0.0, 1), (60.0, 1), (62.0, 1), (64.0, 1), (66.0, 1), (67.5, 1))

    assert reads(observer, (67.6, 1)) == [(A, 1)]


def test_a_counter_that_went_backwards_has_moved() -> None:
    """Changed means different, not greater: a lagging replica may show an older value first."""
    assert reads(Observer(TERMS), (0.0, 5), (2.0, 5), (4.0, 4), (6.0, 4), (8.0, 4), (9.0, 4)) == []


def test_each_node_has_its_own_timer() -> None:
    """One moves, the other does not."""
    observer = Observer(TERMS)
    said = [observer.read(at=float(at), counters={A: at, B: 1}, own=at) for at in (0, 2, 4, 6, 8)]

    assert said == [[], [], [], [], [(B, 1)]]


def test_a_node_that_left_the_table_is_forgotten() -> None:
    """When it comes back with the same counter, its silence begins then."""
    observer = Observer(TERMS)
    reads(observer, (0.0, 1), (2.0, 1), (4.0, 1))
    observer.read(at=6.0, counters={}, own=6)

    assert reads(observer, (8.0, 1)) == []


def test_while_our_own_counter_stands_still_nobody_is_silent() -> None:
    """A database that can be read and not be written, for long: when it can be written again, everybody has a whole ttl."""
    observer = Observer(TERMS)
    own = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]
    said = [observer.read(at=float(at), counters={A: 1}, own=moved) for at, moved in enumerate(own)]
    after = [observer.read(at=at, counters={A: 1}, own=round(at * 10)) for at in (13.0, 14.0, 15.5, 15.6)]

    assert said == [[]] * 13  # the last one to be of no use was at 8
    assert after == [[], [], [], [(A, 1)]]


def test_our_own_counter_may_stand_still_for_half_a_ttl() -> None:
    """Readings and renewals are a sixth apart and do not wait for each other: some readings find nothing new."""
    observer = Observer(TERMS)
    said = [observer.read(at=float(at), counters={A: 1}, own=at // 3) for at in range(9)]

    assert said == [[]] * 8 + [[(A, 1)]]


def test_without_a_node_of_our_own_we_judge_nobody() -> None:
    """It was expired, or has not entered yet."""
    observer = Observer(TERMS)
    said = [observer.read(at=float(at), counters={A: 1}, own=None) for at in range(20)]

    assert said == [[]] * 20


def test_what_was_watched_without_a_break_is_known() -> None:
    """From the last gap, or from the moment asked about; before the first read, nothing."""
    observer = Observer(TERMS)
    before = observer.watched_for(None)
    for at in (0.0, 10.0, 11.0, 12.0):
        observer.read(at=at, counters={}, own=round(at))

    assert [before, *(observer.watched_for(moment) for moment in (None, 3.0, 11.5))] == [0.0, 2.0, 2.0, 0.5]


@pytest.mark.parametrize(("gap_s", "watched_s"), [(5.9, 5.9 + 2), (6.1, 2.0)])
def test_a_late_reading_breaks_the_watch_only_after_a_ttl(gap_s: float, watched_s: float) -> None:
    """Silence begins anew in either case. But readings are late now and then, and what was not there for minutes would never be
    (seed 58: an operation for a node that did not come back waited for ever).
    """
    observer = Observer(TERMS)
    instants = (0.0, gap_s, gap_s + 1, gap_s + 2)
    silent = [observer.read(at=at, counters={A: 1}, own=round(at * 10)) for at in instants]

    assert silent == [[]] * 4
    assert observer.watched_for(None) == pytest.approx(watched_s)


# --- the promise ------------------------------------------------------------------------------------------------------


@dataclass
class Race:
    """A holder and an observer whose clocks run at different rates, on one line of real time."""

    holder_rate: float
    observer_rate: float

    def early_expiries(
        self, renewals: list[tuple[int, int, int]], looks: list[tuple[int, int, int]]
    ) -> list[tuple[float, float]]:
        """(now, end of the lease) on the holder's clock, at each instant at which it was expired and still believed.

        `renewals` are (pause, way there, way back), `looks` (pause, way back, way of the expiry), in milliseconds.
        """
        lease, observer = Lease(TERMS), Observer(TERMS)
        counter, expired, early = 0, False, []
        for at, what, (sent, seen) in self._events(renewals, looks):
            now = at * self.holder_rate
            if what == "commit" and not expired:
                counter += 1
                self._committed.add(seen)
            elif what == "answer" and seen in self._committed:
                lease.renewed(sent_at=sent * self.holder_rate, answered_at=now)
            elif what == "snapshot":
                self._snapshots[seen] = counter
            elif what == "look" and not expired:
                silent = observer.read(at=at * self.observer_rate, counters={A: self._snapshots[seen]}, own=seen)
                self._may_expire[seen] = silent
            elif what == "expire" and self._may_expire.get(seen) == [(A, counter)]:
                expired = True
            if expired and now < lease.until - 1e-6:
                early.append((now, lease.until))
        return early

    def _events(
        self, renewals: list[tuple[int, int, int]], looks: list[tuple[int, int, int]]
    ) -> list[tuple[float, str, tuple[float, int]]]:
        self._snapshots: dict[int, int] = {}
        self._may_expire: dict[int, list[tuple[Incarnation, int]]] = {}
        self._committed: set[int] = set()
        events: list[tuple[float, str, tuple[float, int]]] = []
        at = 0.0
        for number, (pause, there, back) in enumerate(renewals):
            sent = at + pause / 1000
            events += [(sent + there / 1000, "commit", (sent, number))]
            events += [(sent + (there + back) / 1000, "answer", (sent, number))]
            at = sent + (there + back) / 1000
        at = 0.0
        for number, (pause, back, way) in enumerate(looks):
            taken = at + pause / 1000
            at = taken + back / 1000
            events += [(taken, "snapshot", (taken, number)), (at, "look", (taken, number))]
            events += [(at + way / 1000, "expire", (taken, number))]
        return sorted(events, key=lambda event: event[0])  # stable: what causes comes before what it caused


milliseconds = st.one_of(st.integers(0, 1_500), st.integers(0, 12_000))
rates = st.floats(1.0, 1.0 + TERMS.drift)


@given(
    renewals=st.lists(st.tuples(milliseconds, milliseconds, milliseconds), max_size=8),
    looks=st.lists(st.tuples(st.integers(1, 2_500), st.integers(0, 400), milliseconds), min_size=8, max_size=30),
    holder_rate=rates,
    observer_rate=rates,
)
@example(renewals=[(0, 0, 0)], looks=[(0, 0, 0)] + [(1_500, 0, 0)] * 8, holder_rate=1.0, observer_rate=1.25)
def test_the_holder_stops_before_an_observer_may_expire_it(
    renewals: list[tuple[int, int, int]], looks: list[tuple[int, int, int]], holder_rate: float, observer_rate: float
) -> None:
    """For any schedule of renewals and reads, with any delay of each message, and clocks within the drift."""
    assert Race(holder_rate, observer_rate).early_expiries(renewals, looks) == []


def test_clocks_beyond_the_drift_break_the_promise() -> None:
    """That the model above can find it at all: an observer whose clock runs twice as fast as the holder's."""
    looks = [(0, 0, 0)] + [(900, 0, 0)] * 8

    assert Race(1.0, 2.0).early_expiries([(0, 0, 0)], looks)
