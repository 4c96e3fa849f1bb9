"""`state --at`: positions, orders, policy, trading state and equity as of an instant or an event.

An instant cuts the log by append time (the broker's), or, where a file was fed, by event time. An
event goes by its basis: of every topic its source read, exactly the records it was decided on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from replay.log import LogRecord
from replay.sources import EventLog, RawRecord
from replay.summary import Summary
from replay.summary_json import position_json
from replay.why import UnknownIdError
from schemas.codec import RecordError, decode
from schemas.envelope import Envelope
from schemas.scalars import dec, text
from schemas.topics import EVENT_TOPICS
from schemas.trade import Accepted, Ended, ExecutionReported, Filled, Order, OrderDecided, Unknown

ID_MIN = 8
"""A prefix of an id this long will do, as for `why`."""


@dataclass(slots=True)
class OpenOrder:
    """An order without an end. state: `sent` (no answer yet), `working` (rests at the venue) or
    `unknown` (its fate is not known)."""

    account: str
    order: Order
    state: str = "sent"
    filled: Decimal = Decimal(0)

    def as_json(self) -> dict[str, Any]:
        order = self.order
        return {
            "id": order.id,
            "client_order_id": order.client_order_id,
            "symbol": order.symbol,
            "side": order.side,
            "purpose": order.purpose,
            "order_type": order.order_type,
            "quantity": order.quantity,
            "filled": text(self.filled),
            "limit_price": order.limit_price,
            "trigger_price": order.trigger_price,
            "state": self.state,
        }


@dataclass(slots=True)
class State:
    """What was so. `summary`: the figures of everything folded; `orders`: those without an end."""

    summary: Summary = field(default_factory=Summary)
    orders: dict[str, OpenOrder] = field(default_factory=dict)
    records: int = 0
    written_ms: int = 0
    """Append time of the last record in it."""
    begins: str = ""
    """Where an event time before the market's begin was asked for: that begin."""
    _early: dict[str, list[Any]] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)

    def fold(self, event: Envelope) -> None:
        """Fold a valid event in."""
        self.summary.fold(event)
        if isinstance(event, OrderDecided):
            for item in event.data.items:
                if isinstance(item, Order) and item.id not in self._ended:
                    self.orders[item.id] = OpenOrder(event.partitionkey, item)
                    for early in self._early.pop(item.id, ()):
                        self._result(early)
        elif isinstance(event, ExecutionReported):
            for result in event.data.items:
                if isinstance(result, Accepted | Ended | Filled | Unknown) and result.order_id:
                    self._result(result)

    def _result(self, item: Any) -> None:
        known = self.orders.get(item.order_id)
        if isinstance(item, Ended):
            self.orders.pop(item.order_id, None)
            self._ended.add(item.order_id)
        elif known is None:
            if item.order_id not in self._ended:
                self._early.setdefault(item.order_id, []).append(item)
        elif isinstance(item, Filled):
            known.filled += dec(item.quantity)
        else:
            known.state = "unknown" if isinstance(item, Unknown) else "working"

    def as_json(self) -> dict[str, Any]:
        """Accounts with their positions, orders, policy, trading state and equity."""
        marks = self.summary.marks
        accounts = {}
        for name, account in sorted(self.summary.accounts.items()):
            policy = account.policy
            accounts[name] = {
                "trading_state": account.trading_state,
                "governor": account.governor,
                "holds": list(account.holds),
                "hfos": account.hfos,
                "emergency": account.emergency_open,
                "equity": text(account.equity(marks)),
                "transfers": text(account.booked("transfers")),
                "realised": text(account.booked("realised")),
                "fees": text(account.booked("fees")),
                "funding": text(account.booked("funding")),
                "unrealised": text(account.unrealised(marks)),
                "gross": text(account.gross(marks)),
                "drawdown_pct": round(float(account.drawdown_pct), 6),
                "positions": [position_json(p) for p in account.open_positions(marks)],
                "orders": [o.as_json() for o in self.orders.values() if o.account == name],
                "policy_version": account.policy_version,
                "policy": policy.model_dump(mode="json") if policy else None,
            }
        return {
            "time": self.summary.time,
            "records": self.records,
            "written_ms": self.written_ms,
            "prices": {symbol: text(mark) for symbol, mark in sorted(marks.items())},
            "accounts": accounts,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """The event a state is asked for, and where it stands."""

    place: str
    raw: RawRecord
    event: Envelope


def at_written(log: EventLog, until_ms: int) -> State:
    """The state of everything appended at or before `until_ms` (ms since 1970, broker's clock)."""
    state = State()
    for record in log.read():
        if record.timestamp_ms > until_ms:
            break
        _fold(state, record)
    return state


def at_event_time(log: EventLog, until: str) -> State:
    """The state before the first market or clock record later than `until` (canonical time): for
    runs whose market was fed in order; a live system's clock and its records are ms apart. Without
    a record, and with `begins`, where that is the first of all: nothing was so yet."""
    state, begun = State(), False
    for record in log.read():
        fed = record.topic in ("market", "clock")
        if fed and record.event is not None and record.valid:
            if record.event.time > until:
                return state if begun else State(begins=record.event.time)
            begun = True
        _fold(state, record)
    return state


def at_event(log: EventLog, wanted: str) -> tuple[State, Found]:
    """The state that the event was decided on, and the event itself.

    Of the topics in its basis exactly the records before it; of the others (and for an event
    without basis) what was appended before the event. `wanted`: id of a record or of a part, or a
    client order id; 8 or more characters of it will do. Raises UnknownIdError.
    """
    found = find(log, wanted)
    basis = {**(found.event.after or {}), **(found.event.basis or {})}
    left = {key for key, end in basis.items() if end}
    state, seen = State(), False
    for record in log.read():
        key = f"{record.topic}/{record.partition}"
        bound = basis.get(key)
        if record.place == found.place:
            seen = True
            _fold(state, record)
        elif record.offset < bound if bound is not None else not seen:
            _fold(state, record)
        if bound is not None and record.offset + 1 >= bound:
            left.discard(key)
        if seen and not left:
            break
    return state, found


def find(log: EventLog, wanted: str) -> Found:
    """The first record with this id, or with a part of this id. Raises UnknownIdError."""
    text_ = wanted.encode()
    for raw in log.raw(EVENT_TOPICS) if len(wanted) >= ID_MIN else ():
        if raw.value is None or text_ not in raw.value:
            continue
        try:
            event = decode(raw.value)
        except RecordError:
            continue
        if event.type != "source.fenced.v1" and any(n.startswith(wanted) for n in _names(event)):
            return Found(f"{raw.topic}/{raw.partition}/{raw.offset}", raw, event)
    raise UnknownIdError(wanted, [])


def _names(event: Envelope) -> Iterator[str]:
    """Ids under which an event can be asked for: its own, its parts', its orders' client ids."""
    yield event.id
    items: Iterable[Any] = getattr(getattr(event, "data", None), "items", ())
    for item in items if isinstance(items, tuple) else ():
        if (part := getattr(item, "id", None)) is not None:
            yield part
        if isinstance(item, Order):
            yield item.client_order_id


def _fold(state: State, record: LogRecord) -> None:
    if record.event is None or not record.valid:
        return
    state.records += 1
    state.written_ms = max(state.written_ms, record.timestamp_ms)
    state.fold(record.event)
