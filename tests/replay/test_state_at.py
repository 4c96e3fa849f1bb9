"""The state as of an event or an instant is what the live system recorded then."""

from functools import cache
from typing import Any

import pytest

from replay.sources import RecordedLog
from replay.state_at import at_event, at_event_time, at_written, find
from replay.summary import Summary
from replay.summary_json import account_json
from replay.why import UnknownIdError
from schemas.positions import EquityItem, PositionItem, PositionUpdated
from schemas.scalars import text
from schemas.trade import Ended, ExecutionReported, Order, OrderDecided
from tests.crash_hours import crash_events, crash_log


@cache
def log() -> RecordedLog:
    return RecordedLog(crash_log())


def decided_orders() -> list[tuple[OrderDecided, Order]]:
    return [
        (event, item)
        for event in crash_events()
        if isinstance(event, OrderDecided)
        for item in event.data.items
        if isinstance(item, Order)
    ]


def test_at_a_position_update_equity_and_position_are_what_it_recorded() -> None:
    updates = [e for e in crash_events() if isinstance(e, PositionUpdated)]
    compared = 0
    for update in updates[::7]:
        state, found = at_event(log(), update.id)
        assert found.event == update
        account = state.summary.accounts[update.partitionkey]
        for item in update.data.items:
            if isinstance(item, EquityItem):
                compared += 1
                assert text(account.equity(state.summary.marks)) == item.equity
            elif isinstance(item, PositionItem) and item.quantity != "0":
                assert account.positions[item.symbol] == item
    assert compared > 5


def test_at_the_end_it_is_what_status_says_and_the_open_orders_are_those_without_end() -> None:
    state = at_written(log(), len(crash_log()))
    summary = Summary.of(crash_events())
    said = state.as_json()["accounts"]
    for name, account in summary.accounts.items():
        wanted = account_json(account, summary.marks)
        for field in ("equity", "trading_state", "positions", "realised", "fees", "funding"):
            assert said[name][field] == wanted[field], (name, field)
        assert said[name]["policy"] == account.policy.model_dump(mode="json")  # type: ignore[union-attr]
    ended = {
        item.order_id
        for e in crash_events()
        if isinstance(e, ExecutionReported)
        for item in e.data.items
        if isinstance(item, Ended)
    }
    open_now = {order.id for _, order in decided_orders()} - ended
    assert {o["id"] for a in said.values() for o in a["orders"]} == open_now
    assert state.records == len(crash_events())


def test_before_its_answer_an_order_is_sent_and_afterwards_it_works_until_its_end() -> None:
    first = decided_orders()[0][0]
    stop = next((e, order) for e, order in decided_orders() if order.purpose == "stop")
    state, _ = at_event(log(), first.id)
    assert {order.state for order in state.orders.values()} == {"sent"}
    later = at_event_time(log(), stop[0].time)
    known: Any = later.orders.get(stop[1].id)
    assert known.state == "working"
    assert known.as_json()["trigger_price"] == stop[1].trigger_price


def test_an_instant_of_event_time_ends_before_the_first_later_price() -> None:
    until = "2021-05-19T12:00:00.000000Z"
    state = at_event_time(log(), until)
    assert state.summary.time == until
    assert 0 < state.records < len(crash_events())
    early = at_event_time(log(), "2021-05-01T00:00:00.000000Z")
    assert (early.records, early.begins[:8]) == (0, "2021-05-")


def test_an_event_is_found_by_part_and_client_order_id_and_an_unknown_id_is_refused() -> None:
    decided, order = decided_orders()[0]
    assert find(log(), order.client_order_id).event.id == decided.id
    assert find(log(), order.id[:13]).event.id == decided.id
    for wanted in ("00000000-0000-0000-0000-000000000000", "abc"):
        with pytest.raises(UnknownIdError):
            find(log(), wanted)
