"""The positions decider: results in, positions and equity out, exact to the last digit."""

from dataclasses import replace
from decimal import Decimal, localcontext

import pytest

from domain.positions import Positions
from domain.positions_state import IdentityError, check_identity
from domain.source import Source
from schemas.ids import part_id
from tests.domain.positions_world import (
    BTC,
    ETH,
    World,
    accepted,
    ended,
    funded,
    item,
    kinds,
    number,
    unknown,
)


def open_long(world: World) -> None:
    world.deposit("10000")
    world.result(world.fill("BUY", "0.02", "40000", fee="0.4"))


def test_a_deposit_is_equity() -> None:
    update = World().deposit("10000")
    assert kinds(update) == ["equity"]
    equity = item(update, "equity")
    assert (equity.transfers, equity.equity, equity.gross) == ("10000", "10000", "0")
    assert update is not None
    assert equity.id == part_id(update.id, 0)


def test_a_fill_opens_a_position_and_its_id_names_the_trade() -> None:
    world = World()
    world.deposit("10000")
    world.price(BTCUSDT="40100")
    bought = world.fill("BUY", "0.02", "40000", fee="0.4")
    update = world.result(accepted(bought), bought, ended(bought))
    assert kinds(update) == ["position", "order_end", "equity"]
    position = item(update, "position")
    assert position.trade_id == bought.id
    assert (position.quantity, position.cost, position.average_entry) == ("0.02", "800", "40000")
    assert (position.fees, position.opened_at) == ("0.4", bought.filled_at)
    assert item(update, "order_end").order_id == bought.order_id
    equity = item(update, "equity")
    assert (equity.unrealised, equity.equity, equity.gross) == ("2", "10001.6", "802")
    assert equity.marks == {BTC: "40100"}
    assert update is not None
    assert update.subject == "main/BTCUSDT"


def test_a_round_trip_closes_the_trade_with_averages_and_net() -> None:
    world = World()
    world.deposit("10000")
    first = world.fill("BUY", "0.02", "40000", fee="0.4")
    world.result(first)
    world.result(world.fill("BUY", "0.01", "40300", fee="0.2"))
    world.result(world.fill("SELL", "0.01", "40200", fee="0.2"))
    world.result(funded("-0.1"))
    last = world.fill("SELL", "0.02", "40400", fee="0.4")
    update = world.result(last, ended(last))
    assert kinds(update) == ["position", "order_end", "trade_closed", "equity"]
    position, closed = item(update, "position"), item(update, "trade_closed")
    assert (position.quantity, position.cost, position.average_entry) == ("0", "0", None)
    assert position.trade_id == closed.trade_id == first.id
    assert (closed.side, closed.quantity_max) == ("BUY", "0.03")
    assert closed.entry_average == "40100"
    assert closed.exit_average == "40333.333333333333"
    assert (closed.realised, closed.fees, closed.funding) == ("7", "1.2", "-0.1")
    assert closed.net == "5.7"
    assert closed.exit_order_id == last.order_id
    assert item(update, "equity").equity == "10005.7"


def test_a_short_earns_when_the_price_falls() -> None:
    world = World()
    world.deposit("10000")
    world.result(world.fill("SELL", "0.02", "40000"))
    world.price(BTCUSDT="39000")
    update = world.result(world.fill("BUY", "0.01", "39000"))
    position = item(update, "position")
    assert (position.quantity, position.cost, position.realised) == ("-0.01", "-400", "10")
    assert item(update, "equity").equity == "10020"


def test_a_fill_beyond_the_position_closes_it_and_opens_another_trade() -> None:
    world = World()
    world.deposit("10000")
    first = world.fill("BUY", "0.02", "40000", fee="0.4")
    world.result(first)
    flip = world.fill("SELL", "0.05", "40100", fee="1")
    update = world.result(flip)
    assert kinds(update) == ["position", "trade_closed", "equity"]
    position, closed = item(update, "position"), item(update, "trade_closed")
    assert (closed.trade_id, closed.realised, closed.fees) == (first.id, "2", "0.8")
    assert (position.trade_id, position.quantity) == (flip.id, "-0.03")
    assert (position.fees, position.average_entry) == ("0.6", "40100")
    assert item(update, "equity").fees == "1.4"


def test_a_fill_seen_before_counts_once() -> None:
    world = World()
    world.deposit("10000")
    bought = world.fill("BUY", "0.02", "40000")
    world.result(bought)
    assert world.result(bought) is None
    again = world.result(bought, ended(bought))
    assert kinds(again) == ["order_end"]
    assert number(str(world.book().open[BTC].quantity)) == Decimal("0.02")


def test_accepted_and_unknown_tell_nothing() -> None:
    world = World()
    world.deposit("10000")
    bought = world.fill("BUY", "0.02", "40000")
    assert world.result(accepted(bought)) is None
    assert world.result(unknown(bought)) is None
    assert kinds(world.result(ended(bought, "CANCELED"))) == ["order_end"]


def test_several_fills_of_one_record_give_one_item_a_symbol() -> None:
    world = World()
    world.deposit("10000")
    fills = [
        world.fill("BUY", "0.01", "40000"),
        world.fill("BUY", "0.5", "2000", symbol=ETH),
        world.fill("BUY", "0.01", "40010"),
    ]
    update = world.result(*fills, ended(fills[0]), ended(fills[1]))
    assert kinds(update) == ["position", "position", "order_end", "order_end", "equity"]
    assert [item(update, "position", n).symbol for n in (0, 1)] == [BTC, ETH]
    assert item(update, "position").quantity == "0.02"
    assert update is not None
    assert update.subject == "main"


def test_a_trade_opened_and_closed_within_one_record_is_told_with_its_fees() -> None:
    world = World()
    world.deposit("10000")
    bought = world.fill("BUY", "0.01", "40000", fee="0.2")
    sold = world.fill("SELL", "0.01", "40100", fee="0.2")
    update = world.result(bought, sold)
    closed = item(update, "trade_closed")
    assert (closed.trade_id, closed.fees, closed.net) == (bought.id, "0.4", "0.6")
    assert item(update, "position").quantity == "0"


def test_fees_go_on_when_a_trade_is_closed_and_another_opened_in_one_record() -> None:
    world = World()
    world.deposit("10000")
    world.result(world.fill("BUY", "0.01", "40000", fee="0.2"))
    update = world.result(
        world.fill("SELL", "0.01", "40100", fee="0.3"),
        world.fill("BUY", "0.01", "40000", fee="0.1"),
    )
    assert item(update, "trade_closed").fees == "0.5"
    assert item(update, "position").fees == "0.1"
    assert item(world.result(funded("-1")), "position").fees == "0.1"


def test_an_unknown_mark_is_the_last_fill_never_0() -> None:
    world = World()
    world.deposit("10000")
    update = world.result(world.fill("BUY", "0.02", "40000"))
    equity = item(update, "equity")
    assert (equity.unrealised, equity.marks) == ("0", {BTC: "40000"})


def test_a_fee_in_another_asset_is_valued_at_its_mark_when_it_is_paid() -> None:
    world = World()
    world.deposit("10000")
    world.price(BNBUSDT="500")
    world.result(world.fill("BUY", "0.02", "40000", fee="0.001", fee_asset="BNB"))
    world.price(BNBUSDT="900")
    update = world.result(world.fill("BUY", "0.02", "40000", fee="0.001", fee_asset="BNB"))
    assert item(update, "position").fees == "1.4"
    assert item(update, "equity").fees == "1.4"
    assert world.book().balances["BNB"] == Decimal("-0.002")
    assert world.book().balances["USDT"] == Decimal(10000)


def test_a_fee_without_a_known_price_halts_the_account_instead_of_counting_0() -> None:
    world = World()
    world.deposit("10000")
    sold = world.fill("BUY", "0.02", "40000", fee="0.001", fee_asset="BNB")
    with pytest.raises(AssertionError) as caught:
        world.result(sold)
    assert "source.halted.v1" in str(caught.value)
    assert "no price of BNBUSDT" in str(caught.value)


def test_funding_belongs_to_the_open_trade_and_counts_once() -> None:
    world = World()
    open_long(world)
    update = world.result(funded("-0.148"))
    assert kinds(update) == ["position", "equity"]
    assert item(update, "position").funding == "-0.148"
    assert item(update, "equity").funding == "-0.148"
    assert world.result(funded("-0.148")) is None


def test_funding_after_the_close_is_money_of_the_account_alone() -> None:
    world = World()
    world.deposit("10000")
    assert kinds(world.result(funded("0.5"))) == ["equity"]


def test_equity_is_told_at_the_first_tick_of_each_hour_while_something_is_open() -> None:
    world = World()
    world.deposit("10000")
    assert world.tick(3600) is None
    open_long(world)
    world.price(BTCUSDT="41000")
    assert world.tick(60) is None
    told = world.tick(3600)
    assert kinds(told) == ["equity"]
    assert item(told, "equity").unrealised == "20"
    assert world.tick(60) is None
    world.result(world.fill("SELL", "0.02", "41000"))
    assert world.tick(7200) is None


def test_accounts_do_not_touch_each_other() -> None:
    world = World()
    open_long(world)
    other = world.result(world.fill("BUY", "1", "100"), account="hot")
    assert item(other, "equity").transfers == "0"
    assert item(world.result(funded("1")), "equity").transfers == "10000"


def test_money_is_exact_whatever_the_callers_decimal_context() -> None:
    def run() -> str:
        world = World()
        world.deposit("123456789.123456789")
        world.result(world.fill("BUY", "0.123456789", "98765.432109876"))
        world.result(world.fill("SELL", "0.023456789", "98765.432109871"))
        return str(item(world.result(funded("0.000000000001")), "equity").equity)

    wide = run()
    with localcontext() as context:
        context.prec = 6
        assert run() == wide


def test_books_that_do_not_add_up_stop_the_worker() -> None:
    world = World()
    open_long(world)
    book = replace(world.book(), realised=Decimal("0.000000000001"))
    with pytest.raises(IdentityError, match="replay"):
        check_identity(book, "x")


def test_state_after_a_restart_is_the_state_before_it() -> None:
    world = World()
    open_long(world)
    world.result(world.fill("SELL", "0.005", "40001", fee="0.1"))
    world.tick(3600)
    again = Source(Positions(0, 1), 0, 1)
    again.epoch = 1
    again.validity["trade.execution.res/0"].admit_head("/gateway/0", 1, None, True)
    for topic in ("clock/0", "trade.execution.res/0", "market/0", "control/0"):
        for key, offset, event in world.inputs:
            if key == topic:
                again.fold(key, offset, event)
    for update in world.updates:
        again.fold_own(update)
    assert again.digest() == world.source.digest()
