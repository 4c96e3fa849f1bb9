"""Goal: charts stay readable, whatever the length of a run and the number of its trades."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest

from commands import backtest_charts
from commands.backtest_charts import price
from commands.backtest_html import page
from commands.backtest_svg import DAY_US, HOUR_US, round_times, round_values, stepped, thinned
from replay.backtest import run
from replay.report import report
from tests.replay.backtests import crash_plan, crash_result, stopped_result

START = 1_621_382_400_000_000
VOID = {"meta"}


class Balance(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_draws_each_trade() -> None:
    made = report(crash_result())
    text = page(made)
    balance = Balance()
    balance.feed(text)
    assert balance.open == []
    drawn = text.count("<circle class=")
    assert drawn == 2 * len(made.trades)  # at two widths
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_the_page_says_what_safety_did_and_what_is_open() -> None:
    made = report(stopped_result())
    text = page(made)
    assert made.figures["standing"] in text
    assert "EMERGENCY" in text
    assert "The last emergency is latched." in text
    assert "latched" not in page(report(crash_result()))
    still = report(run(crash_plan(end=datetime(2021, 5, 19, 14, 17, tzinfo=UTC))))
    shown = page(still)
    balance = Balance()
    balance.feed(shown)
    assert balance.open == []
    assert "<h2>Open at the end</h2>" in shown
    assert all(price(p["entry"]) in shown for p in still.figures["positions"])
    for name in ("fees", "funding", "realised", "unrealised", "final_equity"):
        assert f"{float(still.figures[name]):,.2f}" in shown


def test_too_many_trades_become_bars_and_too_many_steps_means(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backtest_charts, "MARKERS_MAX", 0)
    monkeypatch.setattr(backtest_charts, "STEPS_MAX", 3)
    text = page(report(crash_result()))
    assert "Bars: net in USDT of the" in text
    assert "<circle class=" not in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_labels_of_large_accounts_have_room(size: str) -> None:
    """Six pixels a letter is less than any of them takes."""
    assert backtest_charts._left(size, "900") == {"wide": 72, "narrow": 58}[size]
    assert backtest_charts._left(size, "1,002,000,000") > 6 * len("1,002,000,000") + 6


def test_buy_and_hold_is_left_out_and_named_where_it_would_flatten_equity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = report(crash_result())
    assert 'class="held"' in page(made)
    assert "off the scale" not in page(made)
    monkeypatch.setattr(backtest_charts, "HELD_ROOM", 0)
    text = page(made)
    assert "off the scale, not drawn" in text
    assert 'class="held"' not in text


@pytest.mark.parametrize("hours", [1, 5, 30, 24 * 7, 24 * 40, 24 * 365, 24 * 365 * 4])
@pytest.mark.parametrize("count", [4.0, 10.0])
def test_time_marks_are_few_inside_and_in_order(hours: int, count: float) -> None:
    end = START + hours * HOUR_US
    marks = round_times(START, end, count)
    times = [at for at, _ in marks]
    assert times == sorted(times)
    assert all(START <= at <= end for at in times)
    assert len(marks) <= count + 1
    assert marks or hours * HOUR_US < 31 * DAY_US


def test_values_of_an_axis_are_round_and_inside() -> None:
    assert round_values(9_640, 10_410, 4) == [9_800, 10_000, 10_200, 10_400]
    assert round_values(0, 1, 4) == [0, 0.25, 0.5, 0.75, 1.0]
    assert round_values(5, 5, 4) == [5]


def test_thinning_keeps_first_last_and_every_extreme() -> None:
    xs = np.arange(10_000, dtype=np.int64)
    ys = np.random.default_rng(1).normal(0, 1, 10_000)
    kept_x, kept_y = thinned(xs, ys, 50)
    assert len(kept_x) <= 200
    assert (kept_x[0], kept_x[-1]) == (0, 9_999)
    assert (min(kept_y), max(kept_y)) == (ys.min(), ys.max())


def test_a_step_holds_until_the_next() -> None:
    assert stepped([0, 5, 9], [1, 2, 3]) == ([0, 5, 5, 9, 9], [1, 1, 2, 2, 3])


@pytest.mark.parametrize(
    ("value", "shown"),
    [("37001.4456789", "37,001.446"), (0.00001234, "0.00001234"), ("123456789", "123,456,790"),
     ("35054.95", "35,054.95"), (None, "–")],
)  # fmt: skip
def test_a_price_has_eight_digits_and_no_exponent(value: str | float | None, shown: str) -> None:
    assert price(value) == shown
