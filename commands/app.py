"""The `quantum` command line: one module a command or group.

A module has `register(app)`, or a function of the command's name. Only the module of the command
that was asked for is imported, so small commands start fast; `--help` imports them all.
"""

from importlib import import_module
from importlib.util import find_spec

import typer

from commands.console import Commands, add

MODULES = {
    "demo": "demo",
    "backtest": "backtest",
    "up": "up",
    "down": "up",
    "status": "status",
    "doctor": "doctor",
    "send": "send",
    "events": "events",
    "why": "why",
    "positions": "positions",
    "close": "verbs",
    "cancel": "verbs",
    "pause": "verbs",
    "resume": "verbs",
    "reduce": "verbs",
    "flatten": "verbs",
    "rebuild": "rebuild",
    "state": "state",
    "drill": "drill",
    "verify": "verify",
    "simulate": "simulate",
    "archive": "archive",
    "whatif": "whatif",
    "parity": "parity",
    "statement": "statement",
    "topics": "topics",
    "policy": "policy",
    "emergency": "emergency",
    "halt": "halt",
    "dlq": "dlq",
    "bench": "bench",
}
"""Module of each command, in the order in which `--help` lists them."""

HELP = """\b
  ./quantum demo             the crash of 19 May 2021, traded live; then the report
  ./quantum backtest PATH    the same deciders over candles or trades, in memory
  ./quantum up --detach      start broker, database and workers
  ./quantum status           how it goes
  ./quantum why ID           why something happened, or did not
  ./quantum test             everything it takes to run the tests, and the tests

An event-sourced trading system: Kafka is the authority, every decision can be explained.

Every command has --json. Exit codes: 0 ok, 1 failed, 2 misuse, 3 not running, 4 refused.
"""


def create(only: str | None = None, *, names_only: bool = False) -> typer.Typer:
    """The command line with every command there is, or with `only` one; `names_only`: with every
    name and nothing behind them, which is all that completing a command's name takes."""
    made = typer.Typer(
        cls=Commands,
        help=HELP,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_root)
    for command, name in MODULES.items():
        if only not in (None, command) or find_spec(f"commands.{name}") is None:
            continue
        if names_only:
            made.command(command, help=f"see ./quantum {command} --help")(_root)
        else:
            module = import_module(f"commands.{name}")
            if hasattr(module, "register"):
                module.register(made)
            else:
                add(made, getattr(module, command), command)
    return made


def _root() -> None:
    """Nothing is done before the command itself."""
