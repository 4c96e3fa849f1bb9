"""Halts on the log: what the gateway obeyed, and what it closed by itself (SAFE-6).

Both are told on `control` by the gateway, as `worker.started` is: outside records with natural ids,
which no decider reads. A halt is in force by its file, not by any record.
"""

from typing import Literal

from schemas.envelope import Envelope, Model
from schemas.scalars import ClientOrderId, Id, Line, Positive, Symbol
from schemas.trade import Side

HaltState = Literal["set", "lifted", "flat"]


class HaltNotedData(Model):
    """`state` set: obeyed from now on; lifted: no longer; flat: of `subject`, the venue shows no
    position after `flatten`. `instance`: the gateway that says so. `set_at` is wall time, as the
    file says. `defect`: why the file could not be taken as it is, and counts as `entries`."""

    state: HaltState
    instance: Line
    mode: Literal["entries", "all", "flatten"]
    operator: Line
    reason: Line
    set_at: Line
    key: Line
    defect: Line | None = None


class HaltNoted(Envelope):
    type: Literal["halt.noted.v1"] = "halt.noted.v1"
    data: HaltNotedData


class HaltClose(Model):
    """One close at MARKET, reduce-only, of a position that the venue showed. Its fills have no
    order id: no decision made it."""

    id: Id
    client_order_id: ClientOrderId
    symbol: Symbol
    side: Side
    quantity: Positive


class HaltCloseData(Model):
    """`why`: the halt, or the stop that failed while Kafka was away."""

    why: Line
    items: tuple[HaltClose, ...]


class HaltClosed(Envelope):
    """What the gateway closes by itself; durable before the requests leave (EXEC-1)."""

    type: Literal["halt.close.ordered.v1"] = "halt.close.ordered.v1"
    data: HaltCloseData
