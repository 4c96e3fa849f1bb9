"""`emergency`: stop, reset, status."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from commands.console import (
    Account,
    AsJson,
    CommandError,
    OneAccount,
    Operator,
    Reason,
    add,
    say,
    show,
)

HELP = """\b
  ./quantum emergency stop --account main --operator ann --reason "feed looks wrong"
  ./quantum emergency status
  ./quantum emergency reset --account main --operator ann --reason "feed is right again"

Emergency stop: block new risk, cancel entries, close everything, confirm, cancel protection.
It is latched until a named operator resets it, and is never reported flat when it is not.
"""
READ_S, AGAIN_S = 10.0, 0.25
"""How long control may take to read what is in the log, and how often it is asked meanwhile."""
Wait = Annotated[
    float, typer.Option("--wait", min=0, help="Seconds to wait for `flat`; 0 does not wait.")
]


def register(app: typer.Typer) -> None:
    """Add `emergency` with `stop`, `reset`, `status`."""
    group = typer.Typer(
        help=HELP, short_help="Emergency stop: stop, reset, status.", no_args_is_help=True
    )
    add(group, stop, "stop")
    add(group, reset, "reset")
    add(group, state, "status")
    app.add_typer(group, name="emergency")


def stop(
    *,
    operator: Operator,
    reason: Reason,
    account: Account = "main",
    wait: Wait = 0.0,
    as_json: AsJson = False,
) -> None:
    """Stop an account: no new risk from now on, everything is closed.

    \b
      ./quantum emergency stop --account main --operator ann --reason "feed looks wrong"
      ./quantum emergency stop --operator ann --reason drill --wait 30
    """
    from commands.system import find

    bootstrap = find().kafka
    answer = _command(bootstrap, "emergency.stop", account, operator, reason)
    emergency = str(answer.event.data.emergency_id)
    say(f"stopped within {answer.waited_ms:.0f} ms: no decision from now on increases risk")
    flat_at = _await_flat(bootstrap, emergency, account, wait) if wait else None
    data = {
        "account": account,
        "emergency_id": emergency,
        "waited_ms": round(answer.waited_ms, 1),
        "flat_at": flat_at,
    }
    show(
        data,
        as_json,
        lambda: f"emergency {emergency}" + (f", flat at {flat_at}" if flat_at else ""),
    )
    if wait and flat_at is None:
        raise CommandError(
            f"{account} is not flat after {wait:g} s: ./quantum emergency status and "
            f"./quantum positions --account {account} show what is left"
        )


def reset(
    *, operator: Operator, reason: Reason, account: Account = "main", as_json: AsJson = False
) -> None:
    """Lift an emergency, or end the governor's REDUCING by drawdown: both open a new drawdown
    epoch. Refused (exit code 4) as long as the account was not seen flat.

    Right after `flat` was recorded the worker control may not have read it yet: then it is asked
    again, for 10 seconds at most.

    \b
      ./quantum emergency reset --account main --operator ann --reason "feed is right again"
    """
    from commands.asking import checked
    from commands.system import find

    bootstrap = find().kafka
    answer = _ask(bootstrap, "emergency.reset", account, operator, reason)
    deadline = time.monotonic() + READ_S
    while _not_read_yet(bootstrap, answer.event) and time.monotonic() < deadline:
        say(f"refused: {answer.refusal}")
        say("its `flat` is in the log and control has not read it yet: asking again")
        time.sleep(AGAIN_S)
        answer = _ask(bootstrap, "emergency.reset", account, operator, reason)
    checked(answer)
    data = {
        "account": account,
        "emergency_id": getattr(answer.event.data, "emergency_id", None),
        "drawdown_epoch": answer.event.data.drawdown_epoch,
        "waited_ms": round(answer.waited_ms, 1),
    }
    show(data, as_json, lambda: f"{account} trades again, drawdown epoch {data['drawdown_epoch']}")


def state(account: OneAccount = None, as_json: AsJson = False) -> None:
    """Trading state of each account, and every emergency with the time it was flat.

    \b
      ./quantum emergency status
    """
    from commands import figures
    from commands.system import find

    summary = figures.current(find().kafka)
    data = {
        "accounts": {
            n: {
                "trading_state": a.trading_state,
                "emergency": a.emergency_open,
                "governor": a.governor,
                "holds": list(a.holds),
                "hfos": a.hfos,
            }
            for n, a in sorted(summary.accounts.items())
            if account in (None, n)
        },
        "emergencies": [
            {
                "id": each.id,
                "account": each.account,
                "reason": each.reason,
                "activated_at": each.activated_at,
                "flat_at": each.flat_at,
                "reset_at": each.reset_at,
                "attempts": each.attempts,
            }
            for each in summary.emergencies
            if account in (None, each.account)
        ],
    }
    show(data, as_json, lambda: _lines(data))


def _lines(data: dict[str, Any]) -> list[Any]:
    from rich.text import Text

    lines = [
        Text(f"{n}: {a['trading_state']}, governor {a['governor']}, AI-HFOS {a['hfos']}")
        for n, a in data["accounts"].items()
    ]
    for each in data["emergencies"]:
        ends = each["reset_at"] or "latched"
        lines.append(
            Text(
                f"{each['account']}: since {each['activated_at'][:19]} ({each['reason']}), "
                f"{_attempts(each['attempts'])}flat {each['flat_at'] or 'NOT YET'}, reset {ends}"
            )
        )
    return lines or [Text("no accounts yet")]


def _attempts(attempts: dict[str, int]) -> str:
    """Steps that had to be tried again; nothing where each was tried once."""
    again = [f"{name.replace('_', ' ')} tried {n} times" for name, n in attempts.items() if n > 1]
    return ", ".join(again) + ", " if again else ""


def _command(bootstrap: str, kind: str, account: str, operator: str, reason: str) -> Any:
    """The answer; a refusal ends the command with exit code 4."""
    from commands.asking import checked

    return checked(_ask(bootstrap, kind, account, operator, reason))


def _ask(bootstrap: str, kind: str, account: str, operator: str, reason: str) -> Any:
    from commands.asking import ask
    from commands.console import ExitCode
    from commands.publish import PublishError, build

    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    try:
        event = build(kind, account, {"operator": operator, "reason": reason}, time=moment)
    except PublishError as error:
        raise CommandError(str(error), ExitCode.MISUSE) from None
    return ask(bootstrap, event)


def _not_read_yet(bootstrap: str, answer: Any) -> bool:
    """Whether a reset was refused only because control has not read what is in the log."""
    from replay.log import read_kafka
    from schemas.topics import ORDER

    if answer.type != "command.rejected.v1" or answer.data.code != "NOT_FLAT":
        return False
    emergency = answer.data.value
    return any(
        item.kind == "flat" and item.emergency_id == emergency
        for record in read_kafka(bootstrap, (ORDER,))
        if record.valid
        for item in getattr(getattr(record.event, "data", None), "items", ())
    )


def _await_flat(bootstrap: str, emergency: str, account: str, wait_s: float) -> str | None:
    """Event time at which the account was recorded flat, None if it was not within `wait_s`."""
    from replay.log import ends, starts
    from replay.tail import Tail
    from schemas.topics import ORDER, partition_of

    count = len(ends(bootstrap, (ORDER,)))
    key = f"{ORDER.name}/{partition_of(account, count)}"
    deadline = time.monotonic() + wait_s
    with Tail(bootstrap, {key: starts(bootstrap, (ORDER,))[key]}) as tail:
        while time.monotonic() < deadline:
            for record in tail.poll():
                items: Any = getattr(getattr(record.event, "data", None), "items", ())
                for item in items:
                    if item.kind == "flat" and item.emergency_id == emergency:
                        assert record.event is not None
                        return record.event.time
    return None
