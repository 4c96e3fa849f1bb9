"""The intents decider: strategies with prices of their own, `trade.intent`, driven by closed
candles.

It knows one, the yardstick, and stands in backtests only. Its market slice counts closed candles;
positions come from `trade.position.update`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from domain.clock_state import ClockState
from domain.decider import OWN, Decision, Read, Slices
from domain.holdings import Holding, Holdings
from domain.policy_state import AccountPolicy, ControlState
from domain.skipping import Outside
from domain.strategies import yardstick
from domain.waits import NOTHING, Waits
from schemas.envelope import Envelope
from schemas.ids import part_id
from schemas.market import CandlesClosed, InstrumentsListed
from schemas.scalars import EPOCH_TEXT, text
from schemas.topics import CLOCK, CONTROL, INTENT, MARKET, POSITION_UPDATE, partition_of
from schemas.trade import Intent, IntentData, IntentPublished
from schemas.trusted import trusted


@dataclass(slots=True)
class Closes:
    """One symbol: its last closed candle, and how many were closed without warm-up."""

    tick: Decimal
    opened_at: str = ""
    close: Decimal | None = None
    count: int = 0


@dataclass(slots=True)
class IntentsMarket:
    """Slice of `market`; only listed symbols are traded."""

    time: str = EPOCH_TEXT
    symbols: dict[str, Closes] = field(default_factory=dict)

    def fold(self, event: Envelope) -> bool:
        """Count closed candles; True for a record with one that is news."""
        news = False
        if isinstance(event, InstrumentsListed):
            for item in event.data.items:
                known = self.symbols.setdefault(item.symbol, Closes(Decimal(item.tick)))
                known.tick = Decimal(item.tick)
        elif isinstance(event, CandlesClosed):
            for candle in event.data.items:
                closes = self.symbols.get(candle.symbol)
                if closes is not None and candle.opened_at > closes.opened_at:
                    closes.opened_at, closes.close = candle.opened_at, Decimal(candle.close)
                    closes.count += not event.data.warm_up
                    news = True
        if news:
            self.time = max(self.time, event.time)
        return news

    def skip(self, outside: Outside) -> None:
        """Take over what folding everything up to a place would have left."""
        self.time = max(self.time, outside.closed_time)
        for symbol, closes in self.symbols.items():
            candle = outside.candle(symbol)
            if candle is not None:
                closes.opened_at, closes.close = candle.opened_at, candle.close
                closes.count = outside.traded(symbol)


@dataclass(slots=True)
class IntentsOwn:
    """Slice of own records: nothing is remembered."""


class Intents:
    """Decider on one account partition; one intent record an account and candle time, at most."""

    name = "intents"
    output = INTENT
    reads: tuple[Read, ...] = (Read(MARKET), Read(CONTROL), Read(CLOCK), Read(POSITION_UPDATE))
    waits_on = frozenset({CONTROL.name, POSITION_UPDATE.name})
    asks_about: tuple[type[Envelope], ...] = (CandlesClosed,)
    equity_last = True

    def __init__(self, partition: int, partitions: int) -> None:
        self.partition, self.partitions = partition, partitions

    def begin(self, topic: str) -> Any:
        makers: dict[str, Any] = {
            MARKET.name: IntentsMarket,
            CONTROL.name: ControlState,
            CLOCK.name: ClockState,
            POSITION_UPDATE.name: Holdings,
        }
        return makers.get(topic, IntentsOwn)()

    def evolve(self, topic: str, state: Any, event: Envelope) -> bool:
        return False if topic == OWN else bool(state.fold(event))

    def tidy(self, slices: Slices) -> None:
        """Nothing is held against anything here."""

    def waits(self, slices: Slices) -> Waits:
        """The next hundredth candle of every symbol in which an account is flat."""
        flat: dict[str, int] = {}
        for account in self._accounts(slices):
            held = slices[POSITION_UPDATE.name].accounts.get(account)
            for symbol in slices[MARKET.name].symbols:
                if held is not None and not held.quantity(symbol):
                    flat[symbol] = yardstick.EVERY
        return Waits(every_closes=tuple(flat.items())) if flat else NOTHING

    def asks(self, slices: Slices, fact: Envelope) -> Iterable[str]:
        if not isinstance(fact, CandlesClosed) or fact.data.warm_up:
            return ()
        return self._accounts(slices) if _due(slices[MARKET.name], fact) else ()

    def _accounts(self, slices: Slices) -> list[str]:
        accounts: dict[str, AccountPolicy] = slices[CONTROL.name].accounts
        return [
            account
            for account in sorted(accounts)
            if accounts[account].value("strategy") == yardstick.NAME
            and partition_of(account, self.partitions) == self.partition
        ]

    def decide(
        self, slices: Slices, cause: Envelope, account: str, record_id: str
    ) -> Decision | None:
        """One intent for each symbol whose candle is due and in which the account is flat."""
        assert isinstance(cause, CandlesClosed)
        market: IntentsMarket = slices[MARKET.name]
        held: Holding | None = slices[POSITION_UPDATE.name].accounts.get(account)
        if held is None:
            return None
        flat = [symbol for symbol in _due(market, cause) if not held.quantity(symbol)]
        items = tuple(
            _intent(part_id(record_id, n), symbol, market.symbols[symbol])
            for n, symbol in enumerate(flat)
        )
        if not items:
            return None
        shared = items[0].symbol if len(items) == 1 else None
        return Decision(IntentPublished, account, trusted(IntentData, items=items), shared)


def _due(market: IntentsMarket, fact: CandlesClosed) -> list[str]:
    """Symbols of a record whose count of candles is a multiple, in its order."""
    found = []
    for candle in fact.data.items:
        closes = market.symbols.get(candle.symbol)
        if closes and closes.opened_at == candle.opened_at and not closes.count % yardstick.EVERY:
            found.append(candle.symbol)
    return found


def _intent(identity: str, symbol: str, closes: Closes) -> Intent:
    assert closes.close is not None
    quantity, stop, target = yardstick.proposal(closes.close, closes.tick)
    return Intent(
        id=identity,
        symbol=symbol,
        side="BUY",
        confidence="1",
        origin=yardstick.NAME,
        stop_price=text(stop),
        target_price=text(target),
        quantity=text(quantity),
    )
