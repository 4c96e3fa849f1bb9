"""Congestion control at the gateway: a slow venue gets less to do, a quick one more."""

from gateways.wire import AT_FIRST, LEAST, MOST, Wire

WINDOW_US = 1_000_000


def _send(wire: Wire, name: str, at_us: int) -> None:
    wire.left(name, at_us, at_us - WINDOW_US)


def test_there_is_room_again_with_each_answer_and_more_than_before() -> None:
    wire = Wire()
    for n in range(AT_FIRST):
        _send(wire, str(n), 0)
    assert wire.room(-WINDOW_US) == 0
    wire.answered("3")
    assert wire.room(-WINDOW_US) == 2
    for n in range(200):
        _send(wire, f"more {n}", 1)
        wire.answered(f"more {n}")
    assert wire.allowed == MOST


def test_the_limit_is_halved_once_for_all_that_went_unanswered_together() -> None:
    wire = Wire()
    for n in range(AT_FIRST):
        _send(wire, str(n), 0)
    _send(wire, "after", WINDOW_US)
    _send(wire, "and another", WINDOW_US)
    assert wire.allowed == AT_FIRST // 2
    assert wire.room(0) == AT_FIRST // 2 - 2


def test_the_limit_never_closes_the_wire() -> None:
    wire = Wire()
    for n in range(20):
        _send(wire, str(n), n * 2 * WINDOW_US)
    assert wire.allowed == LEAST


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    wire = Wire()
    wire.answered(None)
    wire.answered("unknown")
    assert wire.allowed == AT_FIRST
