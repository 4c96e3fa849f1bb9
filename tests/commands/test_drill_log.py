"""What a drill reads of its own log."""

from types import SimpleNamespace
from typing import Any

from commands.drill import DrillLog


def position(quantity: str) -> Any:
    item = SimpleNamespace(kind="position", symbol="BTCUSDT", quantity=quantity, cost="100")
    data = SimpleNamespace(items=(item,))
    return SimpleNamespace(type="trade.position.updated.v1", data=data)


def test_what_is_opened_after_the_reset_is_no_part_of_the_rehearsal() -> None:
    log = DrillLog()
    for at, quantity in enumerate(("0.5", "0")):
        log.fold(position(quantity), at)
    assert log.open_positions == 0
    log.fold(SimpleNamespace(type="emergency.reset.v1"), 2)
    log.fold(position("0.7"), 3)
    assert log.open_positions == 0, "its book trades on as soon as it may"
