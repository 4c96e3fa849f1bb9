"""`whatif`: a recorded run under another policy."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from commands.console import AsJson, CommandError, ExitCode, OneAccount, add, say, show
from commands.logs import Archive, RunName, opened
from commands.values import event_time

SHOWN = 50


def register(app: typer.Typer) -> None:
    """Add `whatif`."""
    add(app, whatif, "whatif")


def whatif(
    *,
    policy: Annotated[
        Path, typer.Option("--policy", help="JSON or TOML file of policy fields.", metavar="FILE")
    ],
    account: OneAccount = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Event time from which it holds (default: the opening)."),
    ] = None,
    archive: Archive = None,
    run: RunName = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="How many changed decisions to show.")
    ] = SHOWN,
    as_json: AsJson = False,
) -> None:
    """What a run would have decided and earned under another policy.

    \b
      ./quantum whatif --policy calmer.json
      ./quantum whatif --policy calmer.toml --account main --from 2021-05-19T12:00
      ./quantum whatif --policy calmer.json --run last
      ./quantum whatif --policy calmer.json --archive keep/demo --json

    The file holds what `policy set` takes, such as {"max_size_pct": "20", "cooldown_s": 60}.
    """
    from replay.other_policy import PolicyFileError, read_policy
    from replay.whatif import whatif as result_of

    try:
        fields = read_policy(policy)
        since = None if start is None else event_time("--from", start)
        with opened(archive=archive, run=run) as log:
            if not as_json:
                say(f"running the inputs of {log.name} again ...")
            result = result_of(log, fields, account=account, start=since)
            data = {"log": log.name, **result.as_json(limit)}
    except PolicyFileError as error:
        raise CommandError(str(error), ExitCode.MISUSE) from None
    show(data, as_json, lambda: _lines(data))


def _lines(data: dict[str, Any]) -> list[Any]:
    fields = ", ".join(f"{name} {value}" for name, value in data["policy"].items())
    since = f"from {data['from']}" if data["from"] else "from the opening"
    prefix, counts, orders = data["identical_prefix"], data["decisions"], data["orders"]
    out: list[Any] = [
        Text(f"{fields}; {', '.join(data['accounts'])}, {since}", style="bold"),
        (
            f"{data['decisions_changed']:,} decisions change: of {counts['recorded']:,} recorded "
            f"{counts['changed']:,} are decided otherwise and {counts['vanished']:,} vanish, "
            f"{counts['appeared']:,} appear; "
            f"{counts['figures_only']:,} more cite other figures only"
        ),
        (
            f"orders: {orders['changed']} change, {orders['vanished']} vanish, "
            f"{orders['appeared']} appear"
        ),
        f"P&L {data['pnl_before']} before, {data['pnl_after']} after",
        _accounts(data["by_account"]),
    ]
    if prefix["until"] is None:
        out.append(f"nothing differs: all {prefix['records']:,} decided records are the same")
    else:
        out.append(
            f"the first {prefix['records']:,} decided records, up to {prefix['until'][:19]}, "
            "are the same"
        )
    if data["unchanged_policy_differences"]:
        out.append(
            Text(
                f"{data['unchanged_policy_differences']} records differ under the recorded policy "
                "too: part of what changes is not the policy's doing; ./quantum parity says whose",
                style="yellow",
            )
        )
    out += [_difference(each) for each in data["differences"]]
    more = data["decisions_changed"] - len(data["differences"])
    if more > 0:
        out.append(f"... and {more:,} more (--limit)")
    return [*out, Text(data["caveat"], style="dim")]


def _accounts(accounts: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    names = ("pnl", "fees", "approved", "rejected", "orders", "fills", "trades", "max_drawdown_pct")
    table.add_column("account")
    for name in names:
        table.add_column(name.replace("_pct", " %").replace("_", " "), justify="right")
    for account, figures in accounts.items():
        cells = []
        for name in names:
            before, after = figures[f"{name}_before"], figures[f"{name}_after"]
            cells.append(_short(before) + ("" if before == after else f" -> {_short(after)}"))
        table.add_row(account, *cells)
    return table


def _short(value: Any) -> str:
    if isinstance(value, str):
        return f"{float(value):,.2f}"
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _difference(each: dict[str, Any]) -> Text:
    style = {"appeared": "green", "vanished": "red"}.get(each["kind"], "")
    out = Text(f"{each['time'][:19].replace('T', ' ')}  {each['account']}  ", style="cyan")
    out.append(f"{each['kind']} ", style=style)
    out.append(f"{each['id']}", style="dim")
    if each["line_before"]:
        out.append(f"\n    was: {each['line_before']}")
    if each["line_after"]:
        out.append(f"\n    now: {each['line_after']}")
    return out
