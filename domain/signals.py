"""The signals decider: candles in, `trade.signal.v5` out, driven by closed candles alone.

The market slice folds candles into bars and lets every strategy form its opinion once a bar, for no
account in particular. When a bar closes, each account whose policy names a strategy is asked; it
gets a signal where the side or the confidence band has changed. HOLD is never published.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from domain.clock_state import ClockState
from domain.decider import OWN, Decision, Read, Slices
from domain.policy_state import AccountPolicy, ControlState
from domain.strategies import STRATEGIES
from domain.strategy import BAR_MINUTES, HOLD, Bar, Opinion, Strategy
from schemas.envelope import Envelope
from schemas.ids import part_id
from schemas.market import Candle, CandlesClosed, PricesObserved
from schemas.scalars import EPOCH_TEXT, micros, text, time_text
from schemas.topics import CLOCK, CONTROL, MARKET, SIGNAL, partition_of
from schemas.trade import Signal, SignalData, SignalPublished, Vote

INTERVAL = f"{BAR_MINUTES}m"
BAND_WIDTH = Decimal("0.1")
"""Width of the confidence bands above the policy's `min_confidence`; all below it is one band."""
_BAR_US = BAR_MINUTES * 60_000_000
_PLACES = Decimal("0.0001")


class StrategyError(RuntimeError):
    """A strategy raised. Accounts that use it are halted; the others go on."""


@dataclass(slots=True)
class Standing:
    """A strategy's opinion on a symbol. `at`: close of its bar; `since`: of the first bar of its
    side."""

    opinion: Opinion
    at: str
    since: str
    error: str = ""


@dataclass(slots=True)
class SymbolBars:
    """One symbol: the bar that forms, the last closed ones, each strategy's state and opinion."""

    opened_at: str = ""
    """Open time of the last candle folded."""
    ends: str = ""
    """Close of the forming bar."""
    forming: Bar | None = None
    bars: list[Bar] = field(default_factory=list)
    states: dict[str, Any] = field(default_factory=dict)
    standing: dict[str, Standing] = field(default_factory=dict)


@dataclass(slots=True)
class SignalsMarket:
    """Slice of `market`. `time`: the latest market time folded; `closed`: of the last closed
    bar."""

    time: str = EPOCH_TEXT
    closed: str = ""
    symbols: dict[str, SymbolBars] = field(default_factory=dict)


@dataclass(slots=True)
class LastSignal:
    """The last signal of an account and symbol."""

    origin: str
    side: str
    confidence: str
    time: str


@dataclass(slots=True)
class Published:
    """Slice of own records: what was published last, by account and symbol."""

    last: dict[str, LastSignal] = field(default_factory=dict)


class Signals:
    """Decider on one account partition; one signal record an account and closed bar, at most."""

    name = "signals"
    output = SIGNAL
    reads: tuple[Read, ...] = (Read(MARKET), Read(CONTROL), Read(CLOCK))

    def __init__(
        self, partition: int, partitions: int, strategies: Mapping[str, Strategy] = STRATEGIES
    ) -> None:
        self.partition = partition
        self.partitions = partitions
        self.strategies = strategies
        self._bars_max = max((s.history for s in strategies.values()), default=1)

    def begin(self, topic: str) -> Any:
        if topic == MARKET.name:
            return SignalsMarket()
        if topic == CONTROL.name:
            return ControlState()
        return ClockState() if topic == CLOCK.name else Published()

    # ------------------------------------------------------------------ folding

    def evolve(self, topic: str, state: Any, event: Envelope) -> bool:
        if topic == MARKET.name:
            return self._market(state, event)
        if topic == OWN:
            return _own(state, event)
        news: bool = state.fold(event)
        return news

    def _market(self, state: SignalsMarket, event: Envelope) -> bool:
        news = False
        if isinstance(event, CandlesClosed):
            for candle in event.data.items:
                news = self._candle(state, candle) or news
            for symbol in state.symbols.values():
                if symbol.forming and symbol.ends <= event.time:
                    self._close(state, symbol)
        elif isinstance(event, PricesObserved):
            news = event.time > state.time
        if news and event.time > state.time:
            state.time = event.time
        return news

    def _candle(self, state: SignalsMarket, candle: Candle) -> bool:
        symbol = state.symbols.get(candle.symbol)
        if symbol is None:
            symbol = state.symbols[candle.symbol] = SymbolBars(
                states={name: s.begin() for name, s in self.strategies.items()}
            )
        if candle.opened_at <= symbol.opened_at:
            return False
        if symbol.forming and symbol.ends <= candle.opened_at:
            self._close(state, symbol)
        symbol.opened_at = candle.opened_at
        high, low = float(candle.high), float(candle.low)
        close, volume = float(candle.close), float(candle.volume)
        bar = symbol.forming
        if bar is None:
            begins = micros(candle.opened_at) // _BAR_US * _BAR_US
            symbol.ends = time_text(begins + _BAR_US)
            symbol.forming = Bar(time_text(begins), float(candle.open), high, low, close, volume)
        else:
            symbol.forming = Bar(
                bar.opened_at,
                bar.open,
                max(bar.high, high),
                min(bar.low, low),
                close,
                bar.volume + volume,
            )
        return True

    def _close(self, state: SignalsMarket, symbol: SymbolBars) -> None:
        """End the forming bar and let every strategy look at it."""
        assert symbol.forming
        symbol.bars.append(symbol.forming)
        del symbol.bars[: -self._bars_max]
        symbol.forming = None
        state.closed = max(state.closed, symbol.ends)
        for name, strategy in self.strategies.items():
            if len(symbol.bars) < strategy.history:
                continue
            error, opinion = "", HOLD
            try:
                opinion = strategy.on_bar(symbol.bars[-strategy.history :], symbol.states[name])
            except Exception as failure:
                error = f"strategy {name}: {type(failure).__name__}: {failure}"[:300]
            before = symbol.standing.get(name)
            since = before.since if before and before.opinion.side == opinion.side else symbol.ends
            symbol.standing[name] = Standing(opinion, symbol.ends, since, error)

    def tidy(self, slices: Slices) -> None:
        """Nothing is held against anything here."""

    # ------------------------------------------------------------------ deciding

    def asks(self, slices: Slices, fact: Envelope) -> Iterable[str]:
        """Accounts of this partition with a strategy, in order, when a bar closed just now."""
        if not isinstance(fact, CandlesClosed) or fact.data.warm_up:
            return ()
        if slices[MARKET.name].closed != fact.time:
            return ()
        accounts: dict[str, AccountPolicy] = slices[CONTROL.name].accounts
        return [
            account
            for account in sorted(accounts)
            if accounts[account].value("strategy") in self.strategies
            and partition_of(account, self.partitions) == self.partition
        ]

    def decide(
        self, slices: Slices, cause: Envelope, account: str, record_id: str
    ) -> Decision | None:
        """Signals of the account at the close of a bar. Raises :class:`StrategyError`."""
        policy = slices[CONTROL.name].accounts[account]
        name = policy.value("strategy")
        market, published = slices[MARKET.name], slices[OWN].last
        items: list[Signal] = []
        for symbol in sorted(market.symbols):
            standing = market.symbols[symbol].standing.get(name)
            if standing is None or standing.at != cause.time:
                continue
            if standing.error:
                raise StrategyError(f"{symbol}: {standing.error}")
            last = published.get(f"{account}/{symbol}")
            if _is_new(standing, name, last, policy):
                items.append(
                    _signal(part_id(record_id, len(items)), symbol, name, standing.opinion)
                )
        if not items:
            return None
        shared = items[0].symbol if len(items) == 1 else None
        return Decision(SignalPublished, account, SignalData(items=tuple(items)), shared)


def _own(state: Published, event: Envelope) -> bool:
    assert isinstance(event, SignalPublished)
    for item in event.data.items:
        state.last[f"{event.partitionkey}/{item.symbol}"] = LastSignal(
            item.origin, item.side, item.confidence, event.time
        )
    return True


def confidence_band(confidence: Decimal, min_confidence: Decimal) -> int:
    """0 below the policy's `min_confidence`, then counting bands of :data:`BAND_WIDTH` upwards."""
    if confidence < min_confidence:
        return 0
    return 1 + int((confidence - min_confidence) / BAND_WIDTH)


def _share(value: float) -> Decimal:
    """A share of 0..1 as a decimal of four places, half to even."""
    return Decimal(value).quantize(_PLACES)


def _is_new(
    standing: Standing, origin: str, last: LastSignal | None, policy: AccountPolicy
) -> bool:
    """Whether a signal is due: not HOLD, and another side, band or strategy than the last one,
    or the same again after the strategy had let go in between."""
    opinion = standing.opinion
    confidence = _share(opinion.confidence)
    if opinion.side == "HOLD" or confidence < policy.number("confidence_threshold"):
        return False
    if (
        last is None
        or standing.since > last.time
        or (last.origin, last.side) != (origin, opinion.side)
    ):
        return True
    least = policy.number("min_confidence")
    return confidence_band(confidence, least) != confidence_band(Decimal(last.confidence), least)


def _signal(identity: str, symbol: str, origin: str, opinion: Opinion) -> Signal:
    assert opinion.side != "HOLD"
    return Signal(
        id=identity,
        symbol=symbol,
        side=opinion.side,
        confidence=text(_share(opinion.confidence)),
        origin=origin,
        votes=tuple(
            Vote(voter=v.voter, side=v.side, confidence=text(_share(v.confidence)))
            for v in opinion.votes
        ),
        consensus=None if opinion.consensus is None else text(_share(opinion.consensus)),
        meta_override=opinion.meta_override,
        meta_confidence=None
        if opinion.meta_confidence is None
        else text(_share(opinion.meta_confidence)),
        governor_approved=opinion.governor_approved,
        position_size_pct=None if opinion.size_pct is None else text(_share(opinion.size_pct)),
        interval=INTERVAL,
    )
