"""Faulty rules of what stops by itself: breaker, governor, AI-HFOS, halt, own closes.

As :mod:`tests.replay.simulator.mutants`, but of our own: the protocol's model has none of these.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from domain import control as control_module
from domain import safety as safety_module
from domain.policy_state import AccountPolicy, trading_state
from domain.safety import Safety
from domain.safety_levels import drawdown_level, holds_of
from gateways.own_closes import OwnCloses
from gateways.second_path import SecondPath
from streams import halting
from streams.gateway_stops import Stops

Patch = Callable[[pytest.MonkeyPatch], None]


def breaker_never_trips(patch: pytest.MonkeyPatch) -> None:
    """A drawdown over the limit is REDUCING, whatever it is."""

    def level(before: Any, drawdown_pct: Any, limits: Any) -> Any:
        found = drawdown_level("NORMAL" if before == "STOP" else before, drawdown_pct, limits)
        return "REDUCING" if found == "STOP" else found

    patch.setattr(safety_module, "drawdown_level", level)


def stop_without_emergency(patch: pytest.MonkeyPatch) -> None:
    """Safety says STOP and control does not stop the account."""
    patch.setattr(control_module, "trip", lambda *_, **__: None)


def daily_loss_ignored(patch: pytest.MonkeyPatch) -> None:
    """The loss of the day holds nothing."""

    def holds(drawdown: Any, *, daily_loss: bool, flash_crash: bool) -> Any:
        return holds_of(drawdown, daily_loss=False, flash_crash=flash_crash)

    patch.setattr(safety_module, "holds_of", holds)


def blind_between_updates(patch: pytest.MonkeyPatch) -> None:
    """Safety looks when a position changes, and never at a price."""
    asks = Safety.asks

    def asked(self: Safety, slices: Any, fact: Any) -> Any:
        return () if fact.type.startswith("market.") else asks(self, slices, fact)

    patch.setattr(Safety, "asks", asked)


def governor_unheard(patch: pytest.MonkeyPatch) -> None:
    """Nobody asks what the governor says, only what the policy does."""

    def state(self: AccountPolicy) -> Any:
        return trading_state(self.policy)

    patch.setattr(AccountPolicy, "trading_state", state)


def halt_all_lets_exits_out(patch: pytest.MonkeyPatch) -> None:
    """`halt --all` stops entries and nothing else."""
    stops = halting.stops
    patch.setattr(halting, "stops", lambda halt: ("entries" if halt else "", stops(halt)[1]))
    patch.setattr(Stops, "keeps", lambda *_: False)


def own_close_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A close that the gateway ordered by itself is never asked about."""

    def due(self: OwnCloses, wall_us: int, epoch: int) -> Iterator[Any]:
        return iter(())

    patch.setattr(OwnCloses, "due", due)
    patch.setattr(OwnCloses, "unanswered", 0)


def flash_crash_ignored(patch: pytest.MonkeyPatch) -> None:
    """However fast an account falls, that is no flash crash."""
    patch.setattr(safety_module._Look, "_flash", lambda _: None)


def flatten_closes_once(patch: pytest.MonkeyPatch) -> None:
    """`halt --flatten` reads an account once, and what it then closes it takes for closed."""
    due = SecondPath.due

    def once(self: SecondPath, wall_us: int, epoch: int) -> list[Any]:
        again = {name for name, each in self._accounts.items() if each.reads and not each.open}
        return [action for action in due(self, wall_us, epoch) if action.account not in again]

    patch.setattr(SecondPath, "due", once)


BRAKES: dict[str, Patch] = {
    mutant.__name__: mutant
    for mutant in (
        breaker_never_trips, stop_without_emergency, daily_loss_ignored, blind_between_updates,
        governor_unheard, halt_all_lets_exits_out, own_close_forgotten, flash_crash_ignored,
        flatten_closes_once,
    )
}  # fmt: skip
