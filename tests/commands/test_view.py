"""Goal: the live view and the report show what the summary knows, at any size of terminal.

Method: three hours of the crash, as raw messages, drawn into text.
"""

import io
import json

import pytest
from rich.console import Console

from commands.report import WARNING, print_report, report_json
from commands.view import LiveView
from commands.view_panels import frame, sparkline
from commands.view_state import ViewState
from replay.summary import Summary
from schemas.codec import encode
from tests.crash_hours import crash_events, crash_log


@pytest.fixture
def state():
    made = ViewState()
    for stored in crash_log():
        made.take(stored.key, stored.offset, 0, encode(stored.event))
    made.settle(1.0)
    return made


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (160, 45)])
def test_a_frame_fills_the_terminal_and_no_more(state, width, height):
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(frame(state, console.size, span=None, title="demo"))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == height
    assert max(len(line) for line in lines) <= width
    text = "\n".join(lines)
    for word in ("BTCUSDT", "main", "hot", "probe", "last signals", "lag, records"):
        assert word in text


def test_the_view_knows_the_same_as_the_whole_log(state):
    whole = Summary.of(crash_events())
    for name, account in whole.accounts.items():
        seen = state.summary.accounts[name]
        assert seen.rejected == account.rejected
        assert seen.equity(state.summary.marks) == account.equity(whole.marks)


def test_without_a_terminal_there_are_lines(crash_kafka, capfd):
    view = LiveView(crash_kafka, plain=True)
    with view:
        view._ending.wait(2.5)
    lines = capfd.readouterr().err.splitlines()
    assert view.error is None
    assert any("closed SHORT" in line for line in lines)
    assert any("records/s" in line and "main" in line for line in lines)


def test_a_sparkline_rises_with_its_values():
    assert sparkline([1, 2, 3, 4], 4) == "▁▃▅█"
    assert len(sparkline(list(range(100)), 10)) == 10
    assert sparkline([1], 5) == ""


def test_the_report_begins_with_what_it_does_not_prove():
    out = Console(file=io.StringIO(), width=120, color_system=None)
    summary = Summary.of(crash_events())
    print_report(summary, out)
    text = out.file.getvalue()
    assert text.startswith(WARNING)
    for word in ("buy and hold", "always flat", "LOW_CONFIDENCE", "exit_time", "Assumptions"):
        assert word in text
    assert "LONG" in text
    assert "SHORT" in text
    data = json.loads(json.dumps(report_json(summary, seconds=1.0)))
    assert data["seconds"] == 1.0
    assert set(data["accounts"]) == {"main", "hot", "probe"}
