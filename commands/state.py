"""`state`: what was so at an instant, or when an event was decided."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from commands.console import AsJson, CommandError, ExitCode, OneAccount, add, say, show
from commands.logs import Archive, RunName, opened
from commands.values import moment


def register(app: typer.Typer) -> None:
    """Add `state`."""
    add(app, state, "state")


def state(
    *,
    at: Annotated[
        str, typer.Option("--at", help="A time (UTC), or the id of a record, a part or an order.")
    ],
    event_time: Annotated[
        bool,
        typer.Option(
            "--event-time", help="The time is the market's, not the broker's append time."
        ),
    ] = False,
    account: OneAccount = None,
    run: RunName = None,
    archive: Archive = None,
    as_json: AsJson = False,
) -> None:
    """Positions, orders, policy, trading state and equity as of a time or an event.

    \b
      ./quantum state --at 2026-11-21T09:15:00                 as the log was then (broker's clock)
      ./quantum state --at 2021-05-19T13:00 --event-time       as it was at that market time
      ./quantum state --at 5f0c2d1e-...                        what that event was decided on

    An event goes by its basis: exactly the records it was decided on, and itself. An instant goes
    by append time; runs that were fed a file trade years ago, so --event-time is for them.
    """
    from replay.state_at import at_event, at_event_time, at_written
    from replay.why import UnknownIdError

    when = _moment(at)
    if event_time and when is None:
        raise CommandError(f"--event-time needs a time, {at} is none", ExitCode.MISUSE)
    with opened(archive=archive, run=run) as log:
        if not as_json:
            say(f"reading {log.name} ...")
        asked: dict[str, Any] = {"at": at, "by": "basis"}
        try:
            if when is None:
                found, event = at_event(log, at)
                asked |= {"id": event.event.id, "type": event.event.type, "place": event.place}
            elif event_time:
                asked["by"] = "event time"
                found = at_event_time(log, f"{when:%Y-%m-%dT%H:%M:%S.%f}Z")
            else:
                asked["by"] = "append time"
                found = at_written(log, int(when.timestamp() * 1000))
        except UnknownIdError as error:
            raise CommandError(str(error)) from None
    result = asked | found.as_json()
    if found.begins:
        raise CommandError(
            f"nothing was in the market at {at}: by event time the log begins at "
            f"{found.begins[:19]}; choose a later time"
        )
    if not result["records"]:
        raise CommandError(
            f"nothing was in the log at {at}: append times are when records were written; for the "
            "market's time add --event-time"
        )
    if account is not None and account not in result["accounts"]:
        known = ", ".join(result["accounts"]) or "none"
        raise CommandError(
            f"there was no account {account} at {at}; there were: {known}", ExitCode.MISUSE
        )
    if account is not None:
        result["accounts"] = {k: v for k, v in result["accounts"].items() if k == account}
    show(result, as_json, lambda: _lines(result))


def _moment(at: str) -> datetime | None:
    """A time as people write it, in UTC; None for what is none (an id)."""
    try:
        return moment("--at", at)
    except CommandError:
        return None


def _lines(result: dict[str, Any]) -> list[Any]:
    from commands.positions import table

    head = Text(f"by {result['by']}: ", style="bold")
    head.append(f"event time {result['time'][:19]}, {result['records']:,} records", style="")
    if "id" in result:
        head.append(f"\n{result['type']} {result['id']} at {result['place']}", style="cyan")
    out: list[Any] = [head]
    for name, account in result["accounts"].items():
        line = Text(f"\n{name}  {account['trading_state']}", style="bold")
        line.append(
            f"  equity {float(account['equity']):,.2f}  drawdown {account['drawdown_pct']:.2f} %"
            f"  policy version {account['policy_version']}",
            style="",
        )
        out.append(line)
        if account["positions"]:
            out.append(table([{"account": name, **p} for p in account["positions"]]))
        if account["orders"]:
            out.append(_orders(account["orders"]))
    return out


def _orders(orders: list[dict[str, Any]]) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    names = ("client_order_id", "symbol", "side", "purpose", "order_type", "quantity", "filled",
             "limit_price", "trigger_price", "state")  # fmt: skip
    for name in names:
        made.add_column(name.replace("_", " "), no_wrap=True)
    for order in orders:
        made.add_row(*(str(order[name] if order[name] is not None else "-") for name in names))
    return made
