"""Human lines for the events of a chain: what happened, with the figures and the limits used."""

from collections.abc import Callable
from typing import Any

from schemas.envelope import Envelope
from schemas.trade import Limit, Verdict

Text = tuple[str, tuple[str, ...]]
"""A headline, and more lines under it."""


def describe(event: Envelope, items: tuple[Any, ...]) -> Text:
    """Headline and details of an event, told by `items`, those of its parts that matter."""
    teller = _TELLERS.get(event.type)
    whole = getattr(getattr(event, "data", None), "items", None) is None
    if teller is not None and (items or whole):
        return teller(event, items)
    empty = not getattr(getattr(event, "data", None), "items", ())
    return (_SHORT.get(event.type, event.type) if empty else event.type), ()


def origin(limit: Limit) -> str:
    """Where a limit came from: ``policy 3`` or ``default``."""
    return "default" if limit.policy_version is None else f"policy {limit.policy_version}"


def _prices(event: Any, items: tuple[Any, ...]) -> Text:
    shown = ", ".join(f"{p.symbol} {p.last}" for p in items[:6])
    point = "" if event.data.point is None else f" (point {event.data.point} of the candle)"
    return f"price of {shown}{point}", ()


def _candles(event: Any, items: tuple[Any, ...]) -> Text:
    lines = tuple(
        f"{c.symbol} {c.interval} opened {c.opened_at[11:16]}: open {c.open}, high {c.high}, "
        f"low {c.low}, close {c.close}, volume {c.volume}"
        for c in items
    )
    return (f"candle closed: {lines[0]}" if lines else "candles closed"), lines[1:]


def _settled(event: Any, items: tuple[Any, ...]) -> Text:
    return "funding settled: " + ", ".join(f"{f.symbol} rate {f.rate}" for f in items), ()


def _signals(event: Any, items: tuple[Any, ...]) -> Text:
    lines = [
        f"{s.origin} proposes {s.side} {s.symbol} with confidence {s.confidence}"
        + (f", size {s.position_size_pct} %" if s.position_size_pct else "")
        + (f" ({s.label})" if s.label else "")
        for s in items
    ]
    votes = [
        "votes: " + ", ".join(f"{v.voter} {v.side} {v.confidence}" for v in s.votes)
        for s in items
        if getattr(s, "votes", ())
    ]
    return lines[0], (*lines[1:], *votes)


def _intents(event: Any, items: tuple[Any, ...]) -> Text:
    lines = [
        f"{i.origin} proposes {i.side} {i.symbol} with confidence {i.confidence}, "
        f"{_prices_of(i) or 'no prices of its own'}"
        for i in items
    ]
    return lines[0], tuple(lines[1:])


def _prices_of(item: Any) -> str:
    named = (
        ("limit", "limit_price"),
        ("trigger", "trigger_price"),
        ("stop", "stop_price"),
        ("target", "target_price"),
    )
    return ", ".join(
        f"{word} {price}" for word, field in named if (price := getattr(item, field, None))
    )


def _judged(event: Any, items: tuple[Any, ...]) -> Text:
    heads, details = [], list[str]()
    for verdict in items:
        heads.append(_verdict_line(verdict))
        details += _verdict_details(verdict)
    return heads[0], (*heads[1:], *details)


def _verdict_line(verdict: Verdict) -> str:
    what = f"{verdict.side} {verdict.symbol}"
    if verdict.verdict == "rejected":
        first = verdict.failures[0].sentence if verdict.failures else ""
        return f"risk rejects {what}: {verdict.reason}: {first}"
    plan = verdict.plan
    if plan is None:
        return f"risk approves {what} ({verdict.kind})"
    if verdict.kind == "exit":
        return f"risk approves the exit: {what}, quantity {plan.quantity}, reduce-only"
    prices = _prices_of(plan)
    return (
        f"risk approves {what}: {plan.order_type} {plan.quantity} at {plan.leverage}x"
        f"{', ' + prices if prices else ''}, risk {plan.risk_usdt} USDT, {plan.regime}"
    )


def _verdict_details(verdict: Verdict) -> list[str]:
    lines = []
    for failure in verdict.failures:
        figures = [
            f"{word} {value}"
            for word, value in (
                ("value", failure.value),
                ("limit", failure.limit),
                ("short by", failure.shortfall),
            )
            if value is not None
        ]
        lines.append(
            f"failed {failure.code}: {failure.sentence} ({', '.join(figures) or 'no figures'})"
        )
    lines += [f"limit {limit.name} = {limit.value} ({origin(limit)})" for limit in verdict.limits]
    lines += [f"figure {name} = {value}" for name, value in verdict.figures.items()]
    return lines


def _ordered(event: Any, items: tuple[Any, ...]) -> Text:
    lines = [_order_line(item) for item in items]
    return lines[0], tuple(lines[1:])


def _order_line(item: Any) -> str:
    if item.kind == "order":
        prices = _prices_of(item)
        flags = [
            w for w, on in (("reduce-only", item.reduce_only), ("close", item.close_position)) if on
        ]
        leverage = f" at {item.leverage}x" if item.leverage else ""
        notes = [item.note] if item.instruction_id else []
        more = ", ".join(
            [*flags, *([prices] if prices else []), f"policy {item.policy_version}", *notes]
        )
        return (
            f"order {item.client_order_id} for {item.purpose}: {item.side} {item.quantity} "
            f"{item.symbol} {item.order_type} {item.time_in_force}{leverage} ({more})"
        )
    if item.kind == "cancel":
        return f"cancel of {item.client_order_id} in {item.symbol}: {item.why}"
    if item.kind in ("dropped", "declined"):
        return f"no order in {item.symbol}: {item.why}"
    if item.kind == "step":
        return f"emergency step {item.step}, {item.name}, attempt {item.attempt}"
    return "the account is flat: every order has an end and the venue agrees"


def _requested(event: Any, items: tuple[Any, ...]) -> Text:
    request = event.data.request
    if request.kind == "place":
        prices = _prices_of(request)
        what = (
            f"{request.side} {request.quantity} {request.symbol} {request.order_type}"
            f"{', ' + prices if prices else ''} as {request.client_order_id}"
        )
    elif request.kind == "deposit":
        what = f"{request.amount} {request.asset}"
    else:
        what = getattr(request, "client_order_id", "")
    return f"request to the venue: {request.kind} {what}, attempt {event.data.attempt}", ()


def _reported(event: Any, items: tuple[Any, ...]) -> Text:
    who = "venue" if event.type.startswith("venue") else "gateway"
    lines = [f"{who}: {_result_line(item)}" for item in items]
    if getattr(event.data, "delivered", True) is False:
        lines.append("this answer was lost on its way to the gateway")
    return (lines[0], tuple(lines[1:])) if lines else (f"{who}: nothing to report", ())


def _result_line(item: Any) -> str:
    name = getattr(item, "client_order_id", None) or "no order of ours"
    match item.kind:
        case "filled":
            return (
                f"filled {name}: {item.side} {item.quantity} {item.symbol} at {item.price} "
                f"(reference {item.reference}, fee {item.fee} {item.fee_asset}, {item.liquidity}, "
                f"{item.rule})"
            )
        case "ended":
            why = f", {item.why}" if item.why else ""
            return f"ended {name}: {item.status}, filled {item.filled_quantity}{why}"
        case "unknown":
            return f"fate of {name} unknown after attempt {item.attempt}"
        case "funded":
            return f"funding {item.amount} for {item.quantity} {item.symbol} at mark {item.mark}"
        case "transferred":
            return f"transfer {item.transfer_id}: {item.amount} {item.asset}"
        case "read_back":
            open_ = ", ".join(f"{p.quantity} {p.symbol}" for p in item.positions) or "nothing"
            return f"read back: {open_} open, {len(item.open_orders)} orders rest"
        case "cancel_refused":
            return f"cancel of {name} refused: {item.why}"
        case "found":
            return f"{name} is {'known' if item.known else 'not known'}, {item.status or 'no end'}"
    return f"{item.kind} {name}"


def _updated(event: Any, items: tuple[Any, ...]) -> Text:
    order = {"trade_closed": 0, "position": 1, "order_end": 2, "equity": 3}
    lines = [_update_line(item) for item in sorted(items, key=lambda item: order[item.kind])]
    return lines[0], tuple(lines[1:])


def _update_line(item: Any) -> str:
    if item.kind == "position":
        return (
            f"position {item.symbol}: {item.quantity} at {item.average_entry or '-'}, "
            f"realised {item.realised}, fees {item.fees}, funding {item.funding}"
        )
    if item.kind == "trade_closed":
        return (
            f"trade closed: {item.side} {item.quantity_max} {item.symbol}, {item.entry_average} to "
            f"{item.exit_average}, net {item.net} (realised {item.realised}, fees {item.fees}, "
            f"funding {item.funding})"
        )
    if item.kind == "equity":
        return f"equity {item.equity}, unrealised {item.unrealised}, gross {item.gross}"
    return f"order in {item.symbol} ended {item.status}, filled {item.filled_quantity}"


def _policy(event: Any, items: tuple[Any, ...]) -> Text:
    lines = [_change_line(change) for change in items]
    return lines[0], tuple(lines[1:])


def _change_line(change: Any) -> str:
    fields = ", ".join(f"{n} {change.before.get(n)!r} -> {v!r}" for n, v in change.after.items())
    return (
        f"policy {change.version} of {change.account} by {change.operator} ({change.reason}): "
        f"{fields or 'no field'}; {change.trading_state}"
    )


def _standing(event: Any, items: tuple[Any, ...]) -> Text:
    """A record of safety: its sentence, the figures it was found with, the limits."""
    data = event.data
    head = getattr(data, "sentence", None) or f"equity marked ({data.why})"
    seen = [f"seen {o.time[:19]}: equity {o.equity}, NAV {o.nav}" for o in data.observed]
    figures = (
        f"drawdown {data.drawdown_pct} % of NAV high {data.high_water_mark}, loss of the day "
        f"{data.day_loss_pct} %, gross {data.gross}"
    )
    limits = ", ".join(f"{limit.name} {limit.value} ({origin(limit)})" for limit in data.limits)
    return f"safety of {event.partitionkey}: {head}", (*seen, figures, f"limits: {limits}")


def _hfos(event: Any, items: tuple[Any, ...]) -> Text:
    data = event.data
    return (
        f"AI-HFOS mode of {event.partitionkey}: {data.before} to {data.mode}, by {data.operator} "
        f"({data.reason})"
    ), ()


def _epoch(event: Any, items: tuple[Any, ...]) -> Text:
    data = event.data
    return (
        f"drawdown epoch {data.drawdown_epoch} of {event.partitionkey} opened by {data.operator} "
        f"({data.reason})"
    ), ()


def _emergency(event: Any, items: tuple[Any, ...]) -> Text:
    word = "activated" if event.type.startswith("emergency.activated") else "reset"
    return f"emergency stop {word}: {_change_line(items[0])}" if items else word, ()


def _command(event: Any, items: tuple[Any, ...]) -> Text:
    data = event.data
    changes = getattr(data, "changes", None) or _asked_for(data)
    more = ": " + ", ".join(f"{n} = {v!r}" for n, v in changes.items()) if changes else ""
    if (trade := getattr(data, "trade_id", None)) is not None:
        more = f": trade {trade}"
    return f"{event.type} for {event.partitionkey} by {data.operator} ({data.reason}){more}", ()


def _asked_for(data: Any) -> dict[str, Any]:
    """What a command on positions and orders asks for, without what is not given."""
    names = ("symbol", "percent", "order", "force", "outcome", "place")
    return {n: v for n in names if (v := getattr(data, n, None)) not in (None, False)}


def _instructed(event: Any, items: tuple[Any, ...]) -> Text:
    data = event.data
    if data.verdict == "rejected":
        return f"risk refuses {data.command_type}: {data.code}: {data.sentence}", ()
    lines = [
        f"{i.action} {i.symbol}"
        + (f", quantity {i.quantity}" if i.quantity else "")
        + (f", order {i.order_id}" if i.order_id else "")
        for i in items
    ]
    details = [f"figure {name} = {value}" for name, value in data.figures.items()]
    head = f"risk approves {data.command_type} by {data.operator} ({data.reason}): {lines[0]}"
    return head, (*lines[1:], *data.notes, *details)


def _settled_letter(event: Any, items: tuple[Any, ...]) -> Text:
    data = event.data
    where = f" as {data.replayed_as}" if data.replayed_as else ""
    name = f"dead letter {data.processor}/{data.offset} ({data.place})"
    return f"{name} {data.outcome}{where} by {data.operator} ({data.reason})", ()


def _deleted(event: Any, items: tuple[Any, ...]) -> Text:
    lines = [
        f"trade {item.trade_id} deleted from the default view by {item.operator} ({item.reason}); "
        "it stays among all trades"
        for item in items
    ]
    return lines[0], tuple(lines[1:])


def _refused(event: Any, items: tuple[Any, ...]) -> Text:
    data = event.data
    return f"command refused: {data.code}: {data.sentence}", ()


def _skipped(event: Any, items: tuple[Any, ...]) -> Text:
    data = event.data
    return f"skipped {data.topic}/{data.partition}/{data.offset}: {data.reason}", ()


_SHORT = {
    "clock.ticked.v1": "the clock ticked",
    "trade.order.decided.v1": "no order: nothing was approved",
    "trade.execution.reported.v1": "nothing new from the venue",
    "venue.reported.v1": "the venue gave no answer",
}
"""Of events without parts, or of types that have none."""

_TELLERS: dict[str, Callable[[Any, tuple[Any, ...]], Text]] = {
    "market.prices.observed.v1": _prices,
    "market.candles.closed.v1": _candles,
    "market.funding.settled.v1": _settled,
    "trade.signal.published.v1": _signals,
    "trade.intent.published.v1": _intents,
    "trade.signal.judged.v1": _judged,
    "trade.order.decided.v1": _ordered,
    "venue.requested.v1": _requested,
    "venue.reported.v1": _reported,
    "trade.execution.reported.v1": _reported,
    "trade.position.updated.v1": _updated,
    "policy.changed.v2": _policy,
    "emergency.activated.v2": _emergency,
    "emergency.reset.v2": _emergency,
    "safety.equity.marked.v1": _standing,
    "safety.governor.level_changed.v1": _standing,
    "market.flash_crash_detected.v1": _standing,
    "ai.hfos.mode_changed.v1": _hfos,
    "drawdown.epoch_opened.v1": _epoch,
    "command.policy.set.v1": _command,
    "command.emergency.stop.v1": _command,
    "command.emergency.reset.v1": _command,
    "command.account.resume.v1": _command,
    "command.trade.delete.v1": _command,
    "command.symbol.pause.v1": _command,
    "command.symbol.resume.v1": _command,
    "command.letter.settle.v1": _command,
    "command.position.close.v1": _command,
    "command.position.reduce.v1": _command,
    "command.account.flatten.v1": _command,
    "command.order.cancel.v1": _command,
    "trade.command.judged.v1": _instructed,
    "letter.settled.v1": _settled_letter,
    "trade.deleted.v1": _deleted,
    "command.rejected.v1": _refused,
    "source.skipped.v1": _skipped,
}
