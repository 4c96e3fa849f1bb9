"""Answers of the simulated venue from an account's book alone: cancel, query, deposit, read."""

from domain.venue_book import SETTLEMENT_ASSET, Account
from schemas.scalars import text
from schemas.trade import OpenQuantity
from schemas.trusted import trusted
from schemas.venue import (
    CancelRefused,
    CancelRequest,
    Deposit,
    ReadAccount,
    VenueEnded,
    VenueFilled,
    VenueFound,
    VenueItem,
    VenueReadBack,
    VenueTransferred,
)


def cancelled(account: Account, request: CancelRequest) -> VenueItem:
    order = account.orders.get(request.client_order_id)
    if order:
        return trusted(
            VenueEnded,
            client_order_id=request.client_order_id,
            symbol=order.symbol,
            status="CANCELED",
            filled_quantity=text(order.filled),
            why="cancelled on request",
        )
    ended = account.known.get(request.client_order_id)
    why = f"not open: it has ended {ended.status}" if ended else "not open: unknown client order id"
    return CancelRefused(client_order_id=request.client_order_id, symbol=request.symbol, why=why)


def found(account: Account, client_order_id: str, symbol: str) -> VenueFound:
    known = account.known.get(client_order_id)
    if known is None:
        return VenueFound(
            client_order_id=client_order_id, symbol=symbol, known=False, resting=False, fills=(),
            filled_quantity="0",
        )  # fmt: skip
    return VenueFound(
        client_order_id=client_order_id,
        symbol=known.symbol,
        known=True,
        resting=client_order_id in account.orders,
        fills=tuple(VenueFilled.model_validate(fill) for fill in known.fills),
        status=known.status or None,  # type: ignore[arg-type]
        filled_quantity=text(known.filled),
        why=known.why or None,
    )


def credited(account: Account, request: Deposit) -> VenueItem:
    """Once a transfer id: again, it is answered with what was credited the first time."""
    credited = account.transfers.get(request.transfer_id)
    amount, asset = credited or (request.amount, request.asset)
    if asset != SETTLEMENT_ASSET:
        amount = "0"  # Only the settlement asset is kept; nothing of another one is credited.
    return VenueTransferred(transfer_id=request.transfer_id, amount=amount, asset=asset)


def read_back(account: Account, request: ReadAccount) -> VenueReadBack:
    """Positions by symbol, open orders by arrival."""
    return VenueReadBack(
        step_id=request.step_id,
        positions=tuple(
            OpenQuantity(symbol=symbol, quantity=text(account.positions[symbol].quantity))
            for symbol in sorted(account.positions)
        ),
        open_orders=tuple(account.orders),
    )
