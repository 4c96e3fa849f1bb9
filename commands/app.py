"""The `quantum` command line: one module a command or group.

A module has `register(app)`, or a function of the command's name. Only the module of the command
that was asked for is imported, so small commands start fast; `--help` imports none.
"""

from importlib import import_module
from importlib.util import find_spec

import typer

from commands.console import Commands, add

COMMANDS = {
    "demo": (
        "demo",
        "Trade the crash of 17-19 May 2021 on a real Kafka and a real Postgres, and report.",
    ),
    "backtest": ("backtest", "Run the deciders over candles or trades, in memory, and report."),
    "up": ("up", "Start the system: Kafka, Postgres, all workers, and a feed."),
    "down": ("up", "Stop the system that runs in this checkout, and everything it started."),
    "status": ("status", "How it goes: workers, lag, accounts, addresses."),
    "doctor": (
        "doctor",
        (
            "Check each link: broker, topics, Postgres, workers, lag, dead letters; "
            "the loop with --loop."
        ),
    ),
    "send": ("send", "Publish a command, signal or intent; with --wait also its answer."),
    "events": (
        "events",
        (
            "Records of the log in append order: one line each, or with --json "
            "as they stand in the log."
        ),
    ),
    "why": (
        "why",
        "Why something happened, or did not: the chain from market data to it, with every check.",
    ),
    "positions": ("positions", "Open positions with entry, mark, unrealised P&L, stop and target."),
    "close": ("verbs", "Close the position in a symbol at market and cancel the entries in it."),
    "cancel": (
        "verbs",
        "Cancel entry orders: all, those in a symbol, or one by its id or client order id.",
    ),
    "pause": ("verbs", "Let no entry in a symbol through, until it is resumed."),
    "resume": ("verbs", "Let entries in a paused symbol through again."),
    "reduce": (
        "verbs",
        "Sell a share of every open position at market, floored to the venue's step.",
    ),
    "flatten": ("verbs", "Close every position and cancel every entry, once; nothing is latched."),
    "rebuild": ("rebuild", "Make the Postgres tables anew from the log, without downtime."),
    "state": (
        "state",
        "Positions, orders, policy, trading state and equity as of a time or an event.",
    ),
    "drill": (
        "drill",
        (
            "Rehearse the emergency stop on the real services: how long each step took, "
            "what was blocked."
        ),
    ),
    "verify": (
        "verify",
        "Decide everything again that the log records, and compare byte for byte.",
    ),
    "simulate": (
        "simulate",
        "Run the whole system in memory with faults drawn from seeds, and check every promise.",
    ),
    "archive": (
        "archive",
        "Copy all topics into Parquet files, one folder a partition; again: only what is new.",
    ),
    "whatif": ("whatif", "What a run would have decided and earned under another policy."),
    "parity": (
        "parity",
        "How much of a run a backtest of its input repeats, and why not the rest.",
    ),
    "statement": (
        "statement",
        "Daily P&L (UTC), fills, fees, funding, deposits and withdrawals of each account.",
    ),
    "topics": ("topics", "Topics: list, diff, apply."),
    "policy": ("policy", "Policies: show, set, history, diff, rollback."),
    "emergency": ("emergency", "Emergency stop: stop, reset, status."),
    "halt": ("halt", "Halt at the gateway, at once, also without Kafka and Postgres."),
    "dlq": ("dlq", "Dead letters: list, show, replay, discard."),
    "bench": ("bench", "Figures: latency, throughput, recovery."),
}
"""Module and line of each command, in the order in which `--help` lists them. The line is that of
its docstring, written down once more so that a list of all commands imports none of them."""

HELP = """\b
  ./quantum demo             the crash of 19 May 2021, traded live; then the report
  ./quantum backtest PATH    the same deciders over candles or trades, in memory
  ./quantum up --detach      start broker, database and workers
  ./quantum status           how it goes
  ./quantum why ID           why something happened, or did not
  ./quantum test             everything it takes to run the tests, and the tests

An event-sourced trading system: Kafka is the authority, every decision can be explained.

Every command has --json.
Exit codes: 0 ok, 1 failed, 2 misuse, 3 not running, 4 refused, 130 interrupted.
"""


def create(only: str | None = None, *, names_only: bool = False) -> typer.Typer:
    """The command line with every command there is, or with `only` one; `names_only`: with every
    name and its line and nothing behind them: that is all a list of them takes."""
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
    for command, (name, line) in COMMANDS.items():
        if only not in (None, command) or find_spec(f"commands.{name}") is None:
            continue
        if names_only:
            made.command(command, help=line)(_root)
        else:
            module = import_module(f"commands.{name}")
            if hasattr(module, "register"):
                module.register(made)
            else:
                add(made, getattr(module, command), command)
    return made


def _root() -> None:
    """Nothing is done before the command itself."""
