"""Time-outs and lost answers to order: the paths that lose money are exercised every day."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Which first attempts to place an order go wrong: one in so many client order ids, by their
    hash; 0 for none. Without effect (`lost_request`) or with effect (`lost_answer`), the gateway
    hears nothing either way."""

    lost_answer_every: int = 0
    lost_request_every: int = 0

    def lost_request(self, client_order_id: str) -> bool:
        every = self.lost_request_every
        return every > 0 and _number(client_order_id) % every == 0

    def lost_answer(self, client_order_id: str) -> bool:
        every = self.lost_answer_every
        return every > 0 and _number(client_order_id) % every == every - 1


def _number(client_order_id: str) -> int:
    return int.from_bytes(hashlib.sha256(client_order_id.encode()).digest()[:8], "big")


NO_FAULTS = FaultPlan()
