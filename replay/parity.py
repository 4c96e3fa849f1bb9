"""`parity`: a live run against a backtest of its input, decision by decision, with reasons.

The backtest gets what a backtest could have had: market, clock, opening policies, signals and
intents. A second rerun gets what people did meanwhile as well, at its place in the log: a decision
that it repeats differs because of them. Whatever differs there too is classified by what stands in
the records: how far each side had read, what the venue answered, which input or build was another.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from replay.compare import DECISIONS, Comparison, Difference
from replay.inputs import (
    OUTSIDE,
    REQUESTS,
    Rerun,
    accounts_in,
    in_event_order,
    is_decided,
    is_outside,
    partitions_in,
)
from replay.log import LogRecord
from replay.parity_causes import Cause, Intervention, Traces, by_hand
from replay.sources import EventLog
from replay.summary import Summary
from schemas.control import PolicySet
from schemas.envelope import Envelope
from schemas.safety import EquityMarked
from schemas.scalars import text
from schemas.sources import SourceFenced
from schemas.topics import CLOCK, CONTROL, MARKET

READ_BY_ALL = {f"{topic.name}/0" for topic in (CONTROL, MARKET, CLOCK)}
IN_MEMORY = "engine"
"""Build that the fences of an in-memory log name: it says nothing about the code."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """A decision that is not the same in the backtest, and why."""

    difference: Difference
    cause: Cause

    def as_json(self) -> dict[str, Any]:
        """As the differences of `whatif`, `before` and `after` being live and backtest."""
        names = {"before": "live", "after": "backtest", "line_before": "line_live",
                 "line_after": "line_backtest"}  # fmt: skip
        plain = self.difference.as_json()
        told = {names.get(key, key): value for key, value in plain.items()}
        kind = {"vanished": "live only", "appeared": "backtest only"}
        told["kind"] = kind.get(self.difference.kind, self.difference.kind)
        return {
            "class": self.cause.name,
            "because": self.cause.because,
            "root": self.cause.root,
            **told,
        }


@dataclass(frozen=True, slots=True)
class Parity:
    """How a run and a backtest of its input agree. Decisions are signals, verdicts, orders and
    cancels; `union` counts those of either side."""

    decisions: int
    union: int
    divergences: tuple[Divergence, ...]
    interventions: tuple[Intervention, ...]
    live: Summary
    backtest: Summary
    builds: tuple[str, ...]
    build: str

    @property
    def identical(self) -> int:
        return self.union - len(self.divergences)

    @property
    def identical_pct(self) -> float:
        """Of the decisions of either side; 100 where there are none."""
        return 100 * self.identical / self.union if self.union else 100.0

    @property
    def classes(self) -> dict[str, int]:
        return dict(Counter(d.cause.name for d in self.divergences).most_common())

    @property
    def unexplained(self) -> int:
        return self.classes.get("unexplained", 0)

    def as_json(self, limit: int) -> dict[str, Any]:
        """The result for programs, with the first `limit` divergences."""
        accounts = sorted({*self.live.accounts, *self.backtest.accounts})
        return {
            "decisions": self.decisions,
            "identical": self.identical,
            "different": len(self.divergences),
            "identical_pct": round(self.identical_pct, 6),
            "classes": self.classes,
            "unexplained": self.unexplained,
            "explained": not self.unexplained,
            "interventions": [each.as_json() for each in self.interventions],
            "pnl_live": {name: _pnl(self.live, name) for name in accounts},
            "pnl_backtest": {name: _pnl(self.backtest, name) for name in accounts},
            "builds": list(self.builds),
            "build": self.build,
            "divergences": [each.as_json() for each in self.divergences[:limit]],
        }


def _pnl(summary: Summary, name: str) -> str:
    account = summary.accounts.get(name)
    if account is None:
        return "0"
    return text(account.equity(summary.marks) - account.booked("transfers"))


def parity(log: EventLog, *, build: str, partitions: int | None = None) -> Parity:
    """Compare a recorded run with a backtest of its input. `build`: of the code that runs now."""
    runs = _Runs(accounts_in(log), partitions or partitions_in(log), interfered=_interfered(log))
    for record in in_event_order(log.read()):
        runs.take(record)
    starts = {key: at for key, at in log.starts(OUTSIDE).items() if at}
    if starts:
        runs.traces.missing = runs.traces.missing or _retention(starts)
    builds = sorted(runs.builds)
    runs.traces.other_build = any(each not in (build, IN_MEMORY) for each in builds)
    return _result(runs, builds, build)


def _interfered(log: EventLog) -> bool:
    """Whether people did anything that a backtest of the input cannot know."""
    opened: set[str] = set()
    for record in log.read(REQUESTS):
        event = record.event
        if event is None or not is_outside(record):
            continue
        if isinstance(event, PolicySet) and event.partitionkey not in opened:
            opened.add(event.partitionkey)
        elif by_hand(record, 0) is not None:
            return True
    return False


def _retention(starts: dict[str, int]) -> str:
    key, at = min(starts.items())
    return f"{key} begins at offset {at}: what stood before is gone (read an archive instead)"


def _result(runs: "_Runs", builds: list[str], build: str) -> Parity:
    pure = runs.pure or runs.full
    causes = runs.traces.causes(runs.full.compared, runs.full.offsets)
    divergences = tuple(
        Divergence(found, runs.traces.of(found, causes))
        for found in pure.compared.differences()
        if found.decision
    )
    recorded = sum(pure.compared.counts[0][topic] for topic in DECISIONS)
    new = sum(d.difference.kind == "appeared" for d in divergences)
    return Parity(
        decisions=recorded,
        union=recorded + new,
        divergences=divergences,
        interventions=tuple(runs.traces.interventions),
        live=runs.live,
        backtest=pure.summary,
        builds=tuple(builds),
        build=build,
    )


@dataclass(slots=True)
class _Side:
    """A rerun with its comparison and figures. `offsets`: those of market and clock records and of
    decided control records, live and rerun: what a basis is compared by."""

    rerun: Rerun
    compared: Comparison
    summary: Summary = field(default_factory=Summary)
    offsets: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)

    def feed(self, record: LogRecord) -> None:
        assert record.event is not None
        self.compared.begin_input()
        self._note(f"{record.topic}/{record.partition}", 0, record.offset)
        for stored in self.rerun.feed(record.topic, record.event):
            self.summary.fold(stored.event)
            topic = stored.key.rpartition("/")[0]
            decided = is_decided(topic, stored.event)
            if (decided and not _is_marked(stored.event)) or topic != CONTROL.name:
                self._note(stored.key, 1, stored.offset)
            if decided:
                self.compared.take_rerun(topic, stored.event)

    def take(self, record: LogRecord) -> None:
        """Take a decided record of the run."""
        assert record.event is not None
        if not _is_marked(record.event):
            self._note(f"{record.topic}/{record.partition}", 0, record.offset)
        self.compared.take_recorded(record.topic, record.event)

    def _note(self, key: str, side: int, offset: int) -> None:
        if key in READ_BY_ALL:
            self.offsets.setdefault(key, ([], []))[side].append(offset)


def _is_marked(event: Envelope) -> bool:
    """Whether it only marks equity: it forbids and allows nothing, so who has read more of these
    has not read more of what decisions follow from."""
    return isinstance(event, EquityMarked)


class _Runs:
    """The recorded run, the rerun of all its inputs and, if people did something that a backtest
    cannot know, the rerun without it (None: both are one)."""

    def __init__(self, accounts: list[str], partitions: int, *, interfered: bool) -> None:
        self.full = _Side(Rerun(accounts, partitions=partitions), Comparison())
        self.pure = (
            _Side(Rerun(accounts, partitions=partitions), Comparison()) if interfered else None
        )
        self.live = Summary()
        self.traces = Traces()
        self.builds: set[str] = set()
        self._opened: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, record: LogRecord) -> None:
        event = record.event
        self._gap(record)
        if isinstance(event, SourceFenced):
            self.builds.add(event.data.build)
        if event is None or not record.valid:
            return
        self.live.fold(event)
        if is_outside(record):
            self._outside(record)
        elif is_decided(record.topic, event):
            self.full.take(record)
            if self.pure is not None:
                self.pure.take(record)

    def _outside(self, record: LogRecord) -> None:
        event = record.event
        assert event is not None
        self.full.feed(record)
        if isinstance(event, PolicySet) and event.partitionkey not in self._opened:
            self._opened.add(event.partitionkey)
        elif (intervention := by_hand(record, self.full.compared.recorded)) is not None:
            self.traces.interventions.append(intervention)
            return
        if self.pure is not None:
            self.pure.feed(record)

    def _gap(self, record: LogRecord) -> None:
        """Note inputs that are not there: undecodable, or with an offset that is missing."""
        if record.topic not in OUTSIDE:
            return
        key = f"{record.topic}/{record.partition}"
        expected = self._next.get(key, record.offset)
        if record.offset > expected and not self.traces.missing:
            self.traces.missing = f"{key} has no records from {expected} to {record.offset - 1}"
        self._next[key] = record.offset + 1
