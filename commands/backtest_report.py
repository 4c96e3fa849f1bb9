"""A backtest in the terminal: the tables of a demo, and the statistics of a longer run."""

from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from commands.console import data_console
from commands.report import decisions, heading, outcomes, table
from replay.backtest import Backtest, warm_up_hours
from replay.report import Report
from replay.report_assumptions import gaps, missing, warm_up
from replay.sweep import Sweep, Variant

NONE = "-"
FIGURES = (
    (
        ("return_pct", "return %"), ("cagr_pct", "CAGR %"), ("sharpe", "Sharpe"),
        ("sortino", "Sortino"), ("calmar", "Calmar"), ("volatility_pct", "volatility %"),
        ("buy_and_hold_pct", "buy and hold %"),
    ),
    (
        ("max_drawdown_pct", "max drawdown %, all points"),
        ("max_drawdown_daily_pct", "max drawdown %, daily"),
        ("max_gross_pct", "max gross %"), ("exposure_pct", "exposure %"),
        ("in_market_pct", "in the market %"), ("best_day_pct", "best day %"),
        ("worst_day_pct", "worst day %"),
    ),
)  # fmt: skip
"""Two columns of figures of the whole run."""
TRADE_FIGURES = (
    ("trades", "trades"), ("win_rate_pct", "won %"), ("profit_factor", "PF"),
    ("payoff", "payoff"), ("expectancy", "mean net"), ("mean_r", "mean R"),
    ("median_r", "median R"), ("held_mean_h", "held h"), ("net", "net"), ("fees", "fees"),
    ("funding", "funding"),
)  # fmt: skip


def print_backtest(report: Report, console: Console | None = None) -> None:
    """The report on stdout, or on `console`."""
    out = console or data_console()
    for part in parts(report):
        out.print(part)


def parts(report: Report) -> list[RenderableType]:
    """The report's parts: the warning first, what the figures assume last."""
    figures = report.figures
    return [
        Text(figures["warning"], style="bold yellow"),
        *([Text(figures["standing"], style="bold yellow")] if figures["standing"] else []),
        Text(_span(figures)),
        heading("Result"),
        _equity(figures),
        heading(f"Figures ({figures['statistics']['annualised']})"),
        _figures(figures),
        heading("Trades, all and the last"),
        _trades(figures),
        heading("Months"),
        _months(figures),
        heading("Costs once, twice and three times, on the same fills"),
        _costs(figures),
        *decisions(report.summary),
        *outcomes(report.summary),
        heading("Stop and target in one candle"),
        Text(_ambiguous(figures)),
        heading("Assumptions"),
        _assumptions(figures),
    ]


def gap_lines(backtest: Backtest) -> list[str]:
    """One line a symbol with missing candles inside the run."""
    assert backtest.start is not None
    assert backtest.end is not None
    span = [int(m.timestamp()) * 1000 for m in (backtest.start, backtest.end)]
    lines = []
    for candles in backtest.candles:
        count, lost, longest = missing(candles, span[0], span[1])
        if count:
            lines.append(
                f"{candles.symbol}: {lost:,} candles are missing in {gaps(count)} ({longest}); "
                "nothing is filled in"
            )
    return lines


def warm_up_lines(backtest: Backtest) -> list[str]:
    """One line where there is less warm-up than was asked for."""
    if min(warm_up_hours(backtest).values()) >= backtest.warm_up_h:
        return []
    return [
        (
            f"warm-up: {warm_up(backtest)}; begin later (--from), give the candles before it, "
            "or ask for less (--warm-up)"
        )
    ]


def _span(figures: dict[str, Any]) -> str:
    period = figures["period"]
    return (
        f"{_moment(period['from'])} to {_moment(period['to'])} UTC, "
        f"{', '.join(period['symbols'])}; "
        f"{figures['bars']:,} bars in {figures['seconds']:.2f} s "
        f"({figures['bars_per_second']:,} a second, {figures['path']} path), "
        f"{figures['events']:,} events, digest {figures['events_digest'][:12]}"
    )


def _equity(figures: dict[str, Any]) -> Table:
    made = table("start", "final", "realised", "fees", "funding", "open P&L", "open", left=())
    made.add_row(
        *(
            f"{float(figures[name]):,.2f}"
            for name in (
                "start_equity", "final_equity", "realised", "fees", "funding", "unrealised"
            )
        ),
        str(figures["open_positions"]),
    )  # fmt: skip
    return made


def _figures(figures: dict[str, Any]) -> Table:
    known = {**figures["statistics"], "buy_and_hold_pct": figures["buy_and_hold_pct"]}
    made = table("", " ", "  ", "   ", left=("", "  "))
    made.show_header = False
    made.padding = (0, 2, 0, 0)
    for left, right in zip(*FIGURES, strict=True):
        made.add_row(left[1], _number(known[left[0]]), right[1], _number(known[right[0]]))
    return made


def _trades(figures: dict[str, Any]) -> Table:
    made = table("", *(words for _, words in TRADE_FIGURES), left=("",))
    rows = {
        "all": figures["statistics"],
        "long": figures["sides"]["LONG"],
        "short": figures["sides"]["SHORT"],
        "last 30": figures["_30"],
        "last 150": figures["_150"],
    }
    for name, row in rows.items():
        made.add_row(name, *(_number(row[key]) for key, _ in TRADE_FIGURES))
    return made


def _months(figures: dict[str, Any]) -> Table:
    months = figures["monthly"]
    years = sorted({each["month"][:4] for each in months})
    made = table("", *(f"{n:02d}" for n in range(1, 13)), left=("",))
    returns = {each["month"]: each["return_pct"] for each in months}
    for year in years:
        cells = [returns.get(f"{year}-{n:02d}") for n in range(1, 13)]
        made.add_row(year, *("" if cell is None else _coloured(cell) for cell in cells))
    return made


def _costs(figures: dict[str, Any]) -> Table:
    made = table(
        "", "costs", "final", "return %", "max dd % (daily)", "Sharpe", "PF", "net", left=("",)
    )
    for row in figures["costs"]:
        made.add_row(
            f"x{row['factor']}",
            *(
                _number(row[name])
                for name in (
                    "costs", "final_equity", "return_pct", "max_drawdown_daily_pct", "sharpe",
                    "profit_factor", "net",
                )
            ),
        )  # fmt: skip
    return made


def _ambiguous(figures: dict[str, Any]) -> str:
    found = figures["ambiguous"]
    if not found["candles"]:
        return "no trade ended in a candle that held both its stop and its target"
    return (
        f"{found['candles']} trades ended in a candle that held both levels: net "
        f"{float(found['net']):+,.2f}, under the opposite rule "
        f"{float(found['net_opposite_rule']):+,.2f}"
    )


def _assumptions(figures: dict[str, Any]) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    made.add_row("settings", _settings(figures))
    for name, words in figures["assumptions"].items():
        made.add_row(name, Text(words))
    return made


def _settings(figures: dict[str, Any]) -> Text:
    changed = ", ".join(f"{name} {value}" for name, value in figures["settings"].items())
    return Text(f"{figures['profile']} profile; changed: {changed or 'nothing'}")


# ---------------------------------------------------------------------- sweep


def print_sweep(sweep: Sweep, console: Console | None = None) -> None:
    """Every variant tried, then the best in sample beside what it did out of sample."""
    out = console or data_console()
    out.print(
        Text(
            f"{len(sweep.variants)} variants tried, all of them below; the more are tried, the "
            "better the best one looks by chance.",
            style="bold yellow",
        )
    )
    out.print(
        Text(
            f"in sample {sweep.start:%Y-%m-%d %H:%M} to {sweep.split:%Y-%m-%d %H:%M}, out of "
            f"sample to {sweep.end:%Y-%m-%d %H:%M} (UTC); each part begins flat"
        )
    )
    out.print(_variants(sweep))
    best = sweep.best
    out.print(
        Text(
            f"best in sample: {_named(best)}: {_number(best.in_sample['return_pct'])} % in sample; "
            f"out of sample {_number(best.out_of_sample['return_pct'])} %, rank {best.rank_out} of "
            f"{len(sweep.variants)} there"
        )
    )


def _variants(sweep: Sweep) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    fields = list(sweep.variants[0].fields)
    for name in fields:
        made.add_column(name.rpartition(".")[2], no_wrap=True)
    for part in ("in", "out"):
        for words in ("return %", "max dd %", "Sharpe", "PF", "trades", "rank"):
            made.add_column(f"{part}: {words}" if words == "return %" else words, justify="right")
    for variant in sweep.variants:
        cells = [str(variant.fields[name]) for name in fields]
        for figures, rank in (
            (variant.in_sample, variant.rank_in),
            (variant.out_of_sample, variant.rank_out),
        ):
            cells += [
                _number(figures[key])
                for key in ("return_pct", "max_drawdown_pct", "sharpe", "profit_factor", "trades")
            ]
            cells.append(str(rank))
        made.add_row(*cells)
    return made


def _named(variant: Variant) -> str:
    return ", ".join(f"{name} {value}" for name, value in variant.fields.items())


def _number(value: Any) -> str:
    """A figure for the terminal: two decimals, counts whole, a dash for what cannot be said."""
    if value is None:
        return NONE
    if isinstance(value, int):
        return f"{value:,}"
    return f"{float(value):,.2f}"


def _coloured(value: float) -> Text:
    return Text(f"{value:+.2f}", style="green" if value > 0 else "red" if value < 0 else "dim")


def _moment(time: str) -> str:
    return time[:16].replace("T", " ")
