"""Tidying of the risk decider's slices: closed orders and answered approvals leave memory.

An approval is settled when its own record, its order and the order's end are all folded, whichever
came last, so the state does not depend on the order of folding.
"""

from domain.risk_state import (
    OrderEnd,
    OrdersState,
    OwnAccount,
    OwnState,
    PositionsAccount,
    PositionsState,
)


def tidy(own: OwnState, orders: OrdersState, positions: PositionsState) -> None:
    """Settle what the slices hold against each other; looks only at what was folded since."""
    while orders.touched_drops:
        account, request = orders.touched_drops.pop()
        _drop(own, orders, account, request)
    while own.touched:
        account, request = own.touched.pop()
        known = orders.accounts.get(account)
        if known is None:
            continue
        if request in known.dropped:
            _drop(own, orders, account, request)
        elif request in known.by_request:
            _settle(own, orders, positions, account, known.by_request[request])
    for touched in (orders.touched, positions.touched):
        while touched:
            account, order_id = touched.pop()
            _settle(own, orders, positions, account, order_id)


def _drop(own: OwnState, orders: OrdersState, account: str, request: str) -> None:
    mine = own.accounts.get(account)
    if mine is None or request not in mine.approvals:
        return
    del mine.approvals[request]
    mine.slots.pop(request, None)
    orders.accounts[account].dropped.pop(request, None)


def _settle(
    own: OwnState, orders: OrdersState, positions: PositionsState, account: str, order_id: str
) -> None:  # fmt: skip
    theirs, held = orders.accounts.get(account), positions.accounts.get(account)
    order = theirs.orders.get(order_id) if theirs else None
    end = held.ended.get(order_id) if held else None
    if theirs is None or held is None or order is None or end is None:
        return
    if order.request_id is not None:
        mine = own.accounts.get(account)
        approval = mine.approvals.get(order.request_id) if mine else None
        if mine is None or approval is None:
            return
        del mine.approvals[order.request_id]
        theirs.by_request.pop(order.request_id, None)
        if approval.kind == "entry":
            _outcome(mine, held, order.symbol, order.request_id, end)
    del theirs.orders[order_id]
    del held.ended[order_id]
    if order_id in (known := theirs.stops.get(order.symbol, {})):
        del known[order_id]


def _outcome(
    own: OwnAccount, held: PositionsAccount, symbol: str, request: str, end: OrderEnd
) -> None:  # fmt: skip
    """An entry's end: without a fill it gives its slot back, else it counts in its position."""
    if not end.filled:
        own.slots.pop(request, None)
        return
    position = held.positions.get(symbol)
    if position is not None and position.trade_id == end.trade_id:
        position.entries += 1
