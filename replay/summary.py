"""The figures of a run: a fold of its valid events, from Kafka or from the engine.

It decides nothing and keeps no events, only sums and the last few signals. Money in USDT as
Decimal, percentages 0-100, times as in the records.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from domain.policy_state import ControlState
from domain.regime import HourlyRange
from replay.account_summary import ZERO, AccountSummary
from replay.equity_curve import Points, SeenPoints
from schemas.control import EmergencyActivated, EmergencyWasReset, PolicyChanged
from schemas.envelope import Envelope
from schemas.halting import HaltNoted, HaltNotedData
from schemas.market import (
    CandlesClosed,
    ClockTicked,
    FundingSettled,
    Instrument,
    InstrumentsListed,
    PricesObserved,
)
from schemas.positions import (
    EquityItem,
    OrderEndItem,
    PositionItem,
    PositionUpdated,
    TradeClosedItem,
)
from schemas.safety import (
    DrawdownEpochOpened,
    EquityMarked,
    FlashCrashDetected,
    GovernorLevelChanged,
    Level,
)
from schemas.scalars import EPOCH_TEXT, dec, micros
from schemas.trade import (
    Dropped,
    EmergencyStep,
    Ended,
    ExecutionReported,
    Filled,
    Flat,
    Funded,
    IntentPublished,
    Order,
    OrderDecided,
    SignalJudged,
    SignalPublished,
    Transferred,
    Unknown,
    Verdict,
)

RING = 60
BOOKKEEPING = ("source.", "worker.")
"""Types that are about a run's processes, not about its business: not counted as events."""


@dataclass(slots=True)
class PriceLine:
    """Prices of one symbol: first and last observed, extremes, and the range of its hours."""

    first: Decimal
    last: Decimal
    mark: Decimal
    high: Decimal
    low: Decimal
    at: str

    @property
    def change_pct(self) -> Decimal:
        return 100 * (self.last / self.first - 1)


@dataclass(frozen=True, slots=True)
class VerdictLine:
    """One judged signal or intent, as people want to see it."""

    time: str
    account: str
    verdict: Verdict

    @property
    def why(self) -> str:
        """The first failing check's sentence, or what was approved."""
        if self.verdict.failures:
            return self.verdict.failures[0].sentence
        plan = self.verdict.plan
        if plan is None:
            return str(self.verdict.reason or "")
        if self.verdict.kind == "exit":
            return f"closes {plan.quantity}"
        stop = f", stop {plan.stop_price}" if plan.stop_price else ""
        return f"{plan.quantity} at {plan.leverage}x{stop}"


@dataclass(slots=True)
class EmergencyLine:
    """One emergency of one account; times None until it happened."""

    id: str
    account: str
    reason: str
    activated_at: str
    flat_at: str | None = None
    reset_at: str | None = None
    attempts: dict[str, int] = field(default_factory=dict)
    """How often each step was begun."""


@dataclass(frozen=True, slots=True)
class SafetyLine:
    """A change of an account's standing, as safety told it."""

    time: str
    account: str
    level: Level
    sentence: str


class Summary:
    """Fold valid events in with :meth:`fold`; ask for figures whenever wanted.

    walked: all prices are folded in, and the deepest drawdown is that of every one of them. For
    that prices (16 bytes each) and equity records are kept; without, nobody knows it."""

    def __init__(self, *, walked: bool = False) -> None:
        self.events = 0
        self.signals = 0
        self.intents = 0
        self.duplicates = 0
        """Hand-made or probe requests that came again under the same id."""
        self.time = EPOCH_TEXT
        self.started = ""
        """Time of the first price: trading begins."""
        self._named: dict[str, AccountSummary] = {}
        self.prices: dict[str, PriceLine] = {}
        self.points: dict[str, Points] | None = {} if walked else None
        self.hours: dict[str, HourlyRange] = {}
        self.instruments: dict[str, Instrument] = {}
        self.marks_given = False
        self.funding_settlements = 0
        self.commands_rejected: Counter[str] = Counter()
        self.verdicts: deque[VerdictLine] = deque(maxlen=RING)
        self.emergencies: list[EmergencyLine] = []
        self.safety: list[SafetyLine] = []
        self._control = ControlState()
        self.halts: dict[str, HaltNotedData] = {}
        """Halts that gateways obey, by key: as the log has it, which may be later than they did."""
        self._requests: set[str] = set()
        self._fold: dict[str, Callable[[Any], None]] = {
            "market.prices.observed.v1": self._prices,
            "market.candles.closed.v1": self._candles,
            "market.instruments.listed.v1": self._instruments,
            "market.funding.settled.v1": self._settled,
            "clock.ticked.v1": self._tick,
            "policy.changed.v2": self._policy,
            "emergency.activated.v2": self._activated,
            "emergency.reset.v2": self._reset,
            "safety.equity.marked.v1": self._marked,
            "safety.governor.level_changed.v1": self._level,
            "market.flash_crash_detected.v1": self._flash,
            "ai.hfos.mode_changed.v1": self._braked,
            "drawdown.epoch_opened.v1": self._epoch,
            "command.rejected.v1": self._rejected,
            "halt.noted.v1": self._halted,
            "trade.signal.published.v1": self._proposed,
            "trade.intent.published.v1": self._proposed,
            "trade.signal.judged.v1": self._judged,
            "trade.order.decided.v1": self._ordered,
            "trade.execution.reported.v1": self._reported,
            "trade.position.updated.v1": self._positions,
        }

    @classmethod
    def of(cls, events: Iterable[Envelope]) -> "Summary":
        """The summary of a whole run's valid events, walked."""
        summary = cls(walked=True)
        for event in events:
            summary.fold(event)
        return summary

    def fold(self, event: Envelope) -> None:
        """Fold a valid event in. Types without a figure only count."""
        if event.type.startswith(BOOKKEEPING):
            return
        self.events += 1
        handler = self._fold.get(event.type)
        if handler is not None:
            handler(event)

    def account(self, name: str) -> AccountSummary:
        """The account's figures, made when it is first heard of."""
        known = self._named.get(name)
        if known is None:
            known = self._named[name] = AccountSummary(name, self.points)
        return known

    # ------------------------------------------------------------------ market

    def _later(self, time: str) -> None:
        self.time = max(self.time, time)

    def _prices(self, event: PricesObserved) -> None:
        self._later(event.time)
        self.started = self.started or event.time
        for item in event.data.items:
            last, mark = dec(item.last), dec(item.mark or item.last)
            self.marks_given = self.marks_given or item.mark is not None
            if self.points is not None:
                points = self.points.setdefault(item.symbol, SeenPoints())
                if isinstance(points, SeenPoints):
                    points.see(micros(event.time), float(mark))
            line = self.prices.get(item.symbol)
            if line is None:
                self.prices[item.symbol] = PriceLine(last, last, mark, last, last, event.time)
            elif event.time >= line.at:
                line.last, line.mark, line.at = last, mark, event.time
                line.high, line.low = max(line.high, last), min(line.low, last)

    def _candles(self, event: CandlesClosed) -> None:
        self._later(event.time)
        for item in event.data.items:
            hours = self.hours.setdefault(item.symbol, HourlyRange())
            hours.fold(item.opened_at, dec(item.high), dec(item.low), dec(item.close))

    def _instruments(self, event: InstrumentsListed) -> None:
        self.instruments.update((item.symbol, item) for item in event.data.items)

    def _settled(self, event: FundingSettled) -> None:
        self.funding_settlements += len(event.data.items)

    def _tick(self, event: ClockTicked) -> None:
        self._later(event.time)

    # ------------------------------------------------------------------ control

    def _braked(self, event: Envelope) -> None:
        """Fold what every worker folds of control, and take over what follows from it."""
        self._control.fold(event)
        known = self._control.accounts.get(event.partitionkey)
        if known is None:
            return
        account = self.account(event.partitionkey)
        account.policy, account.policy_version = known.policy, known.version
        account.trading_state = known.trading_state()
        account.governor, account.holds = known.governor()
        account.hfos = known.brakes.hfos

    def _policy(self, event: PolicyChanged) -> None:
        self._braked(event)

    def _marked(self, event: EquityMarked | GovernorLevelChanged | FlashCrashDetected) -> None:
        told, account = event.data, self.account(event.partitionkey)
        account.high_told = dec(told.high_water_mark)
        account.drawdown_told_pct = max(account.drawdown_told_pct, dec(told.drawdown_pct))

    def _level(self, event: GovernorLevelChanged | FlashCrashDetected) -> None:
        self._braked(event)
        self._marked(event)
        data = event.data
        self.safety.append(SafetyLine(event.time, event.partitionkey, data.level, data.sentence))

    def _flash(self, event: FlashCrashDetected) -> None:
        self._level(event)
        self.account(event.partitionkey).flash_crashes += 1

    def _epoch(self, event: DrawdownEpochOpened) -> None:
        self._braked(event)
        self.account(event.partitionkey).nav.new_epoch()

    def _activated(self, event: EmergencyActivated) -> None:
        self._braked(event)
        for change in event.data.items:
            account = self.account(change.account)
            account.emergencies += 1
            account.emergency_open = True
            self.emergencies.append(
                EmergencyLine(
                    event.data.emergency_id, change.account, change.reason, event.data.activated_at
                )
            )

    def _reset(self, event: EmergencyWasReset) -> None:
        self._braked(event)
        for change in event.data.items:
            account = self.account(change.account)
            account.emergency_open = False
            account.nav.new_epoch()
            self._emergency(event.data.emergency_id, change.account, reset_at=event.time)

    def _halted(self, event: HaltNoted) -> None:
        if event.data.state == "set":
            self.halts[event.data.key] = event.data
        elif event.data.state == "lifted":
            self.halts.pop(event.data.key, None)

    def _emergency(self, emergency_id: str, account: str, **times: str) -> None:
        for line in self.emergencies:
            if line.id == emergency_id and line.account == account:
                for name, value in times.items():
                    setattr(line, name, getattr(line, name) or value)

    def _rejected(self, event: Any) -> None:
        self.commands_rejected[event.data.code] += 1

    # ------------------------------------------------------------------ trading

    def _proposed(self, event: SignalPublished | IntentPublished) -> None:
        if event.epoch is None:
            if event.id in self._requests:
                self.duplicates += 1
                return
            self._requests.add(event.id)
        account = self.account(event.partitionkey)
        for item in event.data.items:
            account.confidence_sum += dec(item.confidence)
        if isinstance(event, SignalPublished):
            self.signals += len(event.data.items)
            account.signals += len(event.data.items)
        else:
            self.intents += len(event.data.items)
            account.intents += len(event.data.items)

    def _judged(self, event: SignalJudged) -> None:
        account = self.account(event.partitionkey)
        for verdict in event.data.items:
            account.on_verdict(verdict)
            self.verdicts.append(VerdictLine(event.time, event.partitionkey, verdict))

    def _ordered(self, event: OrderDecided) -> None:
        account = self.account(event.partitionkey)
        for item in event.data.items:
            if isinstance(item, Order):
                account.on_order(item)
            elif isinstance(item, Flat):
                self._emergency(item.emergency_id, event.partitionkey, flat_at=event.time)
            elif isinstance(item, EmergencyStep):
                for line in self.emergencies:
                    if line.id == item.emergency_id:
                        line.attempts[item.name] = item.attempt
            elif isinstance(item, Dropped):
                account.on_dropped(item)

    def _reported(self, event: ExecutionReported) -> None:
        account = self.account(event.partitionkey)
        for item in event.data.items:
            if isinstance(item, Filled):
                account.on_fill(item)
            elif isinstance(item, Ended | Unknown | Funded | Transferred):
                account.on_result(item)

    def _positions(self, event: PositionUpdated) -> None:
        account = self.account(event.partitionkey)
        for item in event.data.items:
            if isinstance(item, PositionItem):
                account.on_position(item)
            elif isinstance(item, TradeClosedItem):
                account.on_trade_closed(item)
            elif isinstance(item, EquityItem):
                account.on_equity(micros(event.time), item)
            else:
                assert isinstance(item, OrderEndItem)

    # ------------------------------------------------------------------ asking

    @property
    def accounts(self) -> dict[str, AccountSummary]:
        """Accounts that there are. A name that was only mistyped in a request is none: topics come
        in any order, so that is known of it when it is asked for."""
        return {name: each for name, each in self._named.items() if each.exists}

    @property
    def marks(self) -> dict[str, Decimal]:
        """Last mark of each symbol (mark := last where the data has none)."""
        return {symbol: line.mark for symbol, line in self.prices.items()}

    def buy_and_hold_pct(self) -> Decimal | None:
        """Equal parts of every priced symbol, bought at the first price, taker fee paid, marked at
        the last. None before the first price."""
        if not self.prices:
            return None
        total = ZERO
        for symbol, line in self.prices.items():
            listed = self.instruments.get(symbol)
            fee = dec(listed.taker_fee_pct) if listed else ZERO
            total += line.change_pct - fee
        return total / len(self.prices)
