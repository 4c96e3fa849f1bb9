"""Goal: the figures of a run are right, whatever the order in which topics are read.

Method: three hours of the crash from the engine; each figure is computed again here from the
records by a few lines that share nothing with the summary.
"""

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from replay.account_summary import Nav
from replay.summary import Summary
from replay.summary_json import summary_json
from schemas.control import TradeDeleted, TradeDeletedData, TradeDeletion
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.market import PricesObserved
from schemas.positions import EquityItem, PositionItem, PositionUpdated, TradeClosedItem
from schemas.trade import Filled, Order, Verdict
from tests.crash_hours import crash_events


def _events() -> tuple[Any, ...]:
    return crash_events()


def _items(account: str, kind: type[Any]) -> list[Any]:
    return [
        item
        for event in _events()
        if event.partitionkey == account
        for item in getattr(event.data, "items", ())
        if isinstance(item, kind)
    ]


def test_verdicts_orders_and_fills_are_counted_by_account() -> None:
    summary = Summary.of(crash_events())
    assert set(summary.accounts) == {"main", "hot", "probe"}
    for name, account in summary.accounts.items():
        verdicts = _items(name, Verdict)
        rejected = Counter(str(v.reason) for v in verdicts if v.verdict == "rejected")
        assert account.approved == sum(v.verdict == "approved" for v in verdicts) > 0
        assert account.rejected == rejected
        assert len(account.orders) == len(_items(name, Order)) > 0
        trades = [e for e in _events() if e.type == "trade.execution.reported.v1"]
        fills = [i for e in trades for i in e.data.items if isinstance(i, Filled)]
        assert sum(a.fills for a in summary.accounts.values()) == len(fills) > 0


def test_a_name_mistyped_in_a_request_is_no_account() -> None:
    told = [
        event.model_copy(update={"partitionkey": "mian"})
        for event in _events()
        if event.partitionkey == "main"
        and event.type in ("trade.signal.published.v1", "trade.signal.judged.v1")
        and all(getattr(item, "verdict", "rejected") == "rejected" for item in event.data.items)
    ]
    assert {event.type[13:] for event in told} == {"published.v1", "judged.v1"}
    for events in ((*told, *_events()), (*_events(), *told)):  # topics come in any order
        summary = Summary.of(events)
        assert set(summary.accounts) == {"main", "hot", "probe"}
        assert set(summary_json(summary)["accounts"]) == {"main", "hot", "probe"}
    assert Summary.of([*told, *told]).accounts == {}


def test_an_account_is_there_before_its_policy_was_read() -> None:
    later = [event for event in _events() if event.type != "policy.changed.v2"]
    assert set(Summary.of(later).accounts) == {"main", "hot", "probe"}


def test_equity_is_transfers_plus_realised_minus_fees_plus_funding_plus_unrealised() -> None:
    summary = Summary.of(crash_events())
    for name, account in summary.accounts.items():
        last = _items(name, EquityItem)[-1]
        cash = Decimal(last.transfers) + Decimal(last.realised)
        cash += Decimal(last.funding) - Decimal(last.fees)
        marked = sum(
            Decimal(item.quantity) * summary.marks[symbol] - Decimal(item.cost)
            for symbol, item in account.positions.items()
        )
        assert account.equity(summary.marks) == cash + marked


def test_closed_trades_know_what_closed_them() -> None:
    summary = Summary.of(crash_events())
    exits: Counter[str] = Counter()
    for name, account in summary.accounts.items():
        assert len(account.trades) == len(_items(name, TradeClosedItem))
        exits.update(account.exits())
    assert exits["stop"]
    assert exits["target"]
    assert exits["exit_time"]
    assert "unknown" not in exits
    main = summary.accounts["main"]
    assert main.net == sum(Decimal(t.net) for t in main.trades)


def test_topics_may_be_read_one_after_the_other_in_any_order() -> None:
    expected = summary_json(Summary.of(crash_events()))
    by_topic: dict[str, list[Envelope]] = {}
    for event in crash_events():
        name = "control" if event.source.startswith(("/control/", "/safety/")) else event.type
        by_topic.setdefault(name, []).append(event)
    shuffled = Summary.of(e for name in sorted(by_topic, reverse=True) for e in by_topic[name])
    assert summary_json(shuffled) == expected


def test_a_deleted_trade_counts_as_an_event_and_changes_no_figure() -> None:
    summary = Summary.of(crash_events())
    before, events = summary_json(summary), summary.events
    trade = _items("main", TradeClosedItem)[0].trade_id
    item = TradeDeletion(id=natural_id("x"), trade_id=trade, operator="ann", reason="a drill")
    deleted = TradeDeleted(
        id=natural_id("deleted"), source="/control/0", subject="main", time=summary.time,
        partitionkey="main", data=TradeDeletedData(items=(item,)),
    )  # fmt: skip
    summary.fold(deleted)
    assert summary.events == events + 1
    assert summary_json(summary) == {**before, "events": events + 1}


def test_a_signal_sent_twice_under_one_id_is_counted_once() -> None:
    summary = Summary.of(crash_events())
    assert summary.duplicates == 1
    probes = [e for e in crash_events() if e.source == "/probe" and "signal" in e.type]
    assert len({e.id for e in probes}) == len(probes) - 1


def test_the_deepest_drawdown_is_that_of_every_price_between_two_records() -> None:
    """Walked event by event, with nothing but cash, cost and the newest marks."""
    summary = Summary.of(crash_events())
    for name, account in summary.accounts.items():
        marks: dict[str, float] = {}
        held: dict[str, tuple[float, float]] = {}
        last: EquityItem | None = None
        high = deepest = 0.0
        for event in crash_events():
            if isinstance(event, PricesObserved):
                marks |= {i.symbol: float(i.mark or i.last) for i in event.data.items}
            elif isinstance(event, PositionUpdated) and event.partitionkey == name:
                for item in event.data.items:
                    if isinstance(item, PositionItem):
                        held[item.symbol] = float(item.quantity), float(item.cost)
                    elif isinstance(item, EquityItem):
                        last = item
            if last is None:
                continue
            cash = float(last.transfers) + float(last.realised)
            cash += float(last.funding) - float(last.fees)
            equity = cash + sum(q * marks[s] - cost for s, (q, cost) in held.items() if q)
            high = max(high, equity)
            deepest = max(deepest, 100 * (1 - equity / high))
        assert deepest > 0
        assert account.drawdown_max_pct is not None
        assert float(account.drawdown_max_pct) == pytest.approx(deepest, abs=1e-6)
        assert account.drawdown_max_pct >= account.drawdown_pct


def test_a_summary_that_is_not_walked_keeps_no_prices_and_says_no_deepest_drawdown() -> None:
    walked, summary = Summary.of(crash_events()), Summary()
    for event in crash_events():
        summary.fold(event)
    expected = summary_json(walked)
    for account in expected["accounts"].values():
        account["max_drawdown_pct"] = None
    assert summary_json(summary) == expected
    assert summary.points is None
    assert not any(account.steps for account in summary.accounts.values())


def test_a_deposit_heals_no_drawdown_and_a_withdrawal_makes_none() -> None:
    nav = Nav()
    nav.observe(Decimal(1000), Decimal(1000))
    nav.observe(Decimal(900), Decimal(1000))
    assert nav.drawdown_pct == 10
    nav.observe(Decimal(1900), Decimal(2000))
    assert nav.drawdown_pct == 10
    nav.observe(Decimal(950), Decimal(1050))
    assert round(nav.drawdown_pct, 12) == 10
    nav.observe(Decimal(1900), Decimal(1050))
    assert nav.drawdown_pct == 0
    assert round(nav.drawdown_max_pct, 12) == 10


def test_buy_and_hold_is_the_mean_change_less_one_fee() -> None:
    summary = Summary.of(crash_events())
    changes = [100 * (p.last / p.first - 1) for p in summary.prices.values()]
    fees = [Decimal(i.taker_fee_pct) for s, i in summary.instruments.items() if s in summary.prices]
    assert summary.buy_and_hold_pct() == (sum(changes) - sum(fees)) / len(changes)


def test_open_positions_show_their_resting_stop_and_target() -> None:
    summary = Summary.of(crash_events())
    positions = [p for a in summary.accounts.values() for p in a.open_positions(summary.marks)]
    for position in positions:
        assert position.stop is not None
        assert position.target is not None
        sign = 1 if position.side == "LONG" else -1
        assert sign * (position.target - position.stop) > 0
