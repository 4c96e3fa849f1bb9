"""`statement`: daily P&L, fills, fees, funding and transfers of each account."""

import csv
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from commands.console import AsJson, CommandError, ExitCode, OneAccount, add, say, show
from commands.logs import Archive, RunName, opened


def register(app: typer.Typer) -> None:
    """Add `statement`."""
    add(app, statement, "statement")


def statement(
    *,
    account: OneAccount = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the CSV files.", metavar="DIR")
    ] = None,
    archive: Archive = None,
    run: RunName = None,
    as_json: AsJson = False,
) -> None:
    """Daily P&L (UTC), fills, fees, funding, deposits and withdrawals of each account.

    \b
      ./quantum statement
      ./quantum statement --out books --account main
      ./quantum statement --run last --out books

    Each day ties to the last digit: closing equity = opening equity + transfers + realised - fees
    + funding + change of unrealised. Columns: docs/whatif.md.
    """
    from replay.statement import TOPICS, StatementError, Statements

    try:
        with opened(archive=archive, run=run) as log:
            statements = Statements.of(log.read(TOPICS))
            made = statements.accounts(account)
    except StatementError as error:
        raise CommandError(str(error)) from None
    if account is not None and not made:
        raise CommandError(
            f"there is no account {account} in {log.name}; there are: "
            f"{', '.join(each.account for each in statements.accounts()) or 'none'}",
            ExitCode.MISUSE,
        )
    files = write(made, out) if out is not None else []
    for path in files:
        say(f"wrote {path}")
    data = {
        "log": log.name,
        "files": [str(path) for path in files],
        "accounts": {each.account: each.tables() for each in made},
    }
    show(data, as_json, lambda: _table(made) if made else "no account has traded yet")


def write(made: list[Any], folder: Path) -> list[Path]:
    """Write every table of every account as CSV: ``DIR/ACCOUNT-days.csv`` and so on."""
    from replay.statement import COLUMNS

    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in made:
            for name, rows in each.tables().items():
                path = folder / f"{each.account}-{name}.csv"
                with path.open("w", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS[name], lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows)
                written.append(path)
    except OSError as error:
        raise CommandError(
            f"--out {folder}: {error.strerror}; give a folder that can be written"
        ) from None
    return written


def _table(made: list[Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    names = (
        "account", "day", "opening_equity", "transfers", "realised", "fees", "funding",
        "unrealised_change", "closing_equity", "pnl", "fills", "trades_closed",
    )  # fmt: skip
    for name in names:
        left = name in ("account", "day")
        table.add_column(name.replace("_", " "), justify="left" if left else "right")
    for each in made:
        for row in each.days:
            table.add_row(*(_cell(name, row[name]) for name in names))
    return table


def _cell(name: str, value: str) -> str:
    plain = name in ("account", "day", "fills", "trades_closed")
    return value if plain else f"{float(value):,.2f}"
