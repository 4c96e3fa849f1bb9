"""`why`: the chain of causes from market data to any event, with every check and figure.

A record names its cause; a part names the part it answers (a verdict its signal, an order its
verdict, a fill its order). Both are followed, so a stop's fill shows the price that triggered it as
well as the signal that opened the position. It works the same for what did not happen.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from replay.log import LogRecord
from replay.why_lines import describe
from schemas.control import TradeDeletion
from schemas.envelope import Envelope

_LINKS = (
    "request_id", "instruction_id", "order_id", "owner_id", "step_id", "replaces", "emergency_id",
    "flat_id",
)  # fmt: skip
"""Fields of a part that name another part (or a record). `trade_id` names one too, but only a
position's own fill; it is followed for positions, closed trades and deletions."""


@dataclass(frozen=True, slots=True)
class Link:
    """One event of a chain. `line`: what happened, with the figures; `details`: every check and
    limit. `parts`: ids of the parts that were followed. `cause`: id of the causing record."""

    id: str
    type: str
    time: str
    place: str
    line: str
    details: tuple[str, ...]
    parts: tuple[str, ...]
    cause: str | None
    event: Envelope


@dataclass(frozen=True, slots=True)
class Chain:
    """From the first cause to the event asked for."""

    asked: str
    links: tuple[Link, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "asked": self.asked,
            "chain": [
                {
                    "id": link.id,
                    "type": link.type,
                    "time": link.time,
                    "place": link.place,
                    "parts": list(link.parts),
                    "causationid": link.cause,
                    "line": link.line,
                    "details": list(link.details),
                }
                for link in self.links
            ],
        }


class UnknownIdError(LookupError):
    """No valid record, part or client order id of the log has this id."""

    def __init__(self, wanted: str, near: list[str]) -> None:
        hint = (
            f"did you mean {', '.join(near)}?"
            if near
            else "ids of records are shown by ./quantum events, those of parts stand in data.items"
        )
        super().__init__(
            f"{wanted!r} is no id of a record, part or client order in this log: {hint}"
        )


@dataclass(slots=True)
class _Entry:
    index: int
    place: str
    event: Envelope


def why(records: Iterable[LogRecord], wanted: str) -> Chain:
    """The chain of causes of a record, a part or a client order id (a prefix of 8 or more
    characters will do if it is the only one). Raises UnknownIdError."""
    index = _Index(records)
    asked = index.resolve(wanted)
    symbols = {item.symbol for item in index.items(asked) if hasattr(item, "symbol")}
    chosen: dict[str, set[str]] = {}
    before: dict[str, set[str]] = {}
    todo, seen = [asked], set[str]()
    while todo:
        name = todo.pop()
        entry = index.entry(name)
        if entry is None or name in seen:
            continue
        seen.add(name)
        parts = chosen.setdefault(entry.event.id, set())
        items = index.items(name)
        if name != entry.event.id:
            parts.add(name)
        elif name != asked:
            items = _of_symbols(items, symbols)
        named = index.causes(entry.event, items)
        todo += named
        holders = {found.event.id for other in named if (found := index.entry(other))}
        before.setdefault(entry.event.id, set()).update(holders - {entry.event.id})
    entries = _causes_first([index.records[name] for name in chosen], before)
    links = tuple(_link(entry, chosen[entry.event.id], symbols) for entry in entries)
    return Chain(wanted, links)


def _causes_first(entries: list["_Entry"], before: dict[str, set[str]]) -> list["_Entry"]:
    """By event time and log order, but never an effect before its cause."""
    waiting = sorted(entries, key=lambda entry: (entry.event.time, entry.index))
    placed: list[_Entry] = []
    done: set[str] = set()
    while waiting:
        free = (n for n, entry in enumerate(waiting) if before.get(entry.event.id, set()) <= done)
        entry = waiting.pop(next(free, 0))
        placed.append(entry)
        done.add(entry.event.id)
    return placed


class _Index:
    """Where each id of the log stands. The first record of an id is the one that counts."""

    def __init__(self, records: Iterable[LogRecord]) -> None:
        self.records: dict[str, _Entry] = {}
        self.part_of: dict[str, str] = {}
        self.client_ids: dict[str, str] = {}
        for index, record in enumerate(records):
            event = record.event
            if event is None or not record.valid or event.id in self.records:
                continue
            self.records[event.id] = _Entry(index, record.place, event)
            for item in _items(event):
                if (part := getattr(item, "id", None)) is not None:
                    self.part_of.setdefault(part, event.id)
                    if getattr(item, "kind", None) == "order":
                        self.client_ids[item.client_order_id] = part

    def entry(self, name: str) -> _Entry | None:
        return self.records.get(self.part_of.get(name, name))

    def items(self, name: str) -> tuple[Any, ...]:
        """The part of this id, or all parts of the record of this id."""
        entry = self.entry(name)
        items = _items(entry.event) if entry else ()
        if name in self.records:
            return items
        return tuple(item for item in items if getattr(item, "id", None) == name)

    def causes(self, event: Envelope, items: tuple[Any, ...]) -> list[str]:
        """What `items` of `event` name as their causes; the causing record as a whole only where
        none of them names a part of it."""
        named = [other for item in items for other in _links(item)]
        holders = {self.part_of.get(other, other) for other in named}
        if event.causationid and event.causationid not in holders:
            named.append(event.causationid)
        return named

    def resolve(self, wanted: str) -> str:
        for name in (wanted, self.client_ids.get(wanted, "")):
            if name in self.records or name in self.part_of:
                return name
        near = [] if len(wanted) < 4 else [n for n in self._names() if n.startswith(wanted)]
        if len(near) == 1 and len(wanted) >= 8:
            return self.client_ids.get(near[0], near[0])
        raise UnknownIdError(wanted, near[:5])

    def _names(self) -> Iterator[str]:
        yield from self.records
        yield from self.part_of
        yield from self.client_ids


def _items(event: Envelope) -> tuple[Any, ...]:
    data = getattr(event, "data", None)
    items = getattr(data, "items", ())
    return items if isinstance(items, tuple) else ()


def _of_symbols(items: tuple[Any, ...], symbols: set[str]) -> tuple[Any, ...]:
    """The parts about `symbols`; all where none is, or none is asked about."""
    about = tuple(item for item in items if getattr(item, "symbol", None) in symbols)
    return about or items


def _links(item: Any) -> list[str]:
    """Ids of other parts or records that a part names."""
    names = list(_LINKS)
    about_a_trade = getattr(item, "kind", None) in ("position", "trade_closed")
    if about_a_trade or isinstance(item, TradeDeletion):
        names += ["trade_id", "exit_order_id"]
    return [other for name in names if (other := getattr(item, name, None)) is not None]


def _link(entry: _Entry, parts: set[str], symbols: set[str]) -> Link:
    event = entry.event
    items = _items(event)
    chosen = tuple(item for item in items if getattr(item, "id", None) in parts)
    line, details = describe(event, chosen or _of_symbols(items, symbols))
    return Link(
        id=event.id,
        type=event.type,
        time=event.time,
        place=entry.place,
        line=line,
        details=details,
        parts=tuple(item.id for item in chosen),
        cause=event.causationid,
        event=event,
    )
