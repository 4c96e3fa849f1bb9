"""A person's commands on positions and orders, judged (CORE-9).

Exits are exempt from every entry limit (RISK-7): no trading state, limit, pause or stale price
refuses one. What can refuse a command: an unknown account or operator, nothing to act on, a
quantity below one step, and a protective order named without consent. What is approved is split
into instructions, one a symbol or order; execution carries them out on what it sees by then.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from domain.control_verbs import unknown_operator
from domain.market_state import MarketState
from domain.policy_changes import Refusal
from domain.policy_state import AccountPolicy
from domain.risk_request_checks import shown
from domain.risk_state import OpenPosition, OrdersAccount, OwnAccount, PositionsAccount
from domain.sizing import HUNDRED, ZERO, floored
from schemas.envelope import Envelope
from schemas.ids import client_order_id, part_id
from schemas.trade_commands import (
    AccountFlatten,
    CommandJudgedData,
    Instruction,
    OrderCancel,
    PositionClose,
    PositionReduce,
)

NOBODY = "unknown"
"""Operator of the answer to a record that names none."""
PROTECTIVE = ("stop", "target")


@dataclass(frozen=True, slots=True)
class CommandView:
    """One account as risk sees it: policy, market, own approvals, open orders, positions. None:
    nothing was heard of it yet."""

    account: str
    policy: AccountPolicy | None
    market: MarketState
    own: OwnAccount | None
    orders: OrdersAccount | None
    held: PositionsAccount | None

    @property
    def positions(self) -> dict[str, OpenPosition]:
        return self.held.positions if self.held else {}

    def entry_symbols(self) -> list[str]:
        """Symbols with an approved entry that has no end yet, in the order of approval. Every entry
        order there is comes from such an approval."""
        approvals = self.own.approvals.values() if self.own else ()
        return list(dict.fromkeys(a.symbol for a in approvals if a.kind == "entry"))

    def touched(self) -> list[str]:
        """Symbols with a position or an entry."""
        return list(dict.fromkeys([*self.positions, *self.entry_symbols()]))


class _Found:
    """What a command leads to, in the making."""

    def __init__(self, record_id: str) -> None:
        self.record_id = record_id
        self.items: list[Instruction] = []
        self.notes: list[str] = []
        self.figures: dict[str, str] = {}

    def add(self, action: str, symbol: str, **more: Any) -> None:
        identity = part_id(self.record_id, len(self.items))
        self.items.append(Instruction(id=identity, action=action, symbol=symbol, **more))  # type: ignore[arg-type]


def judge_command(cause: Envelope, view: CommandView, record_id: str) -> CommandJudgedData:
    """The answer to a record of type `command.…`: approved with instructions, or rejected."""
    data: Any = getattr(cause, "data", None)
    operator, reason = getattr(data, "operator", NOBODY), getattr(data, "reason", "")
    found = _Found(record_id)
    refusal = _judge(cause, view, found)
    fields: dict[str, Any] = {
        "command_id": cause.id,
        "command_type": cause.type,
        "operator": operator,
        "reason": reason,
        "figures": found.figures,
        "policy_version": view.policy.version if view.policy else 0,
    }
    if refusal is not None:
        return CommandJudgedData(
            verdict="rejected", code=refusal.code, sentence=refusal.sentence, value=refusal.value,
            limit=refusal.limit, **fields,
        )  # fmt: skip
    notes = tuple(note[:500] for note in found.notes)
    return CommandJudgedData(verdict="approved", items=tuple(found.items), notes=notes, **fields)


def _judge(cause: Envelope, view: CommandView, found: _Found) -> Refusal | None:
    if not isinstance(cause, PositionClose | PositionReduce | AccountFlatten | OrderCancel):
        return Refusal(
            "UNKNOWN_COMMAND",
            f"{cause.type} is no command on positions and orders; send it to its own topic",
            cause.type,
        )
    if view.policy is None:
        return Refusal(
            "UNKNOWN_ACCOUNT",
            f"No account {view.account} is open; `quantum status` lists those that are",
            view.account,
        )
    stranger = unknown_operator(view.policy, cause.data.operator)
    if stranger is not None:
        return stranger
    if isinstance(cause, PositionClose):
        return _close([cause.data.symbol], view, found)
    if isinstance(cause, AccountFlatten):
        return _close(view.touched(), view, found)
    if isinstance(cause, PositionReduce):
        return _reduce(cause, view, found)
    return _cancel(cause, view, found)


def _close(symbols: Iterable[str], view: CommandView, found: _Found) -> Refusal | None:
    touched = view.touched()
    for symbol in symbols:
        if symbol not in touched:
            return _nothing(view, symbol)
        held = view.positions.get(symbol)
        if held is not None:
            found.figures[f"quantity.{symbol}"] = shown(held.quantity)
        found.add("close", symbol)
    return None if found.items else _nothing(view, None)


def _nothing(view: CommandView, symbol: str | None) -> Refusal:
    where = f"{view.account}" + (f" in {symbol}" if symbol else "")
    return Refusal(
        "NOTHING_OPEN",
        f"Neither a position nor an entry is open for {where}; `quantum positions` shows what is",
        symbol,
        ", ".join(view.touched()) or "nothing open",
    )


def _reduce(cause: PositionReduce, view: CommandView, found: _Found) -> Refusal | None:
    wanted = cause.data.symbol
    percent = Decimal(cause.data.percent)
    chosen = [s for s in view.positions if wanted in (None, s)]
    if not chosen:
        return _nothing(view, wanted)
    below: Refusal | None = None
    for symbol in chosen:
        refusal = _reduce_one(symbol, percent, view, found)
        below = below or refusal
        if refusal is not None:
            found.notes.append(refusal.sentence)
    return None if found.items else below


def _reduce_one(symbol: str, percent: Decimal, view: CommandView, found: _Found) -> Refusal | None:
    """An instruction for `percent` of a position, floored to the step; a Refusal if that is less
    than one step. 100 % closes, so that no rest stays because of the step."""
    quantity = abs(view.positions[symbol].quantity)
    found.figures[f"quantity.{symbol}"] = shown(view.positions[symbol].quantity)
    if percent == HUNDRED:
        found.add("close", symbol)
        return None
    terms = view.market.terms(symbol)
    share = quantity * percent / HUNDRED
    least = max(terms.step, terms.quantity_min) if terms else ZERO
    part = floored(share, terms.step) if terms else ZERO
    if terms is None or part < least:
        return Refusal(
            "BELOW_STEP",
            f"{shown(percent)} % of {shown(quantity)} {symbol} is {shown(share)}, the venue takes "
            f"{shown(least)} at least; close it, or reduce by more",
            shown(share),
            shown(least),
        )
    found.add("reduce", symbol, quantity=shown(part))
    rest, mark = quantity - part, view.market.mark(symbol)
    found.figures[f"reduce.{symbol}"] = shown(part)
    found.figures[f"rest.{symbol}"] = shown(rest)
    if mark is not None and rest * mark < terms.notional_min:
        found.notes.append(
            f"{shown(rest)} {symbol} stays, worth {shown(rest * mark)} USDT: below the venue's "
            f"minimum of {shown(terms.notional_min)}; a close still takes it, being reduce-only"
        )
    return None


# ---------------------------------------------------------------- cancel


def _cancel(cause: OrderCancel, view: CommandView, found: _Found) -> Refusal | None:
    data = cause.data
    if data.order is not None:
        return _cancel_one(data.order, data.force, view, found)
    symbols = [s for s in view.entry_symbols() if data.symbol in (None, s)]
    if not symbols:
        where = view.account + (f" in {data.symbol}" if data.symbol else "")
        return Refusal(
            "NOTHING_OPEN",
            f"No entry order is open for {where}; stops and targets are cancelled by their id only",
            data.symbol,
            ", ".join(view.entry_symbols()) or "no entries open",
        )
    for symbol in symbols:
        found.add("cancel", symbol)
    return None


def _cancel_one(wanted: str, force: bool, view: CommandView, found: _Found) -> Refusal | None:
    orders = view.orders.orders if view.orders else {}
    name = next((o for o in orders if wanted in (o, client_order_id(o))), None)
    if name is None:
        return Refusal(
            "UNKNOWN_ORDER",
            f"No order {wanted} of {view.account} is open: it has its end, or never was; "
            "`quantum events --topic trade.order` lists orders",
            wanted,
        )
    order = orders[name]
    if order.purpose in PROTECTIVE and not force:
        return Refusal(
            "PROTECTIVE_ORDER",
            f"{wanted} is the {order.purpose} of a position in {order.symbol}: it protects. Close "
            "the position (`quantum close`), or say that you mean it (`--force`)",
            wanted,
            "entry orders",
        )
    if order.purpose != "entry" and order.purpose not in PROTECTIVE:
        return Refusal(
            "CLOSING_ORDER",
            f"{wanted} closes a position in {order.symbol} ({order.purpose}): nothing traps one",
            wanted,
            "entry orders",
        )
    if order.purpose == "stop":
        found.notes.append(
            f"Without its stop the position in {order.symbol} is unprotected: execution closes it "
            "at market as soon as the venue has confirmed the cancel"
        )
    found.add("cancel", order.symbol, order_id=name)
    return None
