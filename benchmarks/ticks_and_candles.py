"""One day run as single trades and as the candles built from them: how the fills differ.

    python -m benchmarks.ticks_and_candles FILE… [--json]

The same intents go into both runs, so each trade has its twin. Every ten minutes an entry at market
with its own stop 0.4 % and target 0.6 % away, sides in turn; in a second pair of runs an entry at a
limit 0.1 % better than the last close, for four minutes. What is left five minutes after its entry
is closed at market. No time-outs at the venue. Prints the table of docs/ticks.md: what the candle
model gets wrong.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from domain.sizing import ceiled, floored
from domain.venue_faults import NO_FAULTS
from gateways.candles import Candles, exact
from gateways.feed_records import Scripted, stamp
from gateways.instrument_files import instruments_for
from gateways.ticks import Ticks, read_ticks
from replay.backtest import Backtest, Result, run
from schemas.envelope import Envelope
from schemas.ids import natural_id, part_id
from schemas.market import Instrument
from schemas.positions import PositionUpdated, TradeClosedItem
from schemas.scalars import dec, micros, text
from schemas.topics import INTENT
from schemas.trade import (
    ExecutionReported,
    Filled,
    Intent,
    IntentData,
    IntentPublished,
    Order,
    OrderDecided,
    Side,
    SignalJudged,
)

ACCOUNT = "backtest"
EVERY_MINUTES = 10
STOP_PCT, TARGET_PCT, LIMIT_PCT = Decimal("0.4"), Decimal("0.6"), Decimal("0.1")
POLICY: dict[str, Any] = {
    "cooldown_s": 0,
    "max_trades_per_hour": 1000,
    "max_time_in_trade_s": 300,
    "limit_expiry_s": 240,
}
BP = Decimal(10_000)
Kind = Literal["market", "limit"]


@dataclass(slots=True)
class Outcome:
    """What became of one intent. Prices in USDT, times in microseconds."""

    side: Side
    asked: Decimal = Decimal(0)
    filled: Decimal = Decimal(0)
    entry: Decimal | None = None
    entered_us: int = 0
    exit: Decimal | None = None
    exit_by: str = ""
    net: Decimal = Decimal(0)


def intents(candles: Candles, table: Instrument, kind: Kind) -> Iterator[Scripted]:
    """One every ten minutes, from the eleventh minute to an hour before the end of the file."""
    tick = dec(table.tick)
    for row in range(EVERY_MINUTES, len(candles) - 60, EVERY_MINUTES):
        at = stamp(int(candles.ts_ms[row]) + 60_000)
        side: Side = "BUY" if row // EVERY_MINUTES % 2 else "SELL"
        sign, close = (1 if side == "BUY" else -1), exact(float(candles.close[row]))
        entry = close * (1 - sign * LIMIT_PCT / 100) if kind == "limit" else close
        nearer, further = (floored, ceiled) if side == "BUY" else (ceiled, floored)
        entry = nearer(entry, tick)
        identity = natural_id("ticks and candles", kind, at)
        intent = Intent(
            id=part_id(identity, 0),
            symbol=candles.symbol,
            side=side,
            confidence="1",
            origin="twin",
            limit_price=text(entry) if kind == "limit" else None,
            stop_price=text(nearer(entry * (1 - sign * STOP_PCT / 100), tick)),
            target_price=text(further(entry * (1 + sign * TARGET_PCT / 100), tick)),
            label=at,
        )
        event = IntentPublished(
            id=identity,
            source="/benchmark",
            subject=f"{ACCOUNT}/{candles.symbol}",
            time=at,
            partitionkey=ACCOUNT,
            data=IntentData(items=(intent,)),
        )
        yield Scripted(at, INTENT.name, event)


class _Outcomes:
    """A fold of a run's records: what became of each approved intent, by its label."""

    def __init__(self) -> None:
        self.found: dict[str, Outcome] = {}
        self._label_of: dict[str, str] = {}
        """Of verdicts, then of entry orders, then of trades (the id of the fill that opened it)."""
        self._purpose: dict[str, str] = {}

    def fold(self, event: Envelope) -> None:
        if isinstance(event, SignalJudged):
            for verdict in event.data.items:
                if verdict.plan is not None and verdict.kind == "entry":
                    label = self._label_of[verdict.id] = verdict.label or ""
                    self.found[label] = Outcome(verdict.side, dec(verdict.plan.quantity))
        elif isinstance(event, OrderDecided):
            for order in event.data.items:
                if isinstance(order, Order):
                    self._purpose[order.id] = order.purpose
                    if order.request_id in self._label_of:
                        self._label_of[order.id] = self._label_of[order.request_id]
        elif isinstance(event, ExecutionReported):
            for fill in event.data.items:
                if isinstance(fill, Filled) and fill.order_id in self._label_of:
                    self._filled(fill, self._label_of[fill.order_id])
        elif isinstance(event, PositionUpdated):
            for item in event.data.items:
                if isinstance(item, TradeClosedItem) and item.trade_id in self._label_of:
                    self._closed(item, self.found[self._label_of[item.trade_id]])

    def _filled(self, fill: Filled, label: str) -> None:
        self._label_of[fill.id] = label
        one = self.found[label]
        one.entered_us = one.entered_us or micros(fill.filled_at)
        one.filled += dec(fill.quantity)

    def _closed(self, item: TradeClosedItem, one: Outcome) -> None:
        one.entry, one.exit = dec(item.entry_average), dec(item.exit_average)
        one.net = dec(item.net)
        one.exit_by = self._purpose.get(item.exit_order_id or "", "liquidation")


def outcomes(result: Result) -> dict[str, Outcome]:
    """By label of the intent: the approved ones."""
    fold = _Outcomes()
    for stored in result.records:
        fold.fold(stored.event)
    return fold.found


def compare(ticks: Ticks, kind: Kind) -> dict[str, Any]:
    """Both runs of a file, and their difference as figures."""
    at = stamp(int(ticks.candles.ts_ms[0]))
    (table,) = instruments_for([ticks.candles], at=at, assume=True)
    begin = datetime.fromtimestamp(int(ticks.candles.ts_ms[0]) / 1000, UTC)
    common: dict[str, Any] = {
        "start": begin,
        "instruments": (table,),
        "policy": POLICY,
        "strategy": None,
        "script": tuple(intents(ticks.candles, table, kind)),
        "faults": NO_FAULTS,
    }
    began = perf_counter()
    tick_run = run(Backtest(ticks=(ticks,), **common))
    seconds = perf_counter() - began
    candle_run = run(Backtest(candles=(ticks.candles,), path="full", **common))
    return {
        "symbol": ticks.symbol,
        "kind": kind,
        "trades_in_file": ticks.rows,
        "candles": len(ticks.candles),
        "intents": len(common["script"]),
        "seconds_ticks": round(seconds, 2),
        **_figures(outcomes(tick_run), outcomes(candle_run)),
    }


def _figures(ticks: dict[str, Outcome], candles: dict[str, Outcome]) -> dict[str, Any]:
    pairs = [(ticks[label], candles[label]) for label in ticks if label in candles]
    both = [(t, c) for t, c in pairs if t.entry and c.entry]
    better = [
        BP * (1 if t.side == "BUY" else -1) * (t.entry - c.entry) / t.entry
        for t, c in both
        if t.entry and c.entry
    ]
    alike = [(t, c) for t, c in both if t.exit_by == c.exit_by]
    left = [
        BP * (-1 if t.side == "BUY" else 1) * (t.exit - c.exit) / t.exit
        for t, c in alike
        if t.exit and c.exit
    ]
    later = [Decimal(c.entered_us - t.entered_us) / 1_000_000 for t, c in both]
    return {
        "approved_ticks": len(ticks),
        "approved_candles": len(candles),
        "filled_both": len(both),
        "filled_ticks_only": sum(bool(t.entry) and not c.entry for t, c in pairs),
        "filled_candles_only": sum(bool(c.entry) and not t.entry for t, c in pairs),
        "quantity_filled_pct_ticks": _share([t for t, _ in pairs]),
        "quantity_filled_pct_candles": _share([c for _, c in pairs]),
        "entry_better_on_candles_bp_mean": _mean(better),
        "entry_apart_bp_mean": _mean([abs(b) for b in better]),
        "entry_later_on_candles_s_mean": _mean(later),
        "same_exit": len(alike),
        "exit_better_on_candles_bp_mean": _mean(left),
        "exit_apart_bp_mean": _mean([abs(b) for b in left]),
        "exits_ticks": dict(sorted(Counter(t.exit_by for t, _ in both).items())),
        "exits_candles": dict(sorted(Counter(c.exit_by for _, c in both).items())),
        "net_ticks": text(round(sum((t.net for t in ticks.values()), Decimal(0)), 2)),
        "net_candles": text(round(sum((c.net for c in candles.values()), Decimal(0)), 2)),
    }


def _mean(values: Sequence[Decimal]) -> float | None:
    return round(float(sum(values) / len(values)), 2) if values else None


def _share(of: Sequence[Outcome]) -> float | None:
    asked = sum((one.asked for one in of), Decimal(0))
    return (
        round(float(100 * sum((one.filled for one in of), Decimal(0)) / asked), 1) if of else None
    )


ROWS = (
    ("intents", "intents"),
    ("approved: ticks / candles", "{approved_ticks} / {approved_candles}"),
    ("filled in both", "filled_both"),
    ("filled on ticks only / on candles only", "{filled_ticks_only} / {filled_candles_only}"),
    (
        "quantity filled, %: ticks / candles",
        "{quantity_filled_pct_ticks} / {quantity_filled_pct_candles}",
    ),
    ("entry better on candles, bp, mean", "entry_better_on_candles_bp_mean"),
    ("entries apart, bp, mean", "entry_apart_bp_mean"),
    ("entry later on candles, s, mean", "entry_later_on_candles_s_mean"),
    ("same exit, of those filled in both", "same_exit"),
    ("exit better on candles, bp, mean", "exit_better_on_candles_bp_mean"),
    ("exits apart, bp, mean", "exit_apart_bp_mean"),
    ("exits on ticks", "exits_ticks"),
    ("exits on candles", "exits_candles"),
    ("net P&L, USDT: ticks / candles", "{net_ticks} / {net_candles}"),
)


def table(figures: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, a column for each pair of runs."""
    heads = [f"{f['symbol']}, {f['kind']}" for f in figures]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for name, what in ROWS:
        cells = []
        for one in figures:
            value = what.format(**one) if "{" in what else one[what]
            if isinstance(value, dict):
                value = ", ".join(f"{key} {count}" for key, count in value.items())
            cells.append("-" if value is None else str(value))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Paths of trade files, and `--json`."""
    paths = [Path(a) for a in arguments if not a.startswith("--")]
    if not paths:
        print("give at least one file of trades", file=sys.stderr)
        return 2
    kinds: tuple[Kind, ...] = ("market", "limit")
    figures = [compare(read_ticks(path), kind) for path in paths for kind in kinds]
    print(json.dumps(figures, indent=1) if "--json" in arguments else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
