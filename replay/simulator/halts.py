"""Halts as somebody beside the system knows them, and what leaves under them (SAFE-6)."""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from replay.simulator.found import BrokenPromise
from runtime.halt_file import HaltMode
from schemas.halting import HaltClosed, HaltNoted
from schemas.venue import CancelRequest, Place


@dataclass(slots=True)
class Held:
    """A halt in force from one instant to another."""

    mode: HaltMode
    key: str
    since: int
    until: int = 1 << 62


class Halts:
    """All halts of one run, and what the log says of them."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.closes: dict[str, str] = {}
        """Client order id to account, of closes that the gateway ordered by itself."""
        self.accepted: dict[str, str] = {}
        """The same of closes that the venue accepted: their order may still be on a disk then."""
        self.quantity: dict[str, Decimal] = {}
        """Ordered of each of them."""
        self.filled: Counter[str] = Counter()
        """Filled of each of them, by the venue."""
        self.told: dict[str, set[str]] = {}
        """Key to what was told of it."""
        self.flat: dict[str, set[str]] = {}
        """Key to the accounts that were told to be flat under it."""

    def begin(self, mode: HaltMode, key: str, at: int) -> None:
        """A person halts; another halt that is in force ends."""
        self.end(at)
        self.held.append(Held(mode, key, at))

    def end(self, at: int) -> None:
        """It is lifted."""
        if self.held and self.held[-1].until > at:
            self.held[-1].until = at

    def ordered(self, event: HaltClosed) -> None:
        """Closes that are about to be sent."""
        for item in event.data.items:
            self.closes[item.client_order_id] = event.partitionkey
            self.quantity[item.client_order_id] = Decimal(item.quantity)

    def noted(self, event: HaltNoted, any_open: bool) -> None:
        """What the gateway says of a halt. `any_open`: at the venue, of the account it is about."""
        self.told.setdefault(event.data.key, set()).add(event.data.state)
        if event.data.state == "flat":
            self.flat.setdefault(event.data.key, set()).add(event.partitionkey)
            if any_open:
                raise BrokenPromise(f"{event.partitionkey} is called flat under a halt and is not")

    def requested(self, request: Place | CancelRequest, at: int) -> None:
        """A request that was signed at an instant. Raises BrokenPromise where a halt forbids it."""
        for held in self.held:
            if not held.since < at < held.until:
                continue
            risky = isinstance(request, Place) and not request.reduce_only
            if risky or held.mode == "all":
                raise BrokenPromise(
                    f"{request.kind} {request.client_order_id} left under halt {held.mode}, "
                    f"{(at - held.since) / 1000:.0f} ms after it"
                )

    def at_rest(self) -> None:
        """Halts that the gateway obeyed are told as lifted, closes of its own as ordered."""
        for client, account in self.accepted.items():
            if self.closes.get(client) != account:
                raise BrokenPromise(f"the venue has order {client}, which nobody ordered")
            if self.filled[client] > self.quantity[client]:
                raise BrokenPromise(f"{client} filled more than was ordered")
        for key, states in self.told.items():
            if "set" in states and "lifted" not in states:
                raise BrokenPromise(f"halt {key} was lifted and the log does not say so")
