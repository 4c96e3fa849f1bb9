"""`up` and `down`: a running system in this checkout, until it is told to stop."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer

from commands import halt
from commands.console import AsJson, CommandError, ExitCode, print_json, say
from commands.live import FeedPlan, LiveSystem
from gateways.candles import CandleFileError, read_candles
from runtime import logs, processes, runs
from runtime.settings import Settings

POLL_S = 0.1
START_S = 120.0
STOP_S = 60.0


def up(
    feed: Annotated[
        list[Path] | None, typer.Option("--feed", help="Candle files to feed, one a symbol.")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="First day or minute (UTC).")] = None,
    end: Annotated[str | None, typer.Option("--to", help="End of the feed (exclusive).")] = None,
    speed: Annotated[str, typer.Option(help="Event seconds a second, or max.")] = "max",
    detach: Annotated[bool, typer.Option("--detach", help="Return when it runs.")] = False,
    run: Annotated[str | None, typer.Option("--run", help="Reopen a run: a name, or last.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on trading where a run (--run, or the last) ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start the system: Kafka, Postgres, all workers, and a feed.

    \b
    Examples:
      ./quantum up                                   a system with a live clock and no market
      ./quantum up --detach                          the same, in the background
      ./quantum up --feed a.parquet --feed b.parquet --from 2021-05-19 --to 2021-05-20 --speed 60
      ./quantum up --run last                        look into a finished run again
      ./quantum up --resume                          go on with a run that was cut off
    """
    reopened = runs.open_run(run or "last") if run or resume else None
    if reopened and (feed or start or end):
        raise CommandError(
            f"run {reopened.name} was fed already, and --feed, --from, --to are of new runs: "
            "--resume goes on with the feed it had",
            ExitCode.MISUSE,
        )
    plan: FeedPlan | None = None
    if reopened is None:
        plan = feed_plan(feed or [], start, end, speed)
        tell_cut_off()
    elif resume:
        plan = _plan_again(reopened)
    if detach:
        _detached(as_json)
        return
    with LiveSystem(details={"command": "up"}, reopen=reopened) as system:
        if resume:
            system.run.make_last()
        logs.configure("supervisor", system.run.logs)
        system.start(plan)
        _announce(system, as_json)
        while not system.interrupted:
            system.check()
            if plan is not None and (error := system.feed_error()):
                raise CommandError(f"the feed stopped, and everything with it: {error}")
            time.sleep(POLL_S)
        say("stopping")


def _plan_again(run: runs.Run) -> FeedPlan:
    """What a run's feed was told; it goes on after what the log has. CommandError without one."""
    plan = FeedPlan.of(run)
    if plan is None:
        raise CommandError(
            f"run {run.name} does not say what it was fed with, so it cannot go on: "
            f"./quantum up --run {run.name} opens it to look into it",
            ExitCode.MISUSE,
        )
    paths = takewhile(lambda word: not word.startswith("--"), plan.arguments)
    if missing := [path for path in paths if not Path(path).exists()]:
        raise CommandError(
            f"run {run.name} was fed with {missing[0]}, which is not there: bring it back",
            ExitCode.MISUSE,
        )
    return plan


def tell_cut_off() -> None:
    """Name the runs that were cut off: a new one knows nothing of what they hold."""
    for run in runs.all_cut_off():
        say(
            f"run {run.name} was cut off, and this is another one: what that one holds it keeps; "
            f"./quantum up --run {run.name} --resume goes on with it"
        )


def feed_plan(paths: list[Path], start: str | None, end: str | None, speed: str) -> FeedPlan:
    """The feed's arguments; CommandError for what it would refuse anyway."""
    if not paths:
        return FeedPlan()
    if start is None or end is None:
        raise CommandError("--feed needs --from and --to", ExitCode.MISUSE)
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise CommandError(f"there is no file {missing[0]}", ExitCode.MISUSE)
    for path in paths:
        try:
            read_candles(path)
        except CandleFileError as error:
            raise CommandError(str(error), ExitCode.MISUSE) from None
    arguments = [*(str(p.absolute()) for p in paths), "--from", start, "--to", end]
    return FeedPlan((*arguments, *speed_arguments(speed)))


def speed_arguments(speed: str) -> tuple[str, ...]:
    """`--speed` for the feed; nothing for max. CommandError for what is no positive number."""
    if speed == "max":
        return ()
    try:
        if float(speed) > 0:
            return ("--speed", speed)
    except ValueError:
        pass
    raise CommandError(f"--speed {speed}: a positive number, or max", ExitCode.MISUSE)


def _announce(system: LiveSystem, as_json: bool) -> None:
    if as_json:
        print_json({"run": system.run.name, "kafka": system.kafka, "postgres": system.postgres})
        sys.stdout.flush()
    say(f"running: run {system.run.name}, Kafka {system.kafka}, Postgres {system.postgres}")
    say("look: ./quantum status, ./quantum events --follow; stop with Ctrl-C or ./quantum down")
    halt.warn()


def _detached(as_json: bool) -> None:
    arguments = [a for a in sys.argv[1:] if a not in ("--detach", "--json")]
    with runs.lock():  # or it says, before anything starts, why nothing can run here
        log = Settings.load().data / "up.log"
        output = log.open("ab")
    with output:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "commands", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        run = _awaited(child, log)
    except KeyboardInterrupt:
        _call_off(child, log)
        raise CommandError("interrupted; nothing runs", ExitCode.INTERRUPTED) from None
    if as_json:
        record = run.record
        print_json({"run": run.name, "kafka": record.kafka, "postgres": record.postgres})
    say(f"running in the background: run {run.name}; stop it with ./quantum down")
    halt.warn()


def _awaited(child: "subprocess.Popen[bytes]", log: Path) -> runs.Run:
    """The run of a child, once it runs. CommandError where it does not come to that."""
    said, deadline = -1, 0.0
    while True:
        if (size := log.stat().st_size) != said:  # a long start says how far it is
            said, deadline = size, time.monotonic() + START_S
        if time.monotonic() > deadline:
            break
        run = runs.running()
        if run and run.record.state == "running" and run.record.pid == child.pid:
            return run
        if child.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise CommandError(f"it did not start: {' '.join(last)} (see {log})")
        time.sleep(POLL_S)
    os.kill(child.pid, signal.SIGTERM)
    raise CommandError(f"it did not start, and said nothing for {START_S:.0f} s: see {log}")


def _call_off(child: "subprocess.Popen[bytes]", log: Path) -> None:
    """End a child whose start was interrupted; returns when it has ended. CommandError if not."""
    say("interrupted: stopping what was started")
    child.terminate()
    try:
        child.wait(START_S)  # a start goes on to where it looks, before it stops
    except subprocess.TimeoutExpired:
        raise CommandError(
            f"interrupted, but process {child.pid} did not stop within {START_S:.0f} s: see {log}"
        ) from None


def down(as_json: AsJson = False) -> None:
    """Stop the system that runs in this checkout, and everything it started.

    \b
    Example:
      ./quantum down
    """
    run = runs.running()
    if run is None:
        raise CommandError("nothing is running here", ExitCode.NOT_RUNNING)
    pid = run.record.pid
    assert pid is not None
    with contextlib.suppress(ProcessLookupError):  # it has just stopped by itself
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while processes.alive(pid):
        if time.monotonic() > deadline:
            raise CommandError(f"process {pid} did not stop within {STOP_S:.0f} s: see {run.logs}")
        time.sleep(POLL_S)
    if as_json:
        print_json({"run": run.name, "stopped": True})
    say(f"stopped run {run.name}")
