"""Parts of the records that fold on trusted bytes: their shapes, and what each does to rows.

The same effects as in :mod:`projections.fold`, on values that are still text.
"""

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

import orjson

from projections.text_rows import NULL, TextRows

START = b'"data":{"items":'
EMPTY = b',"data":{"items":[]}}'
Item = dict[str, Any]
Handler = Callable[[TextRows, str, str, str, Item], None]

SHAPES: dict[str, tuple[str, ...]] = {
    kind: tuple(names.split())
    for kind, names in {
        "order": "kind id client_order_id symbol side order_type time_in_force quantity"
        " limit_price? trigger_price? reduce_only close_position leverage?"
        " purpose owner_id? request_id? instruction_id? approved_at"
        " approval_stale_s replaces? regime? policy_version note?",
        "cancel": "kind id order_id client_order_id symbol why instruction_id?",
        "declined": "kind id instruction_id symbol why",
        "dropped": "kind id request_id symbol why",
        "accepted": "kind id order_id client_order_id symbol",
        "unknown": "kind id order_id client_order_id symbol attempt",
        "funded": "kind id symbol amount quantity mark rate",
        "filled": "kind id order_id? client_order_id? symbol side trade_id quantity price"
        " fee fee_asset liquidity reference filled_at rule",
        "transferred": "kind id transfer_id amount asset",
        "ended": "kind id order_id client_order_id symbol status filled_quantity why?",
        "position": "kind id symbol trade_id quantity cost average_entry? realised fees"
        " funding opened_at entry_at",
        "order_end": "kind id order_id symbol status filled_quantity",
        "trade_closed": "kind id trade_id symbol side quantity_max entry_average exit_average"
        " realised fees funding net opened_at closed_at exit_order_id?",
        "equity": "kind id transfers realised fees funding unrealised equity gross marks",
    }.items()
}
"""Fields of each item in the order of canonical bytes; `?`: may be left out."""
_Shapes = dict[str, set[tuple[str, ...]]]
_known: _Shapes = {kind: set() for kind in SHAPES}


@cache
def shapes(kinds: str) -> _Shapes:
    """By kind, of these: orders of fields that were found to be good so far."""
    return {kind: _known[kind] for kind in kinds.split()}


def parse(raw: bytes, start: int, known: _Shapes) -> list[Item] | None:
    """Items of a record whose data begin at or after `start`; None if one is of a kind that is not
    in `known`, or has an unknown shape."""
    begin = raw.find(START, start)
    if begin < 0 or raw[-2:] != b"}}":
        return None
    try:
        items: list[Item] = orjson.loads(memoryview(raw)[begin + len(START) : -2])
    except orjson.JSONDecodeError:
        return None
    if type(items) is not list:
        return None
    for item in items:
        try:
            if tuple(item) in known[item["kind"]]:
                continue
        except (KeyError, TypeError):
            return None
        kind, shape = item["kind"], tuple(item)
        if not _fits(shape, SHAPES[kind]):
            return None
        known[kind].add(shape)
    return items


def _fits(shape: tuple[str, ...], fields: tuple[str, ...]) -> bool:
    """Whether the names are all required fields and some of the others, in order."""
    left = list(shape)
    for field in fields:
        if left and left[0] == field.rstrip("?"):
            left.pop(0)
        elif not field.endswith("?"):
            return False
    return not left


# ---------------------------------------------------------------------- trade.order


def _order(rows: TextRows, account: str, time: str, _record: str, item: Item) -> None:
    get = item.get
    leverage = get("leverage")
    rows.row("orders", item["id"])[1:21] = (
        account, item["symbol"], item["client_order_id"], item["side"], item["order_type"],
        item["time_in_force"], item["quantity"], get("limit_price", NULL),
        get("trigger_price", NULL), "t" if item["reduce_only"] else "f",
        "t" if item["close_position"] else "f", NULL if leverage is None else str(leverage),
        item["purpose"], get("owner_id", NULL), get("request_id", NULL), item["approved_at"],
        get("replaces", NULL), str(item["policy_version"]), get("note", NULL), time,
    )  # fmt: skip


def _cancel(rows: TextRows, _account: str, time: str, _record: str, item: Item) -> None:
    rows.row("orders", item["order_id"])[21:23] = (item["why"], time)


def _nothing(_rows: TextRows, _account: str, _time: str, _record: str, _item: Item) -> None:
    """A part that no table shows."""


# ---------------------------------------------------------------------- trade.execution.res


def _accepted(rows: TextRows, _account: str, time: str, _record: str, item: Item) -> None:
    rows.row("orders", item["order_id"])[23:25] = (time, "f")


def _unknown(rows: TextRows, _account: str, _time: str, _record: str, item: Item) -> None:
    rows.row("orders", item["order_id"])[24] = "t"


def _filled(rows: TextRows, account: str, _time: str, record: str, item: Item) -> None:
    identity, order = item["id"], item.get("order_id")
    line = "\t".join(
        (
            identity, account, order or NULL, item.get("client_order_id", NULL), item["symbol"],
            item["side"], item["trade_id"], item["quantity"], item["price"], item["fee"],
            item["fee_asset"], item["liquidity"], item["reference"], item["filled_at"],
            item["rule"], record,
        )
    )  # fmt: skip
    if not rows.append("fills", identity, line) or order is None:
        return
    row = rows.row("orders", order)
    row[24] = "f"
    quantity = Decimal(item["quantity"])
    rows.add(row, 25, quantity)
    rows.add(row, 26, rows.exact.multiply(quantity, Decimal(item["price"])))
    rows.add(row, 27, Decimal(item["fee"]))
    row[28] = item["filled_at"]


def _ended(rows: TextRows, _account: str, time: str, _record: str, item: Item) -> None:
    row = rows.row("orders", item["order_id"])
    row[24] = "f"
    row[29:33] = (item["status"], time, item["filled_quantity"], item.get("why", NULL))


# ---------------------------------------------------------------------- trade.position.update


def _position(rows: TextRows, account: str, time: str, _record: str, item: Item) -> None:
    symbol, trade, quantity = item["symbol"], item["trade_id"], item["quantity"]
    average = item.get("average_entry", NULL)
    realised, fees, funding = item["realised"], item["fees"], item["funding"]
    opened, entry = item["opened_at"], item["entry_at"]
    rows.row("positions", (account, symbol))[2:12] = (
        trade, quantity, item["cost"], average, realised, fees, funding, opened, entry, time,
    )  # fmt: skip
    row = rows.row("trades", trade)
    if quantity == "0" or not Decimal(quantity):  # its end stands in the item that closes the trade
        row[5] = quantity
        return
    short = quantity[0] == "-"
    row[1:4] = (account, symbol, "SELL" if short else "BUY")
    rows.raise_to(row, 4, Decimal(quantity[1:] if short else quantity))
    exact = rows.exact
    net = exact.add(exact.subtract(Decimal(realised), Decimal(fees)), Decimal(funding))
    row[5:7] = (quantity, average)
    row[8:14] = (realised, fees, funding, format(net, "f"), opened, entry)


def _order_end(rows: TextRows, _account: str, time: str, _record: str, item: Item) -> None:
    rows.row("orders", item["order_id"])[33] = time


def _trade_closed(rows: TextRows, account: str, _time: str, _record: str, item: Item) -> None:
    row = rows.row("trades", item["trade_id"])
    row[1:4] = (account, item["symbol"], item["side"])
    rows.raise_to(row, 4, Decimal(item["quantity_max"]))
    row[5:13] = (
        "0", item["entry_average"], item["exit_average"], item["realised"], item["fees"],
        item["funding"], item["net"], item["opened_at"],
    )  # fmt: skip
    row[14:16] = (item["closed_at"], item.get("exit_order_id", NULL))


def _equity(rows: TextRows, account: str, time: str, record: str, item: Item) -> None:
    marks = item["marks"]
    line = "\t".join(
        (
            item["id"], account, time, item["transfers"], item["realised"], item["fees"],
            item["funding"], item["unrealised"], item["equity"], item["gross"],
            orjson.dumps(marks).decode(), record,
        )
    )  # fmt: skip
    rows.append("equity", item["id"], line)
    for symbol, mark in marks.items():
        rows.row("positions", (account, symbol))[12:14] = (mark, time)


HANDLERS: dict[str, Handler] = {
    "order": _order,
    "cancel": _cancel,
    "dropped": _nothing,
    "declined": _nothing,
    "accepted": _accepted,
    "unknown": _unknown,
    "transferred": _nothing,
    "funded": _nothing,
    "filled": _filled,
    "ended": _ended,
    "position": _position,
    "order_end": _order_end,
    "trade_closed": _trade_closed,
    "equity": _equity,
}
"""By kind: (rows, account, event time, record id, item)."""
