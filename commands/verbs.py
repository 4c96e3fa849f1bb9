"""`close`, `cancel`, `pause`, `resume`, `reduce`, `flatten`: small verbs for a person (CORE-9).

Each is a command in the log, one an account, answered by an event; without --account all accounts
get it. Nothing is done to a position or an order but by these events.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from commands.console import (
    AsJson,
    CommandError,
    ExitCode,
    OneAccount,
    Operator,
    Reason,
    show,
)

_SYMBOL = re.compile(r"[A-Z0-9_]{2,30}")
HARMLESS = ("NOTHING_OPEN", "NO_CHANGE", "UNKNOWN_ORDER")
"""Refusals that mean: nothing to do here. They fail a command only if every account says so."""
Symbol = Annotated[str, typer.Argument(metavar="SYMBOL", help="For example BTCUSDT.")]


def close(
    *,
    symbol: Symbol,
    operator: Operator,
    reason: Reason,
    account: OneAccount = None,
    as_json: AsJson = False,
) -> None:
    """Close the position in a symbol at market and cancel the entries in it.

    \b
      ./quantum close BTCUSDT --operator ann --reason "news"
      ./quantum close ETHUSDT --account main --operator ann --reason "news"

    Always passes: no limit, pause or trading state keeps a position from being closed. New entries
    stay allowed; `pause` first to keep the symbol closed.
    """
    data = {"symbol": _symbol(symbol), "operator": operator, "reason": reason}
    _trade("position.close", account, data, as_json)


def flatten(
    *,
    operator: Operator,
    reason: Reason,
    account: OneAccount = None,
    as_json: AsJson = False,
) -> None:
    """Close every position and cancel every entry, once; nothing is latched.

    \b
      ./quantum flatten --operator ann --reason "going to bed"
      ./quantum flatten --account hot --operator ann --reason "going to bed"

    New entries stay allowed, also a moment later. To stay flat: `quantum emergency stop`, or
    `quantum policy set allow_new_trades=false` first.
    """
    _trade("account.flatten", account, {"operator": operator, "reason": reason}, as_json)


def reduce(
    *,
    percent: Annotated[str, typer.Argument(metavar="PERCENT", help="Above 0, up to 100.")],
    operator: Operator,
    reason: Reason,
    symbol: Annotated[str | None, typer.Option("--symbol", "-s", help="Only this symbol.")] = None,
    account: OneAccount = None,
    as_json: AsJson = False,
) -> None:
    """Sell a share of every open position at market, floored to the venue's step.

    \b
      ./quantum reduce 50 --operator ann --reason "too large for the weekend"
      ./quantum reduce 25 --symbol BTCUSDT --account main --operator ann --reason "too large"

    Stops and targets stay and cover the rest. What is left below the venue's minimum is said. One
    attempt: what the market does not take stays open; `quantum positions` shows it.
    """
    data = {"percent": percent, "operator": operator, "reason": reason}
    if symbol is not None:
        data["symbol"] = _symbol(symbol)
    _trade("position.reduce", account, data, as_json)


def cancel(
    *,
    what: Annotated[
        str | None,
        typer.Argument(metavar="[ORDER|SYMBOL]", help="One order by its id, or one symbol."),
    ] = None,
    operator: Operator,
    reason: Reason,
    force: Annotated[
        bool, typer.Option("--force", help="Also a stop or target, named by its id.")
    ] = False,
    account: OneAccount = None,
    as_json: AsJson = False,
) -> None:
    """Cancel entry orders: all, those in a symbol, or one by its id or client order id.

    \b
      ./quantum cancel --operator ann --reason "not today"
      ./quantum cancel BTCUSDT --account main --operator ann --reason "not today"
      ./quantum cancel qt0f3a... --operator ann --reason "not this one"

    A stop or target is cancelled only by its id and with --force. A position whose stop is gone is
    closed at market by the system: it is never left unprotected.
    """
    data: dict[str, Any] = {"operator": operator, "reason": reason}
    if what is not None:
        data["symbol" if _SYMBOL.fullmatch(what) else "order"] = what
    if force:
        if "order" not in data:
            raise CommandError("--force is for one order: name it by its id", ExitCode.MISUSE)
        data["force"] = True
    _trade("order.cancel", account, data, as_json)


def pause(
    *,
    symbol: Symbol,
    operator: Operator,
    reason: Reason,
    account: OneAccount = None,
    as_json: AsJson = False,
) -> None:
    """Let no entry in a symbol through, until it is resumed.

    \b
      ./quantum pause BTCUSDT --operator ann --reason "fork at noon"

    Entries are refused (SYMBOL_PAUSED), resting ones are cancelled; positions keep their stops and
    exits pass. It stands in the policy: `quantum policy show`, `quantum status`.
    """
    data = {"symbol": _symbol(symbol), "operator": operator, "reason": reason}
    _control("symbol.pause", account, data, as_json)


def resume(
    *,
    symbol: Symbol,
    operator: Operator,
    reason: Reason,
    account: OneAccount = None,
    as_json: AsJson = False,
) -> None:
    """Let entries in a paused symbol through again.

    \b
      ./quantum resume BTCUSDT --operator ann --reason "fork is over"
    """
    data = {"symbol": _symbol(symbol), "operator": operator, "reason": reason}
    _control("symbol.resume", account, data, as_json)


# ---------------------------------------------------------------- sending


def _symbol(given: str) -> str:
    if not _SYMBOL.fullmatch(given):
        raise CommandError(f"{given!r} is no symbol such as BTCUSDT", ExitCode.MISUSE)
    return given


def _commands(bootstrap: str, kind: str, account: str | None, data: dict[str, Any]) -> list[Any]:
    from commands.policy import read
    from commands.publish import PublishError, build

    names = [account] if account else sorted(read(bootstrap).accounts)
    if not names:
        raise CommandError("no account is open: there is nothing to command")
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    try:
        return [build(kind, name, data, time=moment) for name in names]
    except PublishError as error:
        raise CommandError(str(error), ExitCode.MISUSE) from None


def _trade(kind: str, account: str | None, data: dict[str, Any], as_json: bool) -> None:
    from commands.asking import ask_all
    from commands.system import find
    from schemas.topics import ORDER

    bootstrap = find().kafka
    answers = ask_all(bootstrap, _commands(bootstrap, kind, account, data), then=ORDER)
    _report([_traded(answer) for answer in answers], as_json)


def _control(kind: str, account: str | None, data: dict[str, Any], as_json: bool) -> None:
    from commands.asking import ask_all
    from commands.system import find

    bootstrap = find().kafka
    answers = ask_all(bootstrap, _commands(bootstrap, kind, account, data))
    _report([_changed(answer) for answer in answers], as_json)


# ---------------------------------------------------------------- telling


def _row(answer: Any) -> dict[str, Any]:
    return {
        "account": answer.request.partitionkey,
        "command": answer.request.id,
        "answer": answer.event.id,
        "refused": answer.refusal,
        "waited_ms": round(answer.waited_ms, 1),
    }


def _traded(answer: Any) -> dict[str, Any]:
    """One account's row: what was approved, and the orders, cancels and refusals it led to."""
    data = answer.event.data
    items = answer.followed.event.data.items if answer.followed is not None else ()
    fields = ("kind", "id", "client_order_id", "order_id", "symbol", "side", "quantity", "purpose",
              "why")  # fmt: skip
    return {
        **_row(answer),
        "done": [
            {n: v for n in fields if (v := getattr(item, n, None)) is not None} for item in items
        ],
        "notes": list(getattr(data, "notes", ())),
    }


def _changed(answer: Any) -> dict[str, Any]:
    if answer.refusal is not None:
        return _row(answer)
    change = answer.event.data.items[0]
    return {
        **_row(answer),
        "version": change.version,
        "paused": list(change.policy.paused_symbols),
    }


def _report(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    show(list(rows), as_json, lambda: [line for row in rows for line in _lines(row)])
    refused = [row["refused"] for row in rows if row["refused"] is not None]
    grave = [why for why in refused if why.partition(":")[0] not in HARMLESS]
    if grave or len(refused) == len(rows):
        raise CommandError(f"refused: {(grave or refused)[0]}", ExitCode.REFUSED)


def _lines(row: dict[str, Any]) -> list[Any]:
    from rich.text import Text

    name = row["account"]
    if row["refused"] is not None:
        return [Text(f"{name}: refused: {row['refused']}")]
    if "paused" in row:
        paused = ", ".join(row["paused"]) or "nothing"
        return [Text(f"{name}: paused is now {paused} (policy {row['version']})")]
    lines = [Text(f"{name}: {_done_line(item)}") for item in row["done"]]
    return lines + [Text(f"{name}: note: {note}") for note in row["notes"]]


def _done_line(item: dict[str, Any]) -> str:
    if item["kind"] == "order":
        return (
            f"{item['side']} {item['quantity']} {item['symbol']} at market, reduce-only, as "
            f"{item['client_order_id']}"
        )
    if item["kind"] == "cancel":
        return f"cancel of {item['client_order_id']} in {item['symbol']}"
    return f"nothing to do in {item['symbol']}: {item['why']}"
