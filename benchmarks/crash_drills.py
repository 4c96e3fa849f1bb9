"""Crash drills on real prices: the table of docs/safety.md as JSON.

``python -m benchmarks.crash_drills [--every HOURS] [--hours N]``: a forced book of 1.0, 1.5 and 3
times equity, long, no stops, begun every few hours of the crash weeks (16-22 May 2021, 11-19 June
2022) and of a calm month (July 2023), each held for up to N hours or until its breaker tripped; and
the strategies as they ship. Event time only: the figures do not depend on the machine.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from commands.bench_machine import machine
from domain.strategies.book import book_policy, parse_book
from gateways.candles import Candles, read_candles
from replay.backtest import Backtest, complete, run
from replay.drills import Drill, days_with_flash, drill, table_row
from runtime.settings import ROOT

SPANS = {
    "May 2021": ("20210516-20210522", "2021-05-17", "2021-05-23"),
    "June 2022": ("20220611-20220619", "2022-06-12", "2022-06-20"),
    "July 2023": ("20230701-20230731", "2023-07-02", "2023-08-01"),
}
"""Files, first day and end of each span; the day before is warm-up."""
CALM = "July 2023"
BOOKS = ("long:1.0", "long:1.5", "long:3")
STRATEGIES = ("baseline", "donchian")
EQUITY = Decimal(10_000)
FALL_PCT, FALL_MINUTES = 3.0, 5
"""A day counts as calm when no symbol fell this far within this time."""


def files(days: str) -> tuple[Candles, ...]:
    """Both symbols of one span."""
    market = ROOT / "data" / "market"
    return tuple(read_candles(market / f"{s}-1m-{days}.parquet") for s in ("BTCUSDT", "ETHUSDT"))


def one(plan: Backtest) -> Drill:
    """Run one start and read its drill."""
    result = run(plan)
    assert result.backtest.start is not None
    start = f"{result.backtest.start:%Y-%m-%dT%H:%M:%S.%f}Z"
    return drill(
        (s.event for s in result.records), start=start, gross_pct=result.curve.max_gross_pct
    )


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def starts(first: datetime, last: datetime, every: timedelta) -> Iterator[datetime]:
    at = first
    while at + timedelta(hours=6) <= last:
        yield at
        at += every


def falling_days(candles: tuple[Candles, ...]) -> set[str]:
    """Days on which a symbol fell by 3 % within five minutes, from high to low."""
    found: set[str] = set()
    for each in candles:
        high = each.high.copy()
        for back in range(1, FALL_MINUTES):
            np.maximum(high[back:], each.high[:-back], out=high[back:])
        rows = np.flatnonzero(100 * (1 - each.low / high) >= FALL_PCT)
        found |= {f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d}" for ms in each.ts_ms[rows]}
    return found


def line(row: dict[str, Any]) -> str:
    """A row as docs/safety.md shows it."""
    counted = row["starts"] - row["vacuous"]
    starts = f"{row['starts']} ({row['vacuous']} vacuous)" if row["vacuous"] else f"{counted}"
    cells = (
        row["span"],
        row["book"],
        starts,
        f"{row['gross_max_pct']:.0f} %",
        f"{row['tripped']} of {counted}",
        _pct(row["trip_median_pct"]),
        f"{_pct(row['flat_median_pct'])}, {_pct(row['flat_worst_pct'])}",
        row["past_11"],
        row["past_11"] - row["past_11_unexplained"],
        row["flashes"],
        f"{row['flash_lag_max_s']:.0f} s",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _pct(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"


def measured(every_h: float, hours: float) -> dict[str, Any]:
    """All drills, a row a span and book; the strategies as they ship."""
    rows: list[dict[str, Any]] = []
    calm: dict[str, Any] = {}
    for name, (days, begins, ends) in SPANS.items():
        first, last = day(begins), day(ends)
        candles = files(days)
        for asked in BOOKS:
            book = parse_book(asked)
            policy = dict(book_policy(book, EQUITY))
            base = complete(
                Backtest(
                    candles=candles,
                    strategy=book.strategy,
                    policy=policy,
                    start=first,
                    end=last,
                    warm_up_h=24,
                )
            )
            done = [
                one(replace(base, start=at, end=min(at + timedelta(hours=hours), last)))
                for at in starts(first, last, timedelta(hours=every_h))
            ]
            rows.append({"span": name, **table_row(asked, done)})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            if name == CALM:
                held = {d.start[:10] for d in done if not d.is_vacuous}
                quiet = held - falling_days(candles)
                wrong = days_with_flash(done) & quiet
                calm[asked] = {"days": len(quiet), "with_detection": sorted(wrong)}
        for strategy in STRATEGIES:
            done = [one(Backtest(candles=candles, strategy=strategy, start=first, end=last))]
            rows.append({"span": name, **table_row(strategy, done)})
    return {"rows": rows, "false_positives": calm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=float, default=1.0, help="hours from start to start")
    parser.add_argument("--hours", type=float, default=24.0, help="longest time a book is held")
    asked = parser.parse_args()
    began = time.perf_counter()
    found = measured(asked.every, asked.hours)
    seconds = round(time.perf_counter() - began, 1)
    print(json.dumps({**found, "seconds": seconds, "every_h": asked.every, "machine": machine()}))


if __name__ == "__main__":
    main()
