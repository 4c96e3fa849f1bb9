"""Closing what the venue says is open, without a decision of anybody else (DEFINITIONS 7, SAFE-6).

For a halt with `flatten`, and where Kafka is away for what stands without a stop. An account is
read at the venue; what is open there is closed at MARKET, reduce-only (which cannot flip), entries
that rest are cancelled; then it is read again, until nothing is left. Protective stops stay: the
sweeper cancels them when the log is back. Pure: the shell sends what :meth:`SecondPath.due` gives
and says so.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from gateways.orders import LONG_AGO, LiveOrder, Sender, SendRequest
from schemas.envelope import Envelope
from schemas.scalars import text
from schemas.trade import OpenQuantity
from schemas.venue import CancelRequest, Place, ReadAccount, VenueReadBack, VenueReported

PREFIX = "qh"
"""What client order ids of the second path begin with; those of decided orders begin with `qt`."""
APART_MAX_US = 5_000_000
"""Longest pause between two readings of an account that is not flat yet, and of one that is."""


@dataclass(frozen=True, slots=True)
class Closing:
    """Closes of one account that are to be recorded, then sent."""

    account: str
    cause: str
    """What they are for: a halt's key, or what left a position without a stop."""
    places: tuple[Place, ...]
    read_step: str


@dataclass(slots=True)
class _Account:
    """One account that is being closed. Wall times in microseconds."""

    cause: str
    symbols: frozenset[str] | None
    """Only these; None: all."""
    reads: int = 0
    asked_us: int = LONG_AGO
    step: str = ""
    """Step of the latest reading, while it has no answer."""
    entries_before: int = 0
    """Entries without an end when it was asked."""
    apart_us: int = 0
    open: tuple[OpenQuantity, ...] = ()
    """What is to be closed next."""
    flat: bool = False


@dataclass(slots=True)
class SecondPath:
    """Of one gateway partition. `name`: the gateway's source."""

    name: str
    window_ms: int
    skew_ms: int
    entries: Callable[[str], list[LiveOrder]]
    """Orders of an account that may increase its risk and have no end."""
    _accounts: dict[str, _Account] = field(default_factory=dict)

    # ------------------------------------------------------------------ what is asked for

    def begin(self, cause: str, accounts: Iterable[str]) -> None:
        """Close everything of these accounts; one that is being closed for this already goes on."""
        for account in accounts:
            known = self._accounts.get(account)
            if known is None or known.cause != cause:
                self._accounts[account] = self._fresh(cause, None)

    def unguarded(self, cause: str, account: str, symbol: str) -> None:
        """Close one symbol, unless all of the account are being closed."""
        known = self._accounts.get(account)
        if known is None:
            self._accounts[account] = self._fresh(cause, frozenset({symbol}))
        elif known.symbols is not None:
            known.symbols |= {symbol}
            known.flat, known.step, known.asked_us = False, "", LONG_AGO

    def end(self) -> None:
        """Close no more: the halt was lifted, or the log is back and execution decides again."""
        self._accounts.clear()

    def _fresh(self, cause: str, symbols: frozenset[str] | None) -> _Account:
        return _Account(cause, symbols, apart_us=(self.window_ms + self.skew_ms) * 1000)

    @property
    def left(self) -> list[str]:
        """Accounts that are not seen flat yet."""
        return sorted(name for name, each in self._accounts.items() if not each.flat)

    @property
    def busy(self) -> bool:
        return bool(self._accounts)

    @property
    def of_symbols(self) -> bool:
        """Whether it closes what stands without a stop, and nothing else."""
        return all(each.symbols is not None for each in self._accounts.values())

    # ------------------------------------------------------------------ what is to be done

    def due(self, wall_us: int, epoch: int) -> list[SendRequest | Closing]:
        """Readings, cancels and closes to be sent at `wall_us`. Changes nothing."""
        found: list[SendRequest | Closing] = []
        sender = Sender(self.name, epoch, self.window_ms)
        for name, each in self._accounts.items():
            if each.open:
                found.append(self._closing(name, each, epoch))
            elif wall_us >= each.asked_us + each.apart_us:
                for number, live in enumerate(self._entries(name, each)):
                    if live.accepted:
                        cancel = CancelRequest(
                            client_order_id=live.order.client_order_id, symbol=live.order.symbol
                        )
                        key = 1_000_000 + each.reads * 1_000 + number
                        found.append(sender.send(cancel, name, key, wall_us=wall_us, live=None))
                read = ReadAccount(step_id=f"{PREFIX}/{each.cause}/{name}/{epoch}/{each.reads}")
                found.append(sender.send(read, name, each.reads, wall_us=wall_us, live=None))
        return found

    def _entries(self, name: str, each: _Account) -> list[LiveOrder]:
        """Entries that are to end: all of the account, or those that rest in its symbols."""
        known, symbols = self.entries(name), each.symbols
        if symbols is None:
            return known
        return [live for live in known if live.accepted and live.order.symbol in symbols]

    def _closing(self, name: str, each: _Account, epoch: int) -> Closing:
        places = tuple(
            Place(
                client_order_id=_client(self.name, epoch, each.cause, name, p.symbol, each.reads),
                symbol=p.symbol,
                side="SELL" if Decimal(p.quantity) > 0 else "BUY",
                order_type="MARKET",
                time_in_force="IOC",
                quantity=text(abs(Decimal(p.quantity))),
                reduce_only=True,
                close_position=False,
            )
            for p in each.open
        )
        step = f"{PREFIX}/{each.cause}/{name}/{epoch}/{each.reads - 1}"
        return Closing(name, each.cause, places, step)

    def requests(self, closing: Closing, wall_us: int, epoch: int) -> list[SendRequest]:
        """The requests of closes that are recorded."""
        sender = Sender(self.name, epoch, self.window_ms)
        places = closing.places
        return [sender.send(p, closing.account, 0, wall_us=wall_us, live=None) for p in places]

    def sent(self, action: SendRequest | Closing, wall_us: int) -> None:
        """A request left, or the closes of an account did."""
        each = self._accounts.get(action.account)
        if each is None:
            return
        if isinstance(action, Closing):
            each.open, each.asked_us = (), wall_us
        elif isinstance(action.request.request, ReadAccount):
            each.reads, each.step = each.reads + 1, action.request.request.step_id
            each.asked_us = wall_us
            each.entries_before = len(self._entries(action.account, each))

    def on_report(self, event: Envelope) -> bool:
        """Take what the venue says; True if an account was seen flat for the first time."""
        if not isinstance(event, VenueReported) or not event.data.delivered:
            return False
        each = self._accounts.get(event.partitionkey)
        news = False
        for item in event.data.items:
            if each is not None and isinstance(item, VenueReadBack) and item.step_id == each.step:
                news |= self._read(each, item)
        return news

    def _read(self, each: _Account, item: VenueReadBack) -> bool:
        wanted = [p for p in item.positions if each.symbols is None or p.symbol in each.symbols]
        each.step = ""
        each.open = tuple(p for p in wanted if Decimal(p.quantity))
        first_us = (self.window_ms + self.skew_ms) * 1000
        if each.open or each.entries_before:
            slower = min(each.apart_us * 2, APART_MAX_US)
            each.apart_us = first_us if each.flat or each.reads == 1 else slower
            each.flat = False
            return False
        news, each.flat, each.apart_us = not each.flat, True, APART_MAX_US
        return news


def _client(*parts: object) -> str:
    whole = "\x1f".join(map(str, parts))
    return PREFIX + hashlib.sha256(whole.encode()).hexdigest()[:22]
