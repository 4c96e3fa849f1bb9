"""Positions, money and trades of accounts: the fold of `trade.execution.res` (DEFINITIONS 3).

Average cost, one position a symbol. An item is counted once, whatever record it comes in. After
every record both forms of the equity identity are checked, exactly; a difference stops the worker,
because then no figure can be trusted.
"""

from dataclasses import dataclass, field
from decimal import Decimal, localcontext

from domain.average_cost import CENT, EXACT, ZERO, after_fill
from schemas.scalars import EPOCH_TEXT, dec
from schemas.trade import (
    Ended,
    ExecutionReported,
    Filled,
    Funded,
    Side,
    Transferred,
)

SETTLEMENT = "USDT"
"""Asset that equity is counted in; fees in others are valued when they are paid."""


class IdentityError(ArithmeticError):
    """The two forms of the equity identity differ: the fold is wrong, the worker must stop."""


@dataclass(slots=True)
class Trade:
    """A trade from flat to flat. `quantity` and `cost` (sum q p of what is open) are signed."""

    trade_id: str
    symbol: str
    side: Side
    opened_at: str
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    quantity_max: Decimal = ZERO
    entered: Decimal = ZERO
    """Quantity of all opening fills, and what was paid for it."""
    entered_value: Decimal = ZERO
    left: Decimal = ZERO
    """Quantity of all closing fills, and what was received for it."""
    left_value: Decimal = ZERO
    realised: Decimal = ZERO
    funding: Decimal = ZERO
    price: Decimal = ZERO
    """Price of the last fill: stands in for an unknown mark."""
    entry_at: str = EPOCH_TEXT
    closed_at: str = ""
    exit_order_id: str | None = None


@dataclass(slots=True)
class Fee:
    """A fee as it was paid. `price`: of its fill."""

    trade_id: str
    symbol: str
    asset: str
    amount: Decimal
    price: Decimal


@dataclass(slots=True)
class Told:
    """What the last record brought that was not known before; decided on right after its fold."""

    record_id: str = ""
    symbols: list[str] = field(default_factory=list)
    ends: list[Ended] = field(default_factory=list)
    closed: list[Trade] = field(default_factory=list)
    fees: list[Fee] = field(default_factory=list)
    money: bool = False

    def anything(self) -> bool:
        return self.money or bool(self.ends)


@dataclass(slots=True)
class AccountBook:
    """One account. Sums are of its whole life; `traded` is the sum of q p over all fills."""

    open: dict[str, Trade] = field(default_factory=dict)
    transfers: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    """Fees in the settlement asset."""
    funding: Decimal = ZERO
    traded: Decimal = ZERO
    balances: dict[str, Decimal] = field(default_factory=dict)
    """What is held of each asset, by transfers, realised results, fees and funding."""
    items: int = 0
    seen: set[str] = field(default_factory=set, repr=False)
    """Ids of all items counted. Kept for good: the same fill may be offered again at any time by a
    gateway that was fenced while it wrote to its buffer. `items` stands for it in the digest."""
    told: Told = field(default_factory=Told)


@dataclass(slots=True)
class Results:
    """Slice of `trade.execution.res`: the books of the partition's accounts."""

    accounts: dict[str, AccountBook] = field(default_factory=dict)

    def fold(self, event: ExecutionReported) -> bool:
        """Fold one record; True if it told anything (fills, ends, transfers, funding). Sums do not
        round, whatever decimal context the caller's thread has.

        Raises IdentityError when the books do not add up.
        """
        book = self.accounts.get(event.partitionkey)
        if book is None:
            book = self.accounts[event.partitionkey] = AccountBook()
        told = book.told = Told(record_id=event.id)
        with localcontext(EXACT):
            for item in event.data.items:
                if isinstance(item, Filled | Ended | Transferred | Funded):
                    _count(book, item)
            if told.money:
                check_identity(book, event.id)
        return told.anything()


def _count(book: AccountBook, item: Filled | Ended | Transferred | Funded) -> None:
    """Count an item, once."""
    if item.id in book.seen:
        return
    book.seen.add(item.id)
    book.items += 1
    if isinstance(item, Ended):
        book.told.ends.append(item)
        return
    book.told.money = True
    if isinstance(item, Filled):
        _fill(book, item)
    elif isinstance(item, Funded):
        _funding(book, item)
    else:
        _transfer(book, item)


def ratio(a: Decimal, b: Decimal) -> Decimal:
    """a / b to 1e-12, for averages that are shown; never a part of a sum."""
    return EXACT.divide(a, b).quantize(CENT, context=EXACT)


def _pay(book: AccountBook, asset: str, amount: Decimal) -> None:
    book.balances[asset] = book.balances.get(asset, ZERO) + amount


def _fill(book: AccountBook, fill: Filled) -> None:
    price = dec(fill.price)
    signed = dec(fill.quantity) if fill.side == "BUY" else -dec(fill.quantity)
    known = book.open.get(fill.symbol)
    quantity, cost = (known.quantity, known.cost) if known else (ZERO, ZERO)
    after = after_fill(quantity, cost, signed, price)
    book.traded += signed * price
    book.realised += after.realised
    _pay(book, SETTLEMENT, after.realised)
    _touch(book, fill.symbol)
    size, fee = abs(signed), dec(fill.fee)
    share = fee if after.closed == size else ratio(fee * after.closed, size)
    if known is not None:
        known.price = price
        if after.closed:
            _leave(book, known, fill, after.closed, after.realised)
            _fee(book, known, fill, share)
    if after.opened:
        trade = book.open.get(fill.symbol)
        if trade is None:
            trade = Trade(fill.id, fill.symbol, fill.side, fill.filled_at, price=price)
            book.open[fill.symbol] = trade
        trade.entered += after.opened
        trade.entered_value += after.opened * price
        trade.entry_at = fill.filled_at
        _fee(book, trade, fill, fee - share if after.closed else fee)
    left = book.open.get(fill.symbol)
    if left is not None:
        left.quantity, left.cost = after.quantity, after.cost
        left.quantity_max = max(left.quantity_max, abs(after.quantity))


def _leave(
    book: AccountBook, trade: Trade, fill: Filled, closed: Decimal, realised: Decimal
) -> None:
    trade.left += closed
    trade.left_value += closed * dec(fill.price)
    trade.realised += realised
    if closed == abs(trade.quantity):
        trade.quantity = trade.cost = ZERO
        trade.closed_at, trade.exit_order_id = fill.filled_at, fill.order_id
        book.told.closed.append(book.open.pop(trade.symbol))


def _fee(book: AccountBook, trade: Trade, fill: Filled, amount: Decimal) -> None:
    if not amount:
        return
    _pay(book, fill.fee_asset, -amount)
    if fill.fee_asset == SETTLEMENT:
        book.fees += amount
    book.told.fees.append(
        Fee(trade.trade_id, trade.symbol, fill.fee_asset, amount, dec(fill.price))
    )


def _funding(book: AccountBook, item: Funded) -> None:
    amount = dec(item.amount)
    book.funding += amount
    _pay(book, SETTLEMENT, amount)
    trade = book.open.get(item.symbol)
    if trade is not None:
        trade.funding += amount
        _touch(book, item.symbol)


def _transfer(book: AccountBook, item: Transferred) -> None:
    """Equity counts transfers of the settlement asset; others stand in `balances` alone."""
    amount = dec(item.amount)
    _pay(book, item.asset, amount)
    if item.asset == SETTLEMENT:
        book.transfers += amount


def _touch(book: AccountBook, symbol: str) -> None:
    if symbol not in book.told.symbols:
        book.told.symbols.append(symbol)


def check_identity(book: AccountBook, record_id: str) -> None:
    """Both forms of DEFINITIONS 3, with the last fill prices as marks; raises IdentityError.

    E = transfers + realised - fees + funding + sum q (m - average entry)
      = transfers - sum of fills q p + sum q m - fees + funding
    """
    value = sum((t.quantity * t.price for t in book.open.values()), ZERO)
    cost = sum((t.cost for t in book.open.values()), ZERO)
    money = book.transfers - book.fees + book.funding
    by_result = money + book.realised + value - cost
    by_fills = money - book.traded + value
    if by_result != by_fills:
        raise IdentityError(
            f"equity is {by_result} from results and {by_fills} from fills after record "
            f"{record_id}: stop, and replay this account from its first record"
        )
