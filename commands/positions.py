"""`positions`: what is open, marked at the last price."""

from typing import Any

import typer
from rich.table import Table

from commands.console import AsJson, CommandError, OneAccount, add, show


def register(app: typer.Typer) -> None:
    """Add `positions`."""
    add(app, positions, "positions")


def positions(account: OneAccount = None, as_json: AsJson = False) -> None:
    """Open positions with entry, mark, unrealised P&L, stop and target.

    \b
      ./quantum positions
      ./quantum positions --account main --json
    """
    from commands import figures
    from commands.system import find
    from replay.summary_json import position_json

    summary = figures.current(find().kafka)
    if account is not None and account not in summary.accounts:
        names = ", ".join(sorted(summary.accounts)) or "none yet"
        raise CommandError(f"there is no account {account}; there are: {names}")
    rows: list[dict[str, Any]] = []
    for name, each in sorted(summary.accounts.items()):
        if account in (None, name):
            paused = each.policy.paused_symbols if each.policy else ()
            rows += [
                {"account": name, **position_json(p), "paused": p.symbol in paused}
                for p in each.open_positions(summary.marks)
            ]
    show(rows, as_json, lambda: table(rows) if rows else "nothing is open")


def table(rows: list[dict[str, Any]]) -> Table:
    """Positions as a table."""
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    left = ("account", "symbol", "side", "opened")
    for name in (
        "account", "symbol", "side", "quantity", "entry", "mark", "unrealised", "stop", "target",
        "opened",
    ):  # fmt: skip
        made.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    for row in rows:
        unrealised = float(row["unrealised"])
        colour = "green" if unrealised >= 0 else "red"
        made.add_row(
            row["account"],
            f"{row['symbol']} [yellow]paused[/yellow]" if row.get("paused") else row["symbol"],
            row["side"],
            row["quantity"],
            f"{float(row['entry']):,.2f}",
            f"{float(row['mark']):,.2f}",
            f"[{colour}]{unrealised:+,.2f}[/{colour}]",
            row["stop"] or "[red]none[/red]",
            row["target"] or "-",
            row["opened_at"][5:16].replace("T", " "),
        )
    return made
