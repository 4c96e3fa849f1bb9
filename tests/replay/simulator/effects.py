"""Faulty rules of who decides on money and who has effects: risk, execution, gateway, projector.

As :mod:`tests.replay.simulator.mutants`, which has those of the protocol of a source and the list.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from domain import emergency
from domain import risk as risk_module
from domain.decider import Read
from domain.execution import Execution
from domain.execution_desk import Desk
from domain.policy_state import AccountPolicy
from domain.risk_book import build_book
from domain.risk_state import PositionsState, ResultsState
from domain.venue_faults import FaultPlan
from gateways import refusals, reports
from gateways.core import GatewayCore
from gateways.orders import Fate, LiveOrder, Report, SendRequest
from projections import simulated as projector
from projections import writing
from projections.log import Cursor
from replay.simulator.faults import Rates
from schemas import ids
from schemas.envelope import Envelope
from schemas.topics import EXECUTION_RES, POSITION_UPDATE
from schemas.trade import Ended, ExecutionReported
from schemas.validity import Validity
from streams.gateway import GatewayShell, GatewaySource

Patch = Callable[[pytest.MonkeyPatch], None]


def random_fill_ids(patch: pytest.MonkeyPatch) -> None:
    """A fill gets a new id each time it is reported."""
    count = itertools.count()
    patch.setattr(reports, "fill_id", lambda *_: ids.natural_id("random", str(next(count))))


@dataclass(slots=True)
class Letting(ResultsState):
    """The slice of results, with the orders that have an end in it."""

    ended: dict[str, None] = field(default_factory=dict)

    def fold(self, event: Envelope) -> bool:
        if isinstance(event, ExecutionReported):
            self.ended |= {i.order_id: None for i in event.data.items if isinstance(i, Ended)}
        return ResultsState.fold(self, event)


def exposure_two_topics(patch: pytest.MonkeyPatch) -> None:
    """Risk lets go of an entry when the gateway reports its end, and counts what it filled when the
    position says so: between the two it counts nothing."""

    def decide(self: risk_module.Risk, slices: Any, *cause: Any) -> Any:
        HERE["slices"] = slices
        return ORIGINAL_RISK(self, slices, *cause)

    def lightened(**known: Any) -> Any:
        mine = known["own"].accounts.get(known["account"])
        theirs = known["orders"].accounts.get(known["account"])
        if mine is None or theirs is None:
            return ORIGINAL_BOOK(**known)
        kept, ended = mine.approvals, HERE["slices"][EXECUTION_RES.name].ended
        mine.approvals = {
            request: approval
            for request, approval in kept.items()
            if theirs.by_request.get(request) not in ended
        }
        try:
            return ORIGINAL_BOOK(**known)
        finally:
            mine.approvals = kept

    patch.setattr(risk_module, "ResultsState", Letting)
    patch.setattr(risk_module.Risk, "decide", decide)
    patch.setattr(risk_module, "build_book", lightened)


ORIGINAL_RISK, ORIGINAL_BOOK = risk_module.Risk.decide, build_book


def flat_from_two_topics(patch: pytest.MonkeyPatch) -> None:
    """An emergency takes ends from results and quantities from position updates. (What the venue
    says when it is read back is not looked at.)"""
    reads = (*Execution.reads, Read(POSITION_UPDATE))

    def begin(self: Execution, topic: str) -> Any:
        made = PositionsState() if topic == POSITION_UPDATE.name else None
        return made or ORIGINAL_BEGIN(self, topic)

    def decide(self: Execution, slices: Any, *cause: Any) -> Any:
        HERE["slices"] = slices
        return ORIGINAL_DECIDE(self, slices, *cause)

    def advance(desk: Desk) -> None:
        held = HERE["slices"][POSITION_UPDATE.name].accounts.get(desk.account)
        open_now = set(held.positions) if held else set()
        results = desk.results.positions
        desk.results.positions = {s: p for s, p in results.items() if s in open_now}
        read_flat, desk.results.read_flat = desk.results.read_flat, True
        try:
            ORIGINAL_ADVANCE(desk)
        finally:
            desk.results.positions, desk.results.read_flat = results, read_flat

    patch.setattr(Execution, "reads", reads)
    patch.setattr(Execution, "begin", begin)
    patch.setattr(Execution, "decide", decide)
    patch.setattr(emergency, "advance", advance)


HERE: dict[str, Any] = {}
ORIGINAL_BEGIN, ORIGINAL_DECIDE = Execution.begin, Execution.decide
ORIGINAL_ADVANCE = emergency.advance


def _halted(core: GatewayCore, live: LiveOrder) -> bool:
    policy: AccountPolicy | None = core.control.accounts.get(live.account)
    return policy is not None and policy.is_emergency_mode() and not live.order.reduce_only


def end_while_unknown(patch: pytest.MonkeyPatch) -> None:
    """In an emergency an entry is ended although a request for it may still be accepted."""

    def due(self: GatewayCore, live: LiveOrder, wall_us: int, room: int) -> Any:
        if not live.accepted and live.fate is not Fate.READY and _halted(self, live):
            end = refusals._never(live.order, "the emergency came first")
            return [(live.ordinal, Report(live.account, (end,), live.cause))]
        return ORIGINAL_DUE(self, live, wall_us, room)

    patch.setattr(GatewayCore, "_due_order", due)


ORIGINAL_DUE = GatewayCore._due_order


def no_wait_after_fence(patch: pytest.MonkeyPatch) -> None:
    """Orders that an earlier process may have sent are taken for never sent."""

    def never_sent(
        self: GatewayCore, wall_us: int, ends: dict[str, int] | None = None, epoch: int = 1
    ) -> None:
        self._fenced = True
        self.epoch = epoch

    patch.setattr(GatewayCore, "fenced_at", never_sent)


def no_barrier(patch: pytest.MonkeyPatch) -> None:
    """Entries leave without a look at the ends of control and of the own partition."""
    patch.setattr(GatewayShell, "_barrier", lambda *_: True)


def no_epoch_check(patch: pytest.MonkeyPatch) -> None:
    """The barrier looks at control and not whether another gateway has taken over."""
    patch.setattr(GatewayShell, "_barrier", lambda self, _: ORIGINAL_BARRIER(self, []))


ORIGINAL_BARRIER = GatewayShell._barrier


def stamp_after_check(patch: pytest.MonkeyPatch) -> None:
    """A request is signed when it leaves, not before its barrier was asked. (Else a round lets out
    entries for 25 ms only.)"""

    def send(self: GatewayShell, source: GatewaySource, action: SendRequest, t0_us: int) -> None:
        now_us = self._wall()
        ORIGINAL_SEND(self, source, action.stamped(now_us), now_us)

    patch.setattr(GatewayShell, "send", send)
    patch.setattr(GatewayShell, "_lets_out", lambda *_: True)


ORIGINAL_SEND = GatewayShell.send


def resend_on_timeout(patch: pytest.MonkeyPatch) -> None:
    """What is not answered soon is sent again, without asking."""

    def due(self: GatewayCore, live: LiveOrder, wall_us: int, room: int) -> Any:
        if not live.accepted and live.fate is Fate.SENT and wall_us > live.t0_us + 300_000:
            live.fate, live.attempt = Fate.READY, live.attempt + 1
        return ORIGINAL_DUE(self, live, wall_us, room)

    patch.setattr(GatewayCore, "_due_order", due)


def projector_forgets_fence(patch: pytest.MonkeyPatch) -> None:
    """Positions are kept in the database, epochs and sequences are not."""

    def cursor_of(*row: Any, **_: Any) -> Cursor:
        cursor = ORIGINAL_CURSOR(*row)
        cursor.validity = Validity()
        return cursor

    patch.setattr(projector, "cursor_of", cursor_of)


ORIGINAL_CURSOR = writing.cursor_of


FOCUS: dict[str, Rates] = {
    "end_while_unknown": Rates(venue=FaultPlan(lost_answer_every=1)),
    "stamp_after_check": Rates(strike=0.1, kinds=(("pause", 1.0),), step_us=100),
    "flat_from_two_topics": Rates(delay=0.6, brakes=False),
    "exposure_two_topics": Rates(delay=0.3),
    "snapshot_anywhere": Rates(strike=0.01, kinds=(("crash", 1.0),), snapshot_inputs=4),
    "blind_snapshot": Rates(
        strike=0.01, kinds=(("zombie", 1.0),), snapshot_inputs=4, eager=0.25, watches=0.1
    ),
}
"""Faults of the seeds that show what ordinary ones show rarely."""
