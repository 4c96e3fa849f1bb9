"""`simulate`: the whole system on a virtual clock with faults, seed by seed (docs/simulator.md)."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.text import Text

from commands.console import AsJson, add, say, show
from replay.simulator.faults import FAULTS, Coverage
from streams.simulated.day import simulate_day
from streams.simulated.seed import PARTITIONS, Outcome
from streams.simulated.seed import simulate as simulate_seed
from streams.simulated.simulation import Bystander

TRACE_TAIL = 40
"""Lines of a failing seed's trace that are shown without --trace."""


def register(app: typer.Typer) -> None:
    """Add `simulate`."""
    add(app, simulate, "simulate")


def simulate(
    *,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")] = 20,
    first: Annotated[int, typer.Option("--first", min=0, help="The first seed.")] = 1,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print the whole trace of each seed that fails.")
    ] = False,
    day: Annotated[
        bool, typer.Option("--day", help="A whole day of one account each, with few faults.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=64, help="Processes that share the seeds.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Run the whole system in memory with faults drawn from seeds, and check every promise.

    \b
      ./quantum simulate --seeds 200             seeds 1 to 200
      ./quantum simulate --seeds 2000 -j 2       with two processes
      ./quantum simulate --first 142 --seeds 1 --trace
      ./quantum simulate --day --seeds 1         how much faster than real time

    The real workers' shells, gateway, venue, deciders and the projections' fold, on one virtual
    clock and a broker in memory: crashes at any step, zombies, delays, lost answers, a broker or
    database that is away, clocks that are set. Then faults stop and everything must come to rest.
    Exit code 1 when a promise was broken; docs/simulator.md says what is checked.
    """
    began = time.monotonic()
    total = Total()
    for outcome in outcomes(range(first, first + seeds), jobs, one_day if day else one):
        total.add(outcome)
        if outcome.broken and not as_json:
            _tell(outcome, whole=trace)
        elif not as_json and (outcome.seed - first + 1) % 100 == 0:
            say(f"{outcome.seed - first + 1:,} of {seeds:,} seeds, {len(total.failing)} failed")
    result = total.result(time.monotonic() - began)
    show(result, as_json, lambda: lines(result))
    if total.failing:
        raise typer.Exit(1)


def outcomes(
    seeds: Iterable[int], jobs: int = 1, run: Callable[[int], Outcome] | None = None
) -> Iterator[Outcome]:
    """Outcomes of seeds, in their order. `run`: what is done with each (:func:`one`)."""
    run = run or one
    rooms = [logging.getLogger(name) for name in ("streams", "gateways")]
    before = [room.level for room in rooms]
    for room in rooms:
        room.setLevel(logging.CRITICAL + 1)  # what they say of faults that were drawn is no news
    try:
        if jobs == 1:
            yield from map(run, seeds)
            return
        with ProcessPoolExecutor(jobs) as pool:
            yield from pool.map(run, seeds, chunksize=4)
    finally:
        for room, level in zip(rooms, before, strict=True):
            room.setLevel(level)


def one(seed: int) -> Outcome:
    """One seed of the whole system, its projector included."""
    return simulate_seed(seed, bystanders)


def one_day(seed: int) -> Outcome:
    """A day of one account."""
    return simulate_day(seed, bystanders)


def bystanders() -> list[Bystander]:
    """Who reads the log beside the workers."""
    from projections.simulated import SimulatedProjector

    return [SimulatedProjector(PARTITIONS)]


@dataclass(slots=True)
class Total:
    """Sums over seeds."""

    seeds: int = 0
    failing: list[int] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)
    emergencies: int = 0
    """Seeds with an emergency."""
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    records: int = 0
    orders: int = 0
    decisions: int = 0
    exposure_pct: float = 0.0
    """The largest worst case at an acceptance, in percent of what the policy allows."""

    def add(self, outcome: Outcome) -> None:
        """Count a seed."""
        self.seeds += 1
        if outcome.broken:
            self.failing.append(outcome.seed)
        self.coverage.update(outcome.coverage)
        self.emergencies += outcome.coverage["emergency"] > 0
        self.virtual_s += outcome.virtual_s
        self.cpu_s += outcome.cpu_s
        self.records += outcome.records
        self.orders += outcome.orders
        self.decisions += outcome.decisions
        self.exposure_pct = max(self.exposure_pct, outcome.exposure_pct)

    def result(self, seconds: float) -> dict[str, Any]:
        """Figures as JSON has them."""
        return {
            "seeds": self.seeds,
            "failed": len(self.failing),
            "failing": self.failing,
            "coverage": {name: self.coverage[name] for name in (*FAULTS, *sorted(self._others()))},
            "times_real": round(self.virtual_s / max(seconds, 1e-9), 1),
            "seconds": round(seconds, 1),
            "cpu_seconds": round(self.cpu_s, 1),
            "virtual_seconds": round(self.virtual_s, 1),
            "records": self.records,
            "orders": self.orders,
            "decisions": self.decisions,
            "seeds_with_an_emergency": self.emergencies,
        }

    def _others(self) -> set[str]:
        return set(self.coverage) - set(FAULTS)


def lines(result: dict[str, Any]) -> list[Text]:
    """What was run, for people: faults with their counts, then the sum."""
    out = [
        Text(f"{result['coverage'][name]:>8,}  {name:<18} {meaning}")
        for name, meaning in FAULTS.items()
    ]
    bad = result["failed"]
    out.append(
        Text(
            f"{result['seeds']:,} seeds, {bad:,} failed; {result['orders']:,} orders, "
            f"{result['decisions']:,} decisions taken again, an emergency in "
            f"{result['seeds_with_an_emergency']:,} seeds; {result['virtual_seconds']:,.0f} s of "
            f"virtual time in {result['seconds']:,.1f} s ({result['times_real']:,.0f} times real)",
            style="red" if bad else "green",
        )
    )
    return out


def _tell(outcome: Outcome, *, whole: bool) -> None:
    for line in outcome.trace if whole else outcome.trace[-TRACE_TAIL:]:
        say(line)
    say(f"seed {outcome.seed} failed: {outcome.broken}")
    say(f"replay it: ./quantum simulate --first {outcome.seed} --seeds 1 --trace")
