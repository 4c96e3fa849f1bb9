"""From the venue's words to the log's: items of `venue.report` as items of `trade.execution.res`.

Ids are natural: whoever reads the same report again, after any crash, makes the same id. Nothing is
remembered here.
"""

from schemas.ids import natural_id
from schemas.trade import Accepted, Ended, Filled, Funded, Order, ReadBack, Transferred, Unknown
from schemas.trusted import trusted
from schemas.venue import (
    VenueEnded,
    VenueFilled,
    VenueFound,
    VenueFunded,
    VenueReadBack,
    VenueTransferred,
)


def accepted_id(client_order_id: str) -> str:
    return natural_id(client_order_id, "accepted")


def ended_id(client_order_id: str) -> str:
    return natural_id(client_order_id, "ended")


def unknown_id(client_order_id: str, attempt: int) -> str:
    return natural_id(client_order_id, str(attempt), "unknown")


def fill_id(venue: str, account: str, trade_id: str) -> str:
    """Trade ids are the venue's own, unique within an account there."""
    return natural_id("fill", venue, account, trade_id)


def transfer_id(venue: str, account: str, transfer: str) -> str:
    return natural_id("transfer", venue, account, transfer)


def read_back_id(step_id: str) -> str:
    return natural_id("read_back", step_id)


def accepted(order_id: str, client_order_id: str, symbol: str) -> Accepted:
    return trusted(
        Accepted,
        id=accepted_id(client_order_id),
        order_id=order_id,
        client_order_id=client_order_id,
        symbol=symbol,
    )


def unknown(order: Order, attempt: int) -> Unknown:
    return Unknown(
        id=unknown_id(order.client_order_id, attempt),
        order_id=order.id,
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        attempt=attempt,
    )


def filled(item: VenueFilled, venue: str, account: str, order_id: str | None) -> Filled:
    return trusted(
        Filled,
        id=fill_id(venue, account, item.trade_id),
        order_id=order_id,
        client_order_id=item.client_order_id,
        symbol=item.symbol,
        side=item.side,
        trade_id=item.trade_id,
        quantity=item.quantity,
        price=item.price,
        fee=item.fee,
        fee_asset=item.fee_asset,
        liquidity=item.liquidity,
        reference=item.reference,
        filled_at=item.filled_at,
        rule=item.rule,
    )


def ended(item: VenueEnded | VenueFound, order_id: str) -> Ended:
    """The end of an order. A `found` item must have a status."""
    if item.status is None:
        raise ValueError(f"{item.client_order_id} has no end: it may not be reported as ended")
    return trusted(
        Ended,
        id=ended_id(item.client_order_id),
        order_id=order_id,
        client_order_id=item.client_order_id,
        symbol=item.symbol,
        status=item.status,
        filled_quantity=item.filled_quantity,
        why=item.why,
    )


def transferred(item: VenueTransferred, venue: str, account: str) -> Transferred:
    return Transferred(
        id=transfer_id(venue, account, item.transfer_id),
        transfer_id=item.transfer_id,
        amount=item.amount,
        asset=item.asset,
    )


def funded(item: VenueFunded, venue: str, account: str) -> Funded:
    return Funded(
        id=natural_id("funding", venue, account, item.symbol, item.settled_at),
        symbol=item.symbol,
        amount=item.amount,
        quantity=item.quantity,
        mark=item.mark,
        rate=item.rate,
    )


def read_back(item: VenueReadBack) -> ReadBack:
    return ReadBack(
        id=read_back_id(item.step_id),
        step_id=item.step_id,
        positions=item.positions,
        open_orders=item.open_orders,
    )
