"""Goal: the live view and the report show what the summary knows, at any size of terminal.

Method: three hours of the crash, as raw messages, drawn into text.
"""

import io
import json
import re

import pytest
from rich.console import Console

from commands.report import WARNING, print_report, report_json
from commands.view import LiveView
from commands.view_panels import SPARKS, frame, sparkline
from commands.view_state import ViewState
from replay.summary import Summary
from schemas.codec import encode
from tests.crash_hours import crash_events, crash_log


@pytest.fixture
def state() -> ViewState:
    made = ViewState()
    for stored in crash_log():
        made.take(stored.key, stored.offset, 0, encode(stored.event))
    made.settle(1.0)
    return made


def drawn(state: ViewState, width: int, height: int) -> list[str]:
    """The lines of a frame."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, color_system=None)
    console.print(frame(state, console.size, span=None, title="demo"))
    return out.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (140, 45), (160, 45)])
def test_a_frame_fills_the_terminal_and_no_more(state: ViewState, width: int, height: int) -> None:
    lines = drawn(state, width, height)
    assert len(lines) == height
    assert max(len(line) for line in lines) <= width
    text = "\n".join(lines)
    for word in ("BTCUSDT", "main", "hot", "probe", "last signals", "lag, records"):
        assert word in text


@pytest.mark.parametrize("width", [80, 88, 100, 120, 140, 160, 240])
def test_no_word_and_no_number_of_prices_accounts_and_positions_is_cut(
    state: ViewState, width: int
) -> None:
    lines = drawn(state, width, 30)
    middle = next(at for at, line in enumerate(lines) if "last signals" in line)
    below = next(at for at, line in enumerate(lines) if "lag, records" in line)
    panels = "\n".join([*lines[:middle], *lines[below:]])
    assert "…" not in panels
    for symbol, line in state.summary.prices.items():
        assert re.search(rf"{symbol} +{line.last:,} ", panels)
    for name, account in state.summary.accounts.items():
        assert re.search(rf"{name} +{account.equity(state.summary.marks):,.2f} ", panels)
        assert f" {account.trading_state} " in panels


def test_curves_shrink_and_vanish_before_columns_do(state: ViewState) -> None:
    seen = ["\n".join(drawn(state, width, 30)) for width in range(200, 79, -1)]
    bars = [sum(text.count(bar) for bar in SPARKS) for text in seen]
    whole = [all(w in text for w in ("ATR %", "approved", "refused")) for text in seen]
    assert bars[0] > 60
    assert bars[whole.index(False) - 1] == 0, "no column goes while a curve is drawn"
    assert bars[-1] == 0
    assert "ATR %" not in seen[-1]


def test_the_view_knows_the_same_as_the_whole_log(state: ViewState) -> None:
    whole = Summary.of(crash_events())
    for name, account in whole.accounts.items():
        seen = state.summary.accounts[name]
        assert seen.rejected == account.rejected
        assert seen.equity(state.summary.marks) == account.equity(whole.marks)


def test_without_a_terminal_there_are_lines(
    crash_kafka: str, capfd: pytest.CaptureFixture[str]
) -> None:
    view = LiveView(crash_kafka, plain=True)
    with view:
        view._ending.wait(2.5)
    lines = capfd.readouterr().err.splitlines()
    assert view.error is None
    assert any("closed SHORT" in line for line in lines)
    assert any("records/s" in line and "main" in line for line in lines)


def test_a_sparkline_rises_with_its_values() -> None:
    assert sparkline([1, 2, 3, 4], 4) == "▁▃▅█"
    assert len(sparkline(list(range(100)), 10)) == 10
    assert sparkline([1], 5) == ""


def test_the_report_begins_with_what_it_does_not_prove() -> None:
    out = io.StringIO()
    summary = Summary.of(crash_events())
    print_report(summary, Console(file=out, width=120, color_system=None))
    text = out.getvalue()
    assert text.startswith(WARNING)
    for word in ("buy and hold", "always flat", "LOW_CONFIDENCE", "exit_time", "Assumptions"):
        assert word in text
    assert "LONG" in text
    assert "SHORT" in text
    data = json.loads(json.dumps(report_json(summary, seconds=1.0)))
    assert data["seconds"] == 1.0
    assert set(data["accounts"]) == {"main", "hot", "probe"}
