"""How large an entry is: quantities, rounding to the venue's filters, the risk of a trade.

DEFINITIONS 4. Money in USDT, prices in USDT, quantities in the base asset, percentages 0-100.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from domain.futures import sign
from schemas.trade import Side

ZERO = Decimal(0)
HUNDRED = Decimal(100)


def floored(value: Decimal, grid: Decimal) -> Decimal:
    """The largest multiple of `grid` (a tick or a step) that is not above `value`."""
    return (value / grid).to_integral_value(ROUND_FLOOR) * grid


def ceiled(value: Decimal, grid: Decimal) -> Decimal:
    """The smallest multiple of `grid` that is not below `value`."""
    return (value / grid).to_integral_value(ROUND_CEILING) * grid


def on_grid(value: Decimal, grid: Decimal) -> bool:
    """Whether `value` is a multiple of the tick or step."""
    return value % grid == ZERO


def unit_costs(*, entry: Decimal, taker: Decimal, slippage_pct: Decimal) -> Decimal:
    """Costs of one unit in and out: entry x (2 taker + slippage in and out). `taker` a fraction."""
    return entry * 2 * (taker + slippage_pct / HUNDRED)


def risk_pct(*, target_pct: Decimal, multiplier: Decimal, cap_pct: Decimal) -> Decimal:
    """Risk a new trade is sized with, % of equity: min(target x sizing multiplier, cap)."""
    return min(target_pct * multiplier, cap_pct)


def risk_quantity(*, equity: Decimal, pct: Decimal, unit_risk: Decimal) -> Decimal:
    """Quantity whose loss at its stop, costs included, is `pct` % of equity; unrounded."""
    return equity * pct / HUNDRED / unit_risk


def trade_risk(
    *, side: Side, quantity: Decimal, entry: Decimal, stop: Decimal | None, costs: Decimal
) -> Decimal:
    """Loss in USDT of `quantity` at its current stop, costs (a unit) included; never below 0.

    A stop beyond the entry on the winning side gives no credit. Without a stop nothing bounds the
    loss, so the whole value counts.
    """
    distance = entry if stop is None else max(ZERO, sign(side) * (entry - stop))
    return max(ZERO, quantity * (distance + costs))


@dataclass(slots=True)
class Size:
    """A sized order. `caps`: what each rule would allow, unrounded, in the order of the rules;
    `binding` is the rule that gave `unrounded`, the first one where several are equal."""

    quantity: Decimal
    unrounded: Decimal
    binding: str
    caps: dict[str, Decimal]


def size_order(caps: dict[str, Decimal], *, step: Decimal) -> Size:
    """The smallest of the caps (quantities), floored to the step; negative rooms count as 0."""
    binding = min(caps, key=caps.__getitem__)
    unrounded = max(ZERO, caps[binding])
    return Size(floored(unrounded, step), unrounded, binding, caps)


def least_quantity(
    *, price: Decimal, step: Decimal, quantity_min: Decimal, notional_min: Decimal
) -> Decimal:
    """The smallest quantity the venue takes at `price`: minimum, min notional, whole steps."""
    return ceiled(max(quantity_min, notional_min / price, step), step)
