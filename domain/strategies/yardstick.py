"""The yardstick of the peers: a simple bracketed long, for comparisons of speed and of fills.

At every hundredth 1 m candle, when flat: buy 0.1 at market, stop 2 % below and target 3 % above
that candle's close. It proposes prices of its own, so it is an intent and no signal; the risk gate
judges it like any other, under a policy whose limits were raised and are printed.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, NamedTuple

NAME = "yardstick"
"""What a policy's `strategy` says."""
EVERY = 100
"""Closed candles from one look to the next, warm-up not counted."""
QUANTITY = Decimal("0.1")
STOP, TARGET = Decimal("0.98"), Decimal("1.03")
"""Shares of the close."""
POLICY: Mapping[str, Any] = {
    "start_equity_usdt": "1000000",
    "max_position_usd": "1000000",
    "max_risk_trade_pct": "100",
    "risk_target_pct": "100",
    "max_risk_open_pct": "1000",
    "max_gross_pct": "1000",
    "rl_v3_live.max_size_pct": "1000",
    "participation_pct": "100",
    "max_trades_per_hour": 1000,
    "cooldown_s": 0,
    "max_time_in_trade_s": 31_536_000,
    "stop_min_pct": "2",
    "stop_max_pct": "2",
    "high_vol_multiplier": "1",
    "extreme_vol_multiplier": "1",
}
"""What differs from the profile: limits raised, every check executed. The stop keeps its 2 %."""


class Proposal(NamedTuple):
    """Quantity in the base asset and prices on the tick."""

    quantity: Decimal
    stop: Decimal
    target: Decimal


def proposal(close: Decimal, tick: Decimal) -> Proposal:
    """The bracket around a close, prices rounded half to even to the tick."""
    return Proposal(QUANTITY, _on_tick(close * STOP, tick), _on_tick(close * TARGET, tick))


def _on_tick(price: Decimal, tick: Decimal) -> Decimal:
    return (price / tick).to_integral_value(ROUND_HALF_EVEN) * tick
