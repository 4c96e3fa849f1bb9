"""The report of a backtest: plain values, ready for JSON, a terminal or a page.

Money is canonical decimal text, percentages are numbers 0-100, times are UTC. A figure that cannot
be said is None; :data:`replay.report_glossary.GLOSSARY` says what each means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from domain.points import path
from gateways.candles import Candles, Floats, Ints, exact
from replay import report_stats as stats
from replay.account_summary import AccountSummary
from replay.backtest import Result
from replay.equity_curve import CandlePoints
from replay.report_assumptions import assumptions, market_of, settings
from replay.report_trades import FillCost, TradeRow, ambiguous, fill_costs, trade_rows
from replay.summary import PriceLine, Summary
from replay.summary_json import position_json
from schemas.scalars import dec, text, time_text

RECENT = (30, 150)
FACTORS = (1, 2, 3)
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Report:
    """`figures`: everything JSON holds. The rest is what charts and tables are drawn from."""

    result: Result
    summary: Summary
    account: AccountSummary
    trades: list[TradeRow]
    figures: dict[str, Any]

    @property
    def start_us(self) -> int:
        return _us(self.result)[0]

    @property
    def end_us(self) -> int:
        return _us(self.result)[1]


def report(result: Result, *, files: Sequence[str] = (), variants: int = 1) -> Report:
    """The report of a run. `files`: names of what was read; `variants`: how many runs were tried
    before this one was chosen."""
    summary = summary_of(result)
    account = summary.account(result.backtest.account)
    rows = trade_rows(result.records, account)
    figures = {
        **_headline(result, summary, account, rows),
        "warning": warning(result, len(rows)),
        "standing": standing(account, rows),
        **_safety(summary, account),
        "period": _period(result),
        "settings": settings(result.backtest),
        "profile": result.backtest.profile,
        "statistics": statistics(result, account, rows),
        "buy_and_hold_pct": _rounded(_float(summary.buy_and_hold_pct())),
        "sides": {side: _side(rows, side) for side in ("LONG", "SHORT")},
        **{f"_{n}": trade_statistics(rows[-n:]) for n in RECENT},
        "exits": account.exits(),
        "rejected": dict(account.rejected.most_common()),
        "approved": account.approved,
        "signals": account.signals + account.intents,
        "orders": len(account.orders),
        "fills": account.fills,
        "liquidations": account.liquidations,
        "unknown": account.unknown,
        "monthly": [
            {"month": month, "return_pct": _rounded(change)}
            for month, change in stats.monthly_returns(
                result.curve.time_us, result.curve.nav, *_us(result)
            )
        ],
        "costs": costs(result, rows),
        "ambiguous": _ambiguous(rows, result),
        "assumptions": {
            a.name: a.words
            for a in assumptions(
                result, files=files, variants=variants, payments=account.funding_payments
            )
        },
        "trade_list": [row.json() for row in rows],
    }
    return Report(result, summary, account, rows, figures)


def warning(result: Result, trades: int) -> str:
    """The report's first line: what the data are and what they cannot show."""
    start, end = _us(result)
    days = (end - start) / stats.DAY_US
    run = result.backtest
    traded = market_of(run.candles, ticks=bool(run.ticks)).warning
    length = f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"
    sample = f"{length} and {trades:,} trade{'s' if trades != 1 else ''}"
    if days < stats.DAYS_MIN:
        return f"{traded}; {sample} prove nothing about profit, no ratio is annualised."
    return f"{traded}; {sample} are one sample of the past, fills are modelled."


def standing(account: AccountSummary, trades: Sequence[TradeRow]) -> str | None:
    """Why nothing was opened any more when the run ended, and since when; None if it could be."""
    if account.trading_state == "ACTIVE":
        return None
    why = [f"governor {account.governor} by {', '.join(account.holds)}"] if account.holds else []
    why += ["emergency latched"] if account.emergency_open else []
    opened = [*(t.opened_at for t in trades), *(p.opened_at for p in account.positions.values())]
    since = f"after {max(opened)[:16].replace('T', ' ')} UTC" if opened else "at all"
    because = f" ({'; '.join(why)})" if why else ""
    return f"The run ended {account.trading_state}{because}: nothing was opened {since}."


def _safety(summary: Summary, account: AccountSummary) -> dict[str, Any]:
    """How the account stands at the end, what safety did on the way there, what is open."""
    return {
        "trading_state": account.trading_state,
        "governor": account.governor,
        "holds": list(account.holds),
        "safety": [
            {"time": each.time, "level": each.level, "sentence": each.sentence}
            for each in summary.safety
        ],
        "emergencies": [
            {
                "id": each.id, "reason": each.reason, "activated_at": each.activated_at,
                "flat_at": each.flat_at, "reset_at": each.reset_at,
            }
            for each in summary.emergencies
        ],
        "positions": [position_json(each) for each in account.open_positions(summary.marks)],
    }  # fmt: skip


def summary_of(result: Result) -> Summary:
    """Figures of the records, with prices and instruments from the run's candles."""
    run = result.backtest
    summary = Summary.of(stored.event for stored in result.records)
    summary.events = result.events
    assert run.start is not None
    assert run.end is not None
    first, last = (int(m.timestamp()) * 1000 for m in (run.start, run.end))
    summary.started, summary.time = time_text(first * 1000), time_text(last * 1000)
    summary.instruments = {i.symbol: i for i in run.instruments}
    for candles in run.candles:
        inside = np.flatnonzero((candles.ts_ms >= first) & (candles.ts_ms < last))
        if len(inside):
            tick = dec(summary.instruments[candles.symbol].tick)
            summary.prices[candles.symbol] = _line(candles, inside, tick, trades=bool(run.ticks))
            assert summary.points is not None
            summary.points[candles.symbol] = CandlePoints(candles, last * 1000)
    summary.funding_settlements = sum(
        int(((f.ts_ms >= first) & (f.ts_ms < last)).sum()) for f in run.funding
    )
    return summary


def _line(candles: Candles, inside: Ints, tick: Decimal, *, trades: bool) -> PriceLine:
    """Price line of the rows `inside`. The last price is the last point of the last candle, or the
    last trade where the candles are made of trades."""
    row = int(inside[-1])
    in_ticks = [
        int(exact(getattr(candles, name)[row]) / tick) for name in ("open", "high", "low", "close")
    ]
    last = (in_ticks[-1] if trades else path(*in_ticks)[-1]) * tick
    return PriceLine(
        first=exact(candles.open[inside[0]]),
        last=last,
        mark=last,
        high=exact(candles.high[inside].max()),
        low=exact(candles.low[inside].min()),
        at=time_text(int(candles.ts_ms[row]) * 1000 + 50_000_000),
    )


def _headline(
    result: Result, summary: Summary, account: AccountSummary, rows: list[TradeRow]
) -> dict[str, Any]:
    """The keys other tools rely on (DESIGN.md), and the account's money."""
    curve = result.curve
    return {
        "bars": result.bars,
        "seconds": round(result.seconds, 4),
        "bars_per_second": round(result.bars_per_second),
        "trades": len(rows),
        "start_equity": text(account.booked("transfers")),
        "final_equity": text(account.equity(summary.marks)),
        "max_drawdown_pct": round(curve.max_drawdown_pct, 6),
        "max_gross_pct": round(curve.max_gross_pct, 6),
        "events": result.events,
        "events_digest": result.digest,
        "path": result.path,
        "realised": text(account.booked("realised")),
        "fees": text(account.booked("fees")),
        "funding": text(account.booked("funding")),
        "unrealised": text(account.unrealised(summary.marks)),
        "open_positions": len(account.positions),
    }


def _period(result: Result) -> dict[str, Any]:
    start, end = _us(result)
    return {
        "from": time_text(start),
        "to": time_text(end),
        "days": round((end - start) / stats.DAY_US, 4),
        "symbols": [c.symbol for c in result.backtest.candles],
    }


def statistics(result: Result, account: AccountSummary, rows: list[TradeRow]) -> dict[str, Any]:
    """Statistics of the whole run. Annualised ones are None under 30 days, and `annualised` says
    why."""
    curve = result.curve
    start, end = _us(result)
    days = (end - start) / stats.DAY_US
    daily = stats.daily_nav(curve.time_us, curve.nav, start, end)
    growth = float(curve.nav[-1]) if len(curve.nav) else 1.0
    cagr = stats.cagr_pct(growth, days)
    returns = daily.returns
    found: dict[str, Any] = {
        "return_pct": 100 * (growth - 1),
        "cagr_pct": cagr,
        "sharpe": stats.sharpe(returns),
        "sortino": stats.sortino(returns),
        "calmar": stats.calmar(cagr, curve.max_drawdown_pct),
        "volatility_pct": stats.volatility_pct(returns),
        "max_drawdown_pct": curve.max_drawdown_pct,
        "max_drawdown_daily_pct": stats.max_drawdown_pct(daily.nav),
        "max_gross_pct": curve.max_gross_pct,
        "exposure_pct": 100 * curve.exposure_us / (end - start),
        "in_market_pct": stats.in_market_pct(curve.time_us, curve.gross, start, end),
        "best_day_pct": 100 * float(returns.max()) if len(returns) else None,
        "worst_day_pct": 100 * float(returns.min()) if len(returns) else None,
    }
    found = {name: _rounded(value) for name, value in found.items()}
    found["annualised"] = stats.TOO_SHORT if days < stats.DAYS_MIN else "on 365 days"
    slippage = account.slippage()
    return {**found, **trade_statistics(rows), "slippage": text(slippage.cost)}


def trade_statistics(rows: Sequence[TradeRow]) -> dict[str, Any]:
    """Figures of closed trades alone."""
    net = [float(row.net) for row in rows]
    multiples = [row.r for row in rows if row.r is not None]
    hours = [row.held_s / HOUR_S for row in rows]
    figures = {
        "win_rate_pct": stats.win_rate_pct(net),
        "profit_factor": stats.profit_factor(net),
        "payoff": stats.payoff(net),
        "expectancy": stats.mean(net),
        "mean_r": stats.mean(multiples),
        "median_r": stats.median(multiples),
        "held_mean_h": stats.mean(hours),
        "held_median_h": stats.median(hours),
    }
    return {
        "trades": len(rows),
        **{name: _rounded(value) for name, value in figures.items()},
        "net": text(sum((row.net for row in rows), Decimal(0))),
        "fees": text(sum((row.fees for row in rows), Decimal(0))),
        "funding": text(sum((row.funding for row in rows), Decimal(0))),
    }


def _side(rows: Sequence[TradeRow], side: str) -> dict[str, Any]:
    return trade_statistics([row for row in rows if row.side == side])


def costs(result: Result, rows: Sequence[TradeRow]) -> list[dict[str, Any]]:
    """The run at its costs, twice and three times: recomputed from the same fills, because a run
    with other costs would size other trades and mix both in one figure. The curve loses the extra
    cost of each fill at its time; a cost does not change what later trades could be. `ruined`: at
    these costs nothing would have been left, so that no return or ratio is said."""
    start, end = _us(result)
    curve = result.curve
    fills = fill_costs(result.records, result.backtest.account)
    spent = _spent(fills, curve.time_us)
    slipped = _per_trade(fills, rows)
    out = []
    for factor in FACTORS:
        equity = curve.equity - (factor - 1) * spent
        nav = np.divide(curve.nav * equity, curve.equity, out=np.zeros(len(equity)),
                        where=curve.equity > 0)  # fmt: skip
        ruined = bool((nav <= 0).any())
        daily = stats.daily_nav(curve.time_us, np.maximum(nav, 0), start, end)
        net = [
            float(row.net - (factor - 1) * cost) for row, cost in zip(rows, slipped, strict=True)
        ]
        final = float(equity[-1]) if len(equity) else None
        growth = 100 * (float(nav[-1]) - 1) if len(nav) else None
        out.append(
            {
                "factor": factor,
                "costs": _rounded(factor * float(spent[-1]) if len(spent) else 0.0, 2),
                "final_equity": _rounded(final, 2),
                "return_pct": -100.0 if ruined else _rounded(growth),
                "max_drawdown_daily_pct": _rounded(stats.max_drawdown_pct(daily.nav)),
                "sharpe": None if ruined else _rounded(stats.sharpe(daily.returns)),
                "profit_factor": _rounded(stats.profit_factor(net)),
                "net": _rounded(sum(net), 2),
                "ruined": ruined,
            }
        )
    return out


def _spent(fills: Sequence[FillCost], time_us: Any) -> Floats:
    """Fees and slippage of all fills up to each time, USDT."""
    total = np.concatenate(([0.0], np.cumsum([float(f.fee + f.slippage) for f in fills])))
    at = np.searchsorted([f.time_us for f in fills], time_us, side="right")
    spent: Floats = total[at]
    return spent


def _per_trade(fills: Sequence[FillCost], rows: Sequence[TradeRow]) -> list[Decimal]:
    """Fees and slippage of each trade's own fills."""
    by_trade: dict[str, Decimal] = {}
    for fill in fills:
        key = fill.trade_id
        by_trade[key] = by_trade.get(key, Decimal(0)) + fill.fee + fill.slippage
    return [by_trade.get(row.trade_id, Decimal(0)) for row in rows]


def _ambiguous(rows: Sequence[TradeRow], result: Result) -> dict[str, Any]:
    found = ambiguous(rows, result.backtest.candles)
    return {
        "candles": found.count,
        "net": text(found.net),
        "net_opposite_rule": text(found.net_opposite),
    }


def _us(result: Result) -> tuple[int, int]:
    run = result.backtest
    assert run.start is not None
    assert run.end is not None
    return int(run.start.timestamp()) * 1_000_000, int(run.end.timestamp()) * 1_000_000


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _rounded(value: float | None, digits: int = 6) -> float | None:
    return None if value is None else round(value, digits)
