"""`events`: records of the log, one a line."""

import re
import sys
from typing import Annotated

import typer

from commands.console import CommandError, ExitCode, OneAccount, add, say
from commands.logs import Archive, RunName, opened
from commands.system import find
from commands.values import event_time
from replay.log import LogRecord, read_kafka
from replay.why_lines import describe
from schemas.envelope import Envelope
from schemas.topics import EVENT_TOPICS, TOPICS

_SPAN = re.compile(r"^(\d+)(s|m|h|d)$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


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
    run: RunName = None,
    archive: Archive = None,
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
      ./quantum events --archive DIR --topic control
    """
    unknown = [name for name in topic or () if name not in TOPICS]
    if unknown:
        raise CommandError(
            f"{unknown[0]} is no topic; there are: {', '.join(TOPICS)}", ExitCode.MISUSE
        )
    written_ms, event_time = moment(since)
    wanted = topic or [t.name for t in EVENT_TOPICS]
    chosen = _Chosen(kind, account, event_time, every=every, as_json=as_json)
    if follow:
        if run is not None or archive is not None:
            raise CommandError(
                "--follow goes on with a running system: neither --run nor --archive with it",
                ExitCode.MISUSE,
            )
        for record in read_kafka(find().kafka, wanted, follow=True, since=written_ms):
            chosen.show(record)
            sys.stdout.flush()
    with opened(archive=archive, run=run) as log:
        for record in log.read(wanted, since=written_ms):
            chosen.show(record)


class _Chosen:
    """Prints the records that were asked for."""

    def __init__(
        self, kind: str | None, account: str | None, since: str, *, every: bool, as_json: bool
    ) -> None:
        self.kind, self.account, self.since = kind, account, since
        self.every, self.as_json = every, as_json

    def show(self, record: LogRecord) -> None:
        """Print it, or not."""
        event = record.event
        if not record.valid and not self.every:
            if event is None:
                say(f"{record.place}: {record.error}")
        elif event is None:
            sys.stdout.write(f"{record.place} does not decode: {record.error}\n")
        elif self._wants(event):
            as_it_stands = (record.raw or b"").decode() if self.as_json else ""
            sys.stdout.write((as_it_stands or _line(event, valid=record.valid)) + "\n")

    def _wants(self, event: Envelope) -> bool:
        if (self.kind and self.kind not in event.type) or event.time < self.since:
            return False
        return self.account in (None, event.partitionkey)


def _line(event: Envelope, *, valid: bool) -> str:
    items = getattr(getattr(event, "data", None), "items", ())
    line, _ = describe(event, items if isinstance(items, tuple) else ())
    more = f" (+{len(items) - 1})" if isinstance(items, tuple) and len(items) > 1 else ""
    mark = "" if valid else " [not valid]"
    return f"{event.time[:23]}  {event.subject:<16} {line}{more}{mark}  {event.id}"


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
    try:
        return None, event_time("--since", since)
    except CommandError:
        raise CommandError(
            f"--since {since} is neither a time (2021-05-19T12:00) nor a span (30s, 5m, 2h, 1d)",
            ExitCode.MISUSE,
        ) from None
