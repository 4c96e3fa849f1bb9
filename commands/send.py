"""`send`: publish a command, signal or intent by hand."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from commands.console import Account, AsJson, CommandError, ExitCode, add, show
from commands.values import for_model, pairs, policy_values


def register(app: typer.Typer) -> None:
    """Add `send`."""
    add(app, send, "send")


def send(
    *,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="TYPE",
            help="signal, intent, policy.set, emergency.stop, emergency.reset, account.resume, "
            "trade.delete, symbol.pause, symbol.resume, position.close, position.reduce, "
            "account.flatten, order.cancel, letter.settle; or the full type.",
        ),
    ],
    fields: Annotated[
        list[str] | None, typer.Argument(metavar="key=value...", help="Fields of its data.")
    ] = None,
    account: Account = "main",
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait for the answering record and show it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish a command, signal or intent; with --wait also its answer.

    \b
      ./quantum send signal symbol=BTCUSDT side=BUY confidence=0.7 --wait
      ./quantum send intent symbol=ETHUSDT side=SELL confidence=0.8 limit_price=2500.00 --wait
      ./quantum send policy.set expected_version=2 cooldown_s=60 operator=ann reason=test
      ./quantum send emergency.stop operator=ann reason=drill --account hot --wait
      ./quantum send trade.delete trade_id=ID operator=ann reason=duplicate --account main

    trade.delete takes a closed trade out of the default view of trades. It removes nothing: the
    trade stays in the log and among all trades, and an open trade stays listed until it is closed.

    It is checked before it leaves. A refusal is exit code 4.
    """
    from commands.publish import Publisher, PublishError, build, full_type
    from commands.system import event_time, find

    system = find()
    try:
        full = full_type(kind)
        command = full.startswith("command.")
        time = _written() if command else event_time(system.kafka)
        event = build(kind, account, data_of(full, pairs(fields or [])), time=time)
    except PublishError as error:
        raise CommandError(str(error), ExitCode.MISUSE) from None
    if wait:
        _asked(system.kafka, event, as_json)
        return
    with Publisher(system.kafka) as publisher:
        topic, partition, offset = publisher.send(event)
    data = {"id": event.id, "topic": topic, "partition": partition, "offset": offset}
    show(data, as_json, lambda: f"{event.type} {event.id} stands at {topic}/{partition}/{offset}")


def _asked(bootstrap: str, event: Any, as_json: bool) -> None:
    from commands.asking import ask
    from replay.why_lines import describe

    answer = ask(bootstrap, event)
    items = getattr(getattr(answer.event, "data", None), "items", ())
    line, details = describe(answer.event, items)
    data = {
        "id": event.id,
        "answer": answer.event.id,
        "type": answer.event.type,
        "refused": answer.refusal,
        "line": line,
        "details": list(details),
        "waited_ms": round(answer.waited_ms, 1),
        "record": answer.event.model_dump(mode="json", exclude_none=True),
    }
    show(data, as_json, lambda: [_plain(line), *(_plain(f"  {each}") for each in details)])
    if answer.refusal is not None:
        raise typer.Exit(ExitCode.REFUSED)


def _plain(line: str) -> Any:
    from rich.text import Text

    return Text(line)


def data_of(full: str, given: dict[str, str]) -> dict[str, Any]:
    """`data` of a type from key=value fields: one part for signals and intents."""
    from schemas.events import TYPES
    from schemas.trade import Intent, Signal

    parts = {"trade.signal.published.v1": Signal, "trade.intent.published.v1": Intent}
    if full in parts:
        return {"items": [{"origin": "hand", **for_model(parts[full], given)}]}
    if full == "command.policy.set.v1":
        return _policy_set(given)
    model = TYPES[full].model_fields["data"].annotation
    return for_model(model, given)


def _policy_set(given: dict[str, str]) -> dict[str, Any]:
    from schemas.control import PolicySetData

    own = {k: v for k, v in given.items() if k in ("expected_version", "operator", "reason")}
    if own.get("expected_version") == "0" and "profile" in given:
        own["profile"] = given["profile"]  # opens the account: part of the command, not a change
    changes = {k: v for k, v in given.items() if k not in own}
    return {**for_model(PolicySetData, own), "changes": policy_values(changes)}


def _written() -> str:
    """When a command was written: wall time, never trusted by anything that decides."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
