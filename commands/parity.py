"""`parity`: a live run against a backtest of its input."""

from typing import Annotated, Any

import typer
from rich.text import Text

from commands.console import AsJson, ExitCode, add, say, show
from commands.logs import Archive, RunName, opened

SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add `parity`."""
    add(app, parity, "parity")


def parity(
    *,
    archive: Archive = None,
    run: RunName = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="How many divergences to show.")
    ] = SHOWN,
    as_json: AsJson = False,
) -> None:
    """How much of a run a backtest of its input repeats, and why not the rest.

    \b
      ./quantum parity
      ./quantum parity --run last
      ./quantum parity --archive keep/demo --json

    Exit code 1 if a divergence stays unexplained.
    """
    from replay.parity import parity as result_of
    from runtime.build import code_digest

    with opened(archive=archive, run=run) as log:
        if not as_json:
            say(f"running the input of {log.name} as a backtest ...")
        result = result_of(log, build=code_digest())
        data = {"log": log.name, **result.as_json(limit)}
    show(data, as_json, lambda: _lines(data))
    if not data["explained"]:
        raise typer.Exit(ExitCode.FAILED)


def _lines(data: dict[str, Any]) -> list[Any]:
    style = "green" if not data["different"] else "bold" if data["explained"] else "red"
    out: list[Any] = [
        Text(
            f"{data['identical']:,} of {data['identical'] + data['different']:,} decisions are "
            f"identical ({data['identical_pct']:.4f} %)",
            style=style,
        )
    ]
    if data["different"]:
        classes = ", ".join(f"{name} {count}" for name, count in data["classes"].items())
        out.append(f"{data['different']} diverge: {classes}")
    out += [
        f"by hand: {each['type']} on {each['account']}, {each['time'][:19]}"
        for each in data["interventions"]
    ]
    out += [
        f"{name}: P&L live {live}, backtest {data['pnl_backtest'][name]}"
        for name, live in data["pnl_live"].items()
    ]
    out += [_divergence(each) for each in data["divergences"]]
    more = data["different"] - len(data["divergences"])
    if more > 0:
        out.append(f"... and {more:,} more (--limit)")
    return out


def _divergence(each: dict[str, Any]) -> Text:
    out = Text(f"{each['time'][:19].replace('T', ' ')}  {each['account']}  ", style="cyan")
    out.append(each["class"], style="red" if each["class"] == "unexplained" else "bold")
    out.append(f"  {each['kind']}  ")
    out.append(each["id"], style="dim")
    if each["field"]:
        out.append(f"\n    {each['field']}: live {each['live']}, backtest {each['backtest']}")
    for name in ("line_live", "line_backtest"):
        if each[name]:
            out.append(f"\n    {name.removeprefix('line_')}: {each[name]}")
    out.append(f"\n    because {each['because']}", style="dim")
    return out
