"""`verify`: every recorded decision taken again from the log, compared byte for byte."""

from typing import Annotated, Any

import typer
from rich.text import Text

from commands.console import AsJson, add, say, show
from commands.logs import Archive, RunName, opened

SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add `verify`."""
    add(app, verify, "verify")


def verify(
    *,
    run: RunName = None,
    archive: Archive = None,
    processor: Annotated[
        list[str] | None, typer.Option("--processor", help="Only this one (repeatable).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide everything again that the log records, and compare byte for byte.

    \b
      ./quantum verify                   the running system
      ./quantum verify --run last        a finished run
      ./quantum verify --archive DIR     an archive, its digests first

    Each decision's inputs are folded up to its basis, the same decider decides, and the canonical
    bytes are compared. Exit code 1 on any difference; docs/verify.md says how to read it.
    """
    from commands.console import CommandError, ExitCode
    from domain.processors import PROCESSORS
    from replay.verify import verify as verified

    unknown = [name for name in processor or () if name not in PROCESSORS]
    if unknown:
        raise CommandError(
            f"{unknown[0]} decides nothing; there are: {', '.join(PROCESSORS)}", ExitCode.MISUSE
        )
    with opened(archive=archive, run=run) as log:
        if not as_json:
            say(f"deciding again what {log.name} records")
        found = verified(log, processors=tuple(processor or PROCESSORS))
    result = found.as_json()
    show(result, as_json, lambda: lines(result))
    if found.different:
        raise typer.Exit(ExitCode.FAILED)


def lines(result: dict[str, Any]) -> list[Text]:
    """What was found, for people: the first differences field by field, then the sum."""
    from replay.verify_findings import CLASSES

    out = [line for each in result["details"][:SHOWN] for line in _difference(each)]
    more = len(result["details"]) - SHOWN
    if more > 0:
        out.append(Text(f"... and {more} more: --json lists them", style="dim"))
    for name, count in result["classes"].items():
        out.append(Text(f"{count:,} {name}: {CLASSES[name]}", style="red"))
    others = {b: n for b, n in result["builds"].items() if b != result["build"]}
    if others:
        builds = ", ".join(f"{build} ({n:,})" for build, n in others.items())
        out.append(Text(f"this build is {result['build']}; decided by others: {builds}"))
    if result["waiting"]:
        out.append(Text(f"{result['waiting']:,} requests behind the last decisions wait"))
    out.append(
        Text(
            f"{result['decisions']:,} decisions of {result['sources']} sources decided again: "
            f"{result['identical']:,} identical, {result['different']:,} different; "
            f"{result['nothing']:,} times nothing was to be decided, as recorded "
            f"({result['records']:,} records, {result['seconds']:.1f} s)",
            style="red" if result["different"] else "green",
        )
    )
    return out


def _difference(found: dict[str, Any]) -> list[Text]:
    head = Text()
    head.append(f"{found['class']}", style="bold red")
    head.append(f"  {found['kind']}  {found['source']}  {found['place']}")
    head.append(
        f"  {found['type'] or ''} {found['account'] or ''} {found['id'] or ''}", style="dim"
    )
    out = [head, Text(f"    {found['note']}")]
    for each in found["fields"]:
        line = Text(f"    {each['field']}: ")
        line.append(f"{each['recorded']!r}", style="red")
        line.append(" recorded, ")
        line.append(f"{each['again']!r}", style="green")
        line.append(" decided again")
        out.append(line)
    return out
