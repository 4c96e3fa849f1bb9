"""The signals decider: candles in, `trade.signal.v5` out, driven by closed candles alone.

The market slice folds candles into bars and lets every strategy form its opinion once a bar, for no
account in particular. When a bar closes, each account whose policy names a strategy is asked; it
gets a signal where the side or the confidence band has changed. HOLD is never published. An account
with a forced book (`domain/strategies/book.py`) gets one where it holds less than its share.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from domain.book_signals import book_signals
from domain.clock_state import ClockState
from domain.decider import OWN, Decision, Read, Slices
from domain.holdings import Holdings
from domain.policy_state import AccountPolicy, ControlState
from domain.skipping import Outside
from domain.strategies import STRATEGIES
from domain.strategies.book import book_named
from domain.strategy import BAR_MINUTES, HOLD, Bar, Opinion, Strategy
from domain.waits import Waits
from schemas.envelope import Envelope
from schemas.ids import part_id
from schemas.market import Candle, CandlesClosed, InstrumentsListed, PricesObserved
from schemas.scalars import EPOCH_TEXT, micros, text, time_text
from schemas.topics import CLOCK, CONTROL, MARKET, POSITION_UPDATE, SIGNAL, partition_of
from schemas.trade import Signal, SignalData, SignalPublished, Vote

BAND_WIDTH = Decimal("0.1")
"""Width of the confidence bands above the policy's `min_confidence`; all below it is one band."""
_MINUTE_US = 60_000_000
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
    """Bars of :data:`BAR_MINUTES`."""
    others: dict[int, dict[str, SymbolBars]] = field(default_factory=dict)
    """Bars of the other lengths that strategies ask for, by minutes."""
    listed: dict[str, None] = field(default_factory=dict)
    """Symbols that are listed: a forced book is split over them."""


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
    reads: tuple[Read, ...] = (Read(MARKET), Read(CONTROL), Read(CLOCK), Read(POSITION_UPDATE))
    waits_on = frozenset({CONTROL.name})
    equity_last = True
    asks_about: tuple[type[Envelope], ...] = (CandlesClosed,)

    def __init__(
        self, partition: int, partitions: int, strategies: Mapping[str, Strategy] = STRATEGIES
    ) -> None:
        self.partition = partition
        self.partitions = partitions
        self.strategies = strategies
        self._groups: dict[int, dict[str, Strategy]] = {BAR_MINUTES: {}}
        for name, strategy in strategies.items():
            self._groups.setdefault(strategy.bar_minutes, {})[name] = strategy
        self._bars_max = {
            minutes: max((s.history for s in group.values()), default=1)
            for minutes, group in self._groups.items()
        }

    def begin(self, topic: str) -> Any:
        if topic == MARKET.name:
            return SignalsMarket()
        if topic == CONTROL.name:
            return ControlState()
        if topic == POSITION_UPDATE.name:
            return Holdings()
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
                news = self._candle(state, candle.symbol, _minute(candle)) or news
            self._close_due(state, event.time)
        elif isinstance(event, PricesObserved):
            news = event.time > state.time
        elif isinstance(event, InstrumentsListed):
            state.listed.update((item.symbol, None) for item in event.data.items)
        if news and event.time > state.time:
            state.time = event.time
        return news

    def skip(self, state: SignalsMarket, outside: Outside) -> None:
        """Fold all candles up to a place and the times of everything else: the same bars, opinions
        and states as one by one, because only candles of a symbol go into its bars."""
        for name in outside.symbols:
            known = state.symbols.get(name)
            for minute in outside.minutes(name, known.opened_at if known else ""):
                self._candle(state, name, minute)
        self._close_due(state, outside.closed_time)
        state.time = max(state.time, outside.traded_time)

    def _candle(self, state: SignalsMarket, name: str, minute: Bar) -> bool:
        news = False
        for minutes, group in self._groups.items():
            symbols = _bars_of(state, minutes)
            symbol = symbols.get(name)
            if symbol is None:
                symbol = symbols[name] = SymbolBars(
                    states={key: strategy.begin() for key, strategy in group.items()}
                )
            if minute.opened_at <= symbol.opened_at:
                continue
            if symbol.forming and symbol.ends <= minute.opened_at:
                self._close(state, symbol, minutes)
            _extend(symbol, minute, minutes * _MINUTE_US)
            news = True
        return news

    def _close_due(self, state: SignalsMarket, time: str) -> None:
        """End bars that were over at `time`."""
        for minutes in self._groups:
            for symbol in _bars_of(state, minutes).values():
                if symbol.forming and symbol.ends <= time:
                    self._close(state, symbol, minutes)

    def _close(self, state: SignalsMarket, symbol: SymbolBars, minutes: int) -> None:
        """End the forming bar and let every strategy look at it."""
        assert symbol.forming
        symbol.bars.append(symbol.forming)
        del symbol.bars[: -self._bars_max[minutes]]
        symbol.forming = None
        state.closed = max(state.closed, symbol.ends)
        for name, strategy in self._groups[minutes].items():
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
            if self._has(accounts[account].value("strategy"))
            and partition_of(account, self.partitions) == self.partition
        ]

    def _has(self, strategy: str | None) -> bool:
        return strategy in self.strategies or book_named(strategy) is not None

    def waits(self, slices: Slices) -> Waits:
        """Closes of the bars of what the accounts' policies name."""
        bars, accounts = set[int](), slices[CONTROL.name].accounts
        for account, policy in accounts.items():
            name = policy.value("strategy")
            if partition_of(account, self.partitions) == self.partition and self._has(name):
                known = self.strategies.get(name)
                bars.add(known.bar_minutes if known else BAR_MINUTES)
        return Waits(bars=frozenset(bars))

    def decide(
        self, slices: Slices, cause: Envelope, account: str, record_id: str
    ) -> Decision | None:
        """Signals of the account at the close of a bar. Raises :class:`StrategyError`."""
        policy = slices[CONTROL.name].accounts[account]
        name = policy.value("strategy")
        book = None if name in self.strategies else book_named(name)
        if book is not None:
            held = slices[POSITION_UPDATE.name].accounts.get(account)
            bars, listed = slices[MARKET.name].symbols, slices[MARKET.name].listed
            items = book_signals(book, held, bars, listed, time=cause.time, record_id=record_id)
        else:
            items = self._strategy_signals(slices, cause.time, policy, record_id)
        if not items:
            return None
        shared = items[0].symbol if len(items) == 1 else None
        return Decision(SignalPublished, account, SignalData(items=tuple(items)), shared)

    def _strategy_signals(
        self, slices: Slices, time: str, policy: AccountPolicy, record_id: str
    ) -> list[Signal]:
        account, name = policy.account, policy.value("strategy")
        published, minutes = slices[OWN].last, self.strategies[name].bar_minutes
        symbols = _bars_of(slices[MARKET.name], minutes)
        items: list[Signal] = []
        for symbol in sorted(symbols):
            standing = symbols[symbol].standing.get(name)
            if standing is None or standing.at != time:
                continue
            if standing.error:
                raise StrategyError(f"{symbol}: {standing.error}")
            last = published.get(f"{account}/{symbol}")
            if _is_new(standing, name, last, policy):
                items.append(
                    _signal(
                        part_id(record_id, len(items)),
                        symbol,
                        name,
                        standing.opinion,
                        interval=f"{minutes}m",
                    )
                )
        return items


def _bars_of(state: SignalsMarket, minutes: int) -> dict[str, SymbolBars]:
    """The symbols' bars of a length."""
    if minutes == BAR_MINUTES:
        return state.symbols
    return state.others.setdefault(minutes, {})


def _minute(candle: Candle) -> Bar:
    """A closed 1 m candle as a bar of one minute."""
    return Bar(
        candle.opened_at,
        float(candle.open),
        float(candle.high),
        float(candle.low),
        float(candle.close),
        float(candle.volume),
    )


def _extend(symbol: SymbolBars, minute: Bar, length_us: int) -> None:
    """Fold a 1 m candle into the forming bar, or begin one with it."""
    symbol.opened_at = minute.opened_at
    bar = symbol.forming
    if bar is None:
        begins = micros(minute.opened_at) // length_us * length_us
        symbol.ends = time_text(begins + length_us)
        symbol.forming = minute._replace(opened_at=time_text(begins))
    else:
        symbol.forming = Bar(
            bar.opened_at,
            bar.open,
            max(bar.high, minute.high),
            min(bar.low, minute.low),
            minute.close,
            bar.volume + minute.volume,
        )


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


def _signal(identity: str, symbol: str, origin: str, opinion: Opinion, *, interval: str) -> Signal:
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
        interval=interval,
    )
