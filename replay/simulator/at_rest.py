"""What must hold of a log when nothing is on its way any more: nothing lost, nothing twice."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from domain.processors import PROCESSORS, build, partitions_of
from replay.simulator.found import BrokenPromise, Found, items_of
from schemas.scalars import dec
from schemas.sources import SourceSkipped
from schemas.topics import POSITION_UPDATE

Items = dict[str, list[tuple[str, Any]]]


def items_by_kind(found: Iterable[Found]) -> Items:
    """(account, part) of all parts, by ``type kind``."""
    out: Items = {}
    for _, _, event in found:
        for item in items_of(event):
            kind = getattr(item, "kind", "")
            out.setdefault(f"{event.type} {kind}".strip(), []).append((event.partitionkey, item))
    return out


def every_request_has_one_answer(found: Iterable[Found], partitions: int) -> None:
    """Each record that a processor reads as a request has exactly one record of that source, unless
    the source skipped it and said so."""
    known = list(found)
    answers: Counter[tuple[str, str, str]] = Counter()
    skipped: set[tuple[str, str, int]] = set()
    for _, _, event in known:
        if isinstance(event, SourceSkipped):
            place = f"{event.data.topic}/{event.data.partition}"
            skipped.add((event.source, place, event.data.offset))
        elif event.causationid is not None:
            answers[event.source, event.partitionkey, event.causationid] += 1
    for (source, account, cause), count in answers.items():
        if count > 1 and not source.startswith("/gateway"):
            raise BrokenPromise(f"{source} answered {cause} for {account} {count} times")
    readers = _readers_of_requests(partitions)
    for key, offset, event in known:
        if event.type.startswith(("source.", "worker.")):
            continue
        for source in readers.get(key, ()):
            answered = answers[source, event.partitionkey, event.id]
            if not answered and (source, key, offset) not in skipped:
                where = f"{key} offset {offset}"
                raise BrokenPromise(f"{source} did not answer {event.type} at {where}")


@cache
def _readers_of_requests(partitions: int) -> dict[str, list[str]]:
    """Input partition to the sources that answer its records."""
    readers: dict[str, list[str]] = {}
    for name in PROCESSORS:
        for number in partitions_of(name, partitions):
            for read in build(name, number, partitions).reads:
                if read.request:
                    place = number if read.topic.keyed else 0
                    readers.setdefault(f"{read.topic.name}/{place}", []).append(f"/{name}/{number}")
    return readers


def every_order_has_one_end(items: Items, resting: Collection[str]) -> None:
    """One end each, none for what rests at the venue; ends say what the venue filled. `resting`:
    client order ids of open orders at the venue."""
    orders = [item for _, item in items.get("trade.order.decided.v1 order", [])]
    ended = Counter(
        item.client_order_id for _, item in items.get("trade.execution.reported.v1 ended", [])
    )
    ids = Counter(order.client_order_id for order in orders)
    _require(max(ids.values(), default=1) == 1, "an order was decided twice")
    filled: dict[str, Decimal] = {}
    for _, item in items.get("venue.reported.v1 filled", []):
        client = item.client_order_id or ""
        filled[client] = filled.get(client, Decimal(0)) + dec(item.quantity)
    accepted = Counter(
        item.client_order_id for _, item in items.get("venue.reported.v1 accepted", [])
    )
    for order in orders:
        client = order.client_order_id
        _require(
            ended[client] == (0 if client in resting else 1),
            f"order {order.purpose} {client} has {ended[client]} ends, "
            f"resting: {client in resting}",
        )
        _require(accepted[client] <= 1, f"order {client} was accepted {accepted[client]} times")
        most = dec(order.quantity)
        whole = order.close_position or filled.get(client, Decimal(0)) <= most
        _require(whole, f"{client} filled too much")
    for _, item in items.get("trade.execution.reported.v1 ended", []):
        at_venue = filled.get(item.client_order_id, Decimal(0))
        _require(
            dec(item.filled_quantity) == at_venue,
            f"{item.client_order_id} ended with {item.filled_quantity} filled, "
            f"the venue filled {at_venue}",
        )


def ids_are_of_one_record(found: Iterable[Found]) -> None:
    """No two decided records share an id, and no two parts of a topic do."""
    seen: dict[str, str] = {}
    parts: set[tuple[str, str]] = set()
    for key, offset, event in found:
        if event.epoch is None:
            continue
        where = f"{key} offset {offset}"
        if event.id in seen:
            raise BrokenPromise(f"{where} has the id of {seen[event.id]}: {event.id}")
        seen[event.id] = where
        for item in items_of(event):
            identity = getattr(item, "id", None)
            if identity is None or event.source.startswith("/gateway"):
                continue
            if (event.type, identity) in parts:
                raise BrokenPromise(f"{where} has a part with an id that was given before")
            parts.add((event.type, identity))


def fills_are_told_once(items: Items) -> None:
    """Every fill of the venue is in the results exactly once."""
    venue = Counter(
        (account, item.trade_id) for account, item in items.get("venue.reported.v1 filled", [])
    )
    told: dict[str, tuple[str, str]] = {}
    for account, item in items.get("trade.execution.reported.v1 filled", []):
        told[item.id] = account, item.trade_id
    counted = Counter(told.values())
    _require(
        set(venue) == set(counted),
        f"fills at the venue and in the log: {set(venue) ^ set(counted)}",
    )
    _require(max(counted.values(), default=1) == 1, "a fill is in the log under two ids")


def payments_are_told_once(items: Items) -> None:
    """Every deposit and funding payment of the venue is in the results exactly once. A deposit that
    is asked for again is answered again, with what was credited the first time."""
    for kind, identity in (("transferred", "transfer_id"), ("funded", "symbol")):
        venue: Iterable[tuple[str, str, str]] = (
            (account, getattr(item, identity), item.amount)
            for account, item in items.get(f"venue.reported.v1 {kind}", [])
        )
        there = Counter(set(venue) if kind == "transferred" else venue)
        told = {
            item.id: (account, getattr(item, identity), item.amount)
            for account, item in items.get(f"trade.execution.reported.v1 {kind}", [])
        }
        _require(there == Counter(told.values()), f"{kind} at the venue {there}, in the log {told}")


def positions_are_those_of_the_venue(
    found: Iterable[Found], venue: Mapping[tuple[str, str], Decimal]
) -> None:
    """`venue`: (account, symbol) to signed quantity, of what is open there."""
    log: dict[tuple[str, str], Decimal] = {}
    for key, _, event in found:
        if key.rpartition("/")[0] == POSITION_UPDATE.name:
            for item in items_of(event):
                if item.kind == "position":
                    log[event.partitionkey, item.symbol] = Decimal(item.quantity)
    held = {place: quantity for place, quantity in log.items() if quantity}
    there = {place: quantity for place, quantity in venue.items() if quantity}
    _require(held == there, f"positions in the log {held}, at the venue {there}")


def no_order_is_unknown(items: Items) -> None:
    """Every order that was ever UNKNOWN has been accepted or ended since."""
    settled = {
        item.order_id
        for kind in ("accepted", "ended")
        for _, item in items.get(f"trade.execution.reported.v1 {kind}", [])
    }
    for _, item in items.get("trade.execution.reported.v1 unknown", []):
        _require(item.order_id in settled, f"{item.client_order_id} is still unknown")


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise BrokenPromise(why)
