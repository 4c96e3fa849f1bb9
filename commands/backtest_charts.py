"""The charts of a backtest's page: equity and drawdown, trades on price, exposure, results in R."""

from decimal import Decimal
from html import escape

import numpy as np

from commands.backtest_svg import Box, Floats, Ints, Plot, both, stepped, thinned
from gateways.candles import Candles
from replay.report import Report
from replay.report_trades import TradeRow

RIGHT = 12
MARKERS_MAX = 100
"""More trades than these in one picture hide one another and the price (on a phone first): their
net is drawn as bars instead."""
STEPS_MAX = 600
"""More changes of exposure than these are drawn as means of stretches."""
HELD_ROOM = 5
"""Buy and hold may take so many times the height of equity; beyond that it is not drawn."""
HISTOGRAM_R = (-3.0, 5.0)
BIN_R = 0.5


def price(value: str | float | Decimal | None) -> str:
    """A price for people, to eight digits and never with an exponent."""
    return "–" if value is None else f"{Decimal(f'{float(value):.8g}'):,f}"


def equity_chart(report: Report) -> str:
    """Equity above, drawdown below, over the same time; buy and hold beside it."""
    curve = report.result.curve
    start = float(report.figures["start_equity"])
    times, equity = _clipped(report, curve.time_us, curve.equity)
    _, nav = _clipped(report, curve.time_us, curve.nav)
    drawdown = -100 * (1 - nav / np.maximum.accumulate(nav)) if len(nav) else nav
    held_times, held = _buy_and_hold(report, start)
    if not _fits(equity, held, start):
        held_times, held = held_times[:0], held[:0]

    def draw(size: str, width: int) -> tuple[int, str]:
        wide = size == "wide"
        upper, lower = (240, 90) if wide else (170, 70)
        low, high = _span(equity, held, start)
        left = _left(size, _money(low), _money(high))
        pad = (high - low or abs(start) * 0.01) * 0.06
        top = Plot(Box(left, 10, width - RIGHT, 10 + upper), report.start_us, report.end_us,
                   low - pad, high + pad)  # fmt: skip
        base = 10 + upper + 22
        deepest = min(float(drawdown.min()) if len(drawdown) else 0.0, -0.1)
        below = Plot(Box(left, base, width - RIGHT, base + lower), report.start_us, report.end_us,
                     deepest * 1.05, 0.0)  # fmt: skip
        pixels = int(width - left)
        xs, ys = thinned(times, equity, pixels)
        dx, dy = thinned(times, drawdown, pixels)
        hx, hy = thinned(held_times, held, pixels)
        inside = "".join(
            (
                top.times(size, labels=False), top.grid(_money, 5),
                _base(top, start),
                top.line(hx, hy, "held") if len(held) else "",
                top.line(xs, ys, "equity"),
                below.times(size), below.grid(lambda v: f"{v:.3g} %", 2),
                below.area(dx, dy, "loss-area"), below.line(dx, dy, "loss-line"),
            )
        )  # fmt: skip
        return base + lower + 26, inside

    return both(draw, "Equity in USDT, and drawdown of NAV in percent, over time")


def held_is_drawn(report: Report) -> bool:
    """Whether buy and hold fits into the picture of equity without flattening it."""
    start, curve = float(report.figures["start_equity"]), report.result.curve
    _, equity = _clipped(report, curve.time_us, curve.equity)
    return _fits(equity, _buy_and_hold(report, start)[1], start)


def trades_chart(report: Report, candles: Candles) -> str:
    """Price of one symbol with its trades: entry, exit, coloured by their net result."""
    rows = [row for row in report.trades if row.symbol == candles.symbol]
    first, last = report.start_us // 1000, report.end_us // 1000
    inside = (candles.ts_ms >= first) & (candles.ts_ms < last)
    stamps = candles.ts_ms[inside] * 1000
    high, low, close = candles.high[inside], candles.low[inside], candles.close[inside]

    def draw(size: str, width: int) -> tuple[int, str]:
        height = 300 if size == "wide" else 210
        if not len(stamps):
            return 40, ""
        left = _left(size, _price(float(high.max())), *(_money(float(row.net)) for row in rows))
        bottom, top = float(low.min()), float(high.max())
        pad = (top - bottom or top * 0.01) * 0.04
        box = Box(left, 10, width - RIGHT, 10 + height)
        plot = Plot(box, report.start_us, report.end_us, bottom - pad, top + pad)
        many = many_trades(rows)
        pixels = (width - left) // 2
        xs, ys = thinned(stamps + 60_000_000, close, pixels)
        picture = [
            plot.times(size, labels=not many),
            plot.grid(_price),
            _band(plot, stamps, high, low, pixels),
            plot.line(xs, ys, "price"),
        ]
        if not many:
            return 10 + height + 26, "".join([*picture, *(_trade(plot, row) for row in rows)])
        base = 10 + height + 16
        below = Plot(box._replace(top=base, bottom=base + 80), report.start_us, report.end_us, 0, 1)
        return base + 80 + 26, "".join([*picture, _net_bars(below, rows, size)])

    return both(draw, f"Price of {candles.symbol} with {len(rows)} trades")


def many_trades(rows: list[TradeRow]) -> bool:
    """Whether one symbol's trades are too many to be drawn one by one."""
    return len(rows) > MARKERS_MAX


def _net_bars(plot: Plot, rows: list[TradeRow], size: str) -> str:
    """Net of the trades closed in each stretch, as bars around zero."""
    count = 120 if size == "wide" else 48
    edges = np.linspace(plot.x_low, plot.x_high, count + 1)
    closed = np.array([row.closed_us for row in rows], dtype=np.float64)
    net = np.array([float(row.net) for row in rows])
    sums, _ = np.histogram(closed, bins=edges, weights=net)
    most = float(abs(sums).max()) or 1.0
    scaled = Plot(plot.box, plot.x_low, plot.x_high, -most, most)
    zero = scaled.y(0)
    parts = [scaled.times(size), scaled.grid(_money, 4)]
    for n, value in enumerate(sums):
        if value:
            x, y = scaled.x(edges[n]), scaled.y(value)
            parts.append(
                f'<rect class="{"gain" if value > 0 else "loss"}-bar" x="{x + 0.5:.1f}" '
                f'y="{min(y, zero):.1f}" width="{scaled.x(edges[n + 1]) - x - 1:.1f}" '
                f'height="{abs(y - zero):.1f}"><title>net {value:+,.2f}</title></rect>'
            )
    return "".join(parts)


def exposure_chart(report: Report) -> str:
    """Gross notional in percent of equity over time."""
    curve = report.result.curve
    times, gross = _clipped(report, curve.time_us, curve.gross)
    _, equity = _clipped(report, curve.time_us, curve.equity)
    share = 100 * np.divide(gross, equity, out=np.zeros(len(gross)), where=equity > 0)
    if len(times):
        times, share = np.append(times, report.end_us), np.append(share, share[-1])

    def draw(size: str, width: int) -> tuple[int, str]:
        left, height = (72, 130) if size == "wide" else (58, 100)
        top = max(float(share.max()) if len(share) else 0.0, 1.0) * 1.08
        box = Box(left, 10, width - RIGHT, 10 + height)
        plot = Plot(box, report.start_us, report.end_us, 0.0, top)
        xs, ys = times.tolist(), share.tolist()
        if len(xs) > STEPS_MAX:
            xs, ys = _means(times, share, (width - left) // 4)
        xs, ys = stepped(xs, ys)
        picture = (
            plot.times(size)
            + plot.grid(lambda v: f"{v:.0f} %", 3)
            + plot.area(xs, ys, "gross-area")
            + plot.line(xs, ys, "gross-line")
        )
        return 10 + height + 26, picture

    return both(draw, "Gross exposure in percent of equity over time")


def results_chart(rows: list[TradeRow]) -> str:
    """How many trades ended with which result, in multiples of the approved risk."""
    counts = _histogram([row.r for row in rows if row.r is not None])
    low, high = HISTOGRAM_R
    left, height, width = 36, 150, 460
    box = Box(left, 12, width - RIGHT, 12 + height)
    plot = Plot(box, low, high, 0.0, max(counts, default=0) or 1)
    parts = [plot.grid(lambda v: f"{v:.0f}" if v == int(v) else "", 3)]
    for n, count in enumerate(counts):
        begin = low + n * BIN_R
        x, wide, y = plot.x(begin), plot.x(begin + BIN_R) - plot.x(begin), plot.y(count)
        kind = "gain-bar" if begin >= 0 else "loss-bar"
        if count:
            parts.append(
                f'<rect class="{kind}" x="{x + 1:.1f}" y="{y:.1f}" width="{wide - 2:.1f}" '
                f'height="{box.bottom - y:.1f}"><title>{count} trades from {begin:+.1f} '
                f"to {begin + BIN_R:+.1f} R</title></rect>"
            )
    for whole in range(int(low), int(high) + 1):
        words = f"≤ {whole}" if whole == low else f"≥ {whole}" if whole == high else str(whole)
        parts.append(
            f'<text class="tick" x="{plot.x(whole):.1f}" y="{box.bottom + 17}" '
            f'text-anchor="{"end" if whole == high else "middle"}">{escape(words)}</text>'
        )
    return (
        f'<svg class="half" viewBox="0 0 {width} {12 + height + 26}" role="img" '
        f'aria-label="Closed trades by net result in R">{"".join(parts)}</svg>'
    )


def _histogram(multiples: list[float]) -> list[int]:
    """Counts in bins of :data:`BIN_R`; the outer bins hold what lies beyond."""
    low, high = HISTOGRAM_R
    counts = [0] * int((high - low) / BIN_R)
    for r in multiples:
        counts[min(max(int((r - low) // BIN_R), 0), len(counts) - 1)] += 1
    return counts


# ---------------------------------------------------------------------- parts


def _means(times: Ints, values: Floats, count: int) -> tuple[list[float], list[float]]:
    """Time-weighted means of `count` equal stretches, at the beginning of each."""
    edges = np.linspace(float(times[0]), float(times[-1]), count + 1)
    summed = np.concatenate(([0.0], np.cumsum(values[:-1] * np.diff(times))))
    means = np.diff(np.interp(edges, times, summed)) / np.diff(edges)
    return edges.tolist(), [*means.tolist(), float(means[-1])]


def _trade(plot: Plot, row: TradeRow) -> str:
    kind = "won" if row.net > 0 else "lost"
    x1, y1 = plot.x(row.opened_us), plot.y(float(row.entry))
    x2, y2 = plot.x(row.closed_us), plot.y(float(row.exit))
    line = f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
    up = row.side == "LONG"
    tip, foot = (y1 + 3, y1 + 11) if up else (y1 - 3, y1 - 11)
    mark = f'<path class="{kind}" d="M{x1:.1f} {tip:.1f}L{x1 - 5:.1f} {foot:.1f}h10z"/>'
    end = f'<circle class="{kind}" cx="{x2:.1f}" cy="{y2:.1f}" r="3"/>'
    r = "" if row.r is None else f" ({row.r:+.2f} R)"
    words = (
        f"{row.side} {row.quantity} {row.symbol}: {price(row.entry)} to {price(row.exit)}, net "
        f"{row.net:+,.2f}{r}, by {row.exit_kind}, {row.opened_at[:16]} to {row.closed_at[:16]}"
    )
    return f"<g><title>{escape(words)}</title>{line}{mark}{end}</g>"


def _band(plot: Plot, stamps: Ints, high: Floats, low: Floats, pixels: int) -> str:
    """Highest and lowest price of each stretch as one surface."""
    edges = np.linspace(0, len(stamps), min(pixels, len(stamps)) + 1).astype(np.int64)[:-1]
    highs, lows = np.maximum.reduceat(high, edges), np.minimum.reduceat(low, edges)
    xs = stamps[edges].astype(np.float64)
    return (
        f'<polygon class="band" points="{plot.points(xs, highs)} '
        f'{plot.points(xs[::-1], lows[::-1])}"/>'
    )


def _buy_and_hold(report: Report, start: float) -> tuple[Ints, Floats]:
    """Start equity in equal parts of every symbol, at hours; gaps keep the last close."""
    hours = np.arange(report.start_us, report.end_us + 1, 3_600_000_000, dtype=np.int64)
    total = np.zeros(len(hours))
    candles = report.result.backtest.candles
    for each in candles:
        closes = (each.ts_ms + 60_000) * 1000
        begin = int(np.searchsorted(each.ts_ms * 1000, report.start_us))
        if begin >= len(each):
            return hours[:0], total[:0]
        at = np.searchsorted(closes, hours, side="right") - 1
        price = np.where(at >= begin, each.close[np.maximum(at, 0)], each.open[begin])
        total += start / len(candles) * price / each.open[begin]
    return hours, total


def _clipped(report: Report, times: Ints, values: Floats) -> tuple[Ints, Floats]:
    inside = (times >= report.start_us) & (times <= report.end_us)
    return times[inside], values[inside]


def _fits(equity: Floats, held: Floats, start: float) -> bool:
    low, high = _span(equity, held[:0], start)
    room = HELD_ROOM * (high - low)
    return not len(held) or bool(held.min() >= low - room and held.max() <= high + room)


def _span(equity: Floats, held: Floats, start: float) -> tuple[float, float]:
    """Range of the equity axis, buy and hold included."""
    every = np.concatenate(([start], equity, held))
    return float(every.min()), float(every.max())


def _left(size: str, *labels: str) -> int:
    """Room for the labels of the axis: at the narrow width letters are larger."""
    least, letter = (72, 7.5) if size == "wide" else (58, 8.5)
    return max(least, 8 + round(letter * max(map(len, labels))))


def _base(plot: Plot, value: float) -> str:
    y = plot.y(value)
    return (
        f'<line class="base" x1="{plot.box.left}" x2="{plot.box.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
    )


def _money(value: float) -> str:
    return f"{value:,.0f}"


def _price(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
