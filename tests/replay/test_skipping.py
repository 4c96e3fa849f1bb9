"""Goal: a slice brought up to date by `skip` is the one that folded each record.

Method: made-up markets with gaps, warm-up and funding; at random places every slice of `market` and
`clock` is skipped to and compared, by canonical digest form, with one that folded all records up to
there. Searches are compared with looking at every point.
"""

from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.clock_state import ClockState
from domain.execution_state import ExecutionMarket
from domain.intents import IntentsMarket
from domain.market_state import MarketState, MarksState
from domain.plain_state import plain
from domain.points import path
from domain.safety_levels import against, window
from domain.safety_state import SafetyMarket
from domain.signals import Signals, SignalsMarket
from domain.strategies import STRATEGIES
from domain.venue_watch import VenueMarket
from domain.waits import EquityBound, Level, Waits
from gateways.candles import Candles
from gateways.feed_records import all_series, fed_records
from replay.backtest_course import INSTANTS, PRICED, SCRIPTED, STAGES, Course, course_of, path_ticks
from replay.fast_outside import FastOutside
from replay.fast_search import NEVER, FastSearch
from replay.slow_walk import SlowWalk
from schemas.envelope import Envelope
from schemas.instruments import load_instruments
from schemas.market import ClockTicked, PricesObserved
from schemas.scalars import micros
from tests.replay.backtest_world import START_US, funding, moment, walk

SYMBOLS = ("BTCUSDT", "ETHUSDT")
MINUTES = 260
WARM = 150
GAPS = st.lists(st.tuples(st.integers(0, MINUTES - 1), st.integers(1, 75)), max_size=3).map(tuple)
MARKETS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def course(files: list[Candles]) -> Course:
    first = START_US // 1000 + WARM * 60_000
    last = START_US // 1000 + MINUTES * 60_000
    series = all_series(tuple(files), load_instruments(*SYMBOLS), first, last)
    return course_of(
        series, (funding("ETHUSDT", (160, 161, 200)),),
        warm_ms=START_US // 1000, first_ms=first, last_ms=last,
    )  # fmt: skip


def records(files: list[Candles]):  # type: ignore[no-untyped-def]
    return fed_records(
        files,
        start=moment(WARM),
        end=moment(MINUTES),
        warm_up_start=moment(0),
        instruments=load_instruments(*SYMBOLS),
        funding=(funding("ETHUSDT", (160, 161, 200)),),
    )


def markets(seed: int, gaps: tuple[tuple[int, int], ...]) -> list[Candles]:
    """Both symbols trade in the last minute, so that no file is empty."""
    kept = tuple((a, min(n, MINUTES - 1 - a)) for a, n in gaps)
    return [walk("BTCUSDT", MINUTES, seed, gaps=kept, step=60), walk("ETHUSDT", MINUTES, seed)]


@MARKETS
@given(seed=st.integers(0, 9999), gaps=GAPS, stops=st.sets(st.integers(0, 900), max_size=12))
def test_a_slice_that_was_skipped_is_the_one_that_folded(
    seed: int, gaps: tuple[tuple[int, int], ...], stops: set[int]
) -> None:
    files = markets(seed, gaps)
    signals = Signals(0, 8, STRATEGIES)
    kinds = (MarketState, MarksState, ExecutionMarket, VenueMarket, IntentsMarket, SafetyMarket)
    folded: list[Any] = [kind() for kind in kinds]
    bars, clock = SignalsMarket(), ClockState()
    line = course(files)
    walks: tuple[FastOutside | SlowWalk, ...] = (FastOutside(line), SlowWalk(line))
    skipped: list[list[Any]] = [[kind() for kind in kinds] for _ in walks]
    skipped_bars, skipped_clocks = [SignalsMarket() for _ in walks], [ClockState() for _ in walks]
    counts = {"market": 0, "clock": 0}
    fed = list(records(files))
    for number, (topic, event) in enumerate(fed):
        counts[topic] += 1
        clock.fold(event)
        if topic == "market":
            for state in folded:
                state.fold(event)
            signals.evolve("market", bars, event)
        if number == 0:
            for states, skipped_bar in zip(skipped, skipped_bars, strict=True):
                for state in states:
                    state.fold(event)
                signals.evolve("market", skipped_bar, event)
        if number % 901 not in stops or event.time <= f"{moment(WARM):%Y-%m-%dT%H:%M:%S.%f}Z":
            continue
        place = place_of(event, line)
        ended = number + 1 == len(fed) or fed[number + 1][1].time > event.time
        for outside, states, bar, ticked in zip(
            walks, skipped, skipped_bars, skipped_clocks, strict=True
        ):
            if isinstance(outside, SlowWalk):
                if not ended:
                    continue  # It stands where someone is woken, and at the end of an instant.
                outside.go(place // STAGES * STAGES + SCRIPTED)
            else:
                outside.go(place)
            assert (outside.market_offset, outside.clock_offset) == tuple(counts.values())
            for mine, theirs in zip(states, folded, strict=True):
                mine.skip(outside)
                if isinstance(mine, SafetyMarket | ExecutionMarket):
                    mine.settle()
                assert plain(mine) == plain(theirs), type(mine).__name__
            signals.skip(bar, outside)
            assert plain(bar) == plain(bars)
            ticked.skip(outside)
            assert plain(ticked) == plain(clock)


def place_of(event: Envelope, line: Course) -> int:
    instant = (micros(event.time) - line.first_us) // 10_000_000
    stage = {"PricesObserved": 1, "CandlesClosed": 2, "ClockTicked": 3}.get(type(event).__name__, 0)
    return int(instant * STAGES + stage)


@MARKETS
@given(seed=st.integers(0, 9999), gaps=GAPS, low=st.integers(1, 400), high=st.integers(1, 400))
def test_a_level_is_found_at_the_point_that_meets_it_first(
    seed: int, gaps: tuple[tuple[int, int], ...], low: int, high: int
) -> None:
    files = markets(seed, gaps)
    line = course(files)
    outside, walker = FastOutside(line), SlowWalk(line)
    base = Decimal(40000)
    level = Level("BTCUSDT", base - low * 5, base + high * 5)
    search = FastSearch(line, outside)
    for each in (search, walker):
        each.expect(0, Waits(levels=[level]))
    expected = next(
        (
            place_of(event, line)
            for topic, event in records(files)
            if isinstance(event, PricesObserved)
            for item in event.data.items
            if item.symbol == "BTCUSDT" and not level.below < Decimal(item.last) < level.above  # type: ignore[operator]
        ),
        None,
    )
    for each in (search, walker):
        found = each.next(line.end)
        assert (found and found[0]) == expected


@MARKETS
@given(seed=st.integers(0, 9999), gaps=GAPS, fall=st.integers(1, 60), sides=st.integers(0, 3))
def test_an_equity_bound_wakes_at_the_first_prices_that_meet_it(
    seed: int, gaps: tuple[tuple[int, int], ...], fall: int, sides: int
) -> None:
    files = markets(seed, tuple((WARM + 5 + a % 100, n) for a, n in gaps))
    line = course(files)
    held = {"BTCUSDT": Decimal("0.3") * (1 if sides & 1 else -1), "ETHUSDT": Decimal(sides & 2)}
    cash = Decimal(10_000) - held["BTCUSDT"] * 40_000 - held["ETHUSDT"] * 2_500
    bound = EquityBound(
        cash, held, below=Decimal(10_000 - fall * 4), above=Decimal(10_000 + fall * 6)
    )
    marks: dict[str, Decimal] = {}
    expected = None
    for _, event in records(files):
        if isinstance(event, PricesObserved):
            marks.update((item.symbol, Decimal(item.last)) for item in event.data.items)
            equity = cash + sum(q * marks.get(s, Decimal(0)) for s, q in held.items())
            if not bound.below < equity < bound.above:  # type: ignore[operator]
                expected = place_of(event, line)
                break
    outside, walker = FastOutside(line), SlowWalk(line)
    search = FastSearch(line, outside)
    for each in (search, walker):
        each.expect(0, Waits(bounds=[bound]))
        found = each.next(line.end)
        place = found[0] if found else NEVER
        # It may wake for nothing, a hair before; never later than the first that meets it.
        assert place <= (expected if expected is not None else NEVER)
        if expected is None:
            assert place == NEVER


@MARKETS
@given(seed=st.integers(0, 9999), gaps=GAPS, pct=st.sampled_from(("0.05", "0.1", "0.3", "0.6")))
def test_a_move_is_found_no_later_than_the_price_that_makes_it(
    seed: int, gaps: tuple[tuple[int, int], ...], pct: str
) -> None:
    files = markets(seed, gaps)
    line = course(files)
    limit = Decimal(pct)
    state, expected = SafetyMarket(), None
    for topic, event in records(files):
        if topic != "market":
            continue
        state.fold(event)
        seen = state.symbols["BTCUSDT"].recent if state.symbols else []
        if isinstance(event, PricesObserved) and seen:
            values = window(seen, micros(event.time))
            moves = [against(Decimal(side), values, values[-1]) for side in (1, -1)]
            if max(moves) >= limit:
                expected = place_of(event, line)
                break
    outside, walker = FastOutside(line), SlowWalk(line)
    places = []
    for each in (FastSearch(line, outside), walker):
        each.expect(0, Waits(moves=[("BTCUSDT", limit)]))
        found = each.next(line.end)
        places.append(found[0] if found else NEVER)
    assert places[0] == places[1]
    assert places[0] <= (expected if expected is not None else NEVER)


def test_the_path_in_numpy_is_the_path_of_the_feed() -> None:
    t = course(markets(3, ())).rows["BTCUSDT"].series.ticks
    whole = path_ticks(t.open, t.high, t.low, t.close)
    for row in range(len(t.open)):
        four = (int(column[row]) for column in (t.open, t.high, t.low, t.close))
        assert tuple(whole[row * INSTANTS : (row + 1) * INSTANTS]) == path(*four)


def test_a_tick_and_a_price_have_places_of_their_own() -> None:
    line = course(markets(1, ()))
    for topic, event in list(records(markets(1, ())))[-40:]:
        made = line.event(place_of(event, line))
        assert made == event
        assert (topic == "clock") == isinstance(made, ClockTicked)
    assert line.price_place(3, 2) % STAGES == PRICED
