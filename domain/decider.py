"""What a decider is: which topics it reads, how it folds them, what it decides.

State is a product: one slice for each input topic-partition and one for the source's own records.
`evolve` sees its slice alone; `decide` sees all, reads nothing else, returns at most one decision.
Hence the state is a function of the vector of positions, in whatever order topics were folded.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from schemas.envelope import Envelope, Model
from schemas.topics import Topic

OWN = "own"


@dataclass(frozen=True, slots=True)
class Read:
    """An input topic of a decider.

    `request`: each record is answered by exactly one record; else it is a fact. `full`: all
    partitions are read, whatever partition the source stands on (single-partition topics anyway).
    """

    topic: Topic
    request: bool = False
    full: bool = False


class Decision(NamedTuple):
    """What a decider decided: the class of the record, the account it is for, and its data."""

    event: type[Envelope]
    account: str
    data: Model
    symbol: str | None = None
    """Set when all parts share it: subject becomes account/symbol."""


class Slices(dict[str, Any]):
    """Slices by topic name; `OWN` for own records. A keyed topic read in full is a tuple of slices,
    one a partition. `halted`: accounts whose entries are refused (a decision failed)."""

    __slots__ = ("halted",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.halted: set[str] = set()


class Decider(Protocol):
    """A pure processor on one partition. Slices are dataclasses with slots, changed in place."""

    name: str
    output: Topic
    reads: tuple[Read, ...]

    def begin(self, topic: str) -> Any:
        """The empty slice of a topic, or of own records for `OWN`."""

    def evolve(self, topic: str, state: Any, event: Envelope) -> bool:
        """Fold a valid event into its slice. Total on valid events. False: old news (a natural key
        seen before, or older than what is folded), on which nothing is to be decided.

        The class of a slice may list in `folds` the classes of events that change it, and
        `AccountResumed` if it is that of control: at a restart others are passed over."""

    def asks(self, slices: Slices, fact: Envelope) -> Iterable[str]:
        """Accounts to call `decide` for after folding a fact, in account order. Often none.

        A decider may list in `asks_about` the classes of facts for which there can be any: replays
        then do not ask about others. With `equity_last = True` it promises this of records that
        tell equity alone (:class:`schemas.positions.EquityItem`): it asks about none, none changes
        what it waits for, and the last of a run leaves its slice as all of them would."""

    def decide(
        self, slices: Slices, cause: Envelope, account: str, record_id: str
    ) -> Decision | None:
        """The answer to a cause. None only for facts. `record_id` is the id the record will have:
        ids of parts are `schemas.ids.part_id(record_id, ordinal)`."""

    def tidy(self, slices: Slices) -> None:
        """Take out what two slices hold against each other (an order decided and its end), so that
        closed orders leave memory. Called after every fold; must leave the same state in whatever
        order the slices were folded, and must not change any decision."""
