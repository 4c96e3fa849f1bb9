"""What execution waits for (:mod:`domain.waits`): the timers of calm positions and orders.

Calm is what every tick would leave as it is: protection stands, nothing is closing, no rule has
work to do. Of a calm account only its timers are named. Anything else is looked at by every tick:
rare, short, and then the rules themselves decide.
"""

from decimal import Decimal

from domain.decider import OWN, Slices
from domain.execution_results import OpenPosition, ResultAccount
from domain.execution_state import (
    CLOSING,
    PROTECTIVE,
    Approved,
    ExecutionMarket,
    OwnAccount,
    OwnOrder,
)
from domain.policy_state import AccountPolicy
from domain.waits import Level, Waits
from schemas.topics import CONTROL, EXECUTION_RES, MARKET, SIGNAL_SAFE

SECOND_US = 1_000_000
_HUNDRED = Decimal(100)


def execution_waits(slices: Slices) -> Waits:
    """Of all accounts that a tick would ask for."""
    waits = Waits()
    own, results = slices[OWN].accounts, slices[EXECUTION_RES.name].accounts
    policies: dict[str, AccountPolicy] = slices[CONTROL.name].accounts
    for name in dict.fromkeys((*own, *results)):
        mine, theirs = own.get(name), results.get(name)
        policy = policies.get(name)
        if policy is None:
            continue  # Nothing is decided for an account without a policy.
        account = _Account(
            policy,
            mine or OwnAccount(),
            theirs or ResultAccount(),
            slices[SIGNAL_SAFE.name].accounts.get(name) or {},
        )
        if account.idle():
            continue
        if policy.is_emergency_mode() or not account.calm(slices[MARKET.name], waits):
            waits.every_tick = True
    return waits


class _Account:
    """One account with something open."""

    def __init__(
        self,
        policy: AccountPolicy,
        own: OwnAccount,
        results: ResultAccount,
        approvals: dict[str, Approved],
    ) -> None:
        self.policy, self.own, self.results, self.approvals = policy, own, results, approvals
        self.open = [order for order in own.orders.values() if order.id not in results.ended]

    def idle(self) -> bool:
        emergency = self.own.emergency
        return not (
            self.own.orders
            or self.results.positions
            or (emergency is not None and not emergency.flat)
        )

    def calm(self, market: ExecutionMarket, waits: Waits) -> bool:
        """Whether every rule is satisfied; its timers go to `waits`."""
        return all(self._order(order, waits) for order in self.open) and all(
            self._position(position, market, waits) for position in self.results.positions.values()
        )

    def _order(self, order: OwnOrder, waits: Waits) -> bool:
        if order.purpose in PROTECTIVE:
            owner = self.results.positions.get(order.symbol)
            return order.cancelled or (owner is not None and owner.trade_id == order.owner_id)
        if order.unwanted:
            return False
        if order.cancelled or order.purpose in CLOSING:
            return True
        policy = self.policy
        if not policy.can_open_new_trades() or order.symbol in policy.policy.paused_symbols:
            return False
        if order.purpose == "entry" and order.order_type == "LIMIT":
            waits.wake_at(order.at + int(policy.value("limit_expiry_s")) * SECOND_US)
        return True

    def _position(self, held: OpenPosition, market: ExecutionMarket, waits: Waits) -> bool:
        care = self.own.care.get(held.symbol)
        if care is not None and (care.trade_id != held.trade_id or care.closing is not None):
            return False
        if any(order in self.own.orders and self.own.orders[order].unwanted
               for order in held.orders):  # fmt: skip
            return False
        age_us = int(self.policy.value("max_time_in_trade_s")) * SECOND_US
        waits.wake_at(held.opened_at + age_us + 1)
        if care is None or care.stop_id is None:
            return not self.policy.value("stops_required") and not self._planned(held)
        stops = [o for o in self.open if o.purpose == "stop" and o.owner_id == held.trade_id]
        if not stops or not any(stop.id in self.results.accepted for stop in stops):
            return False
        return self._stop(held, stops[-1], market, waits)

    def _planned(self, held: OpenPosition) -> bool:
        """Whether a stop or a target is yet to be placed."""
        entry = self.own.orders.get(held.orders[0]) if held.orders else None
        plan = self.approvals.get(entry.request_id or "") if entry else None
        return plan is not None and (plan.stop is not None or plan.target is not None)

    def _stop(
        self, held: OpenPosition, stop: OwnOrder, market: ExecutionMarket, waits: Waits
    ) -> bool:
        """The newest stop: crossed without a fill, or of another regime than the one now."""
        if stop.trigger is None:
            return False
        margin = stop.trigger * self.policy.number("stop_failed_pct") / _HUNDRED
        if held.quantity > 0:
            level = Level(held.symbol, below=stop.trigger - margin)
        else:
            level = Level(held.symbol, above=stop.trigger + margin)
        waits.tick_levels = (*waits.tick_levels, level)
        if stop.regime is None or stop.cancelled:
            return True
        known = market.symbols.get(held.symbol)
        if known is None or known.hourly.regime != stop.regime:
            return False
        waits.regimes = (*waits.regimes, (held.symbol, stop.regime))
        return True
