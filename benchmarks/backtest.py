"""Speed of backtests: the yardstick of the peers over a year of 1 m candles, all monitors on.

    python benchmarks/backtest.py CANDLES [--peers VENV/bin/python --scripts DIR] [--runs 5]

Prints one JSON object: medians of the runs, each in a process of its own, peers and ours taken in
turn so that a busy machine slows all of them alike. `cpu_seconds` is processor time of the part
that is timed: a peer's script decides what that is (nautilus_trader: its run, data loaded before;
backtesting.py: making and running it); ours is everything but reading the file. `times` are ratios
of wall speeds, `times_cpu` of bars a processor second, which says more on a busy machine.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ("nautilus_bars.py", "backtesting_py_bars.py")
OURS = """
import json, sys
from gateways.candles import read_candles
from replay.backtest import Backtest, run
candles = read_candles(sys.argv[1])
result = run(Backtest(candles=(candles,), warm_up_h=0, strategy="yardstick", path=sys.argv[2]))
KIND = "trade.position.updated.v1"
updates = [stored.event for stored in result.records if stored.event.type == KIND]
trades = sum(item.kind == "trade_closed" for event in updates for item in event.data.items)
print(json.dumps({"engine": f"quantum {sys.argv[2]}", "bars": result.bars, "trades": trades,
                  "seconds": result.seconds, "cpu_seconds": result.cpu_seconds,
                  "bars_per_second": result.bars_per_second, "events": result.events,
                  "digest": result.digest}))
"""

THEIRS = """
import json, runpy, sys, time
clock, taken = time.perf_counter, []
def perf_counter():
    if sys._getframe(1).f_globals.get("__file__") == sys.argv[0]:
        taken.append(time.process_time())
    return clock()
time.perf_counter = perf_counter
del sys.argv[0]
found = runpy.run_path(sys.argv[0], run_name="__main__")
print(json.dumps({"cpu_seconds": taken[-1] - taken[0]}))
"""
"""Runs a peer's script as it is and notes processor time wherever it looks at its clock."""


def run(command: list[str]) -> dict[str, object]:
    """The JSON objects of a process's output, one a line, in one."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, object] = {}
    for line in done.stdout.replace("\r", "\n").splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return found


def measure(candles: Path, peers: Path | None, scripts: Path, runs: int) -> dict[str, object]:
    """Medians by engine, and how many times a peer's speed ours is."""
    commands = {path: [sys.executable, "-c", OURS, str(candles), path] for path in ("fast", "slow")}
    if peers is not None:
        commands |= {
            name: [str(peers), "-c", THEIRS, str(scripts / name), str(candles)] for name in PEERS
        }
    taken: dict[str, list[dict[str, object]]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            taken[name].append(run(command))
    engines = {name: median(found) for name, found in taken.items()}
    digests = {str(f["digest"]) for name in ("fast", "slow") for f in taken[name]}
    if len(digests) != 1:
        raise SystemExit(f"the paths differ: {sorted(digests)}")
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "runs": runs,
        "engines": engines,
        "times": ratios(engines, "seconds"),
        "times_cpu": ratios(engines, "cpu_seconds"),
    }


def ratios(engines: dict[str, dict[str, object]], of: str) -> dict[str, float]:
    """How many times a peer's bars a second ours are, by seconds of a kind."""
    speed = {name: float(str(e["bars"])) / float(str(e[of])) for name, e in engines.items()}
    return {
        f"{ours} / {peer}": round(speed[ours] / speed[peer], 2)
        for ours in ("fast", "slow")
        for peer in PEERS
        if peer in speed
    }


def median(found: list[dict[str, object]]) -> dict[str, object]:
    """The first run's words and the medians of its numbers."""
    out = dict(found[0])
    for key in ("seconds", "cpu_seconds", "bars_per_second"):
        if key in out:
            out[key] = round(statistics.median(float(str(f[key])) for f in found), 3)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("candles", type=Path)
    parser.add_argument("--peers", type=Path, help="python of the peers' environment")
    parser.add_argument("--scripts", type=Path, help="folder of the peers' scripts")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    scripts = given.scripts or ROOT.parent / "shared" / "peers"
    print(json.dumps(measure(given.candles.resolve(), given.peers, scripts, given.runs), indent=1))


if __name__ == "__main__":
    main()
