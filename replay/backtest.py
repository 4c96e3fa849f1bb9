"""Backtests: the deciders of the live system over candles, in memory, with the simulated venue.

One engine, three ways to choose which outside records reach which decider: `full` gives every
record to every decider and is the reference; `slow` asks, point by point in plain Python, whether a
decider waits for what comes; `fast` finds the next such point with numpy. **All three write the
same bytes.**
"""

import gc
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import perf_counter, process_time
from typing import Any, Literal

from domain.processors import PROCESSORS, REHEARSAL, loaded
from domain.strategies import STRATEGIES, yardstick
from domain.strategy import Strategy
from domain.venue import LATENCY_MS
from domain.venue_faults import FaultPlan
from gateways.candles import Candles, FundingRates
from gateways.feed_records import (
    Record,
    Scripted,
    all_series,
    fed_records,
    instruments_record,
    midnight,
)
from gateways.tick_records import tick_records
from gateways.ticks import Ticks
from replay.backtest_course import CLOCK_KEY, MARKET_KEY, course_of, places_of
from replay.bulk_engine import BulkEngine
from replay.engine import Engine
from replay.equity_curve import Curve, equity_curve
from replay.fast_outside import FastOutside
from replay.fast_search import FastSearch
from replay.memory_log import MemoryLog, Stored
from replay.slow_walk import SlowWalk
from schemas.codec import encode
from schemas.control import PolicySet, PolicySetData
from schemas.ids import natural_id
from schemas.instruments import load_instruments
from schemas.market import Instrument
from schemas.policy import Profile
from schemas.topics import COMMANDS_CONTROL, MARKET

PathName = Literal["fast", "slow", "full"]
SOURCE = "/backtest"
OUTSIDE = (MARKET_KEY, CLOCK_KEY)
"""Partitions of the outside records that a run does not keep: the files hold them."""
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What to run. Times are UTC and whole minutes; naive ones count as UTC."""

    candles: tuple[Candles, ...] = ()
    """One a symbol."""
    ticks: tuple[Ticks, ...] = ()
    """Single trades instead of candles, one a symbol; the path is `full` then."""
    start: datetime | None = None
    """Begin of trading; None: `warm_up_h` after the first candle, or there in short data."""
    end: datetime | None = None
    """The last candle closes here; None: the last of all."""
    warm_up_h: int = 24
    """Closed candles of so many hours before `start` are folded and not traded, where there are
    any."""
    funding: tuple[FundingRates, ...] = ()
    instruments: tuple[Instrument, ...] = ()
    """Filters, fees, spread, brackets of each symbol; none: the shipped tables."""
    account: str = "backtest"
    profile: Profile = "production"
    policy: Mapping[str, Any] = field(default_factory=dict)
    """What the opening policy changes in the profile, as `policy set` takes it."""
    equity: str | None = None
    """Start equity in USDT; None: the policy's."""
    strategy: str | None = "baseline"
    """Name of a strategy, shipped or of `strategies`; None: signals come from `script` alone."""
    strategies: Mapping[str, Strategy] = field(default_factory=dict)
    """Own strategies by name, beside the shipped ones."""
    script: tuple[Scripted, ...] = ()
    """Further outside events (signals of a file, commands), each at its time."""
    latency_ms: int = LATENCY_MS
    """From an order's decision to its fill."""
    faults: FaultPlan = REHEARSAL
    """Time-outs and lost answers of the simulated venue: those of every run."""
    path: PathName = "fast"


@dataclass(slots=True)
class Result:
    """What came of it. `log` holds what was written, without `market` and `clock`."""

    backtest: Backtest
    """As it was run: start, end and instruments filled in."""
    log: MemoryLog
    outside: int
    """Records of `market` and `clock` that the run stands for."""
    bars: int
    """Candles of all symbols, warm-up included."""
    seconds: float
    """Of the run alone: files are read before it; digest, curve and the records of hours in which
    nothing else happened (their figures follow from what is kept) are made when asked for, and what
    only the run needed is freed after it."""
    path: PathName
    cpu_seconds: float = 0.0
    """Processor time of the same stretch."""
    _digest: str | None = None
    _curve: Curve | None = None

    @property
    def bars_per_second(self) -> float:
        return self.bars / self.seconds if self.seconds else 0.0

    @property
    def records(self) -> Sequence[Stored]:
        """All that was written, in append order."""
        return self.log.order

    @property
    def events(self) -> int:
        """Records of `trade.*` and `control`: those that the digest covers."""
        return sum(_counts(stored.key) for stored in self.records)

    @property
    def digest(self) -> str:
        """:func:`events_digest` of the records, computed when first asked for."""
        if self._digest is None:
            self._digest = events_digest(self.records)
        return self._digest

    @property
    def curve(self) -> Curve:
        """NAV, drawdown and gross at every price point, from records and candles."""
        if self._curve is None:
            run = self.backtest
            events = [s.event for s in self.records if s.key.startswith("trade.position.update/")]
            self._curve = equity_curve(events, run.candles, run.account, _ms(_given(run.end)))
        return self._curve


def _counts(key: str) -> bool:
    return key.startswith(("trade.", "control/"))


def events_digest(records: Iterable[Stored]) -> str:
    """SHA-256 over all records of `trade.*` and `control` in append order, each as its partition
    key ``topic/number``, a space, its canonical bytes and a line feed. The same run gives the same
    digest on every path, in every process, on every machine."""
    found = hashlib.sha256()
    for stored in records:
        if _counts(stored.key):
            found.update(stored.key.encode() + b" " + encode(stored.event) + b"\n")
    return found.hexdigest()


def run(backtest: Backtest) -> Result:
    """Run it. Raises CandleFileError (data that cannot be used) and ValueError (settings that
    contradict each other) before anything is decided."""
    plan = complete(backtest)
    for name in PROCESSORS:
        loaded(name)  # importing them is no part of what a run takes
    collects = gc.isenabled()
    gc.disable()  # Records are kept and hold no cycles: looking for some takes a tenth of a run.
    try:
        began, cpu_began = perf_counter(), process_time()
        engine = _full(plan) if plan.path == "full" else _bulk(plan)
        seconds, cpu_seconds = perf_counter() - began, process_time() - cpu_began
    finally:
        if collects:
            gc.enable()
    log = engine.log
    outside = sum(log.unkept.values())
    return Result(plan, log, outside, bars(plan), seconds, plan.path, cpu_seconds)


def _full(plan: Backtest) -> Engine:
    engine = Engine(**engine_settings(plan))
    for topic, event in outside_records(plan):
        engine.feed(topic, event)
    return engine


def _bulk(plan: Backtest) -> Engine:
    """The fast or the slow path: outside records are delivered where someone waits for them."""
    warm, first, last = _ms(warm_up_start(plan)), _ms(_given(plan.start)), _ms(_given(plan.end))
    series = all_series(plan.candles, plan.instruments, first, last)
    course = course_of(series, plan.funding, warm_ms=warm, first_ms=first, last_ms=last)
    walk: SlowWalk | FastOutside
    search: SlowWalk | FastSearch
    if plan.path == "slow":
        walk = search = SlowWalk(course)
    else:
        walk = FastOutside(course)
        search = FastSearch(course, walk)
    engine = BulkEngine(course, walk, **engine_settings(plan))
    symbols = {one.candles.symbol for one in series}
    listed = tuple(i for i in plan.instruments if i.symbol in symbols)
    engine.feed(MARKET.name, instruments_record(listed, warm))
    engine.follow(search, places_of(course, script_of(plan)))
    return engine


# ---------------------------------------------------------------------- what a run is made of


def outside_records(plan: Backtest) -> Iterator[Record]:
    """Everything that comes from outside, in the feed's order: of candles, or of single trades."""
    span: dict[str, Any] = {
        "start": _given(plan.start),
        "end": _given(plan.end),
        "warm_up_start": warm_up_start(plan),
        "instruments": plan.instruments,
        "funding": plan.funding,
        "script": script_of(plan),
    }
    if plan.ticks:
        return tick_records(plan.ticks, **span, latency_ms=plan.latency_ms)
    return fed_records(plan.candles, **span)


def complete(backtest: Backtest) -> Backtest:
    """The same with start, end and instruments filled in; with the candles of its trades."""
    if backtest.ticks and not backtest.candles:
        built = tuple(file.candles for file in backtest.ticks)
        backtest = replace(backtest, candles=built, path="full")
    if not backtest.candles:
        raise ValueError("no candles were given; a backtest needs at least one file")
    first = min(_moment(int(c.ts_ms[0])) for c in backtest.candles)
    last = max(_moment(int(c.ts_ms[-1])) for c in backtest.candles) + _MINUTE
    start, end = _utc(backtest.start), _utc(backtest.end) or last
    if start is None:
        warm = first + timedelta(hours=backtest.warm_up_h)
        start = warm if warm < end else first
    if backtest.strategy is not None:
        known_strategy(backtest.strategy, backtest.strategies)
    symbols = [c.symbol for c in backtest.candles]
    instruments = backtest.instruments or load_instruments(*symbols, at=midnight(start))
    return replace(backtest, start=start, end=end, instruments=instruments)


def known_strategy(name: str, own: Mapping[str, Strategy]) -> None:
    """Raises ValueError for a strategy that is neither shipped nor one of `own`."""
    from domain.strategies.book import book_named

    shipped = {*STRATEGIES, yardstick.NAME}
    if name not in own and name not in shipped and book_named(name) is None:
        names = ", ".join(sorted({*shipped, *own}))
        raise ValueError(f"no strategy is called {name}; there are {names}")


def warm_up_start(plan: Backtest) -> datetime:
    """Open time of the first warm-up candle that could be there."""
    start = _given(plan.start)
    first = min(_moment(int(c.ts_ms[0])) for c in plan.candles)
    return min(start, max(first, start - timedelta(hours=plan.warm_up_h)))


def warm_up_hours(plan: Backtest) -> dict[str, float]:
    """Hours of closed candles that each symbol has before the begin of trading, missing ones not
    counted; as many as asked for or fewer."""
    first, last = _ms(warm_up_start(plan)), _ms(_given(plan.start))
    return {c.symbol: int(((c.ts_ms >= first) & (c.ts_ms < last)).sum()) / 60 for c in plan.candles}


def bars(plan: Backtest) -> int:
    """Candles of all symbols in the run, warm-up included."""
    first, last = _ms(warm_up_start(plan)), _ms(_given(plan.end))
    return sum(int(((c.ts_ms >= first) & (c.ts_ms < last)).sum()) for c in plan.candles)


def script_of(plan: Backtest) -> tuple[Scripted, ...]:
    """The opening policy of the account, then the further events."""
    changes: dict[str, Any] = dict(yardstick.POLICY) if plan.strategy == yardstick.NAME else {}
    changes.update(plan.policy)
    if plan.strategy is not None:
        changes["strategy"] = plan.strategy
    if plan.equity is not None:
        changes["start_equity_usdt"] = plan.equity
    time = midnight(_given(plan.start))
    opening = PolicySet(
        id=natural_id("backtest policy", plan.account, time),
        source=SOURCE,
        subject=plan.account,
        time=time,
        partitionkey=plan.account,
        data=PolicySetData(
            expected_version=0,
            operator="backtest",
            reason="opens the account of a backtest",
            profile=plan.profile,
            changes=changes,
        ),
    )
    return (Scripted(time, COMMANDS_CONTROL.name, opening), *plan.script)


def engine_settings(plan: Backtest) -> dict[str, Any]:
    """What an engine is made with for a plan's account, strategies, latency and faults."""
    return {
        "accounts": [plan.account],
        "intents": yardstick.NAME in _strategies_named(plan),
        "strategies": strategies_used(plan),
        "latency_ms": plan.latency_ms,
        "faults": plan.faults,
        "unkept": OUTSIDE,
    }


def strategies_used(plan: Backtest) -> dict[str, Strategy]:
    """Those that a policy of the run may name; opinions nobody asks for are not formed."""
    named = _strategies_named(plan)
    known = {**STRATEGIES, **plan.strategies}
    return {name: strategy for name, strategy in known.items() if name in named}


def _strategies_named(plan: Backtest) -> set[Any]:
    named = {plan.strategy, plan.policy.get("strategy")}
    for item in plan.script:
        if isinstance(item.event, PolicySet):
            named.add(item.event.data.changes.get("strategy"))
    return named


def _given(moment: datetime | None) -> datetime:
    if moment is None:
        raise ValueError("start and end of the run are not known: complete the backtest first")
    return moment


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None or moment.tzinfo:
        return moment and moment.astimezone(UTC)
    return moment.replace(tzinfo=UTC)


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
