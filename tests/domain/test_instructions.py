"""Given / when / then for judged commands in execution, and verbs among everything else that may
happen (hypothesis state machine): nothing a person says traps or unprotects a position."""

from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from tests.domain.execution_world import BTC, ETH, World
from tests.domain.test_execution_properties import PICK, STEP, SYMBOLS, Trading


def priced(**policy: object) -> World:
    world = World(**policy)
    world.prices(BTCUSDT="40000", ETHUSDT="40000")
    return world


def test_a_close_is_one_reduce_only_market_order_over_the_whole_position() -> None:
    world = priced()
    world.enter()
    (order,) = world.instruct("close")
    assert (order.side, order.quantity, order.order_type) == ("SELL", "0.03", "MARKET")
    assert (order.reduce_only, order.purpose, order.note) == (
        True, "exit_command", "close by ann: why",
    )  # fmt: skip


def test_stop_and_target_go_once_the_close_has_filled_and_not_before() -> None:
    world = priced()
    _, stop, target = world.enter()
    (order,) = world.instruct("close")
    cancels = world.fill_whole(order)
    assert {c.order_id for c in cancels} == {stop.id, target.id}


def test_a_close_passes_while_reducing_halted_or_in_an_emergency() -> None:
    for forbidden in ({"allow_new_trades": False}, {"paused_symbols": (BTC,)}):
        world = priced()
        world.enter()
        world.change(**forbidden)
        assert [o.purpose for o in world.instruct("close")] == ["exit_command"]
    world = priced()
    world.enter()
    world.stop()
    assert [d.why for d in world.instruct("close")] == ["ALREADY_CLOSING"]


def test_a_close_that_was_not_taken_whole_is_decided_again_at_a_tick() -> None:
    world = priced()
    world.enter()
    (order,) = world.instruct("close")
    world.report(world.filled(order, "0.01"), world.ended(order, "EXPIRED", "0.01"))
    (again,) = world.tick()
    assert (again.purpose, again.quantity) == ("exit_command", "0.02")


def test_an_entry_in_flight_is_disowned_by_a_close_and_what_it_fills_is_closed() -> None:
    world = priced()
    (entry,) = world.judge(world.verdict())
    (cancel,) = world.instruct("close")
    assert (cancel.order_id, cancel.why) == (entry.id, "closed_by_command")
    (order,) = world.fill_whole(entry)
    assert (order.purpose, order.quantity) == ("exit_command", entry.quantity)


def test_an_entry_that_was_being_cancelled_already_is_disowned_too() -> None:
    world = priced(limit_expiry_s=5)
    (entry,) = world.judge(world.verdict(limit="39900"))
    world.report(world.accepted(entry))
    assert [c.why for c in world.tick(6)] == ["expired"]
    assert [c.why for c in world.instruct("close")] == ["closed_by_command"]
    (order,) = world.report(world.filled(entry, "0.01"))
    assert order.purpose == "exit_command"


def test_a_cancel_of_an_entry_leaves_what_it_filled_to_its_stop() -> None:
    world = priced()
    (entry,) = world.judge(world.verdict(limit="39900"))
    world.report(world.accepted(entry))
    assert [c.why for c in world.instruct("cancel")] == ["command"]
    placed = world.report(world.filled(entry, "0.01"))
    assert {o.purpose for o in placed} == {"stop", "target"}


def test_a_cancel_without_an_order_leaves_stops_targets_and_closes_alone() -> None:
    world = priced()
    world.enter()
    assert [d.why for d in world.instruct("cancel")] == ["NOTHING_OPEN"]
    world.instruct("close")
    assert [d.why for d in world.instruct("cancel")] == ["NOTHING_OPEN"]


def test_a_position_whose_stop_was_cancelled_with_consent_is_closed_at_once() -> None:
    world = priced()
    _, stop, _ = world.enter()
    (cancel,) = world.instruct("cancel", order_id=stop.id)
    assert cancel.order_id == stop.id
    (order,) = world.report(world.ended(stop, "CANCELED"))
    assert (order.purpose, order.reduce_only) == ("exit_unprotected", True)


def test_a_cancel_of_an_order_that_has_its_end_says_so() -> None:
    world = priced()
    entry, _, _ = world.enter()
    assert [d.why for d in world.instruct("cancel", order_id=entry.id)] == ["ALREADY_ENDED"]


def test_a_reduction_leaves_stop_and_target_for_the_rest() -> None:
    world = priced()
    world.enter()
    (order,) = world.instruct("reduce", quantity="0.015")
    assert (order.purpose, order.quantity, order.reduce_only) == ("reduce_command", "0.015", True)
    assert world.fill_whole(order) == []
    assert sorted(o.purpose for o in world.open_orders()) == ["stop", "target"]
    position = world.position
    assert position is not None
    assert position.quantity == Decimal("0.015")
    assert world.tick() == [], "the rest is not closed"


def test_a_reduction_takes_no_more_than_is_open_and_is_split_at_the_venue_s_largest_order() -> None:
    world = priced()
    world.enter(quantity="250")
    orders = world.instruct("reduce", quantity="300")
    assert [o.quantity for o in orders] == ["100", "100", "50"]
    assert len({o.instruction_id for o in orders}) == 1


def test_a_reduction_in_flight_is_not_cancelled_as_an_entry() -> None:
    world = priced()
    world.enter()
    (order,) = world.instruct("reduce", quantity="0.01")
    cancelled = world.change(allow_new_trades=False)
    assert order.id not in [c.order_id for c in cancelled if c.kind == "cancel"]


def test_nothing_open_is_said_and_leaves_nothing_behind() -> None:
    world = priced()
    before = world.source.digest()
    for action, more in (("close", {}), ("reduce", {"quantity": "1"}), ("cancel", {})):
        assert [d.why for d in world.instruct(action, ETH, **more)] == ["NOTHING_OPEN"]
    assert world.own.released == set()
    assert world.source.digest() != before, "positions moved, that is all"


def test_an_approval_in_a_symbol_that_was_paused_meanwhile_leads_to_no_order() -> None:
    world = priced(paused_symbols=(BTC,))
    assert [d.why for d in world.judge(world.verdict())] == ["PAUSED"]
    assert [o.kind for o in world.judge(world.verdict(symbol=ETH))] == ["order"]


def test_pausing_cancels_entries_that_rest_in_the_symbol_and_no_others() -> None:
    world = priced()
    (btc,) = world.judge(world.verdict(limit="39900"))
    world.judge(world.verdict(symbol=ETH, limit="39900"))
    cancels = world.change(paused_symbols=(BTC,))
    assert [(c.order_id, c.why) for c in cancels] == [(btc.id, "paused")]


# ---------------------------------------------------------------- among everything else


class TradingWithVerbs(Trading):
    """The state machine of execution, with a person who closes, reduces and cancels at any time."""

    def take(self, items: list[object]) -> None:
        again = [i for i in items if getattr(i, "why", "") == "closed_by_command"]
        self.cancels = [o for o in self.cancels if o not in {c.order_id for c in again}]  # type: ignore[attr-defined]
        super().take(items)

    @rule(symbol=SYMBOLS)
    def close(self, symbol: str) -> None:
        items = self.world.instruct("close", symbol)
        assert items
        self.take(items)
        if self.position[symbol] and not self.is_stopped:
            care = self.world.own.care[symbol]
            assert care.closing is not None

    @precondition(lambda self: any(self.position.values()))
    @rule(symbol=SYMBOLS, steps=st.integers(1, 40))
    def reduce(self, symbol: str, steps: int) -> None:
        self.take(self.world.instruct("reduce", symbol, quantity=str(STEP * steps)))

    @rule(symbol=SYMBOLS)
    def cancel_entries(self, symbol: str) -> None:
        items = self.world.instruct("cancel", symbol)
        for item in items:
            if item.kind == "cancel":
                assert self.resting[item.order_id].purpose == "entry"
        self.take(items)

    @precondition(lambda self: self.resting)
    @rule(number=PICK)
    def cancel_one_with_consent(self, number: int) -> None:
        order = self.pick(number)
        if order.purpose in ("entry", "stop", "target"):
            self.take(self.world.instruct("cancel", order.symbol, order_id=order.id))

    @rule(symbol=SYMBOLS, paused=st.booleans())
    def pause(self, symbol: str, paused: bool) -> None:
        self.take(self.world.change(paused_symbols=(symbol,) if paused else ()))

    @invariant()
    def what_a_close_disowned_is_being_closed(self) -> None:
        for position in self.world.results.positions.values():
            orders = self.world.own.orders
            if any(name in orders and orders[name].unwanted for name in position.orders):
                care = self.world.own.care[position.symbol]
                assert self.is_stopped or care.closing is not None


TestTradingWithVerbs = TradingWithVerbs.TestCase
TestTradingWithVerbs.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
