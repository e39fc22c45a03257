"""Prometheus metrics in the words of the product: event, posting and its states, source, target, lane.

Nothing is counted twice and the hot path pays next to nothing: whoever does the work keeps plain numbers, the app
puts them into one `Snapshot` when Prometheus asks, and `collect` turns it into metric families. Labels are of low
cardinality: never an order, a lot or a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agent.buckets import COMMIT_SECONDS, Buckets

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]
Counts = Mapping[Labels, float]
One = Mapping[str, float]  # keyed by one label


def _none() -> Mapping[Labels, float]:
    return {}


def _nothing() -> Mapping[str, float]:
    return {}


def _no_buckets() -> Mapping[Labels, Buckets]:
    return {}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one scrape shows. Totals count from the start of the process; times are seconds, sizes bytes."""

    # arrivals
    events_total: Counts = field(default_factory=_none)  # (source, result): stored, duplicate, quarantined
    events_undecided: int = 0
    event_oldest_age: float = 0.0  # of the undecided ones
    quarantined: One = field(default_factory=_nothing)  # reason → open entries
    source_connected: One = field(default_factory=_nothing)  # source → 1 or 0
    source_session_lost_total: One = field(default_factory=_nothing)
    source_gap_total: One = field(default_factory=_nothing)
    face_connected: One = field(default_factory=_nothing)  # opcua_server, sparkplug_node → 1 or 0
    # decisions
    decisions_total: Counts = field(default_factory=_none)  # (workflow, route)
    model_score: Mapping[Labels, Buckets] = field(default_factory=_no_buckets)  # (model,)
    model_fits: One = field(default_factory=_nothing)  # model, as workflows name it → 1, or 0: what asks it is held
    model_drift: One = field(default_factory=_nothing)  # model, as workflows name it → 0, 1 a warning, 2 an alarm
    held: int = 0
    shortages: int = 0  # places
    # postings
    postings: One = field(default_factory=_nothing)  # state → rows
    posting_oldest_age: One = field(default_factory=_nothing)  # state → age
    postings_total: Counts = field(default_factory=_none)  # (target, kind, result)
    lanes_blocked: int = 0
    target_open: One = field(default_factory=_nothing)  # target → 1 or 0 (paused, not reachable)
    erp_request: Mapping[Labels, Buckets] = field(default_factory=_no_buckets)  # (target, operation, result)
    # store, audit, clock
    store_commit: Buckets = field(default_factory=lambda: Buckets(COMMIT_SECONDS))
    store_commit_errors_total: One = field(default_factory=_nothing)  # error name
    store_wal_bytes: int = 0
    store_free_bytes: int = 0
    store_capacity_bytes: int = 0
    store_damaged: bool = False
    audit_chain_ok: bool = True
    balance_difference: One = field(default_factory=_nothing)  # events, postings; not 0: a loss or a double
    clock_step_total: int = 0
    clock_unsynchronised: bool = False
    # the process itself
    progress: One = field(default_factory=_nothing)  # loop → Unix time of its last step; having nothing to do counts
    log_lines_dropped_total: int = 0
    version: str = ""


def collect(snapshot: Snapshot) -> Iterator[Metric]:
    """The metric families of one scrape."""
    yield from _arrivals(snapshot)
    yield from _decisions(snapshot)
    yield from _postings(snapshot)
    yield from _store(snapshot)
    yield from _process(snapshot)


def _arrivals(now: Snapshot) -> Iterator[Metric]:
    yield _counter("events", "Arrivals, by what became of them.", ("source", "result"), now.events_total)
    yield _gauge("events_undecided", "Stored events that no decision was made on yet.", now.events_undecided)
    yield _gauge("event_oldest_age_seconds", "Age of the oldest undecided event.", now.event_oldest_age)
    yield _gauges("quarantined", "Open quarantined events, by reason.", "reason", now.quarantined)
    yield _gauges("source_connected", "Whether the source is connected.", "source", now.source_connected)
    lost = "Sessions the sender's side forgot: what was waiting there is lost."
    yield _counter("source_session_lost", lost, ("source",), _keyed(now.source_session_lost_total))
    gaps = "Gaps in the numbering of senders."
    yield _counter("source_gap", gaps, ("source",), _keyed(now.source_gap_total))
    up = "Whether the OPC UA server listens, the Sparkplug node is connected."
    yield _gauges("face_connected", up, "face", now.face_connected)


def _decisions(now: Snapshot) -> Iterator[Metric]:
    yield _counter("decisions", "Decisions, by their route.", ("workflow", "route"), now.decisions_total)
    yield _histogram("model_score", "Confidence that a report is normal.", ("model",), now.model_score)
    fits = "Whether a version of the model fits; without one what asks it is held."
    yield _gauges("model_fits", fits, "model", now.model_fits)
    far = "How far what the model is asked has drifted: 1 a warning, 2 an alarm; the bar is raised then."
    yield _gauges("model_drift", far, "model", now.model_drift)
    yield _gauge("held", "Postings that wait for a person.", now.held)
    short = "Materials that fall below their safety stock at a place within three hours, rather than not."
    yield _gauge("shortages", short, now.shortages)


def _postings(now: Snapshot) -> Iterator[Metric]:
    yield _gauges("postings", "Postings in the live file, by state.", "state", now.postings)
    oldest = "Age of the oldest posting in this state."
    yield _gauges("posting_oldest_age_seconds", oldest, "state", now.posting_oldest_age)
    labels = ("target", "kind", "result")
    yield _counter("postings", "Outcomes of postings.", labels, now.postings_total)
    yield _gauge("lanes_blocked", "Ordering keys that wait behind a dead or doubtful posting.", now.lanes_blocked)
    yield _gauges("target_open", "Whether the target takes postings now.", "target", now.target_open)
    took = "Time of one request to the ERP."
    yield _histogram("erp_request_duration_seconds", took, ("target", "operation", "result"), now.erp_request)


def _store(now: Snapshot) -> Iterator[Metric]:
    yield _histogram("store_commit_duration_seconds", "Time of one commit.", (), {(): now.store_commit})
    failed = "Commits that failed, by SQLite's name of the error."
    yield _counter("store_commit_errors", failed, ("error",), _keyed(now.store_commit_errors_total))
    yield _gauge("store_wal_bytes", "Size of the write-ahead log.", now.store_wal_bytes)
    yield _gauge("store_free_bytes", "Free space where the store lives.", now.store_free_bytes)
    yield _gauge("store_capacity_bytes", "Size of the volume where the store lives.", now.store_capacity_bytes)
    yield _gauge("store_damaged", "Whether a check met a damaged page of the store.", now.store_damaged)
    yield _gauge("audit_chain_ok", "Whether the audit chain verified.", now.audit_chain_ok)
    off = "Received minus accounted for; anything but 0 is a loss or a double."
    yield _gauges("balance_difference", off, "balance", now.balance_difference)


def _process(now: Snapshot) -> Iterator[Metric]:
    yield _counter("clock_step", "Jumps of the wall clock.", (), {(): now.clock_step_total})
    yield _gauge("clock_unsynchronised", "Whether the clock is not synchronised.", now.clock_unsynchronised)
    finished = "When the loop last finished a step."
    yield _gauges("progress_timestamp_seconds", finished, "loop", now.progress)
    dropped = "Log lines that could not be written."
    yield _counter("log_lines_dropped", dropped, (), {(): now.log_lines_dropped_total})
    build = GaugeMetricFamily("gatepost_build_info", "What runs here.", labels=("version",))
    build.add_metric((now.version,), 1)
    yield build


def _keyed(values: One) -> Counts:
    return {(label,): value for label, value in values.items()}


def _counter(name: str, text: str, labels: Sequence[str], values: Counts) -> Metric:
    family = CounterMetricFamily(f"gatepost_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"gatepost_{name}", text, value=value)


def _gauges(name: str, text: str, label: str, values: One) -> Metric:
    family = GaugeMetricFamily(f"gatepost_{name}", text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _histogram(name: str, text: str, labels: Sequence[str], values: Mapping[Labels, Buckets]) -> Metric:
    family = HistogramMetricFamily(f"gatepost_{name}", text, labels=labels)
    for key, buckets in values.items():
        family.add_metric(key, buckets.cumulative(), sum_value=buckets.sum)
    return family


class _AtScrape(Collector):
    """Asks for the numbers when Prometheus does."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """The families of this scrape."""
        return collect(self._snapshot())

    def describe(self) -> Iterable[Metric]:
        """The families there are, so that registering does not need a running agent."""
        return collect(Snapshot())


def registry(snapshot: Callable[[], Snapshot]) -> CollectorRegistry:
    """A registry of its own with the agent's metrics and those of its process (CPU, memory, open files)."""
    own = CollectorRegistry()
    own.register(_AtScrape(snapshot))
    ProcessCollector(namespace="gatepost", registry=own)
    return own


def exposition(own: CollectorRegistry) -> bytes:
    """The text of one scrape; serve it as `CONTENT_TYPE`."""
    return generate_latest(own)
