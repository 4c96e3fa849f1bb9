"""Own strategies: the shipped example, the registry, and the documentation's code as it stands."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from domain.strategies import STRATEGIES
from domain.strategies.donchian import Donchian
from domain.strategy import Bar, Opinion, Strategy, registry, saturate
from tests.domain.signal_runs import Run, fed, morning, policy, run

DOCUMENT = Path(__file__).parents[2] / "docs" / "own-strategies.md"


def bar(close: float) -> Bar:
    return Bar("2021-05-17T00:00:00.000000Z", close, close + 1.0, close - 1.0, close, 1.0)


def test_donchian_buys_a_new_high_and_lets_go_at_the_middle() -> None:
    strategy = Donchian()
    memory = strategy.begin()
    flat = [bar(100.0)] * 24
    assert strategy.on_bar([*flat, bar(100.5)], memory).side == "HOLD"
    assert strategy.on_bar([*flat, bar(103.0)], memory).side == "BUY"
    stronger = strategy.on_bar([*flat, bar(100.5)], memory)
    assert (stronger.side, stronger.confidence) == ("BUY", 0.66)
    assert strategy.on_bar([*flat, bar(99.5)], memory).side == "HOLD"
    assert strategy.on_bar([*flat, bar(98.0)], memory).side == "SELL"


def test_the_shipped_example_trades_both_sides_of_the_demo() -> None:
    sides = Counter((item.symbol, item.side) for _, _, item in run("donchian").signals())
    assert len(sides) == 4
    assert min(sides.values()) >= 5


def test_the_class_in_the_documentation_runs_as_it_is_printed() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    space: dict[str, Any] = {"__name__": "documented"}
    exec(compile(code, str(DOCUMENT), "exec"), space)
    strategies = registry(space["Squeeze"]())
    out = Run(strategies=strategies).feed([("control", policy("main", "squeeze"))])
    out.feed(fed(end=morning(12)))
    assert {item.origin for _, _, item in out.signals()} == {"squeeze"}
    assert {item.side for _, _, item in out.signals()} <= {"BUY", "SELL"}


def test_the_documentation_names_what_there_is() -> None:
    prose = DOCUMENT.read_text()
    for path in re.findall(r"`(domain/[a-z_/]+\.py)`", prose):
        assert (DOCUMENT.parents[1] / path).is_file(), path
    assert sorted(STRATEGIES) == ["baseline", "donchian"]


def test_a_registry_refuses_what_could_not_work() -> None:
    class Nameless(Strategy):
        history = 1

    class Mute(Strategy):
        name, history = "mute", 1

    class Shortsighted(Donchian):
        name, history = "shortsighted", 0

    with pytest.raises(ValueError, match="Nameless has no name"):
        registry(Nameless())
    with pytest.raises(ValueError, match="Mute has no on_bar"):
        registry(Mute())
    with pytest.raises(ValueError, match="history must say how many bars"):
        registry(Shortsighted())
    with pytest.raises(ValueError, match="two strategies are called donchian"):
        registry(Donchian(), Donchian())


def test_an_opinion_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"confidence 1\.5 is outside 0 to 1"):
        Opinion("BUY", 1.5)
    with pytest.raises(ValueError, match="confidence nan"):
        Opinion("BUY", float("nan"))
    with pytest.raises(ValueError, match=r"size_pct 0\.0 is not above 0"):
        Opinion("BUY", 0.7, size_pct=0.0)


def test_saturate_runs_from_nought_to_one() -> None:
    assert [saturate(x) for x in (-1.0, 0.0, 1.0, 3.0)] == [0.0, 0.0, 0.5, 0.75]
