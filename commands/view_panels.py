"""The panels of the live view. Everything is sized to the terminal; nothing scrolls."""

from collections.abc import Sequence
from decimal import Decimal

from rich.console import ConsoleDimensions, Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from commands.view_state import ViewState
from replay.summary import VerdictLine
from schemas.scalars import micros
from schemas.topics import WORKERS

SPARKS = "▁▂▃▄▅▆▇█"
STATES = {"ACTIVE": "green", "REDUCING": "yellow", "HALTED": "bold red"}
REGIMES = {"NORMAL": "green", "HIGH_VOL": "yellow", "EXTREME_VOL": "bold red"}
EDGE = 2


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
    whole["top"].split_row(
        Layout(_prices(state, 0 if narrow else 24), ratio=9),
        Layout(_accounts(state, 8 if narrow else 28, narrow), ratio=11),
    )
    whole["bottom"].split_row(
        Layout(_positions(state, bottom - EDGE - 1, narrow), ratio=3),
        Layout(_lag(state), size=34 if narrow else 40),
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
    if state.undecodable:
        line.append(f"   {state.undecodable} undecodable", style="red")
    if span is None:
        bar: RenderableType = Text("")
    else:
        start, end = micros(span[0]), micros(span[1])
        at = min(max(micros(summary.time), start), end)
        bar = ProgressBar(total=end - start, completed=at - start, width=max(width - 4, 10))
    return _panel(Group(line, bar), f"Quantum Trader {title}".strip())


def _prices(state: ViewState, spark: int) -> RenderableType:
    curve = [("", "<")] if spark else []
    table = _table(
        ("symbol", "<"), ("last", ">"), ("%", ">"), *curve, ("ATR %", ">"), ("regime", "<")
    )
    for symbol, line in sorted(state.summary.prices.items()):
        hours = state.summary.hours.get(symbol)
        atr = hours.atr_pct if hours else None
        regime = hours.regime if hours else "NORMAL"
        table.add_row(
            Text(symbol, style="bold"),
            f"{line.last:,}",
            _coloured(line.change_pct, 2),
            *(
                [Text(sparkline(state.closes.get(symbol, ()), spark), style="cyan")]
                if spark
                else []
            ),
            "-" if atr is None else f"{atr:.2f}",
            Text(regime.replace("_VOL", ""), style=REGIMES[regime]),
        )
    return _panel(table, "prices")


def _accounts(state: ViewState, spark: int, narrow: bool) -> RenderableType:
    judged = [] if narrow else [("approved", ">"), ("refused", ">")]
    table = _table(
        ("account", "<"), ("equity", ">"), ("%", ">"), ("", "<"), ("dd %", ">"), *judged,
        ("state", "<"),
    )  # fmt: skip
    marks = state.summary.marks
    for name, account in sorted(state.summary.accounts.items()):
        equity, start = account.equity(marks), account.booked("transfers")
        change = 100 * (equity - start) / start if start else Decimal(0)
        table.add_row(
            Text(name, style="bold"),
            f"{equity:,.2f}",
            _coloured(change, 2),
            Text(sparkline([float(v) for v in account.curve], spark), style="cyan"),
            f"{account.nav.drawdown_pct:.2f}",
            *([] if narrow else [str(account.approved), str(sum(account.rejected.values()))]),
            Text(account.trading_state, style=STATES.get(account.trading_state, "red")),
        )
    return _panel(table, "accounts")


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


def _positions(state: ViewState, rows: int, narrow: bool) -> RenderableType:
    columns = [("account", "<"), ("symbol", "<"), ("quantity", ">"), ("entry", ">")]
    columns += [] if narrow else [("mark", ">")]
    table = _table(*columns, ("stop", ">"), ("target", ">"), ("P&L", ">"))
    lines = [
        (name, position)
        for name, account in sorted(state.summary.accounts.items())
        for position in account.open_positions(state.summary.marks)
    ]
    for name, position in lines[:rows]:
        sign = "" if position.side == "LONG" else "-"
        cells: list[RenderableType] = [
            name,
            position.symbol,
            Text(f"{sign}{position.quantity}", style="green" if not sign else "red"),
            f"{position.entry:,.2f}",
        ]
        cells += [] if narrow else [f"{position.mark:,.2f}"]
        stop = "none" if position.stop is None else f"{position.stop:,.2f}"
        table.add_row(
            *cells,
            Text(stop, style="red" if position.stop is None else ""),
            "-" if position.target is None else f"{position.target:,.2f}",
            _coloured(position.unrealised, 2),
        )
    more = f" (and {len(lines) - rows} more)" if len(lines) > rows else ""
    return _panel(table if lines else Text("nothing is open", style="bright_black"), f"open{more}")


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
