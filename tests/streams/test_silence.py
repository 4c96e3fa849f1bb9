"""Silence is a fault (EXEC-7): streams that should say something are watched, and read anew."""

import threading
from typing import Any

from commands import topics_apply
from runtime.kafka import EmbeddedKafka
from schemas.topics import CLOCK, MARKET, VENUE_REPORT
from streams.followers import Followers
from streams.gateway import GatewayShell
from streams.kafka_log import KafkaLog
from streams.log import Incoming
from streams.silence import AGAIN_S, SILENT_S, Silence
from tests.streams.crash_scenario import ALPHA, HOT
from tests.streams.test_gateway_rounds import entries, with_entries

KEY = f"{CLOCK.name}/0"


class Watch:
    """Silence with a clock that the test moves."""

    def __init__(self, *, live: bool = True) -> None:
        self.now, self.live, self.waits = 0.0, live, False
        self.silence = Silence(lambda: self.live, lambda: self.waits, lambda: self.now)

    def after(self, seconds: float) -> set[str]:
        self.now += seconds
        return set(self.silence.silent())


def test_a_live_clock_that_stops_is_silent_and_one_that_ticks_is_not() -> None:
    watch = Watch()
    assert watch.after(0) == set()
    for _ in range(10):
        watch.silence.heard(CLOCK.name)
        assert watch.after(1) == set()
    assert watch.after(SILENT_S) == {CLOCK.name}
    assert round(watch.silence.ages()[CLOCK.name]) == SILENT_S + 1
    watch.silence.heard(CLOCK.name)
    assert watch.after(0) == set()


def test_prices_are_expected_once_there_were_any() -> None:
    watch = Watch()
    watch.after(0)
    for _ in range(20):
        watch.silence.heard(CLOCK.name)
        assert watch.after(1) == set(), "a system with a clock and no market is not silent"
    watch.silence.heard(MARKET.name)
    watch.after(1)
    for _ in range(6):
        watch.silence.heard(CLOCK.name)
        found = watch.after(1)
    assert found == {MARKET.name}


def test_a_file_feed_may_pause_as_long_as_it_likes() -> None:
    watch = Watch(live=False)
    watch.silence.heard(CLOCK.name)
    watch.silence.heard(MARKET.name)
    assert watch.after(3_600) == set()
    watch.live = True
    assert watch.after(0) == set(), "expected from now on, not from then"
    assert watch.after(SILENT_S + 1) == {CLOCK.name, MARKET.name}


def test_the_venue_is_expected_to_say_something_while_a_request_waits() -> None:
    watch = Watch(live=False)
    assert watch.after(100) == set()
    watch.waits = True
    assert watch.after(SILENT_S - 1) == set()
    assert watch.after(SILENT_S + 2) == {VENUE_REPORT.name}
    watch.silence.heard(VENUE_REPORT.name)
    assert watch.after(1) == set()
    watch.waits = False
    assert watch.after(100) == set()


def test_a_silent_stream_is_read_anew_now_and_then_not_all_the_time() -> None:
    watch = Watch()
    watch.after(0)
    watch.after(SILENT_S + 1)
    assert watch.silence.to_catch_up() == [CLOCK.name]
    assert watch.silence.to_catch_up() == []
    watch.after(AGAIN_S)
    assert watch.silence.to_catch_up() == [CLOCK.name]


def test_no_entry_leaves_while_a_stream_is_silent_and_those_that_wait_leave_afterwards() -> None:
    world, _ = with_entries()
    gateway = world.live["gateway"][0].shell
    assert isinstance(gateway, GatewayShell)
    gateway.silent = lambda: {CLOCK.name: 6.0}
    world.live["gateway"][0].turn()
    assert entries(world) == []
    assert gateway.unresolved() == 2
    assert gateway.figures()["awaited"] == 0, "the venue owes no answer to what has not left"
    gateway.silent = dict
    world.live["gateway"][0].turn()
    assert entries(world) == [ALPHA, HOT]
    assert gateway.figures()["awaited"] == 2
    world.settle()
    assert gateway.unresolved() == gateway.figures()["awaited"] == 0


def test_a_follower_that_hangs_is_replaced_by_one_that_reads_on(kafka: EmbeddedKafka) -> None:
    topics_apply.apply(kafka.bootstrap)
    log = KafkaLog(kafka.bootstrap, "silence")
    start = log.end(KEY)
    taken: list[int] = []
    hang, hangs, done = threading.Event(), threading.Event(), threading.Event()

    def take(record: Incoming) -> None:
        if record.offset == start and not hangs.is_set():
            hangs.set()
            hang.wait(30)
            return
        taken.append(record.offset)
        if record.offset == start + 1:
            done.set()

    followers = Followers(kafka.bootstrap, take, lambda: None)
    followers.start({KEY: start}, {}, lambda _record: None)
    try:
        for number in range(2):
            log.append(KEY, b"%d" % number, "clock", _ignored)
        log.flush()
        assert hangs.wait(20)
        followers.again(CLOCK.name, lambda _key: start)
        assert done.wait(20)
        assert taken[:2] == [start, start + 1]
    finally:
        hang.set()
        followers.stop()
        log.close()


def test_a_topic_that_nobody_follows_is_followed_beside_the_agent_that_takes_it(
    kafka: EmbeddedKafka,
) -> None:
    """The agent of `signals` takes ticks: where it hangs, they come this way."""
    topics_apply.apply(kafka.bootstrap)
    log = KafkaLog(kafka.bootstrap, "silence")
    start = log.end(KEY)
    taken: list[int] = []
    done = threading.Event()

    def take(record: Incoming) -> None:
        taken.append(record.offset)
        done.set()

    followers = Followers(kafka.bootstrap, take, lambda: None)
    followers.start({f"{MARKET.name}/0": log.end(f"{MARKET.name}/0")}, {}, lambda _record: None)
    try:
        log.append(KEY, b"0", "clock", _ignored)
        followers.again(CLOCK.name, lambda _key: start, [KEY])
        assert done.wait(20)
        assert taken == [start]
    finally:
        followers.stop()
        log.close()


def _ignored(_offset: Any) -> None:
    """Where it lies does not matter."""
