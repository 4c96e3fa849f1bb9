"""The report of a backtest as one page: self-contained, no script, nothing fetched from anywhere.

Every figure says what it means on hover, and again in the glossary at the end, for paper and for
screens without a pointer.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from commands.backtest_charts import (
    equity_chart,
    exposure_chart,
    held_is_drawn,
    many_trades,
    price,
    results_chart,
    trades_chart,
)
from commands.backtest_style import STYLE
from replay.report import Report
from replay.report_glossary import GLOSSARY

SYMBOLS_MAX = 8
TRADES_MAX = 500
SAFETY_MAX = 50
NONE = "–"
TILES = (
    ("final_equity", "final equity, USDT"),
    ("return_pct", "return"),
    ("max_drawdown_pct", "max drawdown, all points"),
    ("trades", "closed trades"),
    ("win_rate_pct", "won"),
    ("profit_factor", "profit factor"),
    ("sharpe", "Sharpe"),
    ("exposure_pct", "mean exposure"),
)
FIGURES = (
    ("return_pct", "Return"), ("buy_and_hold_pct", "Buy and hold"), ("cagr_pct", "CAGR"),
    ("max_drawdown_pct", "Max drawdown, all points"),
    ("max_drawdown_daily_pct", "Max drawdown, daily"), ("sharpe", "Sharpe"),
    ("sortino", "Sortino"), ("calmar", "Calmar"), ("volatility_pct", "Volatility"),
    ("max_gross_pct", "Max gross"), ("exposure_pct", "Mean exposure"),
    ("in_market_pct", "In the market"), ("best_day_pct", "Best day"),
    ("worst_day_pct", "Worst day"), ("start_equity", "Start, USDT"),
    ("realised", "Realised, USDT"), ("account_fees", "Fees, USDT"),
    ("account_funding", "Funding, USDT"), ("unrealised", "Open P&L, USDT"),
    ("final_equity", "Final equity, USDT"), ("slippage", "Slippage, USDT"),
)  # fmt: skip
TRADE_FIGURES = (
    ("trades", "trades"), ("win_rate_pct", "won"), ("profit_factor", "PF"), ("payoff", "payoff"),
    ("expectancy", "mean net"), ("mean_r", "mean R"), ("median_r", "median R"),
    ("held_mean_h", "held, h"), ("net", "net"), ("fees", "fees"), ("funding", "funding"),
)  # fmt: skip


def page(report: Report) -> str:
    """The whole page."""
    figures = report.figures
    title = f"Backtest {', '.join(figures['period']['symbols'])}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"{_head(figures, title)}{_tiles(figures)}{_equity(report)}{_price(report)}"
        f"{_exposure(report)}{_months(figures)}{_figures(figures)}"
        f'{_safety(figures)}{_open(figures)}{_trades(figures)}<div class="pair">{_results(report)}'
        f"{_bars('Exits', 'exits', figures['exits'], 'Nothing was closed.')}</div>{_costs(figures)}"
        f"{_bars('Refused, by first reason', 'rejected', figures['rejected'], _judged(figures))}"
        f"{_ambiguous(figures)}{_assumptions(figures)}{_list(figures)}{_glossary()}"
        "</main></body></html>\n"
    )


def _head(figures: dict[str, Any], title: str) -> str:
    period, settings = figures["period"], figures["settings"]
    ended = f"<br>{escape(figures['standing'])}" if figures["standing"] else ""
    return (
        f"<h1>{escape(title)}</h1><p class='sub'>{_moment(period['from'])} to "
        f"{_moment(period['to'])} UTC, {_length(period['days'])}; {figures['bars']:,} bars; "
        f"strategy {escape(settings.get('strategy', 'none'))}, {figures['profile']} profile; "
        f"{figures['events']:,} events, digest {figures['events_digest'][:16]}</p>"
        f"<div class='warn'>{escape(figures['warning'])}{ended}</div>"
    )


def _tiles(figures: dict[str, Any]) -> str:
    known = _known(figures)
    return (
        "<div class='tiles'>"
        + "".join(
            f"<div class='tile' title='{_meaning(key)}'><b{_tone(key, known[key])}>"
            f"{_tile(key, known[key])}</b><span>{words}</span></div>"
            for key, words in TILES
        )
        + "</div>"
    )


def _length(days: float) -> str:
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"


def _tile(key: str, value: Any) -> str:
    return "too short" if key == "sharpe" and value is None else _shown(key, value)


def _equity(report: Report) -> str:
    held = _shown("buy_and_hold_pct", report.figures["buy_and_hold_pct"])
    deepest = _shown("max_drawdown_pct", report.figures["max_drawdown_pct"])
    where = "" if held_is_drawn(report) else ": off the scale, not drawn"
    legend = _legend(
        ("equity", "equity"), ("held", f"buy and hold, ends at {held}{where}"), ("loss", "drawdown")
    )
    return _section(
        "Equity and drawdown",
        f"{legend} Drawn at full hours and fills; the deepest drawdown, on all points: {deepest}.",
        f"<figure>{equity_chart(report)}</figure>",
    )


def _price(report: Report) -> str:
    series = report.result.backtest.candles
    parts = []
    for candles in series[:SYMBOLS_MAX]:
        rows = [row for row in report.trades if row.symbol == candles.symbol]
        words = "Triangles are entries (up: long, down: short), dots are exits."
        if many_trades(rows):
            words = f"Bars: net in USDT of the {len(rows):,} trades, by when they closed."
        legend = _legend(
            ("band", "high to low"), ("price", "close"), ("gain", "won"), ("loss", "lost")
        )
        chart = f"<figure>{trades_chart(report, candles)}</figure>"
        parts.append(_section(f"{candles.symbol}: trades on price", f"{legend} {words}", chart))
    if len(series) > SYMBOLS_MAX:
        more = ", ".join(candles.symbol for candles in series[SYMBOLS_MAX:])
        parts.append(f"<p class='note'>Not drawn: {escape(more)}.</p>")
    return "".join(parts)


def _exposure(report: Report) -> str:
    return _section(
        _term("exposure_pct", "Exposure"),
        "Gross notional in percent of equity; of long runs, means of stretches.",
        f"<figure>{exposure_chart(report)}</figure>",
    )


def _results(report: Report) -> str:
    return _section(
        _term("mean_r", "Results in R"),
        "Closed trades by net result in multiples of the approved risk.",
        f"<figure>{results_chart(report.trades)}</figure>",
    )


def _months(figures: dict[str, Any]) -> str:
    cells = []
    most = max((abs(each["return_pct"]) for each in figures["monthly"]), default=0) or 1
    for each in figures["monthly"]:
        value = each["return_pct"]
        colour = "gain" if value > 0 else "loss"
        depth = round(6 + 26 * abs(value) / most) if value else 0
        cells.append(
            f"<div class='month' style='background:color-mix(in srgb,var(--{colour}) {depth}%,"
            f"var(--card))'><i>{each['month']}</i>{value:+.2f} %</div>"
        )
    return _section(
        _term("monthly", "Monthly returns"),
        "Of NAV; the first and last may be parts of months.",
        f"<div class='months'>{''.join(cells)}</div>",
    )


def _figures(figures: dict[str, Any]) -> str:
    known = _known(figures)
    cells = "".join(
        f"<div><span>{_term(key, words)}</span>"
        f"<span{_tone(key, known[key])}>{_shown(key, known[key])}</span></div>"
        for key, words in FIGURES
    )
    return _section(
        "Figures",
        f"Ratios: {escape(figures['statistics']['annualised'])}.",
        f"<div class='figures'>{cells}</div>",
    )


def _safety(figures: dict[str, Any]) -> str:
    """What the governor and the breaker did; nothing where they did nothing."""
    told = [(each["time"], each["level"], each["sentence"]) for each in figures["safety"]]
    for each in figures["emergencies"]:
        told.append((each["activated_at"], "EMERGENCY", each["reason"]))
        for name, words in (("flat_at", "flat"), ("reset_at", "reset")):
            told += [(each[name], "EMERGENCY", words)] if each[name] else []
    if not told:
        return ""
    rows = "".join(
        f"<tr><td>{_moment(time)}</td><td class='left'>{escape(level)}</td>"
        f"<td class='words'>{escape(words)}</td></tr>"
        for time, level, words in sorted(told, key=lambda each: each[0])[-SAFETY_MAX:]
    )
    many = f"The last {SAFETY_MAX} of {len(told):,}." if len(told) > SAFETY_MAX else ""
    latched = any(not each["reset_at"] for each in figures["emergencies"])
    return _section(
        "Safety", f"{many}{' The last emergency is latched.' if latched else ''}".strip(),
        f"<div class='scroll'><table><tr><th>time, UTC</th><th class='left'>level</th>"
        f"<th class='words'>what safety saw</th></tr>{rows}</table></div>",
    )  # fmt: skip


def _open(figures: dict[str, Any]) -> str:
    """Positions that are open at the end; nothing where none are."""
    if not figures["positions"]:
        return ""
    rows = "".join(
        f"<tr><td class='left'>{escape(p['symbol'])}</td>"
        f"<td class='left'>{p['side'].lower()}</td><td>{p['quantity']}</td>"
        f"<td>{price(p['entry'])}</td><td>{price(p['mark'])}</td>"
        f"<td{_tone('net', p['unrealised'])}>{float(p['unrealised']):+,.2f}</td>"
        f"<td>{price(p['stop'])}</td><td>{price(p['target'])}</td>"
        f"<td>{_moment(p['opened_at'])}</td></tr>"
        for p in figures["positions"]
    )
    return _section(
        "Open at the end", "Marked at the last price point; part of the final equity.",
        "<div class='scroll'><table><tr><th class='left'>symbol</th><th class='left'>side</th>"
        "<th>quantity</th><th>entry</th><th>mark</th><th>open P&amp;L</th><th>stop</th>"
        f"<th>target</th><th>opened, UTC</th></tr>{rows}</table></div>",
    )  # fmt: skip


def _trades(figures: dict[str, Any]) -> str:
    rows = {
        "all": figures["statistics"], "long": figures["sides"]["LONG"],
        "short": figures["sides"]["SHORT"], "last 30": figures["_30"],
        "last 150": figures["_150"],
    }  # fmt: skip
    head = "".join(f"<th>{_term(key, words)}</th>" for key, words in TRADE_FIGURES)
    body = "".join(
        f"<tr><td>{name}</td>"
        + "".join(f"<td>{_shown(key, row[key])}</td>" for key, _ in TRADE_FIGURES)
        + "</tr>"
        for name, row in rows.items()
    )
    return _section(
        "Trades", "Closed ones, flat to flat in a symbol, after all costs.",
        f"<div class='scroll'><table><tr><th></th>{head}</tr>{body}</table></div>",
    )  # fmt: skip


def _costs(figures: dict[str, Any]) -> str:
    columns = (
        ("costs", "fees and slippage"), ("final_equity", "final equity"), ("return_pct", "return"),
        ("max_drawdown_daily_pct", "max drawdown, daily"), ("sharpe", "Sharpe"),
        ("profit_factor", "PF"), ("net", "net of trades"),
    )  # fmt: skip
    head = "".join(f"<th>{_term(key, words)}</th>" for key, words in columns)
    body = "".join(
        f"<tr><td>x{row['factor']}</td>"
        + "".join(f"<td>{_shown(key, row[key])}</td>" for key, _ in columns)
        + "</tr>"
        for row in figures["costs"]
    )
    return _section(
        _term("costs", "Costs once, twice, three times"), GLOSSARY["costs"],
        f"<div class='scroll'><table><tr><th></th>{head}</tr>{body}</table></div>",
    )  # fmt: skip


def _bars(title: str, key: str, counts: dict[str, int], note: str) -> str:
    most = max(counts.values(), default=1)
    bars = "".join(
        f"<div class='bar'><span title='{escape(name)}'>{escape(name)}</span>"
        f"<u style='width:{100 * count / most:.1f}%'></u><em>{count:,}</em></div>"
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    return _section(
        _term(key, title),
        note if key == "rejected" or not counts else "",
        f"<div class='bars'>{bars}</div>",
    )


def _judged(figures: dict[str, Any]) -> str:
    refused = sum(figures["rejected"].values())
    return (
        f"{figures['signals']:,} signals and intents: {figures['approved']:,} approved, "
        f"{refused:,} refused; {figures['orders']:,} orders, {figures['fills']:,} fills."
    )


def _ambiguous(figures: dict[str, Any]) -> str:
    found = figures["ambiguous"]
    if not found["candles"]:
        words = "No trade ended in a candle that held both its stop and its target."
        return _section(_term("ambiguous", "Stop and target in one candle"), words, "")
    words = (
        f"{found['candles']} trades ended in a candle that held both their stop and their target. "
        f"Net of these trades: {float(found['net']):+,.2f} USDT; under the opposite rule "
        f"{float(found['net_opposite_rule']):+,.2f} USDT."
    )
    return _section(_term("ambiguous", "Stop and target in one candle"), words, "")


def _assumptions(figures: dict[str, Any]) -> str:
    changed = ", ".join(f"{name} {value}" for name, value in figures["settings"].items())
    rows = {
        "settings": f"{figures['profile']} profile; changed: {changed or 'nothing'}",
        **figures["assumptions"],
    }
    body = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in rows.items()
    )
    return _section("What this assumes", "", f"<dl>{body}</dl>")


def _list(figures: dict[str, Any]) -> str:
    trades = figures["trade_list"]
    if not trades:
        return ""
    head = (
        "<tr><th>closed</th><th class='left'>symbol</th><th class='left'>side</th><th>quantity</th>"
        "<th>entry</th><th>exit</th><th>net</th><th>R</th><th>held, h</th>"
        "<th class='left'>by</th></tr>"
    )
    rows = "".join(
        f"<tr><td>{_moment(t['closed_at'])}</td><td class='left'>{escape(t['symbol'])}</td>"
        f"<td class='left'>{t['side'].lower()}</td><td>{t['quantity']}</td>"
        f"<td>{price(t['entry'])}</td><td>{price(t['exit'])}</td>"
        f"<td{_tone('net', t['net'])}>{float(t['net']):+,.2f}</td><td>{_shown('mean_r', t['r'])}"
        f"</td><td>{t['held_s'] / 3600:.2f}</td><td class='left'>{escape(t['exit_kind'])}</td></tr>"
        for t in trades[-TRADES_MAX:]
    )
    many = f"the last {TRADES_MAX} of {len(trades):,}" if len(trades) > TRADES_MAX else len(trades)
    return (
        f"<section><details><summary>Closed trades ({many})</summary><div class='scroll'><table>"
        f"{head}{rows}</table></div></details></section>"
    )


def _glossary() -> str:
    body = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in GLOSSARY.items()
    )
    return (
        "<section><details><summary>What each figure means</summary>"
        f"<dl>{body}</dl></details></section>"
    )


# ---------------------------------------------------------------------- pieces


def _section(title: str, note: str, body: str) -> str:
    note = f"<p class='note legend'>{note}</p>" if note else ""
    return f"<section><h2>{title}</h2>{note}{body}</section>"


def _legend(*entries: tuple[str, str]) -> str:
    return "".join(
        f"<span><i class='key' style='border-color:var(--{name})'></i>{words}</span>"
        for name, words in entries
    )


def _known(figures: dict[str, Any]) -> dict[str, Any]:
    money = ("buy_and_hold_pct", "start_equity", "final_equity", "realised", "unrealised")
    whole = {f"account_{name}": figures[name] for name in ("fees", "funding")}
    return {**figures["statistics"], **{name: figures[name] for name in money}, **whole}


def _meaning(key: str) -> str:
    return escape(GLOSSARY.get(key, ""), quote=True)


def _term(key: str, words: str) -> str:
    """Words that say what they mean on hover."""
    meaning = _meaning(key)
    return f'<abbr title="{meaning}">{escape(words)}</abbr>' if meaning else escape(words)


def _shown(key: str, value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, int):
        return f"{value:,}"
    return f"{float(value):,.2f}" + (" %" if key.endswith("_pct") else "")


def _tone(key: str, value: Any) -> str:
    """Class of a figure that is good or bad by its sign."""
    signed: Sequence[str] = ("return_pct", "net", "best_day_pct", "worst_day_pct")
    if key not in signed or value is None or not float(value):
        return ""
    return f" class='{'gain' if float(value) > 0 else 'loss'}'"


def _moment(time: str) -> str:
    return time[:16].replace("T", " ")
