"""Average-cost accounting of a one-way position, exact to the last digit (DEFINITIONS 3).

The signed cost (sum of q p of what is open) is kept instead of an average price, so nothing is lost
to a division: what a partial close takes out of the cost is rounded once, to 1e-12, and the same
rounded number is in the realised result. Hence realised + cost is always the exact sum of fills.
Shared by the simulated venue and the positions decider, which therefore agree to the last digit.
"""

from decimal import Context, Decimal
from typing import NamedTuple

CENT = Decimal("1E-12")
"""What a share of cost or of margin is rounded to."""
EXACT = Context(prec=50)
"""Products and sums of money: wide enough that none rounds, whatever the caller's context."""
ZERO = Decimal(0)


def close_share(cost: Decimal, quantity: Decimal, closed: Decimal) -> Decimal:
    """The part of the signed `cost` of `quantity` (signed) that belongs to `closed` (unsigned).

    All of it for a full close, else rounded to 1e-12. ValueError when more is closed than open.
    """
    size = abs(quantity)
    if closed > size:
        raise ValueError(f"{closed} cannot be closed: only {size} are open")
    if closed == size:
        return cost
    return EXACT.divide(EXACT.multiply(cost, closed), size).quantize(CENT, context=EXACT)


class Averaged(NamedTuple):
    """A position after a fill: signed quantity and cost, what the fill realised, how much of it
    closed and how much opened (both unsigned)."""

    quantity: Decimal
    cost: Decimal
    realised: Decimal
    closed: Decimal
    opened: Decimal


def after_fill(quantity: Decimal, cost: Decimal, fill: Decimal, price: Decimal) -> Averaged:
    """The position (`quantity`, `cost`, both signed) after `fill` (signed: bought is positive) at
    `price`. A fill larger than the position on the other side closes it and opens the rest."""
    closed = min(abs(quantity), abs(fill)) if (quantity > 0) != (fill > 0) else ZERO
    opened = abs(fill) - closed
    realised = ZERO
    if closed:
        share = close_share(cost, quantity, closed)
        sign = 1 if quantity > 0 else -1
        realised = EXACT.subtract(EXACT.multiply(sign * closed, price), share)
        cost = EXACT.subtract(cost, share)
    if opened:
        signed = opened if fill > 0 else -opened
        cost = EXACT.add(cost, EXACT.multiply(signed, price))
    return Averaged(EXACT.add(quantity, fill), cost, realised, closed, opened)
