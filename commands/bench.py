"""`bench`: figures of this machine, each with the machine it was measured on."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from commands.console import AsJson, CommandError, ExitCode, add, show
from runtime.settings import ROOT

WEEK = ROOT / "data" / "market" / "BTCUSDT-1m-20210516-20210522.parquet"
HELP = """\b
  ./quantum bench latency            signal to order at 50 signals/s, beside the floor
  ./quantum bench emergency          how fast an emergency is obeyed behind a full backlog
  ./quantum bench throughput         approved signals a second with durable orders
  ./quantum bench recovery           kill -9 of workers and of the broker, seconds until they work
  ./quantum bench restart            restart of the risk worker with a long log behind it
  ./quantum bench rebuild            tables made anew from a long log, compared and swapped
  ./quantum bench soak               the demo's days again and again: is everything flat?
  ./quantum bench backtest           the peers' yardstick in memory, fast and slow path

Measures a system of its own in `bench/` of the data folder; nothing that trades is touched.
"""


def register(app: typer.Typer) -> None:
    """Add `bench` with its measurements."""
    group = typer.Typer(
        help=HELP, short_help="Figures: latency, throughput, recovery.", no_args_is_help=True
    )
    for command in (latency, emergency, throughput, recovery, restart, rebuild, soak, backtest):
        add(group, command, command.__name__)
    app.add_typer(group, name="bench")


def latency(
    seconds: Annotated[int, typer.Option(min=1, max=3600, help="How long.")] = 120,
    rate: Annotated[int, typer.Option(min=1, max=1000, help="Signals a second.")] = 50,
    accounts: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """Signal to order through Kafka with all workers running, beside two plain relays.

    \b
    Examples:
      ./quantum bench latency
      ./quantum bench latency --seconds 20 --json

    From produce() of a signal to its order record in the probe's consumer, the probe's own clock.
    The floor is the same message through two plain relays over three topics, in the same run.
    """
    from commands.bench_speed import latency as measure
    from commands.bench_world import World, own_system
    from commands.live import FeedPlan

    before = _machine()
    with own_system("latency", FeedPlan()) as system:
        world = World(system, accounts=accounts, symbols=2)
        try:
            world.open()
            figures = measure(world, rate=rate, seconds=seconds)
        finally:
            world.close()
    _show(figures, before, as_json)


def emergency(
    emergencies: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    unread: Annotated[int, typer.Option(min=0, max=300_000, help="Signals before each.")] = 30_000,
    accounts: Annotated[int, typer.Option(min=1, max=1000)] = 16,
    symbols: Annotated[int, typer.Option(min=1, max=50)] = 50,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make the tables anew meanwhile, again and again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """From an emergency to the last request that increases risk, every lower lane saturated.

    \b
    Examples:
      ./quantum bench emergency
      ./quantum bench emergency --emergencies 5 --unread 2000 --json
      ./quantum bench emergency --rebuild

    Times are the broker's: from `emergency.activated` to the last entry sent to the venue for that
    account; `command_…` counts from the command. Accounts are stopped in turn, the others trade on.
    Exit code 1 if a figure says nothing (too little unread, nothing sent before) or one was not
    obeyed.
    """
    from commands.bench_emergency import emergency as measure
    from commands.bench_world import World, own_system
    from commands.live import FeedPlan

    before = _machine()
    with own_system("emergency", FeedPlan()) as system:
        world = World(system, accounts=accounts, symbols=symbols)
        try:
            world.open()
            figures = measure(world, emergencies=emergencies, unread=unread, rebuild=rebuild)
        finally:
            world.close()
    _show(figures, before, as_json)
    if not figures["valid"]:
        raise typer.Exit(ExitCode.FAILED)


def throughput(
    signals: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 8_000,
    parts: Annotated[int, typer.Option(min=1, max=50, help="Signals a record.")] = 20,
    accounts: Annotated[int, typer.Option(min=1, max=5000)] = 400,
    symbols: Annotated[int, typer.Option(min=1, max=50)] = 20,
    as_json: AsJson = False,
) -> None:
    """Approved signals a second whose order records are durable, with all workers running.

    \b
    Examples:
      ./quantum bench throughput
      ./quantum bench throughput --signals 20000 --parts 2 --symbols 50

    All signals are published at once; from the first publish to the last order.
    """
    from commands.bench_speed import throughput as measure
    from commands.bench_world import World, own_system
    from commands.live import FeedPlan

    before = _machine()
    with own_system("throughput", FeedPlan()) as system:
        world = World(system, accounts=accounts, symbols=symbols)
        try:
            world.open()
            figures = measure(world, signals=signals, parts=parts)
        finally:
            world.close()
    _show(figures, before, as_json)


def recovery(
    kills: Annotated[int, typer.Option(min=1, max=100, help="Kills of workers.")] = 10,
    broker: Annotated[bool, typer.Option(help="Kill the broker, too.")] = True,
    as_json: AsJson = False,
) -> None:
    """Seconds from kill -9 until everything works again: workers in turn, then the broker.

    \b
    Examples:
      ./quantum bench recovery
      ./quantum bench recovery --kills 3 --no-broker

    In a fed run of the demo's days. A worker works again when the feed, whose barrier waits for
    every worker, goes on.
    """
    from commands.bench_kills import recovery as measure

    before = _machine()
    figures = measure(kills=kills, broker=broker)
    _show(figures, before, as_json)


def restart(
    events: Annotated[int, typer.Option(min=10_000, max=10_000_000, help="How many.")] = 1_000_000,
    behind: Annotated[int, typer.Option(min=0, help="Events after the snapshots.")] = 50_000,
    times: Annotated[int, typer.Option(min=1, max=50, help="Restarts each way.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Seconds a restart of the risk worker takes with a long log behind it.

    \b
    Examples:
      ./quantum bench restart
      ./quantum bench restart --events 100000 --behind 5000 --times 3 --json

    From kill -9 until its first report, median of several: `seconds` with snapshots that are so
    many events old, `seconds_without` with none. `events` are those it has to read back then.
    """
    from commands.bench_restart import restart as measure

    if behind >= events:
        raise CommandError(
            f"--behind {behind:,} must be less than --events {events:,}", ExitCode.MISUSE
        )
    before = _machine()
    figures = measure(events=events, behind=behind, times=times)
    _show(figures, before, as_json)


def rebuild(
    events: Annotated[int, typer.Option(min=1_000, max=100_000_000, help="How many.")] = 1_000_000,
    as_json: AsJson = False,
) -> None:
    """Records a second of a rebuild: from start to swap, with indexes and comparison.

    \b
    Examples:
      ./quantum bench rebuild
      ./quantum bench rebuild --events 100000 --json

    The log is what two accounts of the demo did, told again for many; the projector makes the live
    tables from it first, which takes longest. Exit code 1 if the tables differ.
    """
    from commands.bench_rebuild import rebuild as measure
    from commands.bench_world import own_system

    before = _machine()
    with own_system("rebuild", None, workers=("projector",)) as system:
        figures = measure(system, events=events)
    _show(figures, before, as_json)
    if not figures["equal"]:
        raise typer.Exit(ExitCode.FAILED)


def soak(
    minutes: Annotated[float, typer.Option(min=0.5, max=1440, help="How long.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Whether memory, open files and lag stay flat while the demo's days are told in a loop.

    \b
    Examples:
      ./quantum bench soak
      ./quantum bench soak --minutes 5 --json

    At full speed, each process looked at every two seconds; least-squares slopes an hour after the
    first quarter, sizes of the topics beside them. Exit code 1 if something grows.
    """
    from commands.bench_soak import soak as measure

    before = _machine()
    figures = measure(minutes)
    _show(figures, before, as_json)
    if not figures["flat"]:
        raise typer.Exit(ExitCode.FAILED)


def backtest(
    path: Annotated[Path, typer.Argument(help="1 m candles, Parquet or CSV.")] = WEEK,
    runs: Annotated[int, typer.Option(min=1, max=100, help="Median of so many.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Candles a second of a backtest: a bracketed long every hundred minutes, all monitors on.

    \b
    Examples:
      ./quantum bench backtest
      ./quantum bench backtest BTCUSDT-1m-20230101-20231231.parquet --json

    Both paths in turn; they must write the same events. `benchmarks/backtest.py` runs the peers
    beside them.
    """
    from commands.bench_backtest import backtest as measure

    before = _machine()
    _show(measure(path, runs=runs), before, as_json)


def _machine() -> dict[str, Any]:
    from commands.bench_machine import machine

    return machine()


def _show(figures: dict[str, Any], before: dict[str, Any], as_json: bool) -> None:
    """Figures and machine; the load average is that of the beginning and of the end."""
    after = _machine()["load_average"]
    machine = before | {"load_average_after": after}
    show(figures | {"machine": machine}, as_json, lambda: _table(figures, machine))


def _table(figures: dict[str, Any], machine: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in {**figures, **machine}.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            continue  # one line an event is for --json
        if isinstance(value, dict) and any(isinstance(v, dict) for v in value.values()):
            table.add_row(name, "\n".join(f"{k}: {_words(v)}" for k, v in value.items()))
            continue
        words = [f"{k} {v}" for k, v in value.items()] if isinstance(value, dict) else [str(value)]
        table.add_row(name, ", ".join(words) or "none")
    return table


def _words(value: object) -> str:
    pairs = value.items() if isinstance(value, dict) else [("", value)]
    return ", ".join(f"{k} {v}".strip() for k, v in pairs)
