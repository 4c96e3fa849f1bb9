"""`dlq`: dead letters, what a processor could not take, with the original bytes."""

import base64
from typing import Annotated, Any

import typer

from commands.console import AsJson, CommandError, ExitCode, add, show
from schemas.topics import DEAD_LETTERS, WORKERS, dead_letters


def register(app: typer.Typer) -> None:
    """Add `dlq` with `list`."""
    group = typer.Typer(help=HELP, short_help="Dead letters: list.", no_args_is_help=True)
    group.callback()(_nothing)
    add(group, list_letters, "list")
    app.add_typer(group, name="dlq")


HELP = """\b
  ./quantum dlq list

Dead letters: what a processor could not take, and why; the original bytes are kept.
"""


def _nothing() -> None:
    """A group of its own, though it has one command yet."""


def list_letters(
    processor: Annotated[
        str | None, typer.Option("--processor", "-p", help="Only of this processor.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Dead letters with where they came from and why they could not be taken.

    \b
      ./quantum dlq list
      ./quantum dlq list --processor risk --json
    """
    from commands.system import find

    if processor is not None and processor not in WORKERS:
        raise CommandError(
            f"{processor} is no processor; there are: {', '.join(WORKERS)}", ExitCode.MISUSE
        )
    topics = [dead_letters(processor)] if processor else list(DEAD_LETTERS)
    rows = letters(find().kafka, [topic.name for topic in topics])
    show(rows, as_json, lambda: [_line(row) for row in rows] or "no dead letters")


def letters(bootstrap: str, topics: list[str]) -> list[dict[str, Any]]:
    """Dead letters of topics: processor, place of the original, reason, bytes (base64)."""
    from confluent_kafka import Consumer, TopicPartition

    from replay.log import client_settings, ends, starts
    from runtime.logs import confluent_logger

    until, begin = ends(bootstrap, topics), starts(bootstrap, topics)
    left = {key for key, end in until.items() if begin[key] < end}
    rows: list[dict[str, Any]] = []
    consumer = Consumer(
        {**client_settings(bootstrap), "group.id": "quantum-dlq", "enable.auto.commit": False},
        logger=confluent_logger(),
    )
    try:
        consumer.assign([TopicPartition(key.rpartition("/")[0], 0, begin[key]) for key in left])
        while left:
            for message in consumer.consume(500, 0.1):
                if message.error() is None:
                    rows.append(_letter(message))
                    key = f"{message.topic()}/{message.partition()}"
                    if (message.offset() or 0) + 1 >= until[key]:
                        left.discard(key)
    finally:
        consumer.close()
    return sorted(rows, key=lambda row: (row["written_ms"], row["processor"], row["offset"]))


def _letter(message: Any) -> dict[str, Any]:
    headers = {
        name: (value or b"").decode(errors="replace") for name, value in message.headers() or ()
    }
    raw = message.value()
    return {
        "processor": message.topic().removeprefix("dlq."),
        "offset": message.offset(),
        "written_ms": message.timestamp()[1],
        "topic": headers.get("topic"),
        "partition": headers.get("partition"),
        "original_offset": headers.get("offset"),
        "reason": headers.get("reason"),
        "key": None if message.key() is None else message.key().decode(errors="replace"),
        "bytes": None if raw is None else len(raw),
        "base64": None if raw is None else base64.b64encode(raw).decode(),
    }


def _line(row: dict[str, Any]) -> Any:
    from rich.text import Text

    original = base64.b64decode(row["base64"] or "")[:60]
    place = f"{row['topic']}/{row['partition']}/{row['original_offset']}"
    return Text(
        f"{row['processor']:<10} {row['offset']:>5}  {place}: {row['reason']}\n    {original!r}"
    )
