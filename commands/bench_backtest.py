"""`bench backtest`: the yardstick over candles, on the fast and the slow path."""

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from commands.console import CommandError, ExitCode
from gateways.candles import CandleFileError, read_candles
from replay.backtest import Backtest, PathName, run


def backtest(path: Path, *, runs: int) -> dict[str, Any]:
    """Medians of `runs` by path: seconds (and processor seconds) of the run, bars a second; the
    events and their digest, which must be the same. Raises CommandError for a file that cannot be
    used or paths that differ."""
    try:
        plan = Backtest(candles=(read_candles(path),), warm_up_h=0, strategy="yardstick")
    except CandleFileError as error:
        raise CommandError(str(error), ExitCode.MISUSE) from None
    names: tuple[PathName, ...] = ("fast", "slow")
    figures: dict[str, Any] = {"runs": runs}
    digests = set()
    for name in names:
        seconds, cpu = [], []
        for _ in range(runs):
            result = run(replace(plan, path=name))
            cpu.append(result.cpu_seconds)
            seconds.append(result.seconds)
        digests.add(result.digest)
        figures |= {"bars": result.bars, "events": result.events, "events_digest": result.digest}
        figures[f"{name}_seconds"] = round(statistics.median(seconds), 3)
        figures[f"{name}_cpu_seconds"] = round(statistics.median(cpu), 3)
        figures[f"{name}_bars_per_second"] = round(result.bars / statistics.median(seconds))
    if len(digests) != 1:
        raise CommandError(f"the paths wrote different events: {' and '.join(sorted(digests))}")
    return figures
