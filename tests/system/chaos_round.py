"""One run with chaos from its beginning to its verdict.

The run goes on by itself to its end. Then: the independent checker finds nothing wrong, every order
has one end, every decision is the same when it is taken again, the tables equal a rebuild, and what
was decided, filled and earned is what a run that nobody disturbed decides, fills and earns.
"""

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from commands.demo import demo_plan
from projections.rebuild import rebuild
from replay.log import LogRecord
from replay.memory_log import Stored
from replay.sources import KafkaLog
from replay.verify import verify
from schemas.trade import ExecutionReported, OrderDecided
from tests.system.chaos import Chaos, ChaosSystem, converges, exits
from tests.system.chaos_feed import script
from tests.system.faults import Fault, drawn
from tests.system.running import (
    DECISIONS,
    Told,
    assert_same,
    checked,
    checked_engine,
    ends_of_orders,
    engine_log,
    fills,
    live,
    moment,
    run_to_end,
    told_by,
    told_by_engine,
    valid_records,
)

OF_ORDERS = ("trade.order", "trade.position.update")
KEPT = "QUANTUM_CHAOS_KEEP"
"""Names a folder that takes the logs of rounds that fail."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a run with chaos has met. ended: how processes ended by themselves, and how often."""

    seed: int
    hours: tuple[str, str]
    seconds: float
    faults: list[Fault]
    restarts: dict[str, int]
    ended: Counter[str]
    decisions: int

    def counts(self) -> Counter[str]:
        """How many faults of each kind there were."""
        return Counter(fault.kind for fault in self.faults)

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(self.counts().items()))
        return (
            f"chaos seed {self.seed}, {self.hours[0]} to {self.hours[1]}: {self.seconds:.0f} s, "
            f"{len(self.faults)} faults ({kinds}), {sum(self.restarts.values())} restarts, "
            f"{self.decisions} decisions"
        )


def hours_of(seed: int, *, hours: int) -> tuple[str, str]:
    """Hours of the shipped days for a seed: half of the seeds meet the crash."""
    random = Random(seed)
    first = datetime(2021, 5, 17, tzinfo=UTC)
    if random.random() < 0.5:
        begin = datetime(2021, 5, 19, 12, tzinfo=UTC) - timedelta(hours=random.randrange(hours))
    else:
        begin = first + timedelta(hours=random.randrange(6 * 24 - hours))
    end = begin + timedelta(hours=hours)
    return f"{begin:%Y-%m-%dT%H:%M}", f"{end:%Y-%m-%dT%H:%M}"


def run(
    seed: int, hours: tuple[str, str], *, longest_s: float, until_s: float, limit_s: float
) -> Round:
    """Run these hours with the chaos of a seed for at most `until_s` seconds; the verdict is an
    AssertionError that says what to do to see it again."""
    with live(ChaosSystem) as system:
        chaos = Chaos(system, drawn(seed, longest_s=longest_s), until_s)
        try:
            system.start(demo_plan(moment(hours[0]), moment(hours[1]), "max"))
            chaos.begin()
            try:
                run_to_end(system, chaos, limit_s=limit_s)
            finally:
                chaos.heal()
            seconds = time.monotonic() - chaos.began
            converges(system)
            decisions = judge(system, hours)
        except BaseException as error:
            error.add_note(told_of(seed, hours, chaos, kept(system, seed)))
            raise
        restarts = {name: each["restarts"] for name, each in system.supervisor.state().items()}
        return Round(seed, hours, seconds, chaos.done, restarts, exits(system), decisions)


def judge(system: ChaosSystem, hours: tuple[str, str]) -> int:
    """AssertionError if anything is not as it must be; how many decisions were looked at."""
    for path in system.run.logs.glob("*.out"):
        assert "Traceback" not in path.read_text(errors="replace"), path.name
    records, unharmed = valid_records(system.kafka), engine_log(*hours, script)
    figures = checked(system.kafka)["accounts"]
    ends_of_orders(records)
    found, expected = told_by(records), told_by_engine(*hours, script)
    uncertain = raced(unharmed) | raced(records)
    assert_same(decided(found, uncertain), decided(expected, uncertain))
    assert filled(records, uncertain) == filled(unharmed, uncertain)
    assert emergencies(records) == emergencies(unharmed) != Counter()
    right = checked_engine(unharmed)["accounts"]
    assert {n: a["equity"] for n, a in figures.items()} == {
        n: a["equity"] for n, a in right.items()
    }
    verified = verify(KafkaLog(system.kafka))
    assert verified.different == 0, verified.details
    assert verified.identical == verified.decisions > 0
    rebuilt = rebuild(system.kafka, system.postgres, verify=True)
    assert rebuilt.equal, rebuilt.differences
    return verified.decisions


def decided(told: Told, uncertain: set[str]) -> Told:
    """What pure sources decided; of `uncertain` accounts what signals led to alone."""
    return {
        key: said
        for key, said in told.items()
        if key[0] in DECISIONS and not (key[1] in uncertain and key[0] in OF_ORDERS)
    }


def filled(records: Iterable[LogRecord | Stored], uncertain: set[str]) -> set[tuple[str, ...]]:
    """Account, client order id, quantity and price of every fill; without the id of `uncertain`
    accounts."""
    return {(who, "" if who in uncertain else order, *rest) for who, order, *rest in fills(records)}


def raced(records: Iterable[LogRecord | Stored]) -> set[str]:
    """Accounts with a close of an emergency that raced with something else. One that was not
    answered in time is sent once more as soon as that is known, and the venue is asked 200 ms
    later. One that finds nothing open was ordered before its reader knew that the price that
    tripped the breaker had filled a stop as well. Which of two is filled, and what is told first,
    is a matter of who was late or killed then. What the account earned is not."""
    closes: set[str] = set()
    found: set[str] = set()
    for record in records:
        if isinstance(record.event, OrderDecided):
            orders = (item for item in record.event.data.items if item.kind == "order")
            closes |= {order.id for order in orders if order.purpose == "emergency_close"}
        elif isinstance(record.event, ExecutionReported):
            lost = {
                item.order_id
                for item in record.event.data.items
                if item.kind == "unknown" or (item.kind == "ended" and item.status == "REJECTED")
            }
            found |= {record.event.partitionkey} if lost & closes else set()
    return found


def emergencies(records: Iterable[LogRecord | Stored]) -> Counter[tuple[str, str]]:
    """How often each account was stopped, found flat, and reset."""
    found: Counter[tuple[str, str]] = Counter()
    for record in records:
        kind = record.event.type if record.event else ""
        if record.event and kind.startswith("emergency."):
            found[record.event.partitionkey, kind] += 1
        elif record.event and kind == "trade.order.decided.v1":
            items = getattr(record.event, "data").items  # noqa: B009 - of this type it has some
            found[record.event.partitionkey, "flat"] += sum(i.kind == "flat" for i in items)
    return found


def told_of(seed: int, hours: tuple[str, str], chaos: Chaos, folder: Path | None) -> str:
    """What a person needs to see it again."""
    faults = "\n".join(f"  {fault}" for fault in chaos.done)
    where = f"\nlogs: {folder}" if folder else ""
    return (
        f"chaos seed {seed}, {hours[0]} to {hours[1]}; again: ./quantum test "
        f"tests/system/test_chaos.py --chaos-seed {seed} --chaos-minutes 1\n{faults}{where}"
    )


def kept(system: ChaosSystem, seed: int) -> Path | None:
    """Where the logs of a failed run were copied to, if that is wanted."""
    if not (folder := os.environ.get(KEPT)):
        return None
    target = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-", dir=folder))
    for name in ("logs", "kafka"):
        shutil.copytree(system.run.folder / name, target / name, ignore_dangling_symlinks=True)
    (target / "processes.json").write_bytes(system.run.state_file.read_bytes())
    return target
