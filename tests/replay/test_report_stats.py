"""Goal: each statistic is what its definition says, and what other people's code computes."""

import math
from datetime import UTC, datetime

import empyrical
import numpy as np
import pandas as pd
import pytest

from replay import report_stats as stats
from replay.report_glossary import GLOSSARY

START = int(datetime(2023, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
HOUR_US = 3_600_000_000


def walk(days: int, seed: int = 7) -> np.ndarray:
    """Daily returns."""
    return np.random.default_rng(seed).normal(0.001, 0.02, days)


@pytest.mark.parametrize("seed", range(5))
def test_ratios_are_those_of_empyrical(seed: int) -> None:
    returns = walk(200, seed)
    assert stats.sharpe(returns) == pytest.approx(
        empyrical.sharpe_ratio(returns, annualization=365)
    )
    assert stats.sortino(returns) == pytest.approx(
        empyrical.sortino_ratio(returns, annualization=365)
    )
    assert stats.volatility_pct(returns) == pytest.approx(
        100 * empyrical.annual_volatility(returns, annualization=365)
    )


@pytest.mark.parametrize("seed", range(5))
def test_growth_and_drawdown_are_those_of_empyrical(seed: int) -> None:
    returns = walk(200, seed)
    nav = np.concatenate(([1.0], np.cumprod(1 + returns)))
    cagr = stats.cagr_pct(float(nav[-1]), 200)
    drawdown = stats.max_drawdown_pct(nav)
    assert cagr == pytest.approx(100 * empyrical.cagr(returns, annualization=365))
    assert drawdown == pytest.approx(-100 * empyrical.max_drawdown(returns))
    assert stats.calmar(cagr, drawdown) == pytest.approx(
        empyrical.calmar_ratio(returns, annualization=365)
    )


def test_daily_nav_is_the_last_observation_of_each_utc_day_as_pandas_resamples_it() -> None:
    rng = np.random.default_rng(3)
    times = START + np.sort(rng.choice(40 * 24 * 60, 700, replace=False)) * 60_000_000
    times[0] = START
    nav = 1 + np.cumsum(rng.normal(0, 0.002, 700))
    daily = stats.daily_nav(times, nav, START, START + 40 * stats.DAY_US)
    index = pd.to_datetime(times, unit="us", utc=True)
    closes = pd.Series(nav, index).resample("1D", closed="right", label="right").last().ffill()
    assert daily.nav[1:] == pytest.approx(closes.to_numpy()[1:41])
    assert len(daily.returns) == 40
    assert daily.returns == pytest.approx(pd.Series(daily.nav).pct_change().to_numpy()[1:])


def test_days_that_are_not_whole_are_no_daily_returns() -> None:
    times = np.array([START + 12 * HOUR_US], dtype=np.int64)
    begun, ended = START + 12 * HOUR_US, START + 60 * HOUR_US
    daily = stats.daily_nav(times, np.array([1.0]), begun, ended)
    assert daily.midnight_us.tolist() == [START + 24 * HOUR_US, START + 48 * HOUR_US]


def test_under_thirty_days_nothing_is_annualised() -> None:
    returns = walk(29)
    assert stats.sharpe(returns) is None
    assert stats.sortino(returns) is None
    assert stats.volatility_pct(returns) is None
    assert stats.cagr_pct(1.5, 29.99) is None
    assert stats.calmar(None, 10.0) is None
    assert stats.sharpe(walk(30)) is not None


def test_of_one_midnight_there_is_no_daily_drawdown() -> None:
    assert stats.max_drawdown_pct(np.array([1.0])) is None
    assert stats.max_drawdown_pct(np.array([1.0, 0.5])) == 50


def test_what_cannot_be_divided_is_none_and_never_infinite() -> None:
    flat, rising = np.zeros(40), np.full(40, 0.01)
    assert stats.sharpe(flat) is None
    assert stats.sortino(rising) is None
    assert stats.calmar(12.0, 0.0) is None
    assert stats.profit_factor([1.0, 2.0]) is None
    assert stats.profit_factor([]) is None
    assert stats.payoff([1.0]) is None
    assert stats.mean([]) is None
    assert stats.median([]) is None
    assert stats.win_rate_pct([]) is None
    assert stats.cagr_pct(0.0, 365) == -100.0


def test_trade_figures_are_those_of_pandas() -> None:
    net = np.random.default_rng(5).normal(1, 30, 80)
    frame = pd.Series(net)
    won, lost = frame[frame > 0], frame[frame < 0]
    assert stats.profit_factor(net.tolist()) == pytest.approx(won.sum() / -lost.sum())
    assert stats.payoff(net.tolist()) == pytest.approx(won.mean() / -lost.mean())
    assert stats.win_rate_pct(net.tolist()) == pytest.approx(100 * (frame > 0).mean())
    assert stats.mean(net.tolist()) == pytest.approx(frame.mean())
    assert stats.median(net.tolist()) == pytest.approx(frame.median())


def test_exposure_is_weighted_by_time_as_a_resampled_mean_is() -> None:
    rng = np.random.default_rng(9)
    minutes = np.sort(rng.choice(np.arange(1, 3000), 60, replace=False))
    times = np.concatenate(([START], START + minutes * 60_000_000))
    gross, equity = rng.uniform(0, 2000, 61), rng.uniform(900, 1100, 61)
    gross[::4] = 0
    end = START + 3000 * 60_000_000
    index = pd.to_datetime(times, unit="us", utc=True)
    whole = pd.date_range(index[0], periods=3000, freq="1min")
    share = pd.Series(100 * gross / equity, index).reindex(whole, method="ffill")
    exposure = 100 * stats.exposure_us(times, gross, equity, end) / (end - START)
    assert exposure == pytest.approx(share.mean())
    assert stats.in_market_pct(times, gross, START, end) == pytest.approx(100 * (share > 0).mean())


def test_before_the_first_observation_nothing_is_held() -> None:
    times = np.array([START + 12 * HOUR_US], dtype=np.int64)
    held = stats.exposure_us(times, np.array([500.0]), np.array([1000.0]), START + 24 * HOUR_US)
    assert held == pytest.approx(6 * HOUR_US)


def test_monthly_returns_multiply_to_the_whole_and_agree_with_pandas() -> None:
    days = np.arange(0, 91)
    times = START + days * stats.DAY_US
    nav = np.concatenate(([1.0], np.cumprod(1 + walk(90))))
    months = stats.monthly_returns(times, nav, START, int(times[-1]))
    assert [name for name, _ in months] == ["2023-01", "2023-02", "2023-03", "2023-04"][
        : len(months)
    ]
    assert math.prod(1 + change / 100 for _, change in months) == pytest.approx(nav[-1])
    index = pd.to_datetime(times - 1, unit="us", utc=True)
    closes = pd.Series(nav, index).resample("MS").last()
    assert [change for _, change in months][1:] == pytest.approx(
        (100 * closes.pct_change()).to_numpy()[-len(months) + 1 :]
    )


def test_every_figure_of_a_report_has_a_meaning() -> None:
    from commands.backtest_html import FIGURES, TILES, TRADE_FIGURES

    shown = {key for key, _ in (*FIGURES, *TILES, *TRADE_FIGURES)}
    assert sorted(shown - set(GLOSSARY)) == []
