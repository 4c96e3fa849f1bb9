"""One request with everything its checks look at: prices, stop, size, margin (RISK-1).

A figure that cannot be known (no price, no average true range, no equity) is None, and a check that
needs it is not evaluated. Sizing and leverage are computed first; the checks then only compare.
"""

from dataclasses import dataclass
from decimal import Decimal

from domain.futures import (
    MarginPlan,
    cross_liquidation_price,
    liquidation_price,
    maintenance,
    plan_margin,
)
from domain.market_state import InstrumentTerms, SymbolMarket
from domain.policy_state import AccountPolicy
from domain.risk_book import Book, SymbolBook
from domain.sizing import (
    HUNDRED,
    ZERO,
    Size,
    least_quantity,
    risk_pct,
    risk_quantity,
    size_order,
    trade_risk,
    unit_costs,
)
from domain.stops import stop_distance, stop_price, target_price
from schemas.trade import Intent, Regime, Side, Signal

SIZING_MULTIPLIER = Decimal(1)
"""Of the target risk; nothing in the system changes it yet."""


@dataclass(slots=True)
class Case:
    """A request under judgement. Times in microseconds of event time."""

    request: Signal | Intent
    policy: AccountPolicy
    book: Book
    here: SymbolBook
    known: SymbolMarket | None
    now_us: int
    signal_us: int
    price_us: int | None
    price_limit_s: int
    entered_us: int | None
    """Later of last entry fill and last close of the symbol."""
    duplicate: bool
    stopped: bool
    """A decision of risk failed for this account."""
    unknown_order: bool
    limit_price: Decimal | None = None
    proposal: Decimal | None = None
    """Proposed size, % of equity."""
    entry: Decimal | None = None
    stop: Decimal | None = None
    target: Decimal | None = None
    stop_fault: str | None = None
    costs: Decimal = ZERO
    least: Decimal = ZERO
    size: Size | None = None
    risk: Decimal = ZERO
    """Loss of the sized order at its stop, costs included."""
    margin: MarginPlan | None = None
    liquidation: Decimal | None = None

    def __post_init__(self) -> None:
        request = self.request
        if isinstance(request, Intent) and request.limit_price is not None:
            self.limit_price = Decimal(request.limit_price)
        if request.position_size_pct is not None:
            self.proposal = Decimal(request.position_size_pct)

    @property
    def side(self) -> Side:
        return self.request.side

    @property
    def terms(self) -> InstrumentTerms | None:
        return self.known.terms if self.known else None

    @property
    def mark(self) -> Decimal | None:
        return self.known.mark if self.known else None

    @property
    def regime(self) -> Regime:
        return self.known.hourly.regime if self.known else "NORMAL"

    @property
    def closes(self) -> bool:
        """Whether it asks for the other side of an open position."""
        return self.here.quantity != ZERO and (self.here.quantity > ZERO) != (self.side == "BUY")

    @property
    def multiplier(self) -> Decimal:
        """What the risk target is multiplied with: less than 1 while an AI-HFOS asks for caution
        (SAFE-9)."""
        if self.policy.brakes.hfos == "CAUTIOUS":
            return self.policy.number("hfos_cautious_pct") / HUNDRED
        return SIZING_MULTIPLIER

    @property
    def quantity(self) -> Decimal:
        return self.size.quantity if self.size else ZERO

    def price(self) -> None:
        """Work out entry, stop, target, size, leverage; leaves None what cannot be known."""
        known, terms = self.known, self.terms
        if known is None or terms is None or known.last is None or known.mark is None:
            return
        self.entry = self.limit_price or known.last
        self._protect(known, terms, self.entry)
        equity = self.book.equity
        if equity is None or equity <= ZERO or self.stop_fault:
            return
        self._size(known, terms, self.entry, known.mark, equity)
        if self.quantity > ZERO:
            self._lever(terms, self.entry, known.mark, known.last, equity)

    def _protect(self, known: SymbolMarket, terms: InstrumentTerms, entry: Decimal) -> None:
        """Stop and target: the request's own, else computed; what is wrong goes to `stop_fault`."""
        own_stop = own_target = None
        if isinstance(self.request, Intent):
            own_stop, own_target = self.request.stop_price, self.request.target_price
        long = self.side == "BUY"
        if own_stop:
            self.stop = Decimal(own_stop)
            if self.stop == entry or (self.stop < entry) != long:
                self.stop_fault = f"Stop {own_stop} is on the wrong side of entry {entry:f}"
        elif self.policy.policy.stops_required:
            atr = known.hourly.atr
            if atr is None:
                self.stop_fault = "no average true range yet: 14 closed hours are needed"
                return
            distance = stop_distance(entry=entry, atr=atr, regime=self.regime, policy=self.policy)
            self.stop = stop_price(side=self.side, entry=entry, distance=distance, tick=terms.tick)
        if own_target:
            self.target = Decimal(own_target)
            if self.target == entry or (self.target > entry) != long:
                self.stop_fault = f"Target {own_target} is on the wrong side of entry {entry:f}"
        elif self.stop is not None and self.stop_fault is None:
            self.target = target_price(
                side=self.side,
                entry=entry,
                stop=self.stop,
                target_r=self.policy.number("target_r"),
                tick=terms.tick,
            )

    def _size(
        self,
        known: SymbolMarket,
        terms: InstrumentTerms,
        entry: Decimal,
        mark: Decimal,
        equity: Decimal,
    ) -> None:
        number, book, here = self.policy.number, self.book, self.here
        self.costs = unit_costs(entry=entry, taker=terms.taker, slippage_pct=number("slippage_pct"))
        unit_risk = self.costs + (entry if self.stop is None else abs(entry - self.stop))
        share = equity / HUNDRED
        caps: dict[str, Decimal] = {}
        if self.stop is not None:
            cap_pct = number("max_risk_trade_pct")
            pct = risk_pct(
                target_pct=number("risk_target_pct"), multiplier=self.multiplier, cap_pct=cap_pct
            )
            caps["risk_target"] = risk_quantity(equity=equity, pct=pct, unit_risk=unit_risk)
            caps["max_risk_trade"] = (share * cap_pct - here.risk) / unit_risk
        caps["max_position"] = (number("max_position_usd") - here.notional) / mark
        caps["max_size_pct"] = (share * number("max_size_pct") - here.notional) / mark
        caps["max_gross"] = (share * number("max_gross_pct") - book.gross) / mark
        caps["max_risk_open"] = (share * number("max_risk_open_pct") - book.risk) / unit_risk
        if known.candle is not None:
            caps["participation"] = known.candle.volume * number("participation_pct") / HUNDRED
        if self.proposal is not None:
            caps["proposal"] = share * self.proposal / mark
        if isinstance(self.request, Intent) and self.request.quantity is not None:
            caps["quantity"] = Decimal(self.request.quantity)
        self.size = size_order(caps, step=terms.step)
        self.least = least_quantity(
            price=self.limit_price or mark,
            step=terms.step,
            quantity_min=terms.quantity_min,
            notional_min=terms.notional_min,
        )
        self.risk = trade_risk(
            side=self.side, quantity=self.quantity, entry=entry, stop=self.stop, costs=self.costs
        )

    def _lever(
        self,
        terms: InstrumentTerms,
        entry: Decimal,
        mark: Decimal,
        last: Decimal,
        equity: Decimal,
    ) -> None:
        quantity = self.quantity
        bid, ask = last * (1 - terms.half_spread), last * (1 + terms.half_spread)
        limit = self.limit_price
        self.margin = plan_margin(
            side=self.side,
            quantity=quantity,
            notional_after=self.here.notional + quantity * mark,
            order_price=limit or (ask if self.side == "BUY" else bid),
            limit=limit is not None,
            bid=bid,
            ask=ask,
            mark=mark,
            stop_distance=None if self.stop is None else abs(entry - self.stop) / entry,
            balance=equity,
            margin_used=self.book.margin,
            leverage_max=self.policy.policy.max_leverage,
            buffer_pct=self.policy.number("liq_buffer_pct"),
            terms=terms,
        )
        if not self.margin.leverage:
            return
        if self.policy.policy.margin_mode == "cross":
            others = [b for b in self.book.symbols.values() if b is not self.here]
            self.liquidation = cross_liquidation_price(
                side=self.side,
                quantity=quantity,
                entry=entry,
                wallet=self.book.cash,
                # Their own brackets are at most as strict as their initial margin: worst case.
                other_maintenance=sum((b.margin for b in others), ZERO),
                other_unrealised=sum((b.unrealised for b in others), ZERO),
                terms=terms,
            )
        else:
            self.liquidation = liquidation_price(
                side=self.side,
                quantity=quantity,
                entry=entry,
                isolated_margin=quantity * entry / self.margin.leverage,
                terms=terms,
            )

    def maintenance(self) -> Decimal | None:
        """Maintenance margin of the sized order at mark, USDT."""
        terms, mark = self.terms, self.mark
        if terms is None or mark is None or not self.quantity:
            return None
        return maintenance(self.quantity * mark, terms)
