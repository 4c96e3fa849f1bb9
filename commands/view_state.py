"""What the live view knows: a fold of raw messages that decodes no more than it must.

Prices come often and are shown seldom: of those only the newest is kept, and decoded when a frame
is drawn. Clock ticks and the simulated venue's talk are only counted.
"""

import re
from collections import deque

from commands.lag import ProgressBoard
from replay.summary import Summary
from schemas.codec import RecordError, decode, decode_request
from schemas.envelope import Envelope
from schemas.halting import HaltNoted
from schemas.market import CandlesClosed
from schemas.positions import PositionUpdated, TradeClosedItem
from schemas.scalars import dec, micros
from schemas.topics import CLOCK, PROGRESS, TOPICS, VENUE_REPORT, VENUE_REQUEST
from schemas.validity import SequenceGap, Validity

COUNTED = frozenset((CLOCK.name, VENUE_REQUEST.name, VENUE_REPORT.name))
PRICES = b"market.prices.observed.v1"
_TYPE = re.compile(rb'"type":"([^"]{1,80})"')
_PROCESS = re.compile(rb'"worker":"([^"]{1,64})","incarnation":"([^"]{1,64})"')
_FULL = b'"full":true'
HEAD = 400
CURVE_MINUTES = 15
RATE_S = 3.0


class ViewState:
    """Fold messages in with :meth:`take`, then :meth:`settle` before a frame is drawn."""

    def __init__(self) -> None:
        self.summary = Summary()
        self.board = ProgressBoard()
        self.ends: dict[str, int] = {}
        self.records = 0
        self.undecodable = 0
        self.news: deque[str] = deque(maxlen=200)
        """Lines about trades, emergencies and refused commands, for a view without a terminal."""
        self.closes: dict[str, deque[float]] = {}
        """Closes of every 15th minute of each symbol, for a sparkline."""
        self._validity: dict[str, Validity] = {}
        self._reports: dict[tuple[bytes, ...], list[tuple[bytes, int]]] = {}
        self._price: bytes | None = None
        self._rates: deque[tuple[float, int, int]] = deque()

    def take(self, key: str, offset: int, at_ms: int, raw: bytes | None) -> None:
        """Fold one message of ``topic/partition``."""
        topic = key.rpartition("/")[0]
        self.ends[key] = offset + 1
        if topic == PROGRESS.name:
            self._reported(raw or b"", at_ms)
            return
        self.records += 1
        if topic in COUNTED or raw is None:
            return
        found = _TYPE.search(raw[:HEAD])
        if found and found[1] == PRICES and self.summary.started:
            self._price = raw
            return
        event = self._decoded(key, offset, raw)
        if event is not None and self._admitted(key, event):
            self._fold(event)

    def _reported(self, raw: bytes, at_ms: int) -> None:
        """Keep a worker's reports since its last full one; they are read when a frame is drawn."""
        if found := _PROCESS.search(raw[:160]):
            kept = self._reports.setdefault(found.groups(), [])
            if _FULL in raw[:160]:
                kept.clear()
            kept.append((raw, at_ms))

    def _decoded(self, key: str, offset: int, raw: bytes) -> Envelope | None:
        topic, _, partition = key.rpartition("/")
        try:
            if TOPICS[topic].people:
                return decode_request(raw, topic=topic, partition=int(partition), offset=offset)
            return decode(raw)
        except RecordError:
            self.undecodable += 1
            return None

    def _admitted(self, key: str, event: Envelope) -> bool:
        try:
            return self._validity.setdefault(key, Validity()).admit(event)
        except SequenceGap as gap:
            self.news.append(f"ALARM {gap}")
            return False

    def _fold(self, event: Envelope) -> None:
        self.summary.fold(event)
        if isinstance(event, CandlesClosed):
            self._candles(event)
        elif isinstance(event, PositionUpdated):
            for item in event.data.items:
                if isinstance(item, TradeClosedItem):
                    self.news.append(_closed(event, item))
        elif isinstance(event, HaltNoted):
            said = f"halt ({event.data.mode}) by {event.data.operator}: {event.data.reason}"
            self.news.append(f"{event.subject} {event.data.state}: {said}")
        elif event.type.startswith(("emergency.", "command.rejected", "halt.")) or (
            event.type == "worker.failed.v1"
        ):
            moment = event.time[:16].replace("T", " ")
            self.news.append(f"{moment} {event.partitionkey} {event.type}")

    def _candles(self, event: CandlesClosed) -> None:
        minute = int(event.time[14:16])
        if minute % CURVE_MINUTES == 0:
            for item in event.data.items:
                curve = self.closes.setdefault(item.symbol, deque(maxlen=96))
                curve.append(float(item.close))

    def settle(self, wall_s: float) -> None:
        """Decode the newest price and note the rates; `wall_s`: a monotonic time."""
        if self._price is not None:
            self.summary.fold(decode(self._price))
            self._price = None
        for kept in self._reports.values():
            for raw, at_ms in kept:
                self.board.take(raw, at_ms)
            kept.clear()
        event_us = micros(self.summary.time)
        self._rates.append((wall_s, event_us, self.records))
        while len(self._rates) > 2 and wall_s - self._rates[0][0] > RATE_S:
            self._rates.popleft()

    def rates(self) -> tuple[float, float]:
        """(event seconds a second, records a second) over the last seconds."""
        if len(self._rates) < 2:
            return 0.0, 0.0
        (wall_a, event_a, count_a), (wall_b, event_b, count_b) = self._rates[0], self._rates[-1]
        took = max(wall_b - wall_a, 0.001)
        jumped = event_b - event_a > 86_400_000_000  # out of 1970, at the first record
        speed = 0.0 if jumped else (event_b - event_a) / 1e6 / took
        return speed, (count_b - count_a) / took

    def lag(self) -> dict[str, int]:
        """Records behind, by processor, against what this view has read."""
        return self.board.lag(self.ends)


def _closed(event: PositionUpdated, item: TradeClosedItem) -> str:
    side = "LONG" if item.side == "BUY" else "SHORT"
    moment = event.time[:16].replace("T", " ")
    prices = f"{dec(item.entry_average):.2f} -> {dec(item.exit_average):.2f}"
    what = f"{side} {item.quantity_max} {item.symbol} {prices}, net {dec(item.net):+.2f}"
    return f"{moment} {event.partitionkey} closed {what}"


WATCHED = tuple(name for name in TOPICS if not name.startswith("dlq."))
