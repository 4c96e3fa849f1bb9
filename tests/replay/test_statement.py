"""Goal: a statement's days add up to the equity identity, to the last digit, whoever computes them.

Method: statements of recorded runs beside figures that are computed here anew from the fills,
payments, transfers and prices of the log alone, by fractions and without any code of ours.
"""

from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest

from gateways.core import GatewayCore
from replay.log import LogRecord
from replay.sources import RecordedLog
from replay.statement import COLUMNS, AccountStatement, StatementError, Statements
from replay.summary import Summary
from schemas.scalars import text
from schemas.trade import Filled, Transferred
from schemas.venue import VenueFilled, VenueReportData, VenueReported, VenueTransferred
from tests.domain.positions_world import World, funded
from tests.replay.recorded_runs import crash, night, records


def statements(log: Iterable[LogRecord]) -> dict[str, AccountStatement]:
    return {each.account: each for each in Statements.of(log).accounts()}


class Ledger:
    """Cash and quantities of one account by day, computed from fills: no average costs at all."""

    def __init__(self) -> None:
        self.cash = Fraction(0)
        self.moved: dict[str, Fraction] = defaultdict(Fraction)
        self.held: dict[str, Fraction] = defaultdict(Fraction)


def equity_by_day(log: RecordedLog) -> dict[tuple[str, str], Fraction]:
    """Equity of each account at the end of each day: cash plus quantities at the last prices."""
    ledgers: dict[str, Ledger] = defaultdict(Ledger)
    prices: dict[str, Fraction] = {}
    found: dict[tuple[str, str], Fraction] = {}
    day = ""
    for record in records(log):
        event: Any = record.event
        if event is None or not record.valid:
            continue
        if event.type.startswith("market.prices"):
            if day and event.time[:10] > day:
                found |= _closed(day, ledgers, prices)
            day = event.time[:10]
            prices |= {item.symbol: Fraction(item.last) for item in event.data.items}
        elif event.type == "trade.execution.reported.v1":
            for item in event.data.items:
                _book(ledgers[event.partitionkey], event.time[:10], item)
    return found | _closed(day, ledgers, prices)


def _book(ledger: Ledger, day: str, item: Any) -> None:
    if item.kind == "filled":
        signed = Fraction(item.quantity) * (1 if item.side == "BUY" else -1)
        ledger.held[item.symbol] += signed
        ledger.cash -= signed * Fraction(item.price) + Fraction(item.fee)
    elif item.kind in ("funded", "transferred"):
        ledger.cash += Fraction(item.amount)
        if item.kind == "transferred":
            ledger.moved[day] += Fraction(item.amount)


def _closed(
    day: str, ledgers: dict[str, Ledger], prices: dict[str, Fraction]
) -> dict[tuple[str, str], Fraction]:
    return {
        (name, day): ledger.cash
        + sum((q * prices[s] for s, q in ledger.held.items() if q), Fraction(0))
        for name, ledger in ledgers.items()
    }


@pytest.mark.parametrize("log", [crash, night], ids=["crash", "night"])
def test_closing_equity_is_cash_and_quantities_at_the_last_prices(log: Any) -> None:
    expected = equity_by_day(log())
    found = {
        (row["account"], row["day"]): Fraction(row["closing_equity"])
        for each in statements(log().read()).values()
        for row in each.days
    }
    assert found == expected
    assert len(found) >= 3


@pytest.mark.parametrize("log", [crash, night], ids=["crash", "night"])
def test_each_day_ties_and_begins_where_the_one_before_ended(log: Any) -> None:
    for each in statements(log().read()).values():
        before = Fraction(0)
        for row in each.days:
            parts = ("transfers", "realised", "funding", "unrealised_change")
            total = sum(Fraction(row[name]) for name in parts) - Fraction(row["fees"])
            assert Fraction(row["opening_equity"]) == before
            assert before + total == Fraction(row["closing_equity"])
            assert Fraction(row["pnl"]) == total - Fraction(row["transfers"])
            before = Fraction(row["closing_equity"])


@pytest.mark.parametrize("log", [crash, night], ids=["crash", "night"])
def test_lines_sum_to_the_days_and_days_to_the_run(log: Any) -> None:
    summary = Summary.of(r.event for r in records(log()) if r.valid and r.event is not None)
    for name, each in statements(log().read()).items():
        account = summary.accounts[name]
        sources = {
            "fees": (each.fills, "fee"),
            "volume": (each.fills, "notional"),
            "funding": (each.funding, "amount"),
            "transfers": (each.transfers, "amount"),
        }
        for row in each.days:
            for column, (lines, amount) in sources.items():
                of_day = [Fraction(line[amount]) for line in lines if line["day"] == row["day"]]
                assert sum(of_day) == Fraction(row[column])
        assert len(each.fills) == account.fills == sum(int(r["fills"]) for r in each.days)
        assert len(each.trades) == len(account.trades)
        assert each.days[-1]["closing_equity"] == text(account.equity(summary.marks))
        assert sum(Fraction(f["amount"]) for f in each.fees) == Fraction(account.booked("fees"))


def test_deposits_and_manual_trades_made_at_the_venue_are_adopted_and_shown() -> None:
    """A deposit of `main` and a purchase of `probe`, both made past the gateway."""
    found = statements(night().read())
    gift = found["main"].transfers[-1]
    assert (gift["kind"], gift["amount"], gift["transfer_id"]) == ("deposit", "250.5", "gift")
    assert gift["time"] == "2021-05-18T23:40:00.000000Z"
    manual = [f for f in found["probe"].fills if f["kind"] == "manual"]
    assert [(f["symbol"], f["side"], f["quantity"]) for f in manual] == [("BTCUSDT", "BUY", "0.01")]
    assert manual[0]["client_order_id"] == "web_1"
    assert manual[0]["order_id"] == ""
    assert {f["kind"] for f in found["probe"].fills} > {"manual", "entry"}
    assert manual[0]["id"] in {trade["trade_id"] for trade in found["probe"].trades}
    assert found["main"].days[0]["transfers"] == "10250.5"


def test_a_withdrawal_the_venue_reports_is_adopted_by_the_gateway() -> None:
    """As a real exchange would say it: a negative transfer, and a fill of an order not ours."""
    core = GatewayCore(0, 1)
    core.fenced_at(0)
    taken = VenueTransferred(transfer_id="w1", amount="-99.5", asset="USDT")
    sold = VenueFilled(
        client_order_id="ios_9", symbol="BTCUSDT", side="SELL", trade_id="t9", quantity="0.5",
        price="30000", fee="7.5", fee_asset="USDT", liquidity="taker", reference="30000",
        filled_at="2021-05-19T00:00:00.000000Z", rule="exchange",
    )  # fmt: skip
    report = VenueReported(
        id="00000000-0000-5000-8000-000000000001", source="/venue/0", subject="main",
        time="2021-05-19T00:00:00.000000Z", partitionkey="main", sequence=1, epoch=1,
        data=VenueReportData(delivered=True, items=(taken, sold)),
    )  # fmt: skip
    first, again = core.on_report(report, 0), core.on_report(report, 0)
    assert again is None
    assert first is not None
    moved, fill = first.items
    assert isinstance(moved, Transferred)
    assert moved.amount == "-99.5"
    assert isinstance(fill, Filled)
    assert fill.order_id is None
    assert fill.client_order_id == "ios_9"


def test_withdrawals_and_funding_fall_on_their_day_however_late_updates_are_read() -> None:
    """A live log of a positions worker that lags: its updates are read after all results."""
    world, made = World(), Statements()
    world.deposit("1000")
    world.price(BTCUSDT="30000")
    world.result(world.fill("BUY", "0.01", "30000", fee="0.15"))
    world.price(BTCUSDT="30100")
    world.tick(14 * 3600)
    world.price(BTCUSDT="30200")
    world.result(funded("-0.03"))
    world.deposit("-250")
    for event in (*(event for _, _, event in world.inputs), *world.updates):
        made.fold(event)
    (found,) = made.accounts()
    assert [t["kind"] for t in found.transfers] == ["deposit", "withdrawal"]
    first, second = found.days
    assert (first["transfers"], first["fees"], first["funding"]) == ("1000", "0.15", "0")
    assert (first["closing_equity"], first["closing_unrealised"]) == ("1000.85", "1")
    assert (second["transfers"], second["fees"], second["funding"]) == ("-250", "0", "-0.03")
    assert (second["closing_equity"], second["pnl"]) == ("751.82", "0.97")


def test_fees_in_another_asset_are_listed_in_it_and_valued_in_the_sums() -> None:
    world, made = World(), Statements()
    world.deposit("1000")
    world.price(BTCUSDT="30000", BNBUSDT="300")
    world.result(world.fill("BUY", "0.01", "30000", fee="0.0005", fee_asset="BNB"))
    for event in (*(event for _, _, event in world.inputs), *world.updates):
        made.fold(event)
    (found,) = made.accounts()
    assert found.fees == [
        {"account": "main", "day": "2021-05-19", "asset": "BNB", "amount": "0.0005"}
    ]
    assert (found.days[0]["fees"], found.days[0]["closing_equity"]) == ("0.15", "999.85")


def test_results_without_their_position_update_are_refused_by_name() -> None:
    """A log read while the positions worker is behind."""
    kept = [r for r in records(crash()) if r.topic != "trade.position.update"]
    with pytest.raises(StatementError, match="2021-05-19: transfers are 2000 by their lines"):
        Statements.of(kept).accounts("hot")


def test_every_row_has_the_documented_columns() -> None:
    for each in statements(night().read()).values():
        for name, rows in each.tables().items():
            for row in rows:
                assert set(row) == set(COLUMNS[name])
