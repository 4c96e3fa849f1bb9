"""`whatif`: the recorded inputs of a run under another policy, compared with what was recorded.

Outside records are fed again in append order to the in-process engine, twice: once as they are, to
know whether this code decides as the run did, and once with the policy changed. Fills of the second
run are modelled by the simulated venue, whatever made those of the first: recorded reports of a
venue are not fed again.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from domain.policy_state import ControlState
from replay.account_summary import ZERO, AccountSummary
from replay.compare import DECISIONS, Comparison, Difference
from replay.inputs import (
    FED,
    Rerun,
    accounts_in,
    in_event_order,
    is_decided,
    is_outside,
    partitions_in,
)
from replay.memory_log import Stored
from replay.other_policy import OtherPolicy
from replay.sources import EventLog
from replay.summary import Summary
from replay.summary_json import statistic
from schemas.control import CommandRejected, PolicyChanged, PolicySet
from schemas.envelope import Envelope
from schemas.scalars import text
from schemas.topics import COMMANDS_CONTROL, CONTROL

CAVEAT = (
    "Fills of the rerun are modelled: the simulated venue prices them by its rules on the recorded "
    "prices (docs/assumptions.md); orders of ours never move those prices. Up to the first "
    "different order they are the recorded ones, if a simulated venue made those."
)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What another policy would have changed. `decisions`: record-by-record comparison with the
    recorded run; `unchanged_differences`: records that differ even with the recorded policy."""

    policy: Mapping[str, Any]
    accounts: tuple[str, ...]
    start: str | None
    comparison: Comparison
    differences: tuple[Difference, ...]
    before: Summary
    after: Summary
    unchanged_differences: int
    until: str | None
    """Event time of the first record that differs; None: none does."""

    @property
    def counts(self) -> dict[str, int]:
        """Decisions (signals, verdicts, orders and cancels): of both runs, and how they compare."""
        kinds = Counter(d.kind for d in self.differences if d.decision)
        recorded, rerun = (sum(c[t] for t in DECISIONS) for c in self.comparison.counts)
        return {
            "recorded": recorded,
            "replayed": rerun,
            "identical": recorded - kinds["changed"] - kinds["figures"] - kinds["vanished"],
            "figures_only": kinds["figures"],
            "changed": kinds["changed"],
            "appeared": kinds["appeared"],
            "vanished": kinds["vanished"],
        }

    @property
    def decisions_changed(self) -> int:
        """Decisions with another outcome, that appeared, or that vanished."""
        return sum(d.decision and d.kind != "figures" for d in self.differences)

    @property
    def first_change(self) -> Difference | None:
        """The first decision with another outcome."""
        return next((d for d in self.differences if d.decision and d.kind != "figures"), None)

    def orders(self, kind: str) -> list[Difference]:
        """Orders that `appeared`, `vanished` or `changed`."""
        known = [a.orders for s in (self.before, self.after) for a in s.accounts.values()]
        return [d for d in self.differences if d.kind == kind and any(d.id in o for o in known)]

    def pnl(self, summary: Summary, account: str | None = None) -> Decimal:
        """Equity at the last marks less transfers, of one account or of all."""
        chosen = [a for n, a in summary.accounts.items() if account in (None, n)]
        marks = summary.marks
        return sum((a.equity(marks) - a.booked("transfers") for a in chosen), ZERO)

    def as_json(self, limit: int) -> dict[str, Any]:
        """The result for programs, with the first `limit` differences that change an outcome."""
        first = self.first_change
        outcomes = [d for d in self.differences if d.decision and d.kind != "figures"]
        return {
            "policy": dict(self.policy),
            "accounts": list(self.accounts),
            "from": self.start,
            "decisions_changed": self.decisions_changed,
            "pnl_before": text(self.pnl(self.before)),
            "pnl_after": text(self.pnl(self.after)),
            "decisions": self.counts,
            "orders": {k: len(self.orders(k)) for k in ("appeared", "vanished", "changed")},
            "by_account": {name: self._account(name) for name in self._names()},
            "identical_prefix": {"records": self.comparison.prefix, "until": self.until},
            "first_change": first.as_json() if first else None,
            "differences": [d.as_json() for d in outcomes[:limit]],
            "unchanged_policy_differences": self.unchanged_differences,
            "caveat": CAVEAT,
        }

    def _names(self) -> list[str]:
        return sorted({*self.before.accounts, *self.after.accounts})

    def _account(self, name: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for when, summary in (("before", self.before), ("after", self.after)):
            account = summary.accounts.get(name) or AccountSummary(name)
            figures = {
                "pnl": text(self.pnl(summary, name)),
                "equity": text(account.equity(summary.marks)),
                "fees": text(account.booked("fees")),
                "funding": text(account.booked("funding")),
                "approved": account.approved,
                "rejected": sum(account.rejected.values()),
                "orders": len(account.orders),
                "fills": account.fills,
                "trades": len(account.trades),
                "max_drawdown_pct": statistic(account.drawdown_max_pct),
            }
            out.update({f"{key}_{when}": value for key, value in figures.items()})
        return out


def whatif(
    log: EventLog,
    policy: Mapping[str, Any],
    *,
    account: str | None = None,
    start: str | None = None,
    partitions: int | None = None,
) -> WhatIf:
    """The recorded inputs of `log` under `policy`: overrides by field path, held from the opening
    of the accounts, or from event time `start` (canonical) on, for all accounts or for `account`.

    Raises PolicyFileError (a field no policy has, a value out of range, an account that is not in
    the log) before anything is run.
    """
    commands = list(log.read((COMMANDS_CONTROL, CONTROL)))
    answers = {
        r.event.causationid: r.event
        for r in commands
        if r.valid and r.event is not None and r.topic == CONTROL.name and r.event.causationid
    }
    opened = [r.event.partitionkey for r in commands if isinstance(r.event, PolicySet)]
    other = OtherPolicy(policy, accounts=opened, account=account, start=start, answers=answers)
    accounts = accounts_in(log)
    count = partitions or partitions_in(log)
    sides = _Sides(Rerun(accounts, partitions=count), Rerun(accounts, partitions=count), other)
    for record in in_event_order(log.read()):
        event = record.event
        if event is None or not record.valid:
            continue
        sides.before.fold(event)
        if is_outside(record):
            sides.feed(record.topic, event)
        elif is_decided(record.topic, event):
            sides.changed.take_recorded(record.topic, event)
            sides.unchanged.take_recorded(record.topic, event)
    sides.finish()
    found = tuple(sides.changed.differences())
    return WhatIf(
        policy=dict(policy),
        accounts=tuple(dict.fromkeys(opened)) if account is None else (account,),
        start=start,
        comparison=sides.changed,
        differences=found,
        before=sides.before,
        after=sides.after,
        unchanged_differences=len(sides.unchanged.differing()),
        until=next((d.time for d in found), None),
    )


@dataclass(slots=True)
class _Sides:
    """The rerun as recorded and the one under the other policy, side by side."""

    plain: Rerun
    moved: Rerun
    other: OtherPolicy
    before: Summary = field(default_factory=lambda: Summary(walked=True))
    after: Summary = field(default_factory=lambda: Summary(walked=True))
    unchanged: Comparison = field(default_factory=Comparison)
    changed: Comparison = field(default_factory=Comparison)
    control: ControlState = field(default_factory=ControlState)
    """Policies of the rerun under the other policy."""
    _answer: Envelope | None = None

    def feed(self, topic: str, event: Envelope) -> None:
        self.unchanged.begin_input()
        self._tell(self.unchanged, self.plain.feed(topic, event))
        self.changed.begin_input()
        if topic in FED and self.other.reach(event.time):
            self._hold(event.time)
        ours = self.other.command(event, self.control) if isinstance(event, PolicySet) else event
        self._moved(topic, ours)
        if ours is not event:
            self.other.check(ours, self._answer)
        if topic == COMMANDS_CONTROL.name:
            self._hold(self.after.time)

    def _hold(self, time: str) -> None:
        """Set what the other policy says wherever a policy says otherwise."""
        for command in self.other.due(self.control, time):
            self._moved(COMMANDS_CONTROL.name, command)
            self.other.check(command, self._answer)

    def _moved(self, topic: str, event: Envelope) -> None:
        fresh = self.moved.feed(topic, event)
        for stored in fresh:
            self.after.fold(stored.event)
            if stored.key.startswith(CONTROL.name):
                self.control.fold(stored.event)
                if isinstance(stored.event, PolicyChanged | CommandRejected):
                    self._answer = stored.event
        self._tell(self.changed, fresh)

    def _tell(self, comparison: Comparison, fresh: list[Stored]) -> None:
        for stored in fresh:
            topic = stored.key.rpartition("/")[0]
            if is_decided(topic, stored.event):
                comparison.take_rerun(topic, stored.event)

    def finish(self) -> None:
        """An override whose time never came would change nothing silently."""
        self.other.reached()
