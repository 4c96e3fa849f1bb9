"""`why`: the causal chain of an event, a part of it, or an order."""

from typing import Annotated, Any

import typer
from rich.text import Text

from commands.console import AsJson, CommandError, add, say, show
from commands.logs import Archive, RunName, opened


def register(app: typer.Typer) -> None:
    """Add `why`."""
    add(app, why, "why")


def why(
    *,
    wanted: Annotated[
        str, typer.Argument(metavar="ID", help="Id of a record, of a part, or a client order id.")
    ],
    brief: Annotated[bool, typer.Option("--brief", help="One line an event.")] = False,
    run: RunName = None,
    archive: Archive = None,
    as_json: AsJson = False,
) -> None:
    """Why something happened, or did not: the chain from market data to it, with every check.

    \b
      ./quantum why 5f0c2d1e-...         an order, a fill, a rejected signal, a closed trade
      ./quantum why qt1f2e3d4c5b6a...    the order with this client order id
    """
    from replay.why import UnknownIdError
    from replay.why import why as chain_of

    with opened(archive=archive, run=run) as log:
        if not as_json:
            say("reading the log ...")
        try:
            chain = chain_of(log.read(), wanted)
        except UnknownIdError as error:
            raise CommandError(str(error)) from None
    show(chain.as_json(), as_json, lambda: [_lines(link, brief) for link in chain.links])


def _lines(link: Any, brief: bool) -> Text:
    out = Text()
    out.append(link.time[:23].replace("T", " "), style="cyan")
    out.append(f"  {link.type}", style="bold")
    out.append(f"  {link.id}\n", style="dim")
    style = "red" if "reject" in link.line or "refused" in link.line else ""
    out.append(f"    {link.line}", style=style)
    if not brief:
        for detail in link.details:
            out.append(f"\n      {detail}", style="red" if detail.startswith("failed") else "dim")
    return out
