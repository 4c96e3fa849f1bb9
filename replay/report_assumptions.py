"""How the figures of a backtest came to be (DEFINITIONS 10): printed with every report."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from gateways.candles import Candles
from replay.backtest import Backtest, Result, warm_up_hours
from schemas.market import Instrument
from schemas.policy import profile_policy

GAPS_SHOWN = 3


class Assumption(NamedTuple):
    """One line of how a figure came to be."""

    name: str
    words: str


class Market(NamedTuple):
    """What the candles are from: `kinds` by symbol, spot, perpetual or recorded."""

    kinds: dict[str, str]
    ticks: bool = False

    @property
    def spot(self) -> bool:
        return "spot" in self.kinds.values()

    @property
    def words(self) -> str:
        return ", ".join(f"{symbol} {kind}" for symbol, kind in self.kinds.items())

    @property
    def warning(self) -> str:
        """How the first line of a report calls it."""
        if self.ticks:
            on = "the spot market traded as perpetuals" if self.spot else "perpetuals"
            return f"Single trades of {on}, order book unknown"
        if self.spot:
            return "Spot candles traded as perpetuals"
        if "recorded" in self.kinds.values():
            return "Candles of a recorded run traded as perpetuals"
        return "Candles of perpetuals, order book unknown"


def market_of(candles: Sequence[Candles], *, ticks: bool = False) -> Market:
    """Spot or perpetual, by the `_PERP` in the file's name; recorded where they are from a log."""
    return Market({each.symbol: _kind(each.path) for each in candles}, ticks)


def _kind(path: Path) -> str:
    if path.suffix not in (".parquet", ".csv"):
        return "recorded"
    return "perpetual" if "_PERP" in path.name else "spot"


def missing(candles: Candles, first_ms: int, last_ms: int) -> tuple[int, int, str]:
    """Gaps, missing candles and the longest gaps in words, of [first, last)."""
    found = [gap for gap in candles.gaps if first_ms <= gap.ts_ms < last_ms]
    longest = sorted(found, key=lambda gap: -gap.missing)[:GAPS_SHOWN]
    words = ", ".join(f"{gap.missing} from {_time(gap.ts_ms)}" for gap in longest)
    return len(found), sum(gap.missing for gap in found), words


def gaps(count: int) -> str:
    """How many gaps, in words."""
    return "1 gap" if count == 1 else f"{count:,} gaps"


def assumptions(
    result: Result, *, files: Sequence[str] = (), variants: int = 1, payments: int = 0
) -> list[Assumption]:
    """One line an assumption. `files`: what was read, if more than the candles' own paths;
    `variants`: how many runs a choice was made from; `payments`: of funding, in this run."""
    run = result.backtest
    market = market_of(run.candles)
    read = list(files) or [str(c.path) for c in run.candles]
    return [
        Assumption("source", f"{market.words}; {', '.join(read)}"),
        Assumption("traded as", _traded(market)),
        Assumption("candles", _candles(run)),
        Assumption("warm-up", warm_up(run)),
        Assumption("mark", "last price: the data have no mark price"),
        Assumption("path rule", _path(run)),
        Assumption("latency", _latency(run)),
        *(Assumption(f"costs {i.symbol}", _costs(i)) for i in run.instruments),
        Assumption(
            "impact",
            "sigma x sqrt(quantity / volume), both of the previous minute, on every taker fill",
        ),
        Assumption(
            "participation",
            "entries and LIMIT orders take at most 10 % of the previous candle's volume within "
            "one candle; exits at MARKET are filled whole, with the impact of all of it",
        ),
        Assumption("funding", _funding(run, payments)),
        Assumption(
            "stop and target",
            "in the order of the trades"
            if run.ticks
            else "along the path; where both could be, the stop comes first",
        ),
        Assumption("venue faults", _faults(run)),
        Assumption(
            "costs x2, x3",
            "the same trades, fees and slippage charged twice and three times; not run again",
        ),
        Assumption(
            "variants tried",
            "none: this run alone" if variants <= 1 else f"{variants}, all of them printed",
        ),
        Assumption("open at the end", "left open, marked at the last price, and listed"),
    ]  # fmt: skip


def _traded(market: Market) -> str:
    if market.spot:
        return (
            "perpetual futures, isolated margin: spot prices stand in for the perpetual's, whose "
            "spread, depth and mark are not in the data"
        )
    return "perpetual futures, isolated margin"


def _candles(run: Backtest) -> str:
    parts = []
    for candles in run.candles:
        first, last = _span_ms(run)
        inside = (candles.ts_ms >= first) & (candles.ts_ms < last)
        count, lost, longest = missing(candles, first, last)
        told = f"{lost} missing in {gaps(count)} ({longest})" if count else "none missing"
        empty = int((candles.volume[inside] == 0).sum())
        parts.append(f"{candles.symbol} {int(inside.sum()):,}, {told}, {empty} without volume")
    return "; ".join(parts) + "; nothing is filled in, timers run on"


def warm_up(run: Backtest) -> str:
    """How much of the warm-up that was asked for was there."""
    had = {symbol: f"{round(hours, 2):g} h" for symbol, hours in warm_up_hours(run).items()}
    each = [f"{symbol} {hours}" for symbol, hours in had.items()]
    words = next(iter(had.values())) if len(set(had.values())) == 1 else ", ".join(each)
    return f"{words} of closed candles before the first decision ({run.warm_up_h} h asked for)"


def _path(run: Backtest) -> str:
    if run.ticks:
        trades = sum(each.rows for each in run.ticks)
        return f"{trades:,} trades, each in its order; candles are built from them"
    return (
        "six points a minute: open, mid, the extreme nearer to the open, mid, the other extreme, "
        "mid; nothing is interpolated across gaps"
    )


def _latency(run: Backtest) -> str:
    if run.ticks:
        return (
            f"{run.latency_ms} ms: what is decided at a close meets the last trade that long after "
            "it"
        )
    return (
        f"{run.latency_ms} ms: a signal at a candle's close fills at the price of that point "
        "(points are 10 s apart), never at the close that made it"
    )


def _costs(instrument: Instrument) -> str:
    return (
        f"taker {instrument.taker_fee_pct} %, maker {instrument.maker_fee_pct} %, half spread "
        f"{instrument.half_spread_bp} bp; brackets and filters as of {instrument.as_of[:10]}: "
        f"{instrument.origin}"
    )


def _funding(run: Backtest, payments: int) -> str:
    if not run.funding:
        return "no rates were given, none is charged"
    known = {rates.symbol for rates in run.funding}
    names = ", ".join(f"{rates.symbol} from {rates.path}" for rates in run.funding)
    without = [c.symbol for c in run.candles if c.symbol not in known]
    none = f"; none for {', '.join(without)}" if without else ""
    return f"{names}{none}; {payments} payments on open positions"


def _faults(run: Backtest) -> str:
    lost, unsent = run.faults.lost_answer_every, run.faults.lost_request_every
    if not lost and not unsent:
        return "none"
    return f"one answer in {lost} and one request in {unsent} get lost on the first attempt"


def settings(run: Backtest) -> dict[str, str]:
    """What the opening policy says where it differs from its profile, by field."""
    from domain.policy_changes import Change, Refusal, change_policy

    changes = dict(run.policy)
    if run.strategy is not None:
        changes["strategy"] = run.strategy
    if run.equity is not None:
        changes["start_equity_usdt"] = run.equity
    match change_policy(profile_policy(run.profile), changes, opening=True):
        case Refusal(sentence=sentence):
            raise ValueError(sentence)
        case Change(after=after):
            return {name: str(value) for name, value in after.items()}


def _span_ms(run: Backtest) -> tuple[int, int]:
    assert run.start is not None
    assert run.end is not None
    return int(run.start.timestamp()) * 1000, int(run.end.timestamp()) * 1000


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%d %H:%M}"
