"""Congestion control at the gateway: a slow venue gets less to do, a quick one more."""

from gateways.wire import AT_FIRST, LATE, LEAST, MOST, Wire

WINDOW_US = 1_000_000


def _send(wire: Wire, name: str, at_us: int) -> None:
    wire.left(name, at_us, at_us - WINDOW_US)


def test_there_is_room_again_with_each_answer_and_more_than_before() -> None:
    wire = Wire(WINDOW_US)
    for n in range(AT_FIRST):
        _send(wire, str(n), 0)
    assert wire.room(-WINDOW_US) == 0
    wire.answered("3", 1)
    assert wire.room(-WINDOW_US) == 2
    for n in range(200):
        _send(wire, f"more {n}", 1)
        wire.answered(f"more {n}", 2)
    assert wire.allowed == MOST


def test_the_limit_is_halved_once_for_all_that_went_unanswered_together() -> None:
    wire = Wire(WINDOW_US)
    for n in range(AT_FIRST):
        _send(wire, str(n), 0)
    _send(wire, "after", WINDOW_US)
    _send(wire, "and another", WINDOW_US)
    assert wire.allowed == AT_FIRST // 2
    assert wire.room(0) == AT_FIRST // 2 - 2


def test_the_limit_never_closes_the_wire() -> None:
    wire = Wire(WINDOW_US)
    for n in range(20):
        _send(wire, str(n), n * 2 * WINDOW_US)
    assert wire.allowed == LEAST


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    wire = Wire(WINDOW_US)
    wire.answered(None, 1)
    wire.answered("unknown", 1)
    assert wire.allowed == AT_FIRST


def test_late_answers_shrink_the_limit_once_a_round_and_then_it_grows_slowly() -> None:
    wire = Wire(WINDOW_US)
    late_us = WINDOW_US // LATE + 2
    _send(wire, "quick", 0)
    wire.answered("quick", 1)
    for n in range(10):
        _send(wire, str(n), 0)
    for n in range(10):
        wire.answered(str(n), late_us)
    assert wire.allowed == int((AT_FIRST + 1) * 0.8)
    shrunk = wire.allowed
    for n in range(shrunk):
        _send(wire, f"next {n}", late_us + 1)
    for n in range(shrunk):
        wire.answered(f"next {n}", late_us + 2)
    assert wire.allowed in (shrunk, shrunk + 1), "by one a round, not by one an answer"


def test_a_venue_that_is_far_away_is_not_taken_for_a_slow_one() -> None:
    wire, there_and_back_us = Wire(WINDOW_US), WINDOW_US // 2
    for turn in range(10):
        at_us = turn * there_and_back_us
        for n in range(8):
            _send(wire, f"{turn} {n}", at_us)
        for n in range(8):
            wire.answered(f"{turn} {n}", at_us + there_and_back_us)
    assert wire.allowed == MOST


def test_a_venue_of_one_speed_is_never_sent_more_than_it_answers_within_the_window() -> None:
    """A queue of one server, 10 ms a request: what lies there is answered within the window."""
    wire, service_us = Wire(WINDOW_US), 10_000
    queue: list[tuple[str, int]] = []
    free_us, worst_us, done = 0, 0, 0
    for now_us in range(0, 30 * WINDOW_US, 1_000):
        for n in range(wire.room(now_us - WINDOW_US)):
            name = f"{now_us} {n}"
            _send(wire, name, now_us)
            free_us = max(free_us, now_us) + service_us
            queue.append((name, free_us))
        while queue and queue[0][1] <= now_us:
            name, at_us = queue.pop(0)
            wire.answered(name, at_us)
            done += 1
            worst_us = max(worst_us, at_us - int(name.split()[0]))
    assert worst_us < WINDOW_US
    assert done >= 29 * WINDOW_US // service_us, "and it never waits for work"


def test_a_way_that_became_longer_is_not_taken_for_a_slow_venue_for_ever() -> None:
    wire = Wire(WINDOW_US)
    _send(wire, "near", 0)
    wire.answered("near", 5_000)
    for n in range(400):
        _send(wire, str(n), n * 200_000)
        wire.answered(str(n), n * 200_000 + 400_000)
        if n == 100:
            assert wire.allowed == LEAST
    assert wire.allowed > LEAST
