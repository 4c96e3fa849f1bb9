"""What must hold of the log whatever was killed (DESIGN, the promise of the protocol)."""

from collections.abc import Container, Iterable, Mapping
from functools import lru_cache
from typing import Any

from domain.control_emergency import BREAKER
from domain.plain_state import plain
from domain.source import Source
from replay.simulator.at_rest import (
    every_order_has_one_end,
    every_request_has_one_answer,
    fills_are_told_once,
    ids_are_of_one_record,
    items_by_kind,
)
from replay.simulator.found import Found, event_of, items_of
from replay.simulator.found import valid as valid_records
from schemas.codec import decode, encode
from schemas.control import EmergencyActivated, EmergencyWasReset
from schemas.envelope import Envelope
from schemas.sources import SourceCheckpointed, SourceFenced, SourceSkipped
from schemas.venue import Place, VenueReported, VenueRequested
from streams.log import Incoming
from tests.streams.crash_scenario import PARTITIONS
from tests.streams.crash_world import ALL_PURE, World, rebuilt

LATER = "9999"
NOT_COMPARED = (SourceFenced, SourceCheckpointed, SourceSkipped)


def valid(world: World) -> list[Found]:
    """All valid records in append order; outside events are valid the first time."""
    return valid_records(world.broker.appends)


def of(record: Incoming) -> Envelope | None:
    return event_of(record.raw or b"", record.key, record.offset)


@lru_cache(maxsize=20_000)
def content(raw: bytes) -> bytes:
    """A record without what a kill may change: epoch, sequence, basis."""
    event = decode(raw)
    return encode(event.model_copy(update={"epoch": 1, "sequence": 1, "basis": {}, "after": None}))


def raced(found: list[Found]) -> dict[str, str]:
    """Accounts of which one price filled the stop and tripped the breaker, and the time of that:
    whoever is late decides which came first, and with it how the account is closed."""
    closes: set[str] = set()
    stopped: dict[str, str] = {}
    found_nothing: set[str] = set()
    for _, _, event in found:
        if isinstance(event, EmergencyActivated):
            stopped |= {i.account: event.time for i in event.data.items if i.operator == BREAKER}
        for item in items_of(event):
            if getattr(item, "purpose", "") == "emergency_close":
                closes.add(item.client_order_id)
            refused = getattr(item, "kind", "") == "ended" and item.status == "REJECTED"
            if refused and getattr(item, "client_order_id", "") in closes:
                found_nothing.add(event.partitionkey)
    return {account: time for account, time in stopped.items() if account in found_nothing}


def written(world: World, found: list[Found], without: Mapping[str, str]) -> dict[str, list[bytes]]:
    """What each pure source wrote, in order; of the accounts `without` up to a time."""
    out: dict[str, list[bytes]] = {}
    for key, offset, event in found:
        if event.epoch is None or isinstance(event, NOT_COMPARED):
            continue
        late = event.time >= without.get(event.partitionkey, LATER)
        if late or event.source.startswith("/gateway"):
            continue
        raw = world.broker.partitions[key][offset].raw
        out.setdefault(event.source, []).append(content(raw or b""))
    return out


def outcome(found: list[Found]) -> tuple[Any, ...]:
    """What money sees, whatever the gateway lived through: fills by client order id, and the last
    equity of each account. An emergency closes again when it does not know the fate of a close, so
    which of its closes was filled may differ; that exactly the open quantity was, may not."""
    closes: set[str] = set()
    fills: list[tuple[str, ...]] = []
    equity: dict[str, tuple[str, ...]] = {}
    for _, _, event in found:
        account = event.partitionkey
        for item in items_of(event):
            kind = getattr(item, "kind", "")
            if kind == "order" and item.purpose == "emergency_close":
                closes.add(item.client_order_id)
            if event.type == "trade.execution.reported.v1" and kind == "filled":
                client = "close" if item.client_order_id in closes else item.client_order_id
                fills.append((account, client, item.side, item.quantity, item.price))
            if event.type == "trade.position.updated.v1" and kind == "equity":
                equity[account] = (item.transfers, item.realised, item.fees, item.equity)
    return sorted(fills), sorted(equity.items())


def state(source: Source) -> Any:
    """State of a source apart from where it stands."""
    return plain(dict(source.slices)), sorted(source.slices.halted), source.partition


# ---------------------------------------------------------------- what always holds


def check(world: World, found: list[Found]) -> None:
    """All invariants that need no other run to compare with."""
    every_request_has_one_answer(found, PARTITIONS)
    resting: set[str] = set()
    for source in world.live["venue"][0].shell.sources.values():
        for account in source.slices["own"].accounts.values():
            resting |= set(account.orders)
    items = items_by_kind(found)
    every_order_has_one_end(items, resting)
    fills_are_told_once(items)
    ids_are_of_one_record(found)
    _no_risk_after_emergency(world, found)


def _no_risk_after_emergency(world: World, found: list[Found]) -> None:
    """No decision whose basis has it increases risk; no request starts after it is in the log."""
    times = world.broker.began
    stops = {f.event.partitionkey: f for f in found if isinstance(f.event, EmergencyActivated)}
    resets = {f.event.partitionkey: f for f in found if isinstance(f.event, EmergencyWasReset)}
    for account, stop in stops.items():
        until = resets.get(account)
        first = times[stop.key, stop.offset][1]
        last = times[until.key, until.offset][1] if until else 1 << 62
        for key, offset, event in found:
            if event.partitionkey != account:
                continue
            if event.type == "trade.order.decided.v1":
                after = (event.basis or {}).get("control/0", 0)
                if stop.offset < after <= (until.offset if until else 1 << 62):
                    assert all(i.kind != "order" or i.reduce_only for i in items_of(event)), (
                        f"risk was increased after the emergency by {key} offset {offset}"
                    )
            if isinstance(event, VenueRequested) and isinstance(event.data.request, Place):
                risky = not event.data.request.reduce_only
                assert not (risky and first < times[key, offset][0] < last), (
                    f"an entry left after the emergency was acknowledged: {key} offset {offset}"
                )
            if isinstance(event, VenueReported) and first < times[key, offset][1] < last:
                accepted = [i for i in event.data.items if i.kind == "accepted"]
                window = 1_000_000
                late = world.wall_of(times[key, offset][1]) > world.wall_of(first) + window
                assert not (late and any(i.order and not i.order.reduce_only for i in accepted)), (
                    f"an entry was accepted too late after the emergency: {key} offset {offset}"
                )


# ---------------------------------------------------------------- every decision again


class AllBut(Container[str]):
    """Every account but one: what `decide` takes as answered already."""

    def __init__(self, account: str) -> None:
        self.account = account

    def __contains__(self, account: object) -> bool:
        return account != self.account


def verify(world: World, found: list[Found], processors: Iterable[str] = ALL_PURE) -> int:
    """Decide everything again from its basis; equal bytes. Returns how many decisions."""
    names = {f"/{name}/" for name in processors}
    own: dict[str, list[Found]] = {}
    for entry in found:
        if entry.event.epoch is not None and any(entry.event.source.startswith(n) for n in names):
            own.setdefault(entry.event.source, []).append(entry)
    count = 0
    for name, records in own.items():
        _, processor, number = name.split("/")
        count += _verify_source(world, rebuilt(processor, int(number)), records)
    return count


def _verify_source(world: World, source: Source, records: list[Found]) -> int:
    skips = {
        (f"{r.event.data.topic}/{r.event.data.partition}", r.event.data.offset)
        for r in records
        if isinstance(r.event, SourceSkipped)
    }
    causes: set[tuple[str | None, str]] = set()
    for key, offset, event in records:
        _fold_to(world, source, event.basis or {}, skips)
        source.epoch = event.epoch or 0
        raw = world.broker.partitions[key][offset].raw
        if isinstance(event, SourceCheckpointed):
            assert event.data.digest == source.digest(), f"state digest of {source.name} differs"
        if isinstance(event, SourceCheckpointed | SourceSkipped):
            source.fold_own(event)
            continue
        assert (event.causationid, event.partitionkey) not in causes, f"{source.name} decided twice"
        causes.add((event.causationid, event.partitionkey))
        cause_key, cause = _cause(world, source, event)
        again = next(source.decide(cause_key, cause, answered=AllBut(event.partitionkey)), None)
        assert again is not None, f"{source.name} did not decide {key} offset {offset} again"
        assert encode(again) == raw, (
            f"{source.name} decided otherwise at {key} offset {offset}: {again}, recorded {event}"
        )
    return len(causes)


def _fold_to(
    world: World, source: Source, basis: dict[str, int], skips: set[tuple[str, int]]
) -> None:
    """Fold topic by topic, in another order than any live one."""
    for key in sorted(basis, reverse=True):
        assert source.positions[key] <= basis[key], f"basis of {source.name} went back in {key}"
        for record in world.broker.partitions.get(key, [])[source.positions[key] : basis[key]]:
            event = None if (key, record.offset) in skips else of(record)
            source.fold(key, record.offset, event)


def _cause(world: World, source: Source, event: Envelope) -> tuple[str, Envelope]:
    for key, position in (event.basis or {}).items():
        record = world.broker.partitions[key][position - 1] if position else None
        cause = of(record) if record else None
        if cause is not None and cause.id == event.causationid:
            return key, cause
    raise AssertionError(f"the cause of {source.name} {event.id} is not the last of its partition")


def whole(world: World) -> int:
    """Everything that holds without comparison."""
    found = valid(world)
    check(world, found)
    assert world.live["control"][0].shell.partitions == PARTITIONS
    return verify(world, found)
