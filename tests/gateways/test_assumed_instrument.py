"""Goal: a symbol without a shipped table can be tried, and its report says what was assumed."""

from pathlib import Path

import numpy as np
import pytest

from gateways.assumed_instrument import assumed_instrument
from gateways.candles import CandleFileError, Candles

AT = "2023-07-01T00:00:00.000000Z"


def candles(*prices: float) -> Candles:
    column = np.array(prices)
    stamps = np.arange(len(prices)) * 60_000 + 1_688_169_600_000
    return Candles(
        Path("SUIUSDT.csv"), "SUIUSDT", 60, stamps, column, column, column, column, column
    )


@pytest.mark.parametrize(
    ("prices", "tick", "step"),
    [
        ((0.6931, 0.7, 0.71), "0.0001", "1"),
        ((30_000.0, 30_001.0), "1", "0.00001"),
        ((0.00000912, 0.0000093), "0.00000001", "100000"),
    ],
)
def test_tick_and_step_are_read_off_the_prices(
    prices: tuple[float, ...], tick: str, step: str
) -> None:
    made = assumed_instrument(candles(*prices), as_of=AT)
    assert (made.tick, made.step, made.quantity_min) == (tick, step, step)
    assert made.origin.startswith("assumed")
    assert (made.half_spread_bp, made.brackets[0].mmr_pct) == ("5", "0.65")


def test_prices_without_a_tick_are_refused() -> None:
    with pytest.raises(CandleFileError, match="more than 10 decimal places"):
        assumed_instrument(candles(1 / 3), as_of=AT)
