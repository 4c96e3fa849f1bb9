"""Ways to doctor a log, and what the independent checker must say of each."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

Raw = tuple[str, int, int, bytes]
"""Topic, partition, offset, bytes."""


def edit(raw: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    event = json.loads(raw)
    change(event)
    return json.dumps(event, separators=(",", ":")).encode()


def place_of(log: list[Raw], event_type: str, want: dict[str, Any], skip: int = 0) -> int:
    """Index of the record of a type with a part of these values (`skip`: not the first ones)."""
    for index, (_, _, _, raw) in enumerate(log):
        event = json.loads(raw)
        items = event["data"].get("items", [{}])
        hit = any(all(item.get(k) == v for k, v in want.items()) for item in items)
        if event["type"] == f"{event_type}.v1" and hit:
            if not skip:
                return index
            skip -= 1
    raise AssertionError(f"no {event_type} with {want}")


def part(event: dict[str, Any], want: dict[str, Any]) -> dict[str, Any]:
    """The first part of these values."""
    found: dict[str, Any] = next(
        i for i in event["data"]["items"] if all(i.get(k) == v for k, v in want.items())
    )
    return found


def changed(event_type: str, want: dict[str, Any], log: list[Raw], **values: Any) -> list[Raw]:
    """The log with other values in one part."""
    at = place_of(log, event_type, want)
    new = edit(log[at][3], lambda e: part(e, want).update(values))
    return [*log[:at], (*log[at][:3], new), *log[at + 1 :]]


def without(event_type: str, want: dict[str, Any], log: list[Raw]) -> list[Raw]:
    """The log without one part; its record stays."""
    at = place_of(log, event_type, want)
    new = edit(log[at][3], lambda e: e["data"]["items"].remove(part(e, want)))
    return [*log[:at], (*log[at][:3], new), *log[at + 1 :]]


def twice(event_type: str, want: dict[str, Any], log: list[Raw], **values: Any) -> list[Raw]:
    """The log with one part a second time in the same record, with other values."""
    at = place_of(log, event_type, want)
    new = edit(log[at][3], lambda e: e["data"]["items"].append({**part(e, want), **values}))
    return [*log[:at], (*log[at][:3], new), *log[at + 1 :]]


RESULT, ORDER, UPDATE = "trade.execution.reported", "trade.order.decided", "trade.position.updated"
VERDICT = "trade.signal.judged"
FILL, ENDED, ENTRY = {"kind": "filled"}, {"kind": "ended"}, {"kind": "order", "purpose": "entry"}
STOP, EXIT = {"kind": "order", "purpose": "stop"}, {"kind": "order", "purpose": "exit_signal"}
APPROVED = {"kind": "entry", "verdict": "approved"}


def bump(name: str, log: list[Raw]) -> list[Raw]:
    """One equity item with its last digit one higher."""
    at = place_of(log, UPDATE, {"kind": "equity"}, skip=5)

    def change(event: dict[str, Any]) -> None:
        item = part(event, {"kind": "equity"})
        item[name] += "01" if "." in item[name] else ".000000000001"

    return [*log[:at], (*log[at][:3], edit(log[at][3], change)), *log[at + 1 :]]


def rejected(log: list[Raw]) -> list[Raw]:
    """The approval of an order turned into a refusal."""
    at = place_of(log, VERDICT, APPROVED)

    def change(event: dict[str, Any]) -> None:
        item = part(event, APPROVED)
        del item["plan"]
        item.update(verdict="rejected", reason="COOLDOWN")

    return [*log[:at], (*log[at][:3], edit(log[at][3], change)), *log[at + 1 :]]


def same_id(log: list[Raw]) -> list[Raw]:
    first = place_of(log, ORDER, ENTRY)
    second = place_of(log, ORDER, ENTRY, skip=1)
    known = json.loads(log[first][3])["id"]
    new = edit(log[second][3], lambda e: e.update(id=known))
    return [*log[:second], (*log[second][:3], new), *log[second + 1 :]]


def a_record_gone(log: list[Raw]) -> list[Raw]:
    at = place_of(log, ORDER, ENTRY)
    return [*log[:at], *log[at + 1 :]]


def fences_gone(log: list[Raw]) -> list[Raw]:
    return [r for r in log if b"source.fenced" not in r[3]]


DOCTORED: dict[str, tuple[Callable[[list[Raw]], list[Raw]], str]] = {
    "a fee is changed": (partial(changed, RESULT, FILL, fee="0.01"), "'equity'"),
    "a price is changed": (partial(changed, RESULT, FILL, price="40000"), "'equity'"),
    "a quantity is changed": (partial(changed, RESULT, FILL, quantity="9"), "filled "),
    "a side is changed": (
        partial(changed, RESULT, {**FILL, "side": "BUY"}, side="SELL"),
        "no open order",
    ),
    "a fill is dropped": (partial(without, RESULT, FILL), "filled 0"),
    "a fill is doubled": (partial(twice, RESULT, FILL), "filled "),
    "a fill is doubled under another id": (partial(twice, RESULT, FILL, id="x"), "filled "),
    "a fill is of an unknown order": (
        partial(changed, RESULT, FILL, order_id="x"),
        "no open order",
    ),
    "a deposit is dropped": (partial(without, RESULT, {"kind": "transferred"}), "'equity'"),
    "a deposit is larger": (
        partial(changed, RESULT, {"kind": "transferred"}, amount="1"),
        "'equity'",
    ),
    "an end is dropped": (
        partial(without, RESULT, {**ENDED, "status": "FILLED"}),
        "has no end",
    ),
    "an end comes twice": (partial(twice, RESULT, ENDED, id="x"), "of no open order"),
    "an end says more was filled": (
        partial(changed, RESULT, ENDED, filled_quantity="7"),
        "filled ",
    ),
    "equity is off by the last digit": (partial(bump, "equity"), "'equity'"),
    "fees told are off": (partial(bump, "fees"), "'equity'"),
    "gross is off": (partial(bump, "gross"), "'equity'"),
    "a position is off": (
        partial(changed, UPDATE, {"kind": "position"}, quantity="7"),
        "position is another",
    ),
    "a verdict is missing": (partial(without, VERDICT, {"verdict": "rejected"}), "has no verdict"),
    "a verdict comes twice": (
        partial(twice, VERDICT, {"verdict": "rejected"}, id="x"),
        "no open request",
    ),
    "a verdict answers nothing": (
        partial(changed, VERDICT, APPROVED, request_id="x"),
        "no open request",
    ),
    "a verdict is on another symbol": (
        partial(changed, VERDICT, APPROVED, symbol="X"),
        "no open request",
    ),
    "an entry has no approval": (partial(changed, ORDER, ENTRY, request_id="x"), "not approved so"),
    "a rejected signal is ordered": (rejected, "not approved so"),
    "more is ordered than approved": (
        partial(changed, ORDER, ENTRY, quantity="9"),
        "not approved so",
    ),
    "an exit has no approval": (partial(changed, ORDER, EXIT, request_id="x"), "not approved so"),
    "an order is there twice": (partial(twice, ORDER, ENTRY), "ordered twice"),
    "a client order id is there twice": (partial(twice, ORDER, ENTRY, id="x"), "ordered twice"),
    "a stop is not reduce-only": (
        partial(changed, ORDER, STOP, reduce_only=False),
        "not approved so",
    ),
    "a sequence is missing": (a_record_gone, "follows"),
    "a record id is there twice": (same_id, "twice"),
    "an epoch has no fence": (fences_gone, "follows"),
    "bytes are no event": (lambda log: [*log, ("market", 0, 10**6, b"{")], "no event"),
}
