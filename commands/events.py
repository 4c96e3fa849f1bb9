"""`events`: records of the log, one a line."""

import re
import sys
from typing import Annotated

import typer

from commands.console import CommandError, ExitCode, OneAccount, add, say
from schemas.topics import EVENT_TOPICS

_SPAN = re.compile(r"^(\d+)(s|m|h|d)$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME = re.compile(r"^\d{4}-\d\d-\d\d(T\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?Z?)?$")


def register(app: typer.Typer) -> None:
    """Add `events`."""
    add(app, events, "events")


def events(
    *,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", "-t", help="Only this topic (repeatable).")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", help="Only types that contain this text.")
    ] = None,
    account: OneAccount = None,
    since: Annotated[
        str | None,
        typer.Option(help="Event time (2021-05-19T12:00) or how long ago it was written (5m)."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also invalid records, fences and what does not decode.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One record a line, as in the log, and nothing else.")
    ] = False,
) -> None:
    """Records of the log in append order: one line each, or with --json as they stand in the log.

    \b
      ./quantum events --topic trade.order
      ./quantum events --type judged --account main --since 2021-05-19T12:00
      ./quantum events --follow --type emergency
      ./quantum events --json --since 5m > five-minutes.jsonl
    """
    from commands.system import find
    from replay.log import read_kafka
    from replay.why_lines import describe
    from schemas.topics import TOPICS

    unknown = [name for name in topic or () if name not in TOPICS]
    if unknown:
        raise CommandError(
            f"{unknown[0]} is no topic; there are: {', '.join(TOPICS)}", ExitCode.MISUSE
        )
    written_ms, event_time = moment(since)
    wanted = topic or [t.name for t in EVENT_TOPICS]
    for record in read_kafka(find().kafka, wanted, follow=follow, since=written_ms):
        event = record.event
        if not record.valid and not every:
            if event is None:
                say(f"{record.place}: {record.error}")
            continue
        if event is None:
            sys.stdout.write(f"{record.place} does not decode: {record.error}\n")
            continue
        if (kind and kind not in event.type) or event.time < event_time:
            continue
        if account and event.partitionkey != account:
            continue
        if as_json:
            sys.stdout.write((record.raw or b"").decode() + "\n")
        else:
            items = getattr(getattr(event, "data", None), "items", ())
            line, _ = describe(event, items if isinstance(items, tuple) else ())
            more = f" (+{len(items) - 1})" if isinstance(items, tuple) and len(items) > 1 else ""
            mark = "" if record.valid else " [not valid]"
            sys.stdout.write(
                f"{event.time[:23]}  {event.subject:<16} {line}{more}{mark}  {event.id}\n"
            )
        if follow:
            sys.stdout.flush()


def moment(since: str | None) -> tuple[int | None, str]:
    """(append time in ms or None, event time) from which on records are wanted.

    `5m`, `2h`, `1d`: written that long ago or later; a date or time: of that event time or later.
    """
    import time

    if since is None:
        return None, ""
    if span := _SPAN.match(since):
        seconds = int(span[1]) * _SECONDS[span[2]]
        return int((time.time() - seconds) * 1000), ""
    if _TIME.match(since):
        return None, since.removesuffix("Z")
    raise CommandError(
        f"--since {since} is neither a time (2021-05-19T12:00) nor a span (30s, 5m, 2h, 1d)",
        ExitCode.MISUSE,
    )
