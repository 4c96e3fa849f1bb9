"""The panels of the live view. Everything is sized to the terminal; nothing scrolls."""

from collections.abc import Sequence
from decimal import Decimal

from rich.console import ConsoleDimensions, Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from commands.view_columns import Column, Grid, fitted, shares
from commands.view_state import ViewState
from replay.account_summary import OpenPosition
from replay.summary import VerdictLine
from schemas.scalars import micros
from schemas.topics import WORKERS

SPARKS = "▁▂▃▄▅▆▇█"
STATES = {"ACTIVE": "green", "REDUCING": "yellow", "HALTED": "bold red"}
REGIMES = {"NORMAL": "green", "HIGH_VOL": "yellow", "EXTREME_VOL": "bold red"}
EDGE = 2
PRICE_CURVE_MAX, EQUITY_CURVE_MAX = 24, 28


def frame(
    state: ViewState,
    size: ConsoleDimensions,
    *,
    span: tuple[str, str] | None = None,
    title: str = "",
) -> RenderableType:
    """One frame for a terminal of `size`."""
    accounts = max(len(state.summary.accounts), 1)
    symbols = max(len(state.summary.prices), 1)
    top = max(accounts, symbols) + 1 + EDGE
    bottom = max(len(WORKERS) // 2, _open_count(state), 3) + 1 + EDGE
    bottom = min(bottom, max(size.height // 3, 6))
    signals = max(size.height - 4 - top - bottom, 3)
    narrow = size.width < 130
    whole = Layout()
    whole.split_column(
        Layout(_header(state, span, title, size.width), size=4),
        Layout(name="top", size=top),
        Layout(_signals(state, signals - EDGE - 1, narrow), size=signals),
        Layout(name="bottom", size=bottom),
    )
    prices, books = fitted(size.width, _prices(state), _accounts(state))
    left, right = shares(size.width, prices, books)
    whole["top"].split_row(
        Layout(_panel(prices.table(left), "prices"), size=left),
        Layout(_panel(books.table(right), "accounts")),
    )
    lag = 34 if narrow else 40
    whole["bottom"].split_row(
        Layout(_positions(state, bottom - EDGE - 1, size.width - lag)),
        Layout(_lag(state), size=lag),
    )
    return whole


def _open_count(state: ViewState) -> int:
    return sum(len(account.positions) for account in state.summary.accounts.values())


def _panel(body: RenderableType, title: str) -> Panel:
    return Panel(
        body, title=f"[bold]{title}[/bold]", title_align="left", border_style="bright_black"
    )


def _table(*columns: tuple[str, str]) -> Table:
    """Columns as (name, `<` or `>`)."""
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="bright_black")
    for name, side in columns:
        table.add_column(name, justify="right" if side == ">" else "left", no_wrap=True)
    return table


def _header(
    state: ViewState, span: tuple[str, str] | None, title: str, width: int
) -> RenderableType:
    summary = state.summary
    speed, per_second = state.rates()
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(summary.time[:19].replace("T", "  "), style="bold cyan")
    line.append(f"   x{speed:,.0f}", style="bold")
    line.append(f"   {per_second:,.0f} records/s", style="bold")
    line.append(f"   {state.records:,} records   {summary.signals:,} signals", style="")
    for halt in summary.halts.values():
        line.append(f"   HALTED ({halt.mode}) by {halt.operator}", style="bold white on red")
    if state.undecodable:
        line.append(f"   {state.undecodable} undecodable", style="red")
    if span is None:
        bar: RenderableType = Text("")
    else:
        start, end = micros(span[0]), micros(span[1])
        at = min(max(micros(summary.time), start), end)
        bar = ProgressBar(total=end - start, completed=at - start, width=max(width - 4, 10))
    return _panel(Group(line, bar), f"Quantum Trader {title}".strip())


def _prices(state: ViewState) -> Grid:
    lines = sorted(state.summary.prices.items())
    hours = [state.summary.hours.get(symbol) for symbol, _ in lines]
    ranges = [hour.atr_pct if hour else None for hour in hours]
    regimes = [hour.regime if hour else "NORMAL" for hour in hours]
    columns = (
        Column("symbol", [Text(symbol, style="bold") for symbol, _ in lines], justify="left"),
        Column("last", [Text(f"{line.last:,}") for _, line in lines]),
        Column("%", [_coloured(line.change_pct, 2) for _, line in lines]),
        Column("ATR %", [Text("-" if atr is None else f"{atr:.2f}") for atr in ranges], rank=1),
        Column(
            "regime",
            [Text(regime.replace("_VOL", ""), style=REGIMES[regime]) for regime in regimes],
            justify="left",
            width_min=len("EXTREME"),
        ),
    )

    def curve(row: int, width: int) -> str:
        return sparkline(state.closes.get(lines[row][0], ()), width)

    return Grid(columns, curve, "%", PRICE_CURVE_MAX)


def _accounts(state: ViewState) -> Grid:
    marks = state.summary.marks
    lines = sorted(state.summary.accounts.items())
    accounts = [account for _, account in lines]
    equities = [account.equity(marks) for account in accounts]
    starts = [account.booked("transfers") for account in accounts]
    changes = [
        100 * (equity - start) / start if start else Decimal(0)
        for equity, start in zip(equities, starts, strict=True)
    ]
    refused = [sum(account.rejected.values()) for account in accounts]
    states = [account.trading_state for account in accounts]
    columns = (
        Column("account", [Text(name, style="bold") for name, _ in lines], justify="left"),
        Column("equity", [Text(f"{equity:,.2f}") for equity in equities]),
        Column("%", [_coloured(change, 2) for change in changes]),
        Column("dd %", [Text(f"{account.drawdown_pct:.2f}") for account in accounts]),
        Column("approved", [Text(str(account.approved)) for account in accounts], rank=2),
        Column("refused", [Text(str(count)) for count in refused], rank=3),
        Column(
            "state",
            [Text(word, style=STATES.get(word, "red")) for word in states],
            justify="left",
        ),
    )

    def curve(row: int, width: int) -> str:
        return sparkline([float(value) for value in accounts[row].curve], width)

    return Grid(columns, curve, "%", EQUITY_CURVE_MAX)


def _signals(state: ViewState, rows: int, narrow: bool) -> RenderableType:
    """Plain padded lines: a table of this size would cost more than all the rest of a frame."""
    body = Text(no_wrap=True, overflow="ellipsis")
    body.append(
        f"{'time':<12}{'account':<9}{'symbol':<11}{'side':<5}{'conf.':>7} "
        f"{'' if narrow else 'from       '}{'verdict':<20}why",
        style="bright_black",
    )
    for line in list(state.summary.verdicts)[-max(rows, 1) :][::-1]:
        _verdict(body, line, narrow)
    return _panel(body, "last signals and their verdicts")


def _verdict(body: Text, line: VerdictLine, narrow: bool) -> None:
    verdict = line.verdict
    approved = verdict.verdict == "approved"
    word = ("exit" if verdict.kind == "exit" else "approved") if approved else str(verdict.reason)
    moment = line.time[5:16].replace("T", " ")
    body.append(f"\n{moment:<12}{line.account[:8]:<9}{verdict.symbol[:10]:<11}")
    body.append(f"{verdict.side:<5}", style="green" if verdict.side == "BUY" else "red")
    origin = "" if narrow else f"{verdict.origin[:10]:<11}"
    body.append(f"{verdict.confidence[:7]:>7} {origin}")
    body.append(f"{word[:19]:<20}", style="bold green" if approved else "yellow")
    body.append(line.why, style="" if approved else "bright_black")


def _positions(state: ViewState, rows: int, width: int) -> RenderableType:
    lines = [
        (name, position)
        for name, account in sorted(state.summary.accounts.items())
        for position in account.open_positions(state.summary.marks)
    ]
    if not lines:
        return _panel(Text("nothing is open", style="bright_black"), "open")
    shown = [position for _, position in lines[:rows]]
    columns = (
        Column("account", [Text(name) for name, _ in lines[:rows]], justify="left"),
        Column("symbol", [Text(each.symbol) for each in shown], justify="left"),
        Column("quantity", [_quantity(each) for each in shown]),
        Column("entry", [Text(f"{each.entry:,.2f}") for each in shown], rank=1),
        Column("mark", [Text(f"{each.mark:,.2f}") for each in shown], rank=3),
        Column("stop", [_level(each.stop, Text("none", style="red")) for each in shown]),
        Column("target", [_level(each.target, Text("-")) for each in shown], rank=2),
        Column("P&L", [_coloured(each.unrealised, 2) for each in shown]),
    )
    more = f" (and {len(lines) - rows} more)" if len(lines) > rows else ""
    (grid,) = fitted(width, Grid(columns))
    return _panel(grid.table(width), f"open{more}")


def _quantity(position: OpenPosition) -> Text:
    if position.side == "LONG":
        return Text(str(position.quantity), style="green")
    return Text(f"-{position.quantity}", style="red")


def _level(price: Decimal | None, missing: Text) -> Text:
    return missing if price is None else Text(f"{price:,.2f}")


def _lag(state: ViewState) -> RenderableType:
    """Two processors a line."""
    table = _table(("", "<"), ("", ">"), ("", "<"), ("", ">"))
    table.show_header = False
    lag = state.lag()
    cells: list[RenderableType] = []
    for name in WORKERS:
        behind = lag.get(name)
        style = "bright_black" if behind is None else ("green" if behind < 50 else "yellow")
        cells += [name, Text("-" if behind is None else f"{behind:,}", style=style)]
    for start in range(0, len(cells), 4):
        table.add_row(*cells[start : start + 4])
    return _panel(table, "lag, records")


def _coloured(value: Decimal, digits: int) -> Text:
    return Text(f"{value:+,.{digits}f}", style="green" if value >= 0 else "red")


def sparkline(values: Sequence[float], width: int) -> str:
    """The last values as bars, at most `width` characters; each bar is the last of its share."""
    values = list(values)
    if len(values) < 2:
        return ""
    if len(values) > width:
        step = len(values) / width
        values = [values[min(int((i + 1) * step) - 1, len(values) - 1)] for i in range(width)]
    low, high = min(values), max(values)
    scale = (high - low) or 1.0
    return "".join(SPARKS[int((v - low) / scale * (len(SPARKS) - 1))] for v in values)
