"""The promises held against a recorded log: one that keeps them, and doctored ones that do not."""

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache, partial
from typing import Any

import pytest

from replay.simulator.found import BrokenPromise
from replay.simulator.recorded import Promised, judge
from replay.simulator.watch import Watch
from replay.sources import RawRecord, RecordedLog
from schemas.scalars import micros, time_text
from schemas.topics import EVENT_TOPICS
from schemas.trade import OrderDecided, SignalJudged
from schemas.venue import VenueEnded, VenueReported
from tests.replay.recorded_runs import steered
from tests.system.doctored_logs import (
    ENDED,
    ENTRY,
    FILL,
    ORDER,
    RESULT,
    STOP,
    UPDATE,
    Raw,
    changed,
    edit,
    part,
    place_of,
    twice,
    without,
)

REPORT, REQUEST = "venue.reported", "venue.requested"
OTHER = "00000000-0000-5000-8000-000000000000"
SECOND_US = timedelta(seconds=1) // timedelta(microseconds=1)


@cache
def raws() -> list[RawRecord]:
    """Two hours of the crash, at the times of the events; a person stops an account in it."""
    return [r._replace(timestamp_ms=written(r.value or b"")) for r in steered().records]


def written(raw: bytes) -> int:
    return micros(str(json.loads(raw)["time"])) // 1000


def judged(records: Iterable[RawRecord]) -> Promised:
    return judge(RecordedLog(records).read(EVENT_TOPICS))


def doctored(change: Callable[[list[Raw]], list[Raw]]) -> list[RawRecord]:
    """The log with a change, at the times and under the keys that it has."""
    known = {(r.topic, r.partition, r.offset): r for r in raws()}
    plain = [(r.topic, r.partition, r.offset, r.value or b"") for r in raws()]
    return [known[t, p, o]._replace(value=raw) for t, p, o, raw in change(plain)]


def stopped() -> tuple[RawRecord, bytes]:
    """The record of the emergency, and whose it is."""
    record = next(r for r in raws() if b"emergency.activated" in (r.value or b""))
    return record, (record.value or b"").partition(b'"subject":"')[2].partition(b'"')[0]


def signed_late(log: list[Raw]) -> list[Raw]:
    """A close after the emergency becomes an entry, signed two seconds after it."""
    stop, account = stopped()
    behind = next(n for n, each in enumerate(log) if each[:3] == stop[:3])
    at = next(
        n for n, (topic, _, _, raw) in enumerate(log)
        if n > behind and topic == "venue.request" and b'"kind":"place"' in raw
        and b'"subject":"' + account in raw
    )  # fmt: skip
    late = time_text(stop.timestamp_ms * 1000 + 2 * SECOND_US)

    def change(event: dict[str, Any]) -> None:
        event["data"]["sent_at"] = late
        event["data"]["request"]["reduce_only"] = False

    return [*log[:at], (*log[at][:3], edit(log[at][3], change)), *log[at + 1 :]]


def sent_twice(log: list[Raw]) -> list[Raw]:
    """A request for an entry that is sent again half a window later, as an attempt of its own."""
    at = next(
        n for n, (topic, _, _, raw) in enumerate(log)
        if topic == "venue.request" and b'"kind":"place"' in raw and b'"reduce_only":false' in raw
    )  # fmt: skip
    later = next(
        n for n, (topic, _, _, raw) in enumerate(log)
        if n > at and topic == "venue.request" and b'"kind":"place"' in raw
    )  # fmt: skip
    copied: dict[str, object] = {}
    edit(log[at][3], lambda e: copied.update(e["data"]))
    again = time_text(micros(str(copied["sent_at"])) + SECOND_US // 2)
    new = edit(log[later][3], lambda e: e["data"].update({**copied, "sent_at": again}))
    return [*log[:later], (*log[later][:3], new), *log[later + 1 :]]


def approved_when_stopped(log: list[Raw]) -> list[Raw]:
    """The emergency is said to have been that of an account which went on trading."""
    stop, _ = stopped()
    at = next(n for n, each in enumerate(log) if each[:3] == stop[:3])
    new = edit(log[at][3], lambda e: e["data"]["items"][0].update(account="main"))
    return [*log[:at], (*log[at][:3], new), *log[at + 1 :]]


def safety_miscounts(log: list[Raw]) -> list[Raw]:
    """What safety says of an account does not follow from its own figures."""
    at = next(n for n, each in enumerate(log) if b"safety.governor.level_changed" in each[3])
    new = edit(log[at][3], lambda e: e["data"].update(drawdown_pct="55"))
    return [*log[:at], (*log[at][:3], new), *log[at + 1 :]]


def a_bare_order(log: list[Raw]) -> list[Raw]:
    """An order whose approval is somebody else's."""
    at = place_of(log, ORDER, ENTRY)
    new = edit(log[at][3], lambda e: part(e, ENTRY).update(request_id=OTHER))
    return [*log[:at], (*log[at][:3], new), *log[at + 1 :]]


BROKEN: dict[str, tuple[Callable[[list[Raw]], list[Raw]], str]] = {
    "an entry is signed long after the emergency": (signed_late, "after the emergency was in"),
    "an entry is sent again within the window": (sent_twice, "was sent again 500 ms after"),
    "an approval knew of the emergency": (approved_when_stopped, "approved an entry against"),
    "safety's figures do not add up": (safety_miscounts, "the drawdown is"),
    "an order has no approval": (a_bare_order, "has no approval"),
    "a stop may increase risk": (
        partial(changed, ORDER, STOP, reduce_only=False),
        "may increase risk",
    ),
    "an order is decided twice": (partial(twice, ORDER, ENTRY), "was decided twice"),
    "the venue accepts twice": (partial(twice, REPORT, {"kind": "accepted"}), "accepted twice"),
    "the venue fills more than was ordered": (
        partial(changed, REPORT, FILL, quantity="900"),
        "more than was ordered",
    ),
    "a fill of the venue is not told": (partial(without, RESULT, FILL), "results make"),
    "an end is not told": (partial(without, RESULT, ENDED), "has 0 ends"),
    "a deposit is not told": (partial(without, RESULT, {"kind": "transferred"}), "results make"),
    "equity is off": (
        partial(changed, UPDATE, {"kind": "equity"}, equity="1"),
        "equity is 1, results make",
    ),
    "a request has no verdict": (
        lambda log: [r for r in log if b'"verdict":"rejected"' not in r[3]],
        "follows|gap|missing",
    ),
}


def test_a_log_that_keeps_every_promise_is_told_with_what_was_in_it() -> None:
    told = judged(raws())
    assert told.emergencies == 1
    assert told.orders > 40
    assert 0 < told.exposure_pct <= 100


@pytest.mark.parametrize("what", BROKEN)
def test_a_doctored_log_is_refused(what: str) -> None:
    change, why = BROKEN[what]
    with pytest.raises(BrokenPromise, match=why):
        judged(doctored(change))


def test_an_entry_that_ended_unfilled_in_a_symbol_never_held_is_no_exposure() -> None:
    """Found by seed 20613: the judge itself failed."""
    watch = Watch(one_clock=True)
    read = RecordedLog(raws()).read(EVENT_TOPICS)
    events = sorted((r.event for r in read if r.event is not None), key=lambda e: e.time)
    for kind in (SignalJudged, OrderDecided):
        for event in events:
            if isinstance(event, kind):
                watch.see("trade/0", 0, event, None, micros(event.time))
    entry = next(
        event
        for event in events
        if isinstance(event, VenueReported) and any(i.kind == "filled" for i in event.data.items)
    )
    items = tuple(
        item.model_copy(update={"filled_quantity": "0", "status": "EXPIRED"})
        if isinstance(item, VenueEnded)
        else item
        for item in entry.data.items
        if item.kind != "filled"
    )
    unfilled = entry.model_copy(update={"data": entry.data.model_copy(update={"items": items})})
    watch.see("venue.report/0", 0, unfilled, None, micros(entry.time))
    assert watch.accepted
    assert watch.exposure_pct == 0
