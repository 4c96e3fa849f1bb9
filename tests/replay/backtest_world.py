"""Small made-up markets for backtests: random walks on the tick, with gaps, in a few symbols."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np

from gateways.candles import Candles, FundingRates
from gateways.feed_records import Scripted
from schemas.ids import natural_id, part_id
from schemas.scalars import text, time_text
from schemas.topics import INTENT
from schemas.trade import Intent, IntentData, IntentPublished, Side

START = datetime(2021, 5, 3, 22, 13, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
TICK = Decimal("0.01")
SIDES: tuple[Side, Side] = ("BUY", "SELL")
LEVEL = {"BTCUSDT": 4_000_000, "ETHUSDT": 250_000}
"""Where a walk begins, in ticks."""


def walk(
    symbol: str, minutes: int, seed: int, *, gaps: tuple[tuple[int, int], ...] = (), step: int = 8
) -> Candles:
    """Candles of a random walk from :data:`START`; `gaps` are (first minute, length). `step`:
    usual range of a minute in 1 / 10,000."""
    draw = random.Random(f"{symbol} {seed}")
    missing = {m for first, length in gaps for m in range(first, first + length)}
    price = LEVEL[symbol]
    rows = []
    for minute in range(minutes):
        unit = max(1, price * step // 10_000)
        opened = price + draw.choice((0, 0, draw.randint(-unit, unit)))
        close = max(10, opened + draw.randint(-unit, unit))
        high = max(opened, close) + draw.randint(0, unit)
        low = max(1, min(opened, close) - draw.randint(0, unit))
        volume = draw.choice((0, draw.randint(1, 90_000))) / 1000
        if minute not in missing:
            ts = START_US // 1000 + minute * 60_000
            rows.append((ts, opened, high, low, close, volume))
        price = close
    table = list(zip(*rows, strict=True))
    opens, highs, lows, closes = (
        np.array([float(TICK * n) for n in column]) for column in table[1:5]
    )
    return Candles(
        Path(f"{symbol}.walk"),
        symbol,
        60,
        np.array(table[0], dtype=np.int64),
        opens,
        highs,
        lows,
        closes,
        np.array(table[5], dtype=np.float64),
    )


def funding(symbol: str, minutes: tuple[int, ...], rate: float = 0.0003) -> FundingRates:
    stamps = np.array([START_US // 1000 + m * 60_000 for m in minutes], dtype=np.int64)
    return FundingRates(Path("rates"), symbol, stamps, np.full(len(minutes), rate))


def moment(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


def intents(
    candles: Candles, account: str, seed: int, *, count: int, last: int
) -> tuple[Scripted, ...]:
    """Entries with prices of their own at random minutes: at market or a limit, near and far."""
    draw = random.Random(seed)
    out = []
    for n, minute in enumerate(sorted(draw.sample(range(1, last), count))):
        row = min(minute, len(candles) - 1)
        price = Decimal(repr(float(candles.close[row])))
        side: Side = draw.choice(SIDES)
        s = 1 if side == "BUY" else -1
        near, far = (Decimal(draw.randint(5, 150)) / 10_000 for _ in range(2))
        limit = price * (1 - s * Decimal(draw.randint(0, 20)) / 10_000)
        identity = natural_id("test intent", candles.symbol, str(seed), str(n))
        item = Intent(
            id=part_id(identity, 0),
            symbol=candles.symbol,
            side=side,
            confidence="0.9",
            origin="walk",
            limit_price=_on_tick(limit) if draw.random() < 0.5 else None,
            stop_price=_on_tick(price * (1 - s * near)),
            target_price=_on_tick(price * (1 + s * far)),
        )
        us = START_US + minute * 60_000_000 + draw.choice((0, 0, 17_000_000))
        event = IntentPublished(
            id=identity,
            source="/test",
            subject=f"{account}/{candles.symbol}",
            time=time_text(us),
            partitionkey=account,
            data=IntentData(items=(item,)),
        )
        out.append(Scripted(time_text(us), INTENT.name, event))
    return tuple(out)


def _on_tick(price: Decimal) -> str:
    return text((price / TICK).to_integral_value() * TICK)
