"""Judged commands carried out by execution (CORE-9): close, reduce, cancel.

Everything sent is reduce-only or a cancel, so no trading state, pause or halted account stands in
the way (RISK-7). Stops and targets of a position that is closed are cancelled once it is flat, by
the rules of every exit; until then they protect. A close disowns the entries in its symbol: what
one of them still fills is closed as well.
"""

from decimal import Decimal

from domain.execution_desk import Desk, exit_side
from domain.execution_results import OpenPosition
from schemas.trade_commands import CommandJudgedData, Instruction


def carry_out(desk: Desk, judged: CommandJudgedData) -> None:
    """Orders and cancels for each instruction, in order; what leads to none is declined."""
    for item in judged.items:
        note = f"{item.action} by {judged.operator}: {judged.reason}"[:500]
        if item.action == "close":
            _close(desk, item, note)
        elif item.action == "reduce":
            _reduce(desk, item, note)
        else:
            _cancel(desk, item)


def is_unwanted(desk: Desk, position: OpenPosition) -> bool:
    """Whether an entry that a close disowned made the position."""
    orders = desk.own.orders
    for name in position.orders:
        order = orders.get(name)
        if order is not None and order.unwanted:
            return True
    return False


def _close(desk: Desk, item: Instruction, note: str) -> None:
    before = len(desk.items)
    for order in desk.open_orders():
        if order.symbol == item.symbol and order.purpose == "entry" and not order.unwanted:
            desk.cancel(order, "closed_by_command", item.id, again=True)
    position = desk.results.positions.get(item.symbol)
    if position is not None and not desk.is_closing(position):
        desk.close(position, "exit_command", instruction_id=item.id, note=note)
    if len(desk.items) == before:
        closing = position is not None
        desk.decline(item.id, item.symbol, "ALREADY_CLOSING" if closing else "NOTHING_OPEN")


def _reduce(desk: Desk, item: Instruction, note: str) -> None:
    """One order, or as many as the venue's largest quantity asks for. Never more than is open."""
    position = desk.results.positions.get(item.symbol)
    if position is None or desk.is_closing(position):
        closing = position is not None
        desk.decline(item.id, item.symbol, "ALREADY_CLOSING" if closing else "NOTHING_OPEN")
        return
    assert item.quantity is not None, f"reduction {item.id} has no quantity"
    left = min(Decimal(item.quantity), abs(position.quantity))
    terms = desk.market.terms(item.symbol)
    most = terms.market_quantity_max if terms else left
    while left > 0:
        part = min(left, most)
        desk.place(
            item.symbol,
            exit_side(position),
            "reduce_command",
            part,
            owner_id=position.trade_id,
            time_in_force="IOC",
            instruction_id=item.id,
            note=note,
        )
        left -= part


def _cancel(desk: Desk, item: Instruction) -> None:
    before = len(desk.items)
    if item.order_id is None:
        desk.cancel_entries("command", item.symbol, item.id)
    else:
        for order in desk.open_orders():
            if order.id == item.order_id:
                desk.cancel(order, "command", item.id)
    if len(desk.items) == before:
        one = item.order_id is not None
        desk.decline(item.id, item.symbol, "ALREADY_ENDED" if one else "NOTHING_OPEN")
