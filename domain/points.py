"""The path of prices inside a closed candle (DEFINITIONS 10, ours): six points, ten seconds
apart.

Open, mid, first extreme, mid, second extreme, mid. The first extreme is the one nearer to the
open; on a tie it is the low, the worse one for most books. Each mid is the mean of its
neighbours (the last one of second extreme and close), rounded half-even to the tick. The close
itself is no point: at that instant the next candle's open is.
"""

from decimal import Decimal

POINTS = 6
"""Points a candle."""
POINT_S = 10
"""Seconds between two points of a 1 m candle."""

Path = tuple[int, int, int, int, int, int]


def path(opening: int, high: int, low: int, close: int) -> Path:
    """The six prices, all in whole ticks."""
    first, second = (high, low) if high - opening < opening - low else (low, high)
    return (
        opening,
        _mid(opening, first),
        first,
        _mid(first, second),
        second,
        _mid(second, close),
    )


def points(
    opening: Decimal, high: Decimal, low: Decimal, close: Decimal, tick: Decimal
) -> tuple[Decimal, ...]:
    """The six prices in price units. Raises ValueError for a price that is no multiple of
    `tick`."""
    return tuple(
        n * tick for n in path(*(in_ticks(price, tick) for price in (opening, high, low, close)))
    )


def in_ticks(price: Decimal, tick: Decimal) -> int:
    """A price in whole ticks. Raises ValueError where it is not one."""
    count = price / tick
    if count != count.to_integral_value():
        raise ValueError(f"price {price} is not a multiple of the tick {tick}")
    return int(count)


def _mid(a: int, b: int) -> int:
    """The mean of two whole numbers, a half to the even neighbour."""
    total = a + b
    half = total >> 1
    return half + (total & half & 1)
