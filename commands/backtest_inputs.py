"""From the options of `backtest` to what is run: files read and checked, the run's plan made.

Everything a person can get wrong is told here, before anything runs, as a CommandError (misuse).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from commands.backtest_data import read_files, recorded
from commands.console import CommandError, ExitCode
from commands.values import moment
from domain.strategies import STRATEGIES, yardstick
from domain.strategies.book import book_policy, parse_book
from domain.strategy import Strategy
from gateways.candle_sets import read_rates
from gateways.candles import CandleFileError, Candles
from gateways.feed_records import FUNDING_INTERVAL_H, Scripted, midnight
from gateways.instrument_files import instruments_for, read_instruments
from gateways.signal_files import signal_script
from replay.backtest import Backtest, PathName, complete
from replay.other_policy import read_policy
from replay.report_assumptions import settings
from schemas.market import Instrument
from schemas.policy import PROFILES, Profile, profile_policy
from schemas.scalars import DIGITS_MAX, dec, text

FUNDING_MS = FUNDING_INTERVAL_H * 3_600_000
LATENCY_MS_MAX = 9_999
"""On candles prices are known every ten seconds: a longer latency would meet a later point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options as they were given."""

    paths: Sequence[Path]
    profile: str = "production"
    policy: Path | None = None
    strategy: str | None = None
    yardstick: bool = False
    book: str | None = None
    signals: Path | None = None
    start: str | None = None
    end: str | None = None
    warm_up_h: int = 24
    equity: str | None = None
    fees: str | None = None
    slippage: str | None = None
    latency_ms: int | None = None
    funding: Sequence[Path] = ()
    instruments: Path | None = None
    path: PathName = "fast"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is run, and the names of what was read."""

    backtest: Backtest
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """Where signals come from, and what that needs of the policy."""

    strategy: str | None
    strategies: Mapping[str, Strategy]
    policy: Mapping[str, Any]


def prepare(options: Options) -> Prepared:
    """Read everything and make the plan. Raises CommandError (misuse) for whatever is wrong."""
    try:
        return _prepared(options)
    except (CandleFileError, ValueError, LookupError) as error:
        raise CommandError(str(error.args[0] if error.args else error), ExitCode.MISUSE) from None


def _prepared(options: Options) -> Prepared:
    if options.profile not in PROFILES:
        raise ValueError(f"--profile {options.profile}: there are {', '.join(PROFILES)}")
    given = read_instruments(options.instruments) if options.instruments else ()
    data = recorded(options.paths) or read_files(options.paths, given)
    candles, ticks = data.candles, data.ticks
    span = _span(options, candles)
    profile: Profile = "testnet" if options.profile == "testnet" else "production"
    own = read_policy(options.policy) if options.policy else {}
    equity = _above_zero("--equity", options.equity) if options.equity else None
    deciding = chosen(options, equity or str(own.get("start_equity_usdt", "")), profile)
    plan = complete(
        Backtest(
            candles=() if ticks else candles,
            ticks=ticks,
            start=span[0] or data.start,
            end=span[1],
            warm_up_h=options.warm_up_h,
            funding=read_rates(options.funding) or data.funding,
            instruments=_with_costs(
                instruments_for(
                    candles,
                    at=_at(span, candles),
                    given=(*data.instruments, *given),
                    assume=True,
                ),
                options,
            ),
            profile=profile,
            policy={**deciding.policy, **own},
            equity=equity,
            strategy=deciding.strategy,
            strategies=deciding.strategies,
            path=options.path,
        )
    )
    if options.latency_ms is not None:
        plan = replace(plan, latency_ms=_latency(options.latency_ms, bool(ticks)))
    plan = replace(plan, script=_script(options, plan))
    settings(plan)
    _check_funding(plan)
    return Prepared(plan, data.names)


def chosen(options: Options, equity: str, profile: Profile) -> Deciding:
    """Strategy, yardstick, book or a file of signals: one of them. `equity`: at the start, empty
    where the profile's stands."""
    asked = [
        name
        for name, given in (
            ("--strategy", options.strategy),
            ("--yardstick", options.yardstick),
            ("--book", options.book),
            ("--signals", options.signals),
        )
        if given
    ]
    if len(asked) > 1:
        raise ValueError(f"{' and '.join(asked)} exclude each other: signals come from one place")
    if options.signals:
        return Deciding(strategy=None, strategies={}, policy={})
    if options.book:
        book = parse_book(options.book)
        start = dec(equity or profile_policy(profile).start_equity_usdt)
        return Deciding(strategy=book.strategy, strategies={}, policy=book_policy(book, start))
    if options.yardstick:
        return Deciding(strategy=yardstick.NAME, strategies={}, policy=yardstick.POLICY)
    name = options.strategy or "baseline"
    if name not in STRATEGIES:
        raise ValueError(f"--strategy {name}: there are {', '.join(sorted(STRATEGIES))}")
    return Deciding(strategy=name, strategies={}, policy={})


def _script(options: Options, plan: Backtest) -> tuple[Scripted, ...]:
    if options.signals is None:
        return ()
    assert plan.start is not None
    assert plan.end is not None
    symbols = [candles.symbol for candles in plan.candles]
    grid: dict[str, int] = {"grid_s": 0} if plan.ticks else {}
    return signal_script(
        options.signals, start=plan.start, end=plan.end, symbols=symbols, account=plan.account,
        **grid,
    )  # fmt: skip


# ---------------------------------------------------------------------- data


def _span(options: Options, candles: Sequence[Candles]) -> tuple[datetime | None, datetime | None]:
    """Begin and end as asked for. ValueError where the data do not reach."""
    start = moment("--from", options.start) if options.start else None
    end = moment("--to", options.end) if options.end else None
    first = _time(min(int(c.ts_ms[0]) for c in candles))
    last = _time(max(int(c.ts_ms[-1]) for c in candles) + 60_000)
    for name, asked, outside in (
        ("--from", start, start and not first <= start < last),
        ("--to", end, end and not first < end <= last),
    ):
        if asked and outside:
            raise ValueError(
                f"{name} {asked:%Y-%m-%dT%H:%M}: the data go from {first:%Y-%m-%dT%H:%M} to "
                f"{last:%Y-%m-%dT%H:%M}; choose a time between"
            )
        if asked and (asked.second or asked.microsecond):
            raise ValueError(f"{name} {asked:%Y-%m-%dT%H:%M:%S}: whole minutes only")
    if start and end and not start < end:
        raise ValueError(f"--from {start:%Y-%m-%dT%H:%M} is not before --to {end:%Y-%m-%dT%H:%M}")
    return start, end


def _at(span: tuple[datetime | None, datetime | None], candles: Sequence[Candles]) -> str:
    """When the instruments' tables are wanted: at the begin of trading."""
    return midnight(span[0] or _time(min(int(c.ts_ms[0]) for c in candles)))


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _check_funding(plan: Backtest) -> None:
    assert plan.start is not None
    assert plan.end is not None
    first, last = (int(m.timestamp()) * 1000 for m in (plan.start, plan.end))
    symbols = {candles.symbol for candles in plan.candles}
    for rates in plan.funding:
        if rates.symbol not in symbols:
            raise ValueError(
                f"--funding {rates.path}: {rates.symbol} is not traded here, there are "
                f"{', '.join(sorted(symbols))}"
            )
        known = (int(rates.ts_ms[0]), int(rates.ts_ms[-1]))
        if known[0] - FUNDING_MS >= last or known[1] + FUNDING_MS <= first:
            raise ValueError(
                f"--funding {rates.path}: the rates of {rates.symbol} go from "
                f"{midnight(_time(known[0]))[:16]} to {midnight(_time(known[1]))[:16]}, the run "
                f"from {plan.start:%Y-%m-%dT%H:%M} to {plan.end:%Y-%m-%dT%H:%M}; give the rates "
                "of these days, or leave the option out"
            )


# ---------------------------------------------------------------------- costs


def _with_costs(instruments: Sequence[Instrument], options: Options) -> tuple[Instrument, ...]:
    """The tables with `--fees` and `--slippage` in the place of theirs; their origin says so."""
    update: dict[str, str] = {}
    words = []
    if options.fees is not None:
        parts = options.fees.split(",")
        if len(parts) > 2:
            raise ValueError(f"--fees {options.fees}: write TAKER or TAKER,MAKER in percent")
        taker = _percent("--fees", parts[0])
        update["taker_fee_pct"] = taker
        update["maker_fee_pct"] = _percent("--fees", parts[1]) if len(parts) == 2 else taker
        words.append(f"fees of --fees {options.fees}")
    if options.slippage is not None:
        spread = _percent("--slippage", options.slippage)
        update["half_spread_bp"] = text(dec(spread))
        words.append(f"half spread of --slippage {options.slippage}")
    if not update:
        return tuple(instruments)
    return tuple(
        each.model_copy(update={**update, "origin": f"{'; '.join((*words, each.origin))}"[:500]})
        for each in instruments
    )


def _percent(option: str, value: str) -> str:
    number = _number(option, value)
    if not 0 <= number <= 100:
        raise ValueError(f"{option} {value}: outside 0 to 100")
    return text(number)


def _above_zero(option: str, value: str) -> str:
    number = _number(option, value)
    if number <= 0:
        raise ValueError(f"{option} {value}: give an amount above 0, in USDT")
    return text(number)


def _number(option: str, value: str) -> Decimal:
    try:
        number = Decimal(value.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise ValueError(f"{option} {value}: not a number")
    if max(number.adjusted() + 1, 1) + max(-int(number.as_tuple().exponent), 0) > DIGITS_MAX:
        raise ValueError(
            f"{option} {value}: written out it has more than {DIGITS_MAX} digits, which no record "
            "takes; give fewer"
        )
    return number


def _latency(value: int, ticks: bool) -> int:
    if value < 0 or (value > LATENCY_MS_MAX and not ticks):
        raise ValueError(
            f"--latency {value}: outside 0 to {LATENCY_MS_MAX} ms; on candles prices are known "
            "every ten seconds, give a file of trades to try a longer one"
        )
    return value
