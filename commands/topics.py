"""`topics`: what topics there are, and making the broker agree with the code."""

from typing import Annotated, Any

import typer
from rich.table import Table

from commands.console import AsJson, CommandError, ExitCode, add, show
from schemas.topics import PARTITIONS_EMBEDDED, TOPICS

Partitions = Annotated[
    int,
    typer.Option("--partitions", min=1, max=10_000, help="Partitions of account-keyed topics."),
]


def register(app: typer.Typer) -> None:
    """Add `topics` with `list`, `diff`, `apply`."""
    group = typer.Typer(
        help=HELP,
        short_help="Topics: list, diff, apply.",
        invoke_without_command=True,
        no_args_is_help=False,
    )
    group.callback()(_default)
    add(group, list_topics, "list")
    add(group, diff, "diff")
    add(group, apply, "apply")
    app.add_typer(group, name="topics")


HELP = """\b
  ./quantum topics                   what topics there are, and what is in them
  ./quantum topics diff              where the broker differs from the code
  ./quantum topics apply             make it agree; a partition count is never changed

Topics of the log.
"""


def _default(context: typer.Context, as_json: AsJson = False) -> None:
    """Without a subcommand: list."""
    if context.invoked_subcommand is None:
        list_topics(as_json)


def list_topics(as_json: AsJson = False) -> None:
    """Every topic with its lane, partitions, records and purpose."""
    from commands.system import find
    from replay.log import ends, starts

    bootstrap = find().kafka
    until, begin = ends(bootstrap), starts(bootstrap, TOPICS)
    rows: list[dict[str, Any]] = []
    for name, topic in TOPICS.items():
        keys = [key for key in until if key.rpartition("/")[0] == name]
        rows.append(
            {
                "topic": name,
                "lane": topic.lane.name.lower(),
                "partitions": len(keys),
                "records": sum(until[key] - begin.get(key, 0) for key in keys),
                "retention_ms": topic.retention_ms,
                "people_may_publish": topic.people,
                "purpose": topic.purpose,
            }
        )
    show(rows, as_json, lambda: _table(rows))


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("topic", "lane", "partitions", "records", "purpose"):
        table.add_column(name, justify="right" if name in ("partitions", "records") else "left")
    for row in rows:
        people = " (people may publish)" if row["people_may_publish"] else ""
        there = f"{row['partitions']}" if row["partitions"] else "[red]missing[/red]"
        table.add_row(
            row["topic"], row["lane"], there, f"{row['records']:,}", row["purpose"] + people
        )
    return table


def diff(accounts: Partitions = PARTITIONS_EMBEDDED, as_json: AsJson = False) -> None:
    """Where the broker differs from the code. Exit code 1 if it does.

    \b
      ./quantum topics diff
      ./quantum topics diff --partitions 64
    """
    from commands import topics_apply
    from commands.system import find

    found = topics_apply.diff(find().kafka, accounts)
    rows = [_difference(each) for each in found]
    show(rows, as_json, lambda: _lines(found, "the broker agrees with the code"))
    if found:
        raise typer.Exit(ExitCode.FAILED)


def apply(accounts: Partitions = PARTITIONS_EMBEDDED, as_json: AsJson = False) -> None:
    """Create what is missing, set what differs; never changes a partition count.

    \b
      ./quantum topics apply
    """
    from commands import topics_apply
    from commands.system import find

    try:
        done = topics_apply.apply(find().kafka, accounts)
    except (topics_apply.PartitionCountError, topics_apply.TooFewBrokersError) as error:
        raise CommandError(str(error)) from None
    rows = [_difference(each) for each in done]
    show(rows, as_json, lambda: _lines(done, f"nothing to do: all {len(TOPICS)} topics agree"))


def _difference(each: Any) -> dict[str, Any]:
    return {
        "topic": each.topic,
        "what": each.what,
        "found": each.found,
        "wanted": each.wanted,
        "action": each.action,
    }


def _lines(found: list[Any], otherwise: str) -> list[str]:
    return [
        f"{each.topic}: {each.what}: {each.found or 'nothing'} -> {each.wanted} ({each.action})"
        for each in found
    ] or [otherwise]
