"""GET /metrics: the service's numbers in the text format of Prometheus.

Two sources. What processes count is in memory that all API processes share (`counts`), so the answer does not depend on which
of them gives it. What the database knows is read when it is asked for, in one short transaction, so every API says the
same and no counter has to be kept beside the truth.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from starlette.responses import Response

from breezeblock import __version__
from breezeblock.api.call import Call
from breezeblock.api.counts import BUCKETS_S, Answered
from breezeblock.doorbells.tally import WHAT, counted_in
from breezeblock.env.byte_counts import WHAT as MOVED
from breezeblock.env.byte_counts import bytes_counted_in
from breezeblock.model.errors import Unavailable
from breezeblock.model.states import NODE_LIVE
from breezeblock.resources import measures
from breezeblock.resources.measures import Measures

# Shown with 0 while there is none: an alert on something that was never seen must not be silent.
NODE_STATES: Final = ("up", "draining", "expired", "fenced")


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric, a gauge but for a few: the table of these is also their documentation."""

    name: str
    labels: tuple[str, ...]
    help: str


REQUESTS: Final = Declared(
    "breezeblock_http_request_duration_seconds",
    ("method", "route", "status"),
    "Answered requests and how long each took, by the template of its URL, since `up` started, from all API processes here.",
)
BUILD: Final = Declared("breezeblock_build_info", ("version",), "1, with the release that answers.")
DATABASE: Final = Declared(
    "breezeblock_database_up", (), "Whether the database answered; with 0, all that it knows is missing."
)
RINGS: Final = Declared(
    "breezeblock_doorbell_rings",
    ("kind", "what"),
    "Rings since `up` started, of all processes here: sent, received, and failed (tried again if they go through a server).",
)
DOORBELL: Final = Declared(
    "breezeblock_doorbell_connected",
    ("kind", "process"),
    "Whether a process here is connected to the doorbell; with 0, work is found later, and nothing else is wrong.",
)
BACKUP_BYTES: Final = Declared(
    "breezeblock_backup_bytes",
    ("store", "what"),
    "Bytes since `up` started, of all processes here: read from volumes, stored, deduplicated (were there), restored.",
)
OPERATIONS: Final = Declared(
    "breezeblock_operations",
    ("kind", "queue", "state"),
    "Operations that are waiting or running now.",
)
OLDEST: Final = Declared(
    "breezeblock_queue_oldest_waiting_seconds",
    ("queue",),
    "Age of the oldest operation that waits on a queue; 0 when none does. Growing: it is served by nobody, or blocked.",
)
RETRIED: Final = Declared(
    "breezeblock_operations_retried",
    ("kind",),
    "Operations now there that a node died with at a step, at least once. At the poison limit one is parked.",
)
FINISHED: Final = Declared(
    "breezeblock_operations_finished_recently",
    ("kind", "outcome"),
    "Operations that ended within the last five minutes: done, failed, cancelled or parked.",
)
NODES: Final = Declared("breezeblock_nodes", ("state",), "Incarnations of nodes that are not gone.")
LEASE_AGE: Final = Declared(
    "breezeblock_lease_age_seconds",
    ("node",),
    "Seconds since a live node last renewed its lease, by wall clocks: for people, no decision rests on it.",
)
CLOCK: Final = Declared(
    "breezeblock_clock_ahead_seconds",
    ("node",),
    "By how much a live node's wall clock is ahead of the database's; a little below 0 is the time since its last renewal.",
)
FENCES_PENDING: Final = Declared(
    "breezeblock_fences_pending",
    ("queue",),
    "Expired incarnations that may still write to a backend: what they own there waits.",
)
FENCE_TRIES: Final = Declared(
    "breezeblock_fence_tries",
    ("node",),
    "Failed tries to fence an expired node.",
)
FENCES_FAILING: Final = Declared(
    "breezeblock_fences_failing",
    (),
    "Expired incarnations whose last fence failed. Not 0: look at `breezeblock status`.",
)
FENCED: Final = Declared(
    "breezeblock_fenced",
    ("queue", "method"),
    "Incarnations that were fenced from a backend by a method of its own, as long as their rows are kept.",
)
EVENTS: Final = Declared(
    "breezeblock_node_events_recently",
    ("event",),
    "What happened to nodes within the last five minutes.",
)
EVENTS_HOUR: Final = Declared(
    "breezeblock_node_events_last_hour",
    ("node", "event"),
    "What happened to each node within the last hour; fenced: it was lost; quota_check_…: what it has found.",
)
POOL_GIB: Final = Declared(
    "breezeblock_pool_gibibytes",
    ("pool", "what"),
    "Capacity of a pool: total, free, and allocated (promised to volumes).",
)
POOL_ENABLED: Final = Declared("breezeblock_pool_enabled", ("pool",), "1 when the pool takes new volumes.")
POOL_REPORT_AGE: Final = Declared(
    "breezeblock_pool_report_age_seconds",
    ("pool",),
    "Seconds since a node last reported the pool's capacity.",
)

EVENTS_WAITING: Final = Declared(
    "breezeblock_events_waiting", ("receiver",), "Events that a receiver has not taken yet."
)
EVENTS_OLDEST: Final = Declared(
    "breezeblock_events_oldest_seconds",
    ("receiver",),
    "Age of the oldest event that a receiver has not taken; 0 when none waits. Growing: it is away, or too slow.",
)
EVENTS_SENT: Final = Declared(
    "breezeblock_events",
    ("receiver", "what"),
    "Events since a receiver is known: sent (taken), refused (set aside), dropped (keep_s after that); failed counts tries.",
)
EVENTS_ASIDE: Final = Declared(
    "breezeblock_events_aside",
    ("receiver",),
    "Events that a receiver has refused for good and that are kept for `breezeblock events again`.",
)

DECLARED: Final = tuple(value for value in list(globals().values()) if isinstance(value, Declared))

Sample = tuple[Iterable[str], float]


async def show(call: Call) -> Response:
    """GET /metrics. 200, also when the database does not answer."""
    call.permit("discovery")
    text = await call.services.scrapes.text(lambda: _text(call))
    return Response(text, headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})


async def _text(call: Call) -> bytes:
    try:
        found = await call.store.read(measures.measure)
    except Unavailable:
        found = None
    # Adding up and writing down thousands of numbers takes milliseconds in which no other request would be answered.
    return await call.services.env.threads.run(lambda: generate_latest(_Given(list(_families(call, found)))))


def _families(call: Call, found: Measures | None) -> Iterator[Metric]:
    yield _gauge(BUILD, [((__version__,), 1)])
    yield _requests(call.services.counts.total())
    yield from _of_doorbell(call)
    yield _of_backups(call)
    yield _gauge(DATABASE, [((), int(found is not None))])
    if found is not None:
        yield from _from_database(found)


class _Given(Collector):
    """Metrics that are there already, as the formatter wants them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _requests(answered: Iterable[Answered]) -> Metric:
    family = HistogramMetricFamily(REQUESTS.name, REQUESTS.help, labels=REQUESTS.labels)
    bounds = [*(str(bound) for bound in BUCKETS_S), "+Inf"]
    for one in answered:
        below = list(zip(bounds, map(float, accumulate(one.buckets)), strict=True))
        family.add_metric((one.method, one.route, str(one.status or "other")), below, one.seconds)
    return family


def _of_doorbell(call: Call) -> Iterator[Metric]:
    kind = call.settings.doorbell_kind
    seen = {process: counted_in(file) for process, file in call.services.rings.items()}
    sums: Counter[str] = Counter(dict.fromkeys(WHAT, 0))
    for counted in seen.values():
        sums.update(counted.rings)
    family = CounterMetricFamily(RINGS.name, RINGS.help, labels=RINGS.labels)
    for what, rings in sums.items():
        family.add_metric((kind, what), rings)
    yield family
    known = {process: counted.connected for process, counted in seen.items() if counted.connected is not None}
    yield _gauge(DOORBELL, (((kind, process), connected) for process, connected in known.items()))


def _of_backups(call: Call) -> Metric:
    stores = call.settings.backup_stores
    sums: Counter[tuple[str, str]] = Counter({(store, what): 0 for store in stores for what in MOVED})
    for file in call.services.rings.values():
        for store, counted in bytes_counted_in(file, stores=stores).items():
            sums.update({(store, what): size for what, size in counted.items()})
    family = CounterMetricFamily(BACKUP_BYTES.name, BACKUP_BYTES.help, labels=BACKUP_BYTES.labels)
    for labels, size in sums.items():
        family.add_metric(labels, size)
    return family


def _from_database(found: Measures) -> Iterator[Metric]:
    running = ("waiting", "running")
    oldest = {pool.name.partition("#")[0]: 0.0 for pool in found.pools}
    retried: Counter[str] = Counter()
    for one in found.operations:
        retried[one.kind] += one.retried
        if not one.running:
            oldest[one.queue] = max(oldest.get(one.queue, 0.0), one.oldest_s)
    counted = (((one.kind, one.queue, running[one.running]), one.count) for one in found.operations)
    yield _gauge(OPERATIONS, counted)
    yield _gauge(OLDEST, (((queue,), age_s) for queue, age_s in oldest.items()))
    yield _gauge(RETRIED, (((kind,), count) for kind, count in retried.items()))
    yield _gauge(FINISHED, (((kind, outcome), count) for kind, outcome, count in found.finished))
    yield from _of_nodes(found)
    sizes = (
        (pool.name, {"total": pool.total_gib, "free": pool.free_gib, "allocated": pool.allocated_gib})
        for pool in found.pools
    )
    yield _gauge(POOL_GIB, (((name, what), gib) for name, known in sizes for what, gib in known.items()))
    yield _gauge(POOL_ENABLED, (((pool.name,), pool.enabled) for pool in found.pools))
    reported = ((pool.name, pool.reported_s) for pool in found.pools)
    yield _gauge(POOL_REPORT_AGE, (((name,), age_s) for name, age_s in reported if age_s is not None))
    yield from _of_events(found)


def _of_events(found: Measures) -> Iterator[Metric]:
    yield _gauge(EVENTS_WAITING, (((one.name,), one.waiting) for one in found.receivers))
    yield _gauge(EVENTS_OLDEST, (((one.name,), one.oldest_s) for one in found.receivers))
    yield _gauge(EVENTS_ASIDE, (((one.name,), one.aside) for one in found.receivers))
    family = CounterMetricFamily(EVENTS_SENT.name, EVENTS_SENT.help, labels=EVENTS_SENT.labels)
    for one in found.receivers:
        for what in ("sent", "failed", "refused", "dropped"):
            family.add_metric((one.name, what), getattr(one, what))
    yield family


def _of_nodes(found: Measures) -> Iterator[Metric]:
    states = Counter({**dict.fromkeys(NODE_STATES, 0), **Counter(node.state for node in found.nodes)})
    ages: dict[str, float] = {}
    ahead: dict[str, float] = {}  # by the latest start, which comes last
    for node in found.nodes:
        if node.state in NODE_LIVE and node.renewed_s is not None:
            ages[node.name] = max(ages.get(node.name, 0.0), node.renewed_s)
            ahead[node.name] = -node.renewed_s
    expired = [node for node in found.nodes if node.state == "expired"]
    pending = Counter({pool.name.partition("#")[0]: 0 for pool in found.pools})
    pending.update(queue for node in expired for queue in node.unfenced)
    tries: Counter[str] = Counter()
    for node in expired:
        tries[node.name] += node.fence_tries
    yield _gauge(NODES, (((state,), count) for state, count in states.items()))
    yield _gauge(LEASE_AGE, (((name,), age_s) for name, age_s in ages.items()))
    yield _gauge(CLOCK, (((name,), s) for name, s in ahead.items()))
    yield _gauge(FENCES_PENDING, (((queue,), count) for queue, count in pending.items()))
    yield _gauge(FENCE_TRIES, (((name,), count) for name, count in tries.items()))
    yield _gauge(FENCES_FAILING, [((), sum(node.fence_failed for node in expired))])
    yield _gauge(FENCED, (((queue, method), count) for queue, method, count in found.fenced))
    recent: Counter[str] = Counter()
    for _, event, _, lately in found.events:
        recent[event] += lately
    yield _gauge(EVENTS, (((event,), count) for event, count in recent.items() if count))
    yield _gauge(EVENTS_HOUR, (((name, event), count) for name, event, count, _ in found.events))


def _gauge(declared: Declared, samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(declared.name, declared.help, labels=declared.labels)
    for labels, value in samples:
        family.add_metric(tuple(labels), float(value))
    return family
