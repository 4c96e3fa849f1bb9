"""Figures of a worker for `/metrics`, folded from its own records (CORE-5, OBS-1).

The hot path puts a record on a queue and goes on; a thread of the worker folds it within a second.
Nothing is decided from any of this.
"""

import logging
import time
from collections import Counter, deque
from decimal import Decimal

from domain.safety_levels import LAG_MAX_S
from runtime.metrics import Histogram, Labels, Samples
from schemas.envelope import Envelope
from schemas.positions import PositionUpdated
from schemas.safety import SAFETY_TYPES, EquityMarked, FlashCrashDetected, GovernorLevelChanged
from schemas.trade import (
    Accepted,
    Cancel,
    Dropped,
    Ended,
    ExecutionReported,
    Filled,
    Order,
    OrderDecided,
    SignalJudged,
    SignalPublished,
    Unknown,
)
from schemas.venue import Place, VenueRequested

logger = logging.getLogger(__name__)
LATENCY = "quantum_execution_latency_seconds"
CONTROL_AGE = "quantum_control_seconds"
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
RATE_WINDOW_S, RATE_STEP_S = 600, 10
WAITING_MAX = 100_000
"""Orders sent and not reported on; beyond, the oldest are no longer timed."""


class Figures:
    """Counts of one process since it began."""

    def __init__(self, processor: str) -> None:
        self.processor = processor
        self.latency = Histogram(BOUNDS_S)
        self.control = Histogram(BOUNDS_S)
        self._queue: deque[tuple[float, Envelope]] = deque()
        self._counts: dict[str, Counter[Labels]] = {}
        self._confidence = 0.0
        self._slippage = self._slippage_max = 0.0
        self._fees: dict[str, float] = {}
        self._traded = self._ended = 0
        self._sent: dict[str, float] = {}
        self._drawdowns: dict[str, float] = {}
        self._rates: deque[list[float]] = deque()
        """[begin of a step, answered, approved] of the last ten minutes."""

    def note(self, record: Envelope) -> None:
        """Queue a record that was just appended. Cheap, and safe from any thread."""
        self._queue.append((time.monotonic(), record))

    def controlled(self, appended_ms: int) -> None:
        """A record of `control` that the broker appended then was folded just now (POL-4)."""
        self.control.observe(max(0.0, time.time() - appended_ms / 1000))

    def fold(self) -> None:
        """Fold what is queued. One thread at a time."""
        while self._queue:
            at_s, record = self._queue.popleft()
            self._fold(at_s, record)

    def _count(self, name: str, *labels: str, by: int = 1) -> None:
        self._counts.setdefault(name, Counter())[labels] += by

    def _fold(self, at_s: float, record: Envelope) -> None:
        if isinstance(record, SignalPublished):
            self._count("quantum_signals_published_total", by=len(record.data.items))
        elif isinstance(record, SignalJudged):
            self._judged(at_s, record)
        elif isinstance(record, OrderDecided):
            self._decided(record)
        elif isinstance(record, ExecutionReported):
            self._reported(at_s, record)
        elif isinstance(record, VenueRequested):
            self._requested(at_s, record)
        elif isinstance(record, PositionUpdated):
            self._count("quantum_position_updates_total")
        elif isinstance(record, SAFETY_TYPES):
            self._standing(record)

    def _standing(self, record: EquityMarked | GovernorLevelChanged | FlashCrashDetected) -> None:
        """An account's drawdown when safety told it last, and how often what was told."""
        account = record.partitionkey
        self._drawdowns[account] = float(record.data.drawdown_pct)
        if isinstance(record, FlashCrashDetected):
            self._count("quantum_flash_crashes_total")
            if Decimal(record.data.lag_s) > LAG_MAX_S:
                self._count("quantum_flash_crashes_late_total")
                logger.critical("%s: %s", account, record.data.sentence)
        if record.data.level != record.data.before:
            self._count("quantum_governor_changes_total", record.data.level)

    def _judged(self, at_s: float, record: SignalJudged) -> None:
        for verdict in record.data.items:
            approved = verdict.verdict == "approved"
            self._count("quantum_signals_total")
            if approved:
                self._count("quantum_signals_approved_total")
            else:
                self._count("quantum_signals_rejected_total", str(verdict.reason or "UNKNOWN"))
            self._confidence += float(verdict.confidence)
            if not self._rates or at_s - self._rates[-1][0] >= RATE_STEP_S:
                self._rates.append([at_s, 0, 0])
            self._rates[-1][1] += 1
            self._rates[-1][2] += approved

    def _decided(self, record: OrderDecided) -> None:
        for item in record.data.items:
            if isinstance(item, Order):
                self._count("quantum_orders_total", item.purpose)
            elif isinstance(item, Dropped):
                self._count("quantum_orders_dropped_total", item.why)
            elif isinstance(item, Cancel):
                self._count("quantum_cancels_total", item.why)

    def _requested(self, at_s: float, record: VenueRequested) -> None:
        request = record.data.request
        if isinstance(request, Place):
            self._sent.setdefault(request.client_order_id, at_s)
            while len(self._sent) > WAITING_MAX:
                del self._sent[next(iter(self._sent))]

    def _reported(self, at_s: float, record: ExecutionReported) -> None:
        for item in record.data.items:
            if isinstance(item, Unknown):
                self._count("quantum_unknown_orders_total")
            if not isinstance(item, Accepted | Filled | Ended):
                continue
            sent_s = self._sent.pop(item.client_order_id or "", None)
            if sent_s is not None:
                self.latency.observe(at_s - sent_s)
            if isinstance(item, Filled):
                self._filled(item)
            elif isinstance(item, Ended):
                self._count("quantum_order_ends_total", item.status)
                self._ended += 1
                self._traded += Decimal(item.filled_quantity) > 0

    def _filled(self, fill: Filled) -> None:
        self._count("quantum_fills_total", fill.liquidity)
        reference, price = Decimal(fill.reference), Decimal(fill.price)
        signed = price - reference if fill.side == "BUY" else reference - price
        slippage = float(signed / reference * 100)
        first = self._fills() == 1
        self._slippage += slippage
        self._slippage_max = slippage if first else max(self._slippage_max, slippage)
        paid = self._fees.get(fill.fee_asset, 0.0)
        self._fees[fill.fee_asset] = paid + float(fill.fee)

    def _fills(self) -> int:
        return sum(self._counts.get("quantum_fills_total", Counter()).values())

    # ------------------------------------------------------------------ reading

    def samples(self) -> Samples:
        """What is known now, by metric; averages are missing before there is anything."""
        made: Samples = {n: {k: float(v) for k, v in c.items()} for n, c in self._counts.items()}
        begins = {
            "signals": ("quantum_signals_published_total",),
            "risk": ("quantum_signals_total", "quantum_signals_approved_total"),
            "gateway": ("quantum_unknown_orders_total",),
            "positions": ("quantum_position_updates_total",),
            "safety": ("quantum_flash_crashes_total", "quantum_flash_crashes_late_total"),
        }
        for name in begins.get(self.processor, ()):
            made.setdefault(name, {(): 0.0})
        answered = made.get("quantum_signals_total", {}).get((), 0.0)
        if answered:
            made["quantum_signal_confidence_average"] = {(): self._confidence / answered}
        rate = self._approval_rate()
        if rate is not None:
            made["quantum_approval_rate"] = {(): rate}
        if self._ended:
            made["quantum_fill_rate"] = {(): self._traded / self._ended}
        if fills := self._fills():
            made["quantum_slippage_percent_average"] = {(): self._slippage / fills}
            made["quantum_slippage_percent_max"] = {(): self._slippage_max}
            made["quantum_fees"] = {(asset,): paid for asset, paid in self._fees.items()}
        if self._drawdowns:
            made["quantum_drawdown_percent"] = {(n,): v for n, v in self._drawdowns.items()}
        return made

    def histograms(self) -> dict[str, Histogram]:
        """Distributions, by metric."""
        own = {LATENCY: self.latency} if self.processor == "gateway" else {}
        return {CONTROL_AGE: self.control, **own}

    def _approval_rate(self) -> float | None:
        since = time.monotonic() - RATE_WINDOW_S
        while self._rates and self._rates[0][0] < since:
            self._rates.popleft()
        answered = sum(step[1] for step in self._rates)
        return sum(step[2] for step in self._rates) / answered if answered else None
