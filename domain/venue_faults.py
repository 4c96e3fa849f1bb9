"""Time-outs, lost answers, refusals and thin books to order: the paths that lose money are
exercised every day."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Which first attempts to place an order go wrong: one in so many client order ids, by their
    hash; 0 for none. Without effect (`lost_request`) or with effect (`lost_answer`), the gateway
    hears nothing either way. `refused`: the venue refuses it; `thin`: an entry finds the volume for
    half of it."""

    lost_answer_every: int = 0
    lost_request_every: int = 0
    refused_every: int = 0
    thin_every: int = 0

    def lost_request(self, client_order_id: str) -> bool:
        every = self.lost_request_every
        return every > 0 and _number(client_order_id) % every == 0

    def lost_answer(self, client_order_id: str) -> bool:
        every = self.lost_answer_every
        return every > 0 and _number(client_order_id) % every == every - 1

    def refused(self, client_order_id: str) -> bool:
        return _one_in(self.refused_every, "refused", client_order_id)

    def thin(self, client_order_id: str) -> bool:
        return _one_in(self.thin_every, "thin", client_order_id)


def _one_in(every: int, what: str, client_order_id: str) -> bool:
    return every > 0 and _number(f"{what} {client_order_id}") % every == 0


def _number(client_order_id: str) -> int:
    return int.from_bytes(hashlib.sha256(client_order_id.encode()).digest()[:8], "big")


NO_FAULTS = FaultPlan()
