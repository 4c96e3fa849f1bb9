"""Goal: every chain begins with a first cause, ends with what was asked for, and gives the figures.

Method: three hours of the crash from the engine, asked about what happened and what did not.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from replay.log import LogRecord
from replay.why import Chain, UnknownIdError, why
from schemas.control import (
    TradeDelete,
    TradeDeleted,
    TradeDeleteData,
    TradeDeletedData,
    TradeDeletion,
)
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.positions import TradeClosedItem
from schemas.trade import Filled, Order, Verdict
from tests.crash_hours import crash_events


def _records() -> Iterator[LogRecord]:
    for offset, event in enumerate(crash_events()):
        yield LogRecord("topic", 0, offset, 0, event.partitionkey, None, event, True)


def _parts(kind: type[Any]) -> list[tuple[Envelope, Any]]:
    events: tuple[Any, ...] = crash_events()
    return [
        (event, item)
        for event in events
        for item in getattr(event.data, "items", ())
        if isinstance(item, kind) and event.type.startswith("trade.")
    ]


def _types(chain: Chain) -> list[str]:
    return [link.type for link in chain.links]


def test_the_fill_of_an_entry_goes_back_to_the_candle_that_made_the_signal() -> None:
    entries = {
        o.id: o for e, o in _parts(Order) if o.purpose == "entry" and e.partitionkey == "main"
    }
    fill = next(i for _, i in _parts(Filled) if i.order_id in entries)
    chain = why(_records(), fill.id)
    assert _types(chain) == [
        "market.candles.closed.v1",
        "trade.signal.published.v1",
        "trade.signal.judged.v1",
        "trade.order.decided.v1",
        "venue.requested.v1",
        "venue.reported.v1",
        "trade.execution.reported.v1",
    ]
    assert chain.links[-1].parts == (fill.id,)
    assert fill.price in chain.links[-1].line


def test_a_trade_closed_by_its_stop_names_the_price_and_the_signal_that_opened_it() -> None:
    stops = {o.id for _, o in _parts(Order) if o.purpose == "stop"}
    event, trade = next(
        (e, t)
        for e, t in _parts(TradeClosedItem)
        if t.exit_order_id in stops and e.partitionkey == "main"
    )
    chain = why(_records(), trade.id)
    types = _types(chain)
    assert types[-1] == "trade.position.updated.v1"
    assert chain.links[-1].id == event.id
    assert types.index("trade.signal.published.v1") < types.index("trade.signal.judged.v1")
    assert "market.prices.observed.v1" in types
    assert any("for stop" in link.line for link in chain.links)
    assert trade.net in chain.links[-1].line


def test_a_deleted_trade_leads_to_the_command_and_to_the_fill_that_opened_it() -> None:
    account, trade = next((e.partitionkey, i.trade_id) for e, i in _parts(TradeClosedItem))
    fields: dict[str, Any] = {"subject": account, "time": crash_events()[-1].time}
    wish = TradeDeleteData(trade_id=trade, operator="ann", reason="a drill")
    command = TradeDelete(
        id=natural_id("delete"), source="/cli", partitionkey=account, data=wish, **fields
    )
    item = TradeDeletion(id=natural_id("x"), trade_id=trade, operator="ann", reason="a drill")
    answer = TradeDeleted(
        id=natural_id("answer"),
        source="/control/0",
        partitionkey=account,
        causationid=command.id,
        data=TradeDeletedData(items=(item,)),
        **fields,
    )
    records = [*_records()]
    for event in (command, answer):
        records.append(LogRecord("t", 0, len(records), 0, account, None, event, True))
    chain = why(records, answer.id)
    assert _types(chain)[-2:] == ["command.trade.delete.v1", "trade.deleted.v1"]
    assert chain.links[-1].line == (
        f"trade {trade} deleted from the default view by ann (a drill); it stays among all trades"
    )
    opened = next(link for link in chain.links if trade in link.parts)
    assert opened.type == "trade.execution.reported.v1"
    assert "trade.signal.published.v1" in _types(chain)


def test_every_cause_stands_before_its_effect() -> None:
    _, trade = _parts(TradeClosedItem)[-1]
    links = why(_records(), trade.id).links
    places = {link.id: place for place, link in enumerate(links)}
    caused = [(link.cause, link.id) for link in links if link.cause and link.cause in places]
    assert len(caused) > 5
    assert all(places[cause] < places[effect] for cause, effect in caused)


def test_a_refusal_lists_every_failing_check_with_figures_and_where_limits_came_from() -> None:
    _, verdict = next((e, v) for e, v in _parts(Verdict) if v.reason == "GUARD_C_RATE_LIMIT")
    chain = why(_records(), verdict.id)
    last = chain.links[-1]
    assert last.type == "trade.signal.judged.v1"
    assert "GUARD_C_RATE_LIMIT" in last.line
    assert any(line.startswith("failed GUARD_C_RATE_LIMIT") for line in last.details)
    assert "limit rl_v3_live.max_trades_per_hour = 2 (policy 1)" in last.details
    assert "limit min_confidence = 0.65 (default)" in last.details
    assert last.parts == (verdict.id,)


def test_an_order_is_found_by_its_client_order_id_and_by_a_long_prefix() -> None:
    _, order = _parts(Order)[0]
    chain = why(_records(), order.client_order_id)
    assert chain.links[-1].parts == (order.id,)
    assert why(_records(), order.id[:13]).links == chain.links


def test_the_json_has_id_and_type_of_every_link() -> None:
    _, order = _parts(Order)[0]
    chain = why(_records(), order.id).as_json()["chain"]
    assert all(link["id"] and link["type"] for link in chain)
    assert order.id in chain[-1]["parts"]


@pytest.mark.parametrize("wanted", ["nothing", "", "ffffffff-0000-0000-0000-000000000000"])
def test_an_unknown_id_is_named_with_what_to_do(wanted: str) -> None:
    with pytest.raises(UnknownIdError, match="no id of a record, part or client order"):
        why(_records(), wanted)
