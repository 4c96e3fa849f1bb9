"""Goal: a person's verbs do what they say on a whole system, and nothing else (CORE-9).

Method: the in-process engine over an hour of 19 May 2021; signals and commands by hand between the
fed records, whose ends are those of the log: positions from fills alone.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from commands.publish import TOPIC_OF, build
from gateways.candles import read_candles
from gateways.feed_records import fed_records
from replay.engine import Engine
from replay.log import LogRecord
from replay.summary import Summary
from replay.why import why
from schemas.codec import encode
from schemas.envelope import Envelope
from schemas.instruments import load_instruments
from schemas.market import ClockTicked
from schemas.scalars import text
from schemas.trade import Ended, ExecutionReported, Filled, OrderDecided
from schemas.trade_commands import CommandJudged
from schemas.validity import Validity
from tests.checker import check
from tests.crash_hours import DATA

START = datetime(2021, 5, 19, 11, tzinfo=UTC)
BTC, ETH = "BTCUSDT", "ETHUSDT"
ANN = {"operator": "ann", "reason": "test"}
WIDE = {"cooldown_s": 0, "max_trades_per_hour": 100, "max_time_in_trade_s": 86_400}


class Market:
    """A fed engine with one account; event time goes on with :meth:`minutes`."""

    def __init__(self, **policy: Any) -> None:
        self.engine = Engine(["main"])
        files = [read_candles(DATA / f"{s}-1m-20210516-20210522.parquet") for s in (BTC, ETH)]
        self.records: Iterator[tuple[str, Envelope]] = iter(
            fed_records(
                files, start=START, end=START + timedelta(hours=1), funding=[], script=[],
                warm_up_start=START - timedelta(hours=24), instruments=load_instruments(BTC, ETH),
            )
        )  # fmt: skip
        self.time = ""
        self.asked = 0
        data = {**ANN, "expected_version": 0, "changes": {**WIDE, **policy}}
        self.tell("policy.set", data, time="2021-05-19T11:00:00.000000Z")
        self.minutes(2)

    def minutes(self, count: int) -> None:
        """Feed whole minutes, up to and with their tick."""
        while count:
            topic, event = next(self.records)
            self.engine.feed(topic, event)
            if isinstance(event, ClockTicked):
                self.time = event.time
                count -= 1

    def tell(self, kind: str, data: dict[str, Any], time: str = "") -> Any:
        """Publish; the record that answers."""
        event = build(kind, "main", data, time=time or self.time)
        self.engine.feed(TOPIC_OF[event.type].name, event)
        return next(e for e in self.engine.log.events() if e.causationid == event.id)

    def verb(self, kind: str, **data: Any) -> Any:
        return self.tell(kind, {**ANN, **data})

    def signal(self, symbol: str, side: str = "BUY") -> Any:
        self.asked += 1
        origin = f"hand{self.asked}"
        item = {"symbol": symbol, "side": side, "confidence": "0.9", "origin": origin}
        return self.tell("signal", {"items": [item]}).data.items[0]

    def limit(self, symbol: str) -> Any:
        """An intent to buy half a percent below the last price."""
        last = Summary.of(self.engine.log.events()).prices[symbol].last
        price = text((last * Decimal("0.995")).quantize(Decimal("0.1")))
        item = {"symbol": symbol, "side": "BUY", "confidence": "0.9", "origin": "hand",
                "limit_price": price}  # fmt: skip
        return self.tell("intent", {"items": [item]}).data.items[0]

    def caused(self, answer: Envelope) -> list[Any]:
        """Items of the record of trade.order that answers an approval."""
        for event in self.engine.log.events("trade.order"):
            if isinstance(event, OrderDecided) and event.causationid == answer.id:
                return list(event.data.items)
        return []

    def results(self) -> Iterator[Any]:
        for event in self.engine.log.events("trade.execution.res"):
            if isinstance(event, ExecutionReported):
                yield from event.data.items

    def open(self) -> dict[str, Decimal]:
        """Open quantities from fills alone."""
        total: dict[str, Decimal] = {}
        for item in self.results():
            if isinstance(item, Filled):
                signed = Decimal(item.quantity) * (1 if item.side == "BUY" else -1)
                total[item.symbol] = total.get(item.symbol, Decimal(0)) + signed
        return {symbol: q for symbol, q in total.items() if q}

    def resting(self) -> list[Any]:
        """Orders without an end."""
        ended = {item.order_id for item in self.results() if isinstance(item, Ended)}
        return [
            item
            for event in self.engine.log.events("trade.order")
            if isinstance(event, OrderDecided)
            for item in event.data.items
            if item.kind == "order" and item.id not in ended
        ]


@pytest.fixture
def both() -> Market:
    """Long in both symbols."""
    market = Market()
    for symbol in (BTC, ETH):
        assert market.signal(symbol).verdict == "approved"
    assert set(market.open()) == {BTC, ETH}
    return market


def test_flatten_flattens_and_leaves_entries_allowed(both: Market) -> None:
    both.minutes(1)
    answer = both.verb("account.flatten")
    assert isinstance(answer, CommandJudged)
    assert [(i.action, i.symbol) for i in answer.data.items] == [("close", BTC), ("close", ETH)]
    orders = both.caused(answer)
    assert {(o.purpose, o.reduce_only, o.order_type) for o in orders} == {
        ("exit_command", True, "MARKET")
    }
    assert {o.instruction_id for o in orders} == {i.id for i in answer.data.items}
    both.minutes(2)
    assert both.open() == {}
    assert both.resting() == [], "stops and targets were cancelled"
    summary = Summary.of(both.engine.log.events())
    assert summary.accounts["main"].trading_state == "ACTIVE"
    assert summary.accounts["main"].exits() == {"exit_command": 2}
    assert both.signal(BTC).verdict == "approved", "nothing is latched"


def test_an_order_of_a_verb_is_explained_from_the_command_to_the_fill(both: Market) -> None:
    answer = both.verb("position.close", symbol=BTC)
    order = both.caused(answer)[0]
    assert order.note == "close by ann: test"
    fill = next(i for i in both.results() if i.kind == "filled" and i.order_id == order.id)
    validity: dict[str, Validity] = {}
    records = []
    for stored in both.engine.log.order:
        topic, _, number = stored.key.rpartition("/")
        valid = validity.setdefault(stored.key, Validity()).admit(stored.event)
        raw = encode(stored.event)
        records.append(
            LogRecord(topic, int(number), stored.offset, 0, "main", raw, stored.event, valid)
        )
    lines = [link.line for link in why(records, fill.id).links]
    said = "\n".join(lines)
    assert "command.position.close.v1 for main by ann (test): symbol = 'BTCUSDT'" in said
    assert "risk approves command.position.close.v1 by ann (test): close BTCUSDT" in said
    assert f"order {order.client_order_id} for exit_command" in said


def test_close_leaves_other_symbols_alone(both: Market) -> None:
    both.verb("position.close", symbol=ETH)
    both.minutes(1)
    assert set(both.open()) == {BTC}
    assert {o.symbol for o in both.resting()} == {BTC}


def test_reduce_takes_a_share_floored_to_the_step_and_the_stop_covers_the_rest(
    both: Market,
) -> None:
    before = both.open()
    answer = both.verb("position.reduce", percent="50")
    both.minutes(1)
    step = Decimal("0.001")
    for symbol, quantity in both.open().items():
        assert before[symbol] - quantity == (before[symbol] / 2 // step) * step
        assert Decimal(answer.data.figures[f"rest.{symbol}"]) == quantity
    purposes = sorted(o.purpose for o in both.resting())
    assert purposes == ["stop", "stop", "target", "target"]
    assert all(o.close_position for o in both.resting())


def test_a_symbol_that_is_paused_takes_no_entries_keeps_its_stop_and_lets_exits_out(
    both: Market,
) -> None:
    answer = both.verb("symbol.pause", symbol=BTC)
    assert answer.data.items[0].policy.paused_symbols == (BTC,)
    assert sorted(o.purpose for o in both.resting() if o.symbol == BTC) == ["stop", "target"]
    assert both.signal(BTC).failures[0].code == "SYMBOL_PAUSED"
    assert both.signal(BTC, "SELL").kind == "exit"
    both.minutes(1)
    assert set(both.open()) == {ETH}
    assert [f.code for f in both.signal(BTC).failures] == ["SYMBOL_PAUSED"]
    both.verb("symbol.resume", symbol=BTC)
    both.minutes(1)
    assert both.signal(BTC).verdict == "approved"


def test_pausing_cancels_an_entry_that_rests() -> None:
    market = Market()
    assert market.limit(BTC).verdict == "approved"
    assert [o.purpose for o in market.resting()] == ["entry"]
    market.verb("symbol.pause", symbol=BTC)
    assert market.resting() == []
    end = [i for i in market.results() if isinstance(i, Ended)][-1]
    assert end.status == "CANCELED"


def test_cancel_takes_entries_and_leaves_stops_and_targets(both: Market) -> None:
    both.verb("position.close", symbol=ETH)
    both.minutes(1)
    assert both.limit(ETH).verdict == "approved"
    answer = both.verb("order.cancel")
    assert [(i.action, i.symbol) for i in answer.data.items] == [("cancel", ETH)]
    assert sorted(o.purpose for o in both.resting()) == ["stop", "target"]
    assert set(both.open()) == {BTC}


def test_a_stop_is_cancelled_only_by_its_id_and_with_consent_and_then_the_position_is_closed(
    both: Market,
) -> None:
    stop = next(o for o in both.resting() if o.purpose == "stop" and o.symbol == BTC)
    refused = both.verb("order.cancel", order=stop.client_order_id)
    assert refused.data.code == "PROTECTIVE_ORDER"
    assert stop.id in {o.id for o in both.resting()}
    answer = both.verb("order.cancel", order=stop.client_order_id, force=True)
    assert "unprotected" in answer.data.notes[0]
    both.minutes(1)
    assert set(both.open()) == {ETH}, "never left without a stop"
    assert Summary.of(both.engine.log.events()).accounts["main"].exits()["exit_unprotected"]


def test_a_resting_entry_is_cancelled_when_its_symbol_is_closed() -> None:
    market = Market()
    market.limit(BTC)
    answer = market.verb("account.flatten")
    assert [c.why for c in market.caused(answer)] == ["closed_by_command"]
    assert market.resting() == []
    assert market.open() == {}


def test_every_command_is_answered_once_and_a_repeated_one_not_again(both: Market) -> None:
    event = build("position.close", "main", {**ANN, "symbol": BTC}, time=both.time)
    for _ in range(2):
        both.engine.feed("commands.trade", event)
    answers = [e for e in both.engine.log.events() if e.causationid == event.id]
    assert [a.type for a in answers] == ["trade.command.judged.v1"]


def test_operators_listed_in_the_policy_are_the_only_ones_who_command() -> None:
    market = Market(operators=["ann", "bob"])
    market.signal(BTC)
    for kind, data in (
        ("account.flatten", {}),
        ("symbol.pause", {"symbol": BTC}),
        ("emergency.stop", {}),
    ):
        answer = market.tell(kind, {**data, "operator": "eve", "reason": "because"})
        assert answer.data.code == "UNKNOWN_OPERATOR"
        assert "ann, bob" in answer.data.sentence
    assert set(market.open()) == {BTC}
    assert market.tell("account.flatten", {"operator": "bob", "reason": "x"}).data.items
    market.minutes(1)
    assert market.open() == {}


def test_the_independent_checker_finds_nothing_wrong_with_verbs(both: Market) -> None:
    both.verb("position.reduce", percent="30")
    both.verb("symbol.pause", symbol=ETH)
    both.minutes(1)
    both.verb("account.flatten")
    both.minutes(1)
    both.signal(BTC)
    both.minutes(1)
    records = []
    for stored in both.engine.log.order:
        topic, _, number = stored.key.rpartition("/")
        records.append((topic, int(number), stored.offset, encode(stored.event)))
    found, violations = check(records)
    assert violations == []
    assert found["accounts"]["main"]["open_positions"] == 1
