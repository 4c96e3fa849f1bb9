"""The report after a run: what a trader would want to see, and what it does not prove."""

from decimal import Decimal
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from commands.console import data_console
from commands.policy_table import settings_table
from commands.positions import table as positions_table
from commands.report_notes import assumptions
from replay.account_summary import AccountSummary
from replay.summary import Summary
from replay.summary_json import position_json, summary_json
from schemas.positions import TradeClosedItem
from schemas.scalars import dec

__all__ = [
    "decisions", "heading", "outcomes", "print_report", "report", "report_json", "settings_table",
    "table",
]  # fmt: skip

WARNING = (
    "Spot candles traded as perpetuals, settings chosen to exercise limits; three days prove "
    "nothing about profit."
)
SAFETY_SHOWN = 20
LEVELS = {"NORMAL": "green", "WARN": "yellow", "REDUCING": "yellow", "STOP": "red"}
TRADES_SHOWN = 30
EXIT_ORDERS = (
    "exit_signal",
    "exit_time",
    "exit_unprotected",
    "exit_stop_failed",
    "emergency_close",
    "exit_command",
    "reduce_command",
)


def report_json(summary: Summary, **more: Any) -> dict[str, Any]:
    """The `demo` JSON: figures of the summary, and `more` (seconds, run, lag, ...)."""
    return {**summary_json(summary), **more}


def print_report(summary: Summary, console: Console | None = None) -> None:
    """The report on stdout, or on `console`."""
    out = console or data_console()
    for part in report(summary):
        out.print(part)


def report(summary: Summary) -> list[RenderableType]:
    """The report's parts, the warning first."""
    span = f"{_moment(summary.started)} to {_moment(summary.time)} (event time, UTC)"
    counts = f"{summary.events:,} events, {summary.signals:,} signals, {summary.intents:,} intents"
    parts: list[RenderableType] = [
        Text(WARNING, style="bold yellow"),
        Text(f"{span}; {counts}"),
        heading("Result"),
        _result(summary),
        *decisions(summary),
        heading("Costs, and the closed trades' net result with them"),
        _costs(summary),
    ]
    return [*parts, *outcomes(summary), *_notes(summary)]


def decisions(summary: Summary) -> list[RenderableType]:
    """Sections on what was decided: sides, exits, refusals, signals and orders."""
    return [
        heading("Trades by side"),
        _sides(summary),
        heading("Exits by kind"),
        _counts({n: a.exits() for n, a in _accounts(summary)}, "no trade closed"),
        heading("Refused signals and intents by first reason"),
        _counts({n: dict(a.rejected) for n, a in _accounts(summary)}, "none refused"),
        heading("Signals and orders"),
        _orders(summary),
    ]


def outcomes(summary: Summary) -> list[RenderableType]:
    """Sections on what came of it: closed trades, open positions, emergencies."""
    return [*_closed(summary), *_open(summary), *_safety(summary), *_emergencies(summary)]


def _accounts(summary: Summary) -> list[tuple[str, AccountSummary]]:
    return sorted(summary.accounts.items())


def heading(words: str) -> Text:
    """A section's title with an empty line before it."""
    return Text(f"\n{words}", style="bold")


def table(*columns: str, left: tuple[str, ...] = ("account",)) -> Table:
    """An empty table without borders; columns of `left` begin at the left, numbers do not."""
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        made.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    return made


def _result(summary: Summary) -> Table:
    made = table(
        "account", "start", "equity", "return %", "max dd %", "trades", "won %", "PF",
        "realised", "fees", "funding", "open P&L",
    )  # fmt: skip
    marks = summary.marks
    for name, account in _accounts(summary):
        start, equity = account.booked("transfers"), account.equity(marks)
        trades, deepest = len(account.trades), account.drawdown_max_pct
        factor = account.profit_factor
        made.add_row(
            name,
            _money(start),
            _money(equity),
            _signed(100 * (equity - start) / start) if start else "-",
            "-" if deepest is None else f"{deepest:.2f}",
            str(trades),
            f"{100 * account.wins / trades:.0f}" if trades else "-",
            "-" if factor is None else f"{factor:.2f}",
            _signed(account.booked("realised")),
            _money(account.booked("fees")),
            _signed(account.booked("funding")),
            _signed(account.unrealised(marks)),
        )
    held = summary.buy_and_hold_pct()
    if held is not None:
        symbols = "+".join(sorted(summary.prices))
        made.add_row("buy and hold", "", "", _signed(held), *[""] * 8, style="dim")
        made.caption = (
            f"buy and hold: equal parts of {symbols}, 1x, one taker fee, marked at the end"
        )
        made.caption_justify = "left"
    made.add_row("always flat", "", "", "+0.00", "0.00", *[""] * 7, style="dim")
    return made


def _sides(summary: Summary) -> Table:
    made = table(
        "account", "side", "trades", "won", "net", "best", "worst", left=("account", "side")
    )
    for name, account in _accounts(summary):
        for side, word in (("BUY", "LONG"), ("SELL", "SHORT")):
            results = [dec(t.net) for t in account.trades if t.side == side]
            if results:
                made.add_row(
                    name,
                    word,
                    str(len(results)),
                    str(sum(r > 0 for r in results)),
                    _signed(sum(results, Decimal(0))),
                    _signed(max(results)),
                    _signed(min(results)),
                )
    return made


def _counts(counts: dict[str, dict[str, int]], none: str) -> RenderableType:
    """A line a kind, a column an account."""
    kinds: dict[str, int] = {}
    for per_kind in counts.values():
        for kind, number in per_kind.items():
            kinds[kind] = kinds.get(kind, 0) + number
    if not kinds:
        return Text(none)
    made = table("", *counts, left=("",))
    for kind, _ in sorted(kinds.items(), key=lambda item: (-item[1], item[0])):
        made.add_row(kind, *(str(counts[name].get(kind, "")) for name in counts))
    return made


def _orders(summary: Summary) -> Table:
    made = table(
        "account", "signals", "avg conf.", "approved", "refused", "orders", "fills", "filled %",
        "unknown", "stops widened",
    )  # fmt: skip
    for name, account in _accounts(summary):
        rate, confidence = account.fill_rate_pct, account.confidence_average
        made.add_row(
            name,
            str(account.signals + account.intents),
            "-" if confidence is None else f"{confidence:.3f}",
            str(account.approved),
            str(sum(account.rejected.values())),
            str(len(account.orders)),
            str(account.fills),
            "-" if rate is None else f"{rate:.0f}",
            str(account.unknown),
            str(account.stops_widened),
        )
    return made


def _costs(summary: Summary) -> Table:
    made = table(
        "account", "fees", "funding", "slippage", "slip. %", "entries %", "exits %", "worst %",
        "net", "costs x2", "costs x3",
    )  # fmt: skip
    for name, account in _accounts(summary):
        whole = account.slippage()
        costs = account.booked("fees") + whole.cost
        made.add_row(
            name,
            _money(account.booked("fees")),
            _signed(account.booked("funding")),
            _money(whole.cost),
            f"{whole.slippage_pct:.4f}",
            f"{account.slippage(('entry',)).slippage_pct:.4f}",
            f"{account.slippage(('stop', 'target', *EXIT_ORDERS)).slippage_pct:.4f}",
            f"{account.slippage_max_pct:.4f}",
            _signed(account.net),
            _signed(account.net - costs),
            _signed(account.net - 2 * costs),
        )
    return made


def _closed(summary: Summary) -> list[RenderableType]:
    trades = [(name, a, t) for name, a in _accounts(summary) for t in a.trades]
    trades.sort(key=lambda entry: (entry[2].closed_at, entry[0]))
    if not trades:
        return []
    made = table(
        "closed", "account", "symbol", "side", "quantity", "entry", "exit", "net", "held", "by",
        left=("closed", "account", "symbol", "side", "by"),
    )  # fmt: skip
    for name, account, trade in trades[-TRADES_SHOWN:]:
        made.add_row(*_trade(name, account, trade))
    more = len(trades) - TRADES_SHOWN
    words = (
        f"Closed trades (the last {TRADES_SHOWN} of {len(trades)})" if more > 0 else "Closed trades"
    )
    return [heading(words), made]


def _trade(name: str, account: AccountSummary, trade: TradeClosedItem) -> list[str]:
    net = dec(trade.net)
    colour = "green" if net > 0 else "red"
    return [
        _moment(trade.closed_at)[5:],
        name,
        trade.symbol,
        "LONG" if trade.side == "BUY" else "SHORT",
        trade.quantity_max,
        f"{dec(trade.entry_average):,.2f}",
        f"{dec(trade.exit_average):,.2f}",
        f"[{colour}]{_signed(net)}[/{colour}]",
        _held(trade),
        account.exit_kind(trade),
    ]


def _held(trade: TradeClosedItem) -> str:
    from schemas.scalars import micros

    minutes = (micros(trade.closed_at) - micros(trade.opened_at)) // 60_000_000
    return f"{minutes // 60}:{minutes % 60:02d}"


def _open(summary: Summary) -> list[RenderableType]:
    rows = [
        {"account": name, **position_json(position)}
        for name, account in _accounts(summary)
        for position in account.open_positions(summary.marks)
    ]
    words = "Open at the end, marked at the last price"
    return [heading(words), positions_table(rows) if rows else Text("nothing")]


def _safety(summary: Summary) -> list[RenderableType]:
    """Levels of the governor and flash crashes, in order of time; the last ones."""
    lines = summary.safety[-SAFETY_SHOWN:]
    if not lines:
        return []
    made = table("time", "account", "level", "what safety saw", left=("time", "account", "level",
                 "what safety saw"))  # fmt: skip
    for line in lines:
        colour = LEVELS[line.level]
        made.add_row(
            line.time[5:19].replace("T", " "), line.account, f"[{colour}]{line.level}[/{colour}]",
            line.sentence,
        )  # fmt: skip
    more = len(summary.safety) - len(lines)
    words = f"Safety (the last {len(lines)} of {len(summary.safety)})" if more else "Safety"
    return [heading(words), made]


def _emergencies(summary: Summary) -> list[RenderableType]:
    if not summary.emergencies:
        return []
    lines = [
        f"{each.account}: {_moment(each.activated_at)} ({each.reason}), flat "
        f"{_moment(each.flat_at) if each.flat_at else 'NOT YET'}, "
        f"{'reset ' + _moment(each.reset_at) if each.reset_at else 'latched'}"
        for each in summary.emergencies
    ]
    return [heading("Emergencies"), Text("\n".join(lines))]


def _notes(summary: Summary) -> list[RenderableType]:
    return [heading("Assumptions"), Text("\n".join(f"- {line}" for line in assumptions(summary)))]


def _money(value: Decimal) -> str:
    return f"{value:,.2f}"


def _signed(value: Decimal) -> str:
    return f"{value:+,.2f}"


def _moment(time: str) -> str:
    return time[:16].replace("T", " ")
