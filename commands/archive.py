"""`archive`: topics as partitioned Parquet with chained digests."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from commands.console import AsJson, CommandError, ExitCode, add, show, stderr
from commands.logs import RunName, kafka_of


def register(app: typer.Typer) -> None:
    """Add `archive`."""
    add(app, archive, "archive")


def archive(
    *,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Folder; default var/archive/<run>."),
    ] = None,
    run: RunName = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing: check digests, chain and files of DIR.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy all topics into Parquet files, one folder a partition; again: only what is new.

    \b
      ./quantum archive                        the running system's log into var/archive/<run>
      ./quantum archive keep/demo --run last   a finished run
      ./quantum archive keep/demo --check      is every byte what was written?

    An archive is read wherever a log is: events, why, state, verify, whatif, parity --archive DIR.
    """
    from replay.archive import ArchiveError
    from replay.sources import DamagedLogError

    if check:
        if folder is None or run is not None:
            raise CommandError("--check takes the archive's folder and no run", ExitCode.MISUSE)
        _checked(folder, as_json)
        return
    try:
        with kafka_of(run) as log:
            made = _archived(log, folder or _default(run))
    except (ArchiveError, DamagedLogError) as error:
        raise CommandError(str(error)) from None
    show(asdict(made), as_json, lambda: _lines(made))


def _default(name: str | None) -> Path:
    from runtime import runs
    from runtime.settings import Settings

    run = runs.open_run(name) if name else runs.running()
    return Settings.load().data / "archive" / (run.name if run else "cluster")


def _archived(log: Any, folder: Path) -> Any:
    """Write it under a progress bar on stderr (none where that is no terminal)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from replay.archive_writing import archive as write

    bar = Progress(
        TextColumn("archiving"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("records"),
        console=stderr,
        disable=not stderr.is_terminal,
    )
    with bar:
        task = bar.add_task("records", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return write(log, folder, progress=progress)


def _checked(folder: Path, as_json: bool) -> None:
    from replay.archive import ArchiveError, Manifest
    from replay.archive import check as problems_of

    try:
        manifest = Manifest.load(folder)
    except ArchiveError as error:
        raise CommandError(str(error), ExitCode.MISUSE) from None
    wrong = problems_of(folder, manifest)
    result = {
        "folder": str(folder),
        "records": sum(segment.rows for segment in manifest.segments),
        "segments": len(manifest.segments),
        "head": manifest.head,
        "damaged": [
            {"file": each.file, "place": each.place, "problem": str(each)} for each in wrong
        ],
    }
    show(result, as_json, lambda: _check_lines(result))
    if wrong:
        raise typer.Exit(ExitCode.FAILED)


def _check_lines(result: dict[str, Any]) -> list[str]:
    lines = [f"[red]{each['problem']}[/red]" for each in result["damaged"]]
    if not lines:
        lines = [
            f"[green]whole[/green]: {result['records']:,} records in {result['segments']} segments"
        ]
    return [*lines, f"end of the chain {result['head']}"]


def _lines(made: Any) -> list[str]:
    held = f"{made.total_records:,} in {made.total_segments} ({made.bytes / 1e6:.1f} MB)"
    return [
        f"{made.records:,} records in {made.segments} new segments; {made.folder} holds {held}",
        f"end of the chain {made.head}",
    ]
