"""The promises a simulation is judged by, held against a log that real processes wrote.

What a simulation knows and a log does not say is left out. When a decision began: whether the venue
accepted an entry later than the window after an emergency is not judged. When a person halted the
gateway: nor is what leaves under a halt. When a reader could have a record that the broker has
stamped: an entry may be signed up to a window after what forbids it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from replay.log import LogRecord
from replay.simulator import at_rest
from replay.simulator.found import BrokenPromise, Found
from replay.simulator.watch import WINDOW_US, Watch
from schemas.validity import SequenceGap


@dataclass(frozen=True, slots=True)
class Promised:
    """What was looked at. records: valid ones; emergencies: of all accounts together."""

    records: int
    orders: int
    emergencies: int
    exposure_pct: float
    """The largest worst case at an acceptance, in percent of what the policy allows."""


def judge(records: Iterable[LogRecord]) -> Promised:
    """All records of the event topics, causes first (`read_kafka` and archives give them so), of a
    system at rest: BrokenPromise names the first promise that does not hold."""
    watch = Watch(late_us=WINDOW_US, one_clock=True)
    found: list[Found] = []
    partitions = 1
    for record in records:
        key = f"{record.topic}/{record.partition}"
        partitions = max(partitions, record.partition + 1)
        event = record.event
        try:
            counts = event is not None and watch.judge.admit(key, event)
        except SequenceGap as gap:
            raise BrokenPromise(f"{record.place}: {gap}") from gap
        if event is not None and counts:
            watch.see(key, record.offset, event, None, record.timestamp_ms * 1000)
            found.append(Found(key, record.offset, event))
    _at_rest(watch, found, partitions)
    stops = sum(map(len, watch.stops.values()))
    return Promised(len(found), len(watch.orders), stops, float(watch.exposure_pct))


def _at_rest(watch: Watch, found: list[Found], partitions: int) -> None:
    items = at_rest.items_by_kind(found)
    ended = {i.client_order_id for _, i in items.get("venue.reported.v1 ended", [])}
    held = {
        (account, symbol): quantity
        for account, known in watch.venue.items()
        for symbol, quantity in known.open.items()
    }
    at_rest.every_request_has_one_answer(found, partitions)
    at_rest.every_order_has_one_end(items, watch.accepted - ended)
    at_rest.fills_are_told_once(items)
    at_rest.payments_are_told_once(items)
    at_rest.ids_are_of_one_record(found)
    at_rest.no_order_is_unknown(items)
    at_rest.positions_are_those_of_the_venue(found, held)
    watch.at_rest(list(watch.books.accounts))
    watch.halts.at_rest()
