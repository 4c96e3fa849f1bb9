"""Why decisions of a live run differ from a rerun of its inputs: evidence in the records.

The first record of an account that differs is the root; later ones follow from it. A root is
classified by the first of these that its records show.

| class | evidence |
|---|---|
| policy_by_hand, emergency_by_hand, | the rerun that also got what people did decides as the |
| resumed_by_hand, order_by_hand, venue_by_hand | run did |
| halted | the decision failed with an exception in the run |
| command_timing | one side had read more of `control`, or a command came just then |
| venue_fault | one side was told UNKNOWN, or an order ended for another reason |
| latency | one side had read more of market or clock, or a fill was made at another price or time |
| missing_input | inputs of the run are not in the log any more |
| other_code | the run was decided by another build |
| unexplained | none of these: look at it with `verify` and `why` |
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

from replay.compare import Comparison, Difference, Said
from replay.log import LogRecord
from schemas.control import (
    EmergencyReset,
    EmergencyStop,
    LetterSettle,
    PolicySet,
    SymbolPause,
    SymbolResume,
    TradeDelete,
)
from schemas.envelope import Envelope
from schemas.sources import SourceHalted
from schemas.topics import (
    CLOCK,
    COMMANDS_CONTROL,
    COMMANDS_TRADE,
    CONTROL,
    EXECUTION_RES,
    MARKET,
    VENUE_REQUEST,
    Topic,
)

Offsets = dict[str, tuple[list[int], list[int]]]
"""By ``topic/partition``: offsets of the records both sides count, live and rerun."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something differs. `root`: id of the record it began with."""

    name: str
    because: str
    root: str | None = None


@dataclass(frozen=True, slots=True)
class Intervention:
    """Something a person did while the run was on, which no backtest of its input can know."""

    name: str
    place: int
    """Decided records of the run before it."""
    account: str
    time: str
    type: str
    id: str

    def as_json(self) -> dict[str, Any]:
        names = ("name", "account", "time", "type", "id")
        return {("class" if n == "name" else n): getattr(self, n) for n in names}


def by_hand(record: LogRecord, place: int) -> Intervention | None:
    """What a person did, as an intervention; None for market, signals, and mere labels."""
    event = record.event
    assert event is not None
    if record.topic == VENUE_REQUEST.name:
        name = "venue_by_hand"
    elif record.topic == COMMANDS_TRADE.name:
        name = "order_by_hand"
    elif record.topic != COMMANDS_CONTROL.name or isinstance(event, TradeDelete | LetterSettle):
        return None
    elif isinstance(event, PolicySet | SymbolPause | SymbolResume):
        name = "policy_by_hand"
    elif isinstance(event, EmergencyStop | EmergencyReset):
        name = "emergency_by_hand"
    else:
        name = "resumed_by_hand"
    return Intervention(name, place, event.partitionkey, event.time, event.type, event.id)


@dataclass(slots=True)
class Traces:
    """What a run left behind that explains differences."""

    interventions: list[Intervention] = field(default_factory=list)
    missing: str = ""
    """Which inputs are not in the log; empty: all are."""
    other_build: bool = False

    def causes(self, compared: Comparison, offsets: Offsets) -> "Roots":
        """Roots of all that differs in the rerun that got everything."""
        roots = Roots()
        for live, rerun in compared.differing():
            said = live or rerun
            assert said is not None
            roots.ids.add(said.event.id)
            account = said.event.partitionkey
            if account not in roots.of_account:
                name, because = self._root(live, rerun, offsets)
                roots.of_account[account] = said.place, Cause(name, because, said.event.id)
        return roots

    def of(self, found: Difference, roots: "Roots") -> Cause:
        """Why a decision differs from the backtest."""
        place, root = roots.of_account.get(found.account, (0, None))
        if root is not None and found.record_id in roots.ids and found.place >= place:
            return root
        before = [i for i in self.interventions if i.account == found.account]
        before = [i for i in before if i.place <= found.place]
        if before:
            last = before[-1]
            return Cause(last.name, f"{last.type} of {last.time[:19]} ({last.id})", last.id)
        if root is not None:
            return root
        return Cause("unexplained", "nothing in the records explains it")

    def _root(self, live: Said | None, rerun: Said | None, offsets: Offsets) -> tuple[str, str]:
        one = live.event if live else None
        other = rerun.event if rerun else None
        if isinstance(one, SourceHalted):
            return "halted", f"the run could not decide: {one.data.error}"
        said = live or rerun
        assert said is not None
        answers = said.topic == CONTROL.name and said.event.source.startswith("/control/")
        if not answers and (ahead := _ahead(one, other, CONTROL, offsets)):
            return "command_timing", ahead
        if answers:
            times = [event.time[:19] if event else "never" for event in (one, other)]
            return "command_timing", (
                f"a command was answered at {times[0]} in the run, {times[1]} in the backtest"
            )
        if fault := _venue_fault(one, other):
            return "venue_fault", fault
        for topic in (MARKET, CLOCK):
            if ahead := _ahead(one, other, topic, offsets):
                return "latency", ahead
        if said.topic == EXECUTION_RES.name and one and other:
            return "latency", "the venue filled or answered at another price or time"
        if self.missing:
            return "missing_input", self.missing
        if self.other_build:
            return "other_code", "the run was decided by another build"
        if near := self._near(said):
            return "command_timing", f"{near.type} of {near.account} came at about the same time"
        return "unexplained", "nothing in the records explains it"

    def _near(self, said: Said) -> Intervention | None:
        """A command to the account among the records just before one that stands on one side."""
        for each in reversed(self.interventions):
            if each.account == said.event.partitionkey and 0 <= said.place - each.place <= NEAR:
                return each
        return None


NEAR = 20
"""How many decided records may lie between a command and what it raced with."""


@dataclass(slots=True)
class Roots:
    """Where the differences of each account begin, and which records differ at all."""

    of_account: dict[str, tuple[int, Cause]] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)


def _ahead(one: Envelope | None, other: Envelope | None, topic: Topic, offsets: Offsets) -> str:
    """Which side had read more records of a topic when it decided; empty: neither, or unknown."""
    key = f"{topic.name}/0"
    if one is None or other is None or key not in offsets:
        return ""
    read = [(event.basis or event.after or {}).get(key) for event in (one, other)]
    if read[0] is None or read[1] is None:
        return ""
    live, rerun = offsets[key]
    more = bisect_left(live, read[0]) - bisect_left(rerun, read[1])
    side = "run" if more > 0 else "backtest"
    return f"the {side} had read {abs(more)} more of {key} when it decided" if more else ""


def _venue_fault(one: Envelope | None, other: Envelope | None) -> str:
    """What the venue told one side and not the other about the fate of an order; empty: nothing."""
    told = [_fates(event) for event in (one, other)]
    only = told[0] ^ told[1]
    if not only:
        return ""
    kind, order, why = min(only)
    side = "run" if (kind, order, why) in told[0] else "backtest"
    return f"only the {side} was told {kind} of order {order}{': ' + why if why else ''}"


def _fates(event: Envelope | None) -> set[tuple[str, str, str]]:
    items = getattr(getattr(event, "data", None), "items", ())
    return {
        (item.kind, item.order_id, getattr(item, "why", None) or "")
        for item in items
        if getattr(item, "kind", "") in ("unknown", "ended")
        and (item.kind == "unknown" or item.why)
    }
