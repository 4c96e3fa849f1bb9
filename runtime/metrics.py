"""What `/metrics` says: every metric by name, and its text in Prometheus' exposition format.

A worker hands over plain samples; a name that is not in :data:`METRICS` is refused, so that
docs/metrics.md (generated from the same table) is complete.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[str, ...]
Samples = dict[str, dict[Labels, float]]
"""Metric name to label values (in the metric's order) to value."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `told_by` names the processes that have it; `labels` in their order."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    told_by: str
    purpose: str
    labels: Labels = ()


EVERY = "all"
WORKERS = "all but the feed"
_TABLE = (
    Metric("quantum_build_info", "gauge", EVERY, "always 1; which build runs", ("worker", "build")),
    Metric("quantum_ready", "gauge", EVERY, "1 if `/readyz` says 200"),
    Metric("quantum_live", "gauge", EVERY, "1 if `/livez` says 200"),
    Metric("quantum_heartbeat_age_seconds", "gauge", EVERY, "since the slowest loop last moved"),
    Metric(
        "quantum_kafka_silent_seconds", "gauge", "processors", "since the broker last acknowledged "
        "something; above 5 the worker is not ready",
    ),
    Metric("quantum_sources", "gauge", "processors", "sources (partitions) this process owns"),
    Metric("quantum_records", "gauge", "processors", "own records of these sources, ever"),
    Metric("quantum_duplicates", "gauge", "processors", "requests whose id was seen before"),
    Metric("quantum_halted_accounts", "gauge", "processors", "accounts a decision failed for"),
    Metric(
        "quantum_dead_letters_total", "counter", WORKERS, "records that could not be taken, or "
        "failed a decision",
    ),
    Metric("quantum_start_seconds", "gauge", "processors", "what taking the sources over took"),
    Metric(
        "quantum_sources_restored", "gauge", "processors", "sources that began at a snapshot; the "
        "others were replayed",
    ),
    Metric("quantum_snapshots_total", "counter", "processors", "snapshots written since the start"),
    Metric(
        "quantum_snapshot_held_seconds", "gauge", "processors", "how long the last one held up "
        "decisions",
    ),
    Metric(
        "quantum_eventbus_publish_errors_total", "counter", "processors",
        "`delivery`: a record was not delivered; `client`: the producer met an error and retries",
        ("kind",),
    ),
    Metric(
        "quantum_committed_position_age_seconds", "gauge", WORKERS,
        "since positions were last committed: reported with everything written delivered; of the "
        "projector: since its last turn with Kafka and Postgres",
    ),
    Metric(
        "quantum_lane_lag_records", "gauge", "processors", "records not folded yet, by lane",
        ("lane",),
    ),
    Metric(
        "quantum_stream_age_seconds", "gauge", "processors", "since the last message of a stream",
        ("stream",),
    ),
    Metric(
        "quantum_silent_streams", "gauge", "processors", "streams that should have said something "
        "for 5 s: no entry leaves the gateway meanwhile",
    ),
    Metric(
        "quantum_control_seconds", "histogram", "processors", "a record of `control` (policy, "
        "emergency, halt) being in the log to this worker having folded it",
    ),
    Metric("quantum_signals_published_total", "counter", "signals", "signals published"),
    Metric("quantum_signals_total", "counter", "risk", "signals and intents answered"),
    Metric("quantum_signals_approved_total", "counter", "risk", "of these, approved"),
    Metric(
        "quantum_signals_rejected_total", "counter", "risk", "of these, rejected, by the first "
        "reason", ("reason",),
    ),
    Metric(
        "quantum_signal_confidence_average", "gauge", "risk", "mean confidence of what was "
        "answered, 0 to 1",
    ),
    Metric(
        "quantum_approval_rate", "gauge", "risk", "share approved of the last ten minutes' "
        "answers, 0 to 1; missing if there were none",
    ),
    Metric(
        "quantum_orders_total", "counter", "execution", "orders decided, by purpose", ("purpose",)
    ),
    Metric(
        "quantum_orders_dropped_total", "counter", "execution", "approvals without an order, by "
        "why", ("why",),
    ),
    Metric("quantum_cancels_total", "counter", "execution", "cancels decided, by why", ("why",)),
    Metric("quantum_fills_total", "counter", "gateway", "fills, by liquidity", ("liquidity",)),
    Metric(
        "quantum_order_ends_total", "counter", "gateway", "ends of orders, by status", ("status",)
    ),
    Metric(
        "quantum_fill_rate", "gauge", "gateway", "share of ended orders that traded anything, 0 to "
        "1; missing before the first end",
    ),
    Metric(
        "quantum_slippage_percent_average", "gauge", "gateway", "mean over fills of (price - "
        "reference) / reference x 100, paid is positive",
    ),
    Metric("quantum_slippage_percent_max", "gauge", "gateway", "worst slippage of a single fill"),
    Metric(
        "quantum_fees", "gauge", "gateway", "fees paid less rebates, in units of each asset",
        ("asset",),
    ),
    Metric("quantum_unknown_orders_total", "counter", "gateway", "requests without an answer"),
    Metric("quantum_unresolved_orders", "gauge", "gateway", "orders neither ended nor resting"),
    Metric("quantum_halt", "gauge", "gateway", "0 no halt, 1 of entries, 2 of all, 3 flatten"),
    Metric("quantum_kafka_away", "gauge", "gateway", "1 while Kafka does not answer"),
    Metric("quantum_buffered_records", "gauge", "gateway", "records on disk and not in the log"),
    Metric("quantum_entries_under_way", "gauge", "gateway", "entries sent and not yet in the log"),
    Metric("quantum_entries_allowed", "gauge", "gateway", "how many of them there may be at once"),
    Metric(
        "quantum_execution_latency_seconds", "histogram", "gateway", "an order's first request to "
        "the venue's first report on it",
    ),
    Metric("quantum_position_updates_total", "counter", "positions", "position updates told"),
    Metric("quantum_open_positions", "gauge", "positions", "open positions, all accounts"),
    Metric("quantum_exposure_usd", "gauge", "positions", "sum of |quantity| x mark, USDT"),
    Metric("quantum_unrealised_pnl_usd", "gauge", "positions", "unrealised result, USDT"),
    Metric(
        "quantum_unrealised_pnl_percent", "gauge", "positions", "unrealised result as % of "
        "exposure; 0 without any",
    ),
    Metric(
        "quantum_drawdown_percent", "gauge", "safety", "fall of NAV below its high when safety "
        "told of the account last", ("account",),
    ),
    Metric(
        "quantum_governor_changes_total", "counter", "safety", "changes of an account's level",
        ("level",),
    ),
    Metric("quantum_flash_crashes_total", "counter", "safety", "flash crashes detected"),
    Metric(
        "quantum_flash_crashes_late_total", "counter", "safety", "of these, detected more than "
        "15 s (event time) after they were there: a critical alert",
    ),
    Metric("quantum_projection_lag_records", "gauge", "projector", "records not projected yet"),
    Metric("quantum_projection_records_total", "counter", "projector", "records projected"),
    Metric("quantum_projection_reconnects_total", "counter", "projector", "Kafka or Postgres away"),
    Metric(
        "quantum_projection_stopped_partitions", "gauge", "projector", "partitions read no further"
    ),
    Metric("quantum_feed_records_total", "counter", "feed", "records published"),
)  # fmt: skip
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _TABLE}


@dataclass(slots=True)
class Histogram:
    """Observations in seconds, by upper bounds (ascending)."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one observation."""
        place = next((n for n, b in enumerate(self.bounds) if value <= b), len(self.bounds))
        self.counts[place] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, the last one infinite."""
        names = [*(str(bound) for bound in self.bounds), "+Inf"]
        return [(name, float(sum(self.counts[: n + 1]))) for n, name in enumerate(names)]


def exposition(samples: Samples, histograms: Mapping[str, Histogram] | None = None) -> bytes:
    """The samples as Prometheus reads them. ValueError for a metric or labels not in METRICS."""
    from prometheus_client import core, generate_latest

    families: list[Any] = []
    for name, values in sorted(samples.items()):
        metric = _known(name)
        kind = core.CounterMetricFamily if metric.kind == "counter" else core.GaugeMetricFamily
        family: Any = kind(name, metric.purpose, labels=metric.labels)
        for labels, value in sorted(values.items()):
            if len(labels) != len(metric.labels):
                raise ValueError(f"{name} has labels {metric.labels}, got {labels}")
            family.add_metric(labels, value)
        families.append(family)
    for name, histogram in sorted((histograms or {}).items()):
        made: Any = core.HistogramMetricFamily(name, _known(name).purpose)
        made.add_metric([], histogram.buckets(), histogram.total)
        families.append(made)

    class Families:
        def collect(self) -> list[Any]:
            return families

    return bytes(generate_latest(Families()))


def _known(name: str) -> Metric:
    if name not in METRICS:
        raise ValueError(f"metric {name} is not in runtime/metrics.py: add it there, with its help")
    return METRICS[name]
