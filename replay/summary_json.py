"""The JSON of a summary that other tools rely on: `accounts`, `events`, `signals` and more.

Money is canonical decimal text; percentages and counts are numbers.
"""

from decimal import Decimal
from typing import Any

from replay.account_summary import AccountSummary, OpenPosition
from replay.summary import Summary
from schemas.scalars import text


def summary_json(summary: Summary) -> dict[str, Any]:
    """What `demo` and `status` have in common; more fields may come."""
    marks = summary.marks
    return {
        "accounts": {n: account_json(a, marks) for n, a in sorted(summary.accounts.items())},
        "events": summary.events,
        "signals": summary.signals,
        "intents": summary.intents,
        "duplicates": summary.duplicates,
        "time": summary.time,
        "prices": {s: text(line.last) for s, line in sorted(summary.prices.items())},
        "buy_and_hold_pct": statistic(summary.buy_and_hold_pct()),
        "always_flat_pct": 0.0,
    }


def account_json(account: AccountSummary, marks: dict[str, Decimal]) -> dict[str, Any]:
    """One account's figures, open positions marked at `marks`."""
    equity, start = account.equity(marks), account.booked("transfers")
    return {
        "trading_state": account.trading_state,
        "governor": account.governor,
        "holds": list(account.holds),
        "hfos": account.hfos,
        "policy_version": account.policy_version,
        "paused": list(account.policy.paused_symbols) if account.policy else [],
        "equity": text(equity),
        "return_pct": statistic(100 * (equity - start) / start) if start else None,
        "drawdown_pct": statistic(account.drawdown_pct),
        "max_drawdown_pct": statistic(account.drawdown_max_pct),
        "open_positions": len(account.positions),
        "positions": [position_json(p) for p in account.open_positions(marks)],
        "gross": text(account.gross(marks)),
        "unrealised": text(account.unrealised(marks)),
        "signals": account.signals,
        "intents": account.intents,
        "confidence_average": statistic(account.confidence_average),
        "approved": account.approved,
        "approved_exits": account.approved_exits,
        "rejected": dict(sorted(account.rejected.items())),
        "failures": dict(sorted(account.failures.items())),
        "orders": len(account.orders),
        "dropped": dict(sorted(account.dropped.items())),
        "fills": account.fills,
        "fill_rate_pct": statistic(account.fill_rate_pct),
        "slippage_pct": statistic(account.slippage().slippage_pct),
        "slippage_max_pct": statistic(account.slippage_max_pct),
        "unknown": account.unknown,
        "emergencies": account.emergencies,
        "flash_crashes": account.flash_crashes,
        "transfers": text(start),
        "realised": text(account.booked("realised")),
        "fees": text(account.booked("fees")),
        "fees_by_asset": {a: text(v) for a, v in sorted(account.fees_by_asset.items())},
        "funding": text(account.booked("funding")),
        "trades": len(account.trades),
        "wins": account.wins,
        "net": text(account.net),
        "profit_factor": statistic(account.profit_factor),
        "exits": account.exits(),
        "stops_widened": account.stops_widened,
        "liquidations": account.liquidations,
    }


def position_json(position: OpenPosition) -> dict[str, Any]:
    """One open position; `stop` and `target` null where nothing rests."""
    return {
        "symbol": position.symbol,
        "side": position.side,
        "quantity": text(position.quantity),
        "entry": text(position.entry),
        "mark": text(position.mark),
        "unrealised": text(position.unrealised),
        "stop": None if position.stop is None else text(position.stop),
        "target": None if position.target is None else text(position.target),
        "opened_at": position.opened_at,
        "trade_id": position.trade_id,
    }


def statistic(value: Decimal | None) -> float | None:
    """A statistic for JSON, six decimals; None stays None."""
    return None if value is None else round(float(value), 6)
