"""`dlq`: dead letters, what a processor could not take, with the original bytes (LOG-2)."""

import base64
from typing import Annotated, Any

import typer

from commands.console import AsJson, CommandError, ExitCode, Operator, Reason, add, show
from schemas.topics import DEAD_LETTERS, WORKERS, dead_letters

HELP = """\b
  ./quantum dlq list
  ./quantum dlq show risk/0
  ./quantum dlq replay risk/0 --operator ann --reason "the schema knows it now"
  ./quantum dlq discard risk/0 --operator ann --reason "a test of mine"

Dead letters: what a processor could not take, and why; the original bytes are kept.
"""
Letter = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="processor/number, or the original's topic/partition/offset."
    ),
]


def register(app: typer.Typer) -> None:
    """Add `dlq` with `list`, `show`, `replay`, `discard`."""
    group = typer.Typer(
        help=HELP, short_help="Dead letters: list, show, replay, discard.", no_args_is_help=True
    )
    add(group, list_letters, "list")
    add(group, show_letter, "show")
    add(group, replay, "replay")
    add(group, discard, "discard")
    app.add_typer(group, name="dlq")


def list_letters(
    processor: Annotated[
        str | None, typer.Option("--processor", "-p", help="Only of this processor.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Dead letters with where they came from, why they could not be taken, what was done about it.

    \b
      ./quantum dlq list
      ./quantum dlq list --processor risk --json
    """
    from commands.letters import letters
    from commands.system import find

    if processor is not None and processor not in WORKERS:
        raise CommandError(
            f"{processor} is no processor; there are: {', '.join(WORKERS)}", ExitCode.MISUSE
        )
    topics = [dead_letters(processor)] if processor else list(DEAD_LETTERS)
    rows = letters(find().kafka, [topic.name for topic in topics])
    show(rows, as_json, lambda: [_line(row) for row in rows] or "no dead letters")


def show_letter(letter: Letter, as_json: AsJson = False) -> None:
    """One dead letter: its place, reason, state, and the original bytes; and what this build says.

    \b
      ./quantum dlq show risk/0
      ./quantum dlq show trade.signal.v5/7/12 --json
    """
    from commands.letters import find_letter, verdict
    from commands.system import find

    row = find_letter(find().kafka, letter)
    row["now"] = verdict(row)
    show(row, as_json, lambda: _page(row))


def replay(*, letter: Letter, operator: Operator, reason: Reason, as_json: AsJson = False) -> None:
    """Publish a dead letter anew on its original topic, and note who did it and why.

    \b
      ./quantum dlq replay risk/0 --operator ann --reason "the schema knows it now"
      ./quantum dlq replay trade.signal.v5/7/12 --operator ann --reason "key was wrong"

    The bytes stay as they are, unless its id was folded before (a decision failed on it), or it
    came without one: then it gets a new id, always the same one, so that a second replay is not
    acted on twice. A wrong message key is put right. Refused (exit code 4) before anything is
    published: what this build cannot take either, records of workers and of the feed, what was
    settled already, and who is no operator of the account.
    """
    from commands.letters import find_letter, publish_anew, settle
    from commands.system import find

    bootstrap = find().kafka
    row = find_letter(bootstrap, letter)
    done = publish_anew(bootstrap, row, operator, reason)
    settle(bootstrap, row, "replayed", operator, reason, replayed_as=done["place"])
    data = {"letter": row["id"], **done}
    words = "under a new id" if done["new_id"] else "byte for byte"
    show(
        data,
        as_json,
        lambda: f"{row['id']} stands at {done['place']} again, {words}: {done['id'] or 'no id'}",
    )


def discard(*, letter: Letter, operator: Operator, reason: Reason, as_json: AsJson = False) -> None:
    """Note that nothing is to be done about a dead letter: who says so, and why.

    \b
      ./quantum dlq discard risk/0 --operator ann --reason "a test of mine"

    The letter stays where it is and `dlq list` shows it as discarded.
    """
    from commands.letters import find_letter, settle
    from commands.system import find

    bootstrap = find().kafka
    row = find_letter(bootstrap, letter)
    event = settle(bootstrap, row, "discarded", operator, reason)
    data = {"letter": row["id"], "event": event.id, "operator": operator, "reason": reason}
    show(data, as_json, lambda: f"{row['id']} is discarded by {operator}: {reason}")


# ---------------------------------------------------------------- telling


def _line(row: dict[str, Any]) -> Any:
    from rich.text import Text

    original = base64.b64decode(row["base64"] or "")[:60]
    return Text(
        f"{row['id']:<14} {row['state']:<9} {row['place']}: {row['reason']}\n    {original!r}"
    )


def _page(row: dict[str, Any]) -> list[Any]:
    from rich.text import Text

    settled = row["settled"]
    state = row["state"]
    if settled:
        where = f" as {settled['replayed_as']}" if settled["replayed_as"] else ""
        state = f"{state}{where} by {settled['operator']}: {settled['reason']}"
    original = base64.b64decode(row["base64"] or "")
    try:
        shown = original.decode()
    except UnicodeDecodeError:
        shown = original.hex(" ")
    lines = [
        f"letter   {row['id']}",
        f"from     {row['place']}, key {row['key']!r}",
        f"reason   {row['reason']}",
        f"state    {state}",
        f"now      {row['now']}",
        f"bytes    {row['bytes']}",
        shown if row["base64"] is not None else "no value",
    ]
    return [Text(line) for line in lines]
