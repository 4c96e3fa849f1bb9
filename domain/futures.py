"""Arithmetic of linear (USDT-margined) perpetuals; no other module computes any of it (RISK-1).

Formulas: Binance USDT-M documentation (leverage and margin brackets, liquidation price, cost to
open), DEFINITIONS 2. Money in USDT, rates and distances as fractions, buffers in percent. `side` is
the side that opened the position: BUY is long (s = +1), SELL is short (s = -1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from domain.market_state import BracketLine, InstrumentTerms
from schemas.trade import Side

ZERO = Decimal(0)
ONE = Decimal(1)
HUNDRED = Decimal(100)
ASK_MARKUP = Decimal("1.0005")
"""Binance assumes that a long at MARKET opens at the ask x 1.0005 (cost to open)."""


def sign(side: Side) -> int:
    """+1 for a long (BUY), -1 for a short (SELL)."""
    return 1 if side == "BUY" else -1


# ---------------------------------------------------------------- brackets and maintenance


def bracket_of(notional: Decimal, terms: InstrumentTerms) -> BracketLine:
    """The maintenance bracket of a notional in USDT; a bracket's upper bound belongs to it.

    Above the last bracket its terms go on. Raises ValueError where a symbol has no brackets.
    """
    if not terms.brackets:
        raise ValueError(f"{terms.symbol} has no margin brackets; list the instrument with them")
    for line in terms.brackets:
        if line.notional_max is None or notional <= line.notional_max:
            return line
    return terms.brackets[-1]


def maintenance(notional: Decimal, terms: InstrumentTerms) -> Decimal:
    """Maintenance margin MM = N mmr_k - cum_k in USDT, never below 0."""
    line = bracket_of(notional, terms)
    return max(ZERO, notional * line.mmr - line.cum)


def bracket_cums(brackets: Sequence[tuple[Decimal | None, Decimal]]) -> list[Decimal]:
    """cum of each bracket (notional_max, mmr): cum_k = cum_(k-1) + floor_k (mmr_k - mmr_(k-1)).

    They make maintenance continuous at the bounds; used to check a venue's table.
    """
    out: list[Decimal] = []
    floor, rate = ZERO, None
    for notional_max, mmr in brackets:
        out.append(ZERO if rate is None else out[-1] + floor * (mmr - rate))
        floor, rate = (notional_max or floor), mmr
    return out


# ---------------------------------------------------------------- margin and liquidation


def initial_margin(notional: Decimal, leverage: int) -> Decimal:
    """IM = N / L in USDT."""
    return notional / leverage


def liquidation_price(
    *,
    side: Side,
    quantity: Decimal,
    entry: Decimal,
    isolated_margin: Decimal,
    terms: InstrumentTerms,
) -> Decimal | None:
    """Price at which an isolated position's margin falls to its maintenance margin.

    LP = (WB + cum - s q EP) / (q mmr - s q), WB the isolated margin, in the bracket that holds at
    that price. `quantity` > 0. None where no positive price liquidates (a long at 1x).
    """
    return _liquidation(side, quantity, entry, isolated_margin, terms)


def cross_liquidation_price(
    *,
    side: Side,
    quantity: Decimal,
    entry: Decimal,
    wallet: Decimal,
    other_maintenance: Decimal,
    other_unrealised: Decimal,
    terms: InstrumentTerms,
) -> Decimal | None:
    """The same in cross margin: LP = (WB - TMM + UPNL + cum - s q EP) / (q mmr - s q), with the
    wallet balance, and maintenance and unrealised P&L of all other symbols."""
    margin = wallet - other_maintenance + other_unrealised
    return _liquidation(side, quantity, entry, margin, terms)


def _liquidation(
    side: Side, quantity: Decimal, entry: Decimal, margin: Decimal, terms: InstrumentTerms
) -> Decimal | None:
    s = sign(side)

    def solve(line: BracketLine) -> Decimal:
        return (margin + line.cum - s * quantity * entry) / (quantity * line.mmr - s * quantity)

    if s > 0 and solve(bracket_of(ZERO, terms)) <= ZERO:
        return None
    # Margin less maintenance is monotonic in price, so at most one bracket contains its own answer;
    # a venue's table with steps may leave none, then the bracket at entry decides.
    for line in terms.brackets:
        price = solve(line)
        if price > ZERO and bracket_of(quantity * price, terms) is line:
            return price
    price = solve(bracket_of(quantity * entry, terms))
    return price if price > ZERO else None


def isolated_distance(*, side: Side, leverage: int, mmr: Decimal) -> Decimal:
    """Way from entry to liquidation as a fraction of entry (below the first bracket's bound):
    long (1/L - mmr)/(1 - mmr), short (1/L - mmr)/(1 + mmr)."""
    return (ONE / leverage - mmr) / (ONE - sign(side) * mmr)


# ---------------------------------------------------------------- leverage as an output


def leverage_for_stop(*, side: Side, distance: Decimal, buffer_pct: Decimal, mmr: Decimal) -> int:
    """Highest leverage at which the stop lies within (1 - buffer) of the way to liquidation.

    L <= 1 / (d/(1-b) (1 -+ mmr) + mmr), - long, + short; `distance` d = stop distance / entry.
    0 where not even 1x keeps the buffer.
    """
    share = ONE - buffer_pct / HUNDRED
    if share <= ZERO:
        return 0
    per_unit = distance / share * (ONE - sign(side) * mmr) + mmr
    leverage = int(ONE / per_unit)
    return leverage if leverage * per_unit <= ONE else leverage - 1


def cost_to_open(
    *,
    side: Side,
    quantity: Decimal,
    order_price: Decimal,
    limit: bool,
    bid: Decimal,
    ask: Decimal,
    mark: Decimal,
    leverage: int,
) -> Decimal:
    """Cost to open = IM at the assumed price + q |min(0, s (m - order price))|, in USDT."""
    price = assumed_price(
        side=side, order_price=order_price, limit=limit, bid=bid, ask=ask, mark=mark
    )
    margin = initial_margin(quantity * price, leverage)
    return margin + opening_loss(side=side, quantity=quantity, order_price=order_price, mark=mark)


def assumed_price(
    *,
    side: Side,
    order_price: Decimal,
    limit: bool,
    bid: Decimal,
    ask: Decimal,
    mark: Decimal,
) -> Decimal:
    """Price the venue takes for the initial margin of an order: long the order's price or the ask
    x 1.0005, short max(bid, mark, order price)."""
    if side == "BUY":
        return order_price if limit else ask * ASK_MARKUP
    return max(bid, mark, order_price)


def opening_loss(*, side: Side, quantity: Decimal, order_price: Decimal, mark: Decimal) -> Decimal:
    """What the order loses against mark the moment it fills: q |min(0, s (m - order price))|."""
    return quantity * abs(min(ZERO, sign(side) * (mark - order_price)))


def margin_use_pct(margin: Decimal, balance: Decimal) -> Decimal | None:
    """Margin of positions and open orders in % of margin balance; None without a balance."""
    return HUNDRED * margin / balance if balance > ZERO else None


@dataclass(slots=True)
class MarginPlan:
    """Leverage and margin of an order that is about to be approved; see :func:`plan_margin`."""

    leverage: int
    """Highest integer that satisfies caps and stop rule; 0: none."""
    cap: int
    """Highest leverage policy and bracket allow."""
    needed: int | None
    """Lowest leverage that keeps margin use inside its limit; None: none does."""
    initial_margin: Decimal
    cost_to_open: Decimal
    use_pct: Decimal | None
    use_limit_pct: Decimal
    mmr: Decimal
    stop_share_pct: Decimal | None
    """Where the stop lies on the way to liquidation, in percent, at this leverage (at 1x if 0)."""


def plan_margin(
    *,
    side: Side,
    quantity: Decimal,
    notional_after: Decimal,
    order_price: Decimal,
    limit: bool,
    bid: Decimal,
    ask: Decimal,
    mark: Decimal,
    stop_distance: Decimal | None,
    balance: Decimal,
    margin_used: Decimal,
    leverage_max: int,
    buffer_pct: Decimal,
    terms: InstrumentTerms,
) -> MarginPlan:
    """Leverage is an output (DEFINITIONS 2): the highest integer <= `leverage_max` and bracket with
    (a) margin use after the trade <= 100 - buffer and (b) the stop inside the buffer.

    More leverage only lowers margin use, so the highest that (b) and the caps allow decides (a);
    the caller checks whether it holds (`use_pct`, `use_limit_pct`). `notional_after`:
    of the symbol after the order, for its bracket. `stop_distance` is a fraction of the order's
    price, None: no stop, (b) does not apply. `margin_used`: IM of positions and open orders.
    """
    line = bracket_of(notional_after, terms)
    cap = min(leverage_max, line.leverage_max)
    leverage = cap
    if stop_distance is not None:
        rule = leverage_for_stop(
            side=side, distance=stop_distance, buffer_pct=buffer_pct, mmr=line.mmr
        )
        leverage = min(cap, rule)
    price = assumed_price(
        side=side, order_price=order_price, limit=limit, bid=bid, ask=ask, mark=mark
    )
    loss = opening_loss(side=side, quantity=quantity, order_price=order_price, mark=mark)
    notional, effective = quantity * price, max(1, leverage)
    margin = initial_margin(notional, effective)
    use_limit = HUNDRED - buffer_pct
    free = balance * use_limit / HUNDRED - margin_used - loss
    way = isolated_distance(side=side, leverage=effective, mmr=line.mmr)
    return MarginPlan(
        leverage=leverage,
        cap=cap,
        needed=max(1, _ceiling(notional, free)) if free > ZERO else None,
        initial_margin=margin,
        cost_to_open=margin + loss,
        use_pct=margin_use_pct(margin_used + margin + loss, balance),
        use_limit_pct=use_limit,
        mmr=line.mmr,
        stop_share_pct=HUNDRED * stop_distance / way if stop_distance and way > ZERO else None,
    )


def _ceiling(dividend: Decimal, divisor: Decimal) -> int:
    whole, rest = divmod(dividend, divisor)
    return int(whole) + (1 if rest else 0)
