"""The demo's script: opening policies of its three accounts and the labelled probes of `probe`.

Outside events like any other: made by hand, published by the feed at their time, natural ids. A
block of probes takes :data:`BLOCK_MINUTES` and shows every refusal that a person would want to
have seen.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from gateways.candles import Candles, exact
from gateways.feed_records import Scripted, milliseconds, stamp
from schemas.control import EmergencyReset, EmergencyResetData, PolicySet, PolicySetData
from schemas.ids import natural_id, part_id
from schemas.policy import Profile
from schemas.scalars import text
from schemas.topics import COMMANDS_CONTROL, INTENT, SIGNAL
from schemas.trade import (
    Intent,
    IntentData,
    IntentPublished,
    Side,
    Signal,
    SignalData,
    SignalPublished,
)

OPERATOR = "demo"
SOURCE_DEMO = "/demo"
SOURCE_PROBE = "/probe"
ORIGIN = "probe"
PROBE_ACCOUNT = "probe"
BREAKER_ACCOUNT = "hot"
RESET_AT = "2021-05-19T06:00:00.000000Z"
RESET_BY = "risk-desk"
"""Who lifts the drawdown breaker of `hot`, and when: once, before the crash."""
BLOCK_MINUTES = 105
EVERY_MINUTES = 30 * 60
"""From one block of probes to the next: a night, a morning and the crash in the demo's three
days."""
UNKNOWN_SYMBOL = "NOSUCHUSDT"


class Account(NamedTuple):
    """An account of the demo: profile and what its opening policy changes in it."""

    name: str
    profile: Profile
    changes: dict[str, Any]
    why: str


ACCOUNTS = (
    Account(
        "main",
        "production",
        {"strategy": "baseline", "start_equity_usdt": "10000"},
        "trades the baseline on the production profile, unchanged",
    ),
    Account(
        "hot",
        "testnet",
        {
            "strategy": "baseline",
            "start_equity_usdt": "2000",
            "max_size_pct": "100",
            "risk_target_pct": "4",
            "governor_reducing_pct": "100",
            "daily_loss_pct": "100",
        },
        "the same strategy with settings chosen to run into limits, the drawdown breaker included",
    ),
    Account(
        PROBE_ACCOUNT,
        "production",
        {"start_equity_usdt": "10000", "max_time_in_trade_s": 300, "max_trades_per_hour": 2},
        "takes labelled probes and nothing else",
    ),
)


class Probe(NamedTuple):
    """One probe of a block. `minute`: from the block's beginning; `back_s`: how much older its
    own time says it is; `limit_pct`: an intent with its limit that far off the price."""

    minute: int
    label: str
    symbol: str
    confidence: str
    side: Side = "BUY"
    size_pct: str | None = None
    back_s: int = 0
    limit_pct: str | None = None
    name: str = ""
    """Natural key where it is not the label: probes of one name at one minute are one record."""


def _block(first: str, second: str) -> tuple[Probe, ...]:
    """Probes of one block over two symbols. Two approvals an hour are allowed, positions last five
    minutes, three more are cooldown: that is what the minutes are made of."""
    return (
        Probe(2, "confidence 0.42: too low", first, "0.42"),
        Probe(3, "confidence 0.64: too low by a hair", second, "0.64"),
        Probe(4, "a symbol nobody lists", UNKNOWN_SYMBOL, "0.9"),
        Probe(5, "two minutes old: stale", first, "0.8", back_s=120),
        Probe(6, "proposes 20 % of equity", first, "0.8", size_pct="20"),
        Probe(7, "limit price 3 % below the market", first, "0.8", limit_pct="-3"),
        Probe(10, "confidence 0.65: enough", first, "0.65", name="enough"),
        Probe(10, "confidence 0.65: enough", first, "0.65", name="enough"),
        Probe(10, "the same content under another id", first, "0.65", name="again"),
        Probe(12, "while a position is open", first, "0.7"),
        Probe(17, "within the cooldown", first, "0.7"),
        Probe(45, "third entry within the hour", second, "0.8"),
        Probe(95, "a short", second, "0.8", side="SELL"),
        Probe(97, "the opposite: closes it", second, "0.8"),
    )


BURST_MINUTE = 30
BURST_SIZE = 12


def opening_policies(start: date | datetime) -> Iterator[Scripted]:
    """Commands that open the three accounts, at the run's start."""
    time = stamp(milliseconds(start))
    for account in ACCOUNTS:
        event = PolicySet(
            id=natural_id("demo policy", account.name, time),
            source=SOURCE_DEMO,
            subject=account.name,
            time=time,
            partitionkey=account.name,
            data=PolicySetData(
                expected_version=0,
                operator=OPERATOR,
                reason=account.why,
                profile=account.profile,
                changes=account.changes,
            ),
        )
        yield Scripted(time, COMMANDS_CONTROL.name, event)


def breaker_reset(start: date | datetime, end: date | datetime) -> Iterator[Scripted]:
    """The one reset of `hot`, whose breaker has tripped by then: hours before the crash."""
    first, last = stamp(milliseconds(start)), stamp(milliseconds(end))
    if first < RESET_AT < last:
        event = EmergencyReset(
            id=natural_id("demo reset", BREAKER_ACCOUNT, RESET_AT),
            source=SOURCE_DEMO,
            subject=BREAKER_ACCOUNT,
            time=RESET_AT,
            partitionkey=BREAKER_ACCOUNT,
            data=EmergencyResetData(
                operator=RESET_BY, reason="the breaker tripped, the book is flat, the demo goes on"
            ),
        )
        yield Scripted(RESET_AT, COMMANDS_CONTROL.name, event)


def demo_script(
    files: Sequence[Candles], *, start: date | datetime, end: date | datetime
) -> tuple[Scripted, ...]:
    """Opening policies, probes and the breaker's reset of a run over [start, end), in order of
    time.

    Probes come in blocks over the first two symbols: one at the start, then every
    :data:`EVERY_MINUTES` as long as a whole one fits; a shorter run gets the part that fits.
    """
    script = list(opening_policies(start))
    first, last = milliseconds(start), milliseconds(end)
    symbols = sorted(file.symbol for file in files)
    pair = (symbols[0], symbols[min(1, len(symbols) - 1)])
    for begins in range(first, last, EVERY_MINUTES * 60_000):
        if begins > first and begins + BLOCK_MINUTES * 60_000 > last:
            break
        script += [item for item in _block_records(files, pair, begins) if item.time < stamp(last)]
    script += breaker_reset(start, end)
    return tuple(sorted(script, key=lambda item: item.time))


def _block_records(
    files: Sequence[Candles], pair: tuple[str, str], begins: int
) -> Iterator[Scripted]:
    burst = False
    for probe in _block(*pair):
        if not burst and probe.minute > BURST_MINUTE:
            burst = True
            yield _burst(pair, begins + BURST_MINUTE * 60_000)
        at = begins + probe.minute * 60_000
        if probe.limit_pct is None:
            yield _signal_record(probe, at)
            continue
        price = _price(files, probe.symbol, at, Decimal(probe.limit_pct))
        if price is not None:
            yield _intent_record(probe, at, price)


def _signal_record(probe: Probe, at: int) -> Scripted:
    identity = natural_id("probe", probe.name or probe.label, stamp(at))
    item = Signal(
        id=part_id(identity, 0),
        symbol=probe.symbol,
        side=probe.side,
        confidence=probe.confidence,
        origin=ORIGIN,
        position_size_pct=probe.size_pct,
        label=probe.label,
    )
    event = SignalPublished(
        id=identity,
        source=SOURCE_PROBE,
        subject=f"{PROBE_ACCOUNT}/{probe.symbol}",
        time=stamp(at - probe.back_s * 1000),
        partitionkey=PROBE_ACCOUNT,
        data=SignalData(items=(item,)),
    )
    return Scripted(stamp(at), SIGNAL.name, event)


def _intent_record(probe: Probe, at: int, price: Decimal) -> Scripted:
    identity = natural_id("probe", probe.label, stamp(at))
    item = Intent(
        id=part_id(identity, 0),
        symbol=probe.symbol,
        side=probe.side,
        confidence=probe.confidence,
        origin=ORIGIN,
        limit_price=text(price),
        label=probe.label,
    )
    event = IntentPublished(
        id=identity,
        source=SOURCE_PROBE,
        subject=f"{PROBE_ACCOUNT}/{probe.symbol}",
        time=stamp(at),
        partitionkey=PROBE_ACCOUNT,
        data=IntentData(items=(item,)),
    )
    return Scripted(stamp(at), INTENT.name, event)


def _burst(pair: tuple[str, str], at: int) -> Scripted:
    """Twelve signals in one record, sides in turn. Each has an origin of its own: the same origin,
    symbol and side at one time would be duplicates instead."""
    identity = natural_id("probe", "burst", stamp(at))
    sides: tuple[Literal["BUY"], Literal["SELL"]] = ("BUY", "SELL")
    items = tuple(
        Signal(
            id=part_id(identity, n),
            symbol=pair[n // 2 % 2],
            side=sides[n % 2],
            confidence="0.8",
            origin=f"{ORIGIN}.{n + 1:02d}",
            label=f"burst, {n + 1} of {BURST_SIZE}",
        )
        for n in range(BURST_SIZE)
    )
    event = SignalPublished(
        id=identity,
        source=SOURCE_PROBE,
        subject=PROBE_ACCOUNT,
        time=stamp(at),
        partitionkey=PROBE_ACCOUNT,
        data=SignalData(items=items),
    )
    return Scripted(stamp(at), SIGNAL.name, event)


def _price(files: Sequence[Candles], symbol: str, at: int, pct: Decimal) -> Decimal | None:
    """The price at `at` plus `pct` percent, in whole units of the quote; None without a candle."""
    for file in files:
        if file.symbol == symbol:
            row = int(file.ts_ms.searchsorted(at))
            if row < len(file) and int(file.ts_ms[row]) == at:
                moved = exact(float(file.open[row])) * (100 + pct) / 100
                return moved.quantize(Decimal(1))
    return None
