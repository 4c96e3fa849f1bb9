"""`rebuild`: the read models made anew from the log, compared, swapped in one transaction."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from commands.console import AsJson, CommandError, ExitCode, add, show, stderr
from commands.logs import Archive


def register(app: typer.Typer) -> None:
    """Add `rebuild`."""
    add(app, rebuild, "rebuild")


def rebuild(
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every row with the live tables.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Put back what was live before the last rebuild.")
    ] = False,
    projection: Annotated[
        str | None,
        typer.Option("--projection", help="One table alone: its rows are mended in place."),
    ] = None,
    archive: Archive = None,
    as_json: AsJson = False,
) -> None:
    """Make the Postgres tables anew from the log, without downtime.

    \b
      ./quantum rebuild
      ./quantum rebuild --verify --json
      ./quantum rebuild --projection trades
      ./quantum rebuild --archive DIR
      ./quantum rebuild --rollback

    With --verify, exit code 1 if anything differs; the log is the authority, so the new tables go
    live all the same, and the old ones are kept. Interrupted or killed, the live tables stay as
    they were, and the next rebuild goes on from what is loaded.
    """
    from commands.system import find, find_database
    from projections.database import ProjectionError

    if rollback and (verify or projection or archive):
        raise CommandError(
            "--rollback stands alone: it puts whole tables back, without comparing", ExitCode.MISUSE
        )
    uri = find_database()
    try:
        if rollback:
            _rolled_back(uri, as_json)
            return
        result = _rebuilt(archive or find().kafka, uri, verify=verify, projection=projection)
    except ProjectionError as error:
        raise CommandError(str(error)) from None
    except KeyboardInterrupt:
        raise CommandError(
            "interrupted; the live tables are as they were, and `quantum rebuild` goes on from "
            "what is loaded",
            ExitCode.INTERRUPTED,
        ) from None
    show(asdict(result), as_json, lambda: _lines(result))
    if result.equal is False:
        raise typer.Exit(ExitCode.FAILED)


def _rolled_back(uri: str, as_json: bool) -> None:
    from projections.swapping import rollback

    rollback(uri)
    show({"rolled_back": True}, as_json, lambda: "the tables from before the last rebuild are live")


def _rebuilt(origin: str | Path, postgres: str, *, verify: bool, projection: str | None) -> Any:
    """Run it under a progress bar on stderr (none where that is no terminal)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from projections import rebuild as rebuilding

    bar = Progress(
        TextColumn("rebuilding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("records"),
        TimeElapsedColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
    )
    with bar:
        task = bar.add_task("records", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return rebuilding.rebuild(
            origin, postgres, verify=verify, progress=progress, projection=projection
        )


def _lines(result: Any) -> list[str]:
    rates = f"{result.events_per_second:,.0f}/s, loading {result.load_events_per_second:,.0f}/s"
    lines = [f"{result.events:,} records in {result.seconds:.1f} s ({rates})"]
    if result.resumed:
        lines.append("went on from what an interrupted rebuild had loaded")
    if result.replaced is not None:
        lines.append(f"{result.replaced:,} rows taken out or put in")
    if result.equal is True:
        lines.append("[green]equal to the live tables, row by row[/green]")
    elif result.equal is False:
        lines.append(f"[red]{len(result.differences)} differences[/red]")
        lines += [f"  {line}".replace("[", "\\[") for line in result.differences[:20]]
    return lines
