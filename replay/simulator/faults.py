"""Faults of a simulation: what there is, how often one seed has each, and how often it happened.

Each seed draws which faults it has at all and then their rates (swarm testing, Groce et al. 2012):
a run with every fault at once hides what two of them do together.
"""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

from domain.venue_faults import FaultPlan

KILLS = {
    "crash": "a process dies at a micro-step, what it had in flight is lost",
    "late": "a process dies, a prefix of what it had in flight lands later",
    "zombie": "a process is stopped, another one takes over, then the first goes on",
    "double": "a process dies and two new ones start at once",
    "pause": "a process stands still in the middle of a step for up to three seconds",
}
FAULTS = KILLS | {
    "delay": "a partition reaches one reader later than others",
    "reorder": "a record is read before an older one of another partition",
    "slow": "a worker takes a hundred times as long for a second or more",
    "broker away": "nobody reads, appends or starts",
    "buffered": "a record of the gateway goes to its disk, for there is no broker",
    "half-written line": "the gateway dies in the middle of a line of its disk buffer",
    "database away": "the projector cannot commit",
    "projector crash": "the projector dies with a batch it had folded",
    "projector zombie": "a second projector takes over, the first commits once more",
    "duplicate": "a client publishes a record twice",
    "clock skew": "the clocks of gateway and venue differ",
    "clock step": "the host's clock is set",
    "request lost": "a request to the venue is lost",
    "answer lost": "an order takes effect and its answer is lost",
    "outside window": "a request reaches the venue after its window and is refused",
    "unknown": "an order's fate is not known after its window",
    "refused": "the venue refuses an order",
    "partial fill": "an order ends with a part of it filled",
}
"""Every fault, and what it does. A simulation counts each time one happened."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Faults of one seed. Chances are of one micro-step, of one record, or of one second."""

    strike: float = 0.0
    """Of a micro-step: the process is struck there."""
    kinds: tuple[tuple[str, float], ...] = ()
    """Weights of the ways in which it is struck."""
    meanwhile: float = 0.0
    """Of a micro-step: others go on a little before it is done."""
    delay: float = 0.0
    """Of a record and a reader: the partition is held back."""
    slow: float = 0.0
    broker: float = 0.0
    database: float = 0.0
    projector: float = 0.0
    duplicate: float = 0.0
    step: float = 0.0
    skew_us: int = 0
    """Clock of the gateway less that of the venue, within what the gateway allows for."""
    step_us: int = 300
    """What a step of a process takes, mean."""
    eager: float = 0.6
    """How likely a process delivers before it takes more."""
    watches: float = 0.5
    """How likely it looks at its own output before it takes more."""
    snapshot_inputs: int = 60
    """Inputs between two snapshots of a source."""
    venue: FaultPlan = field(default_factory=FaultPlan)
    brakes: bool = True
    """Whether some seeds have tight limits, an AI-HFOS and halts."""


CALM = Rates()
SKEW_MAX_US = 150_000
"""Of the 200 ms that the gateway allows for; a step of the clock may add what is left."""


def drawn(rnd: Random) -> Rates:
    """The faults of one seed."""

    def some(*rates: float, of: float = 0.6) -> float:
        return rnd.choice(rates) if rnd.random() < of else 0.0

    kinds = [name for name in KILLS if rnd.random() < 0.7] or ["crash"]
    return Rates(
        strike=some(0.002, 0.004, 0.008, 0.015, of=0.85),
        kinds=tuple((name, rnd.choice((1.0, 1.0, 3.0))) for name in kinds),
        meanwhile=some(0.01, 0.05, of=0.7),
        delay=some(0.003, 0.01, 0.03),
        slow=some(0.05, 0.15),
        broker=some(0.08, 0.16),
        database=some(0.05, 0.12),
        projector=some(0.06, 0.15),
        duplicate=some(0.1, 0.3),
        step=some(0.04, 0.08, of=0.5),
        skew_us=int(rnd.uniform(-SKEW_MAX_US, SKEW_MAX_US)) if rnd.random() < 0.6 else 0,
        step_us=rnd.choice((100, 300, 1000)),
        eager=rnd.choice((0.9, 0.6, 0.25)),
        watches=rnd.choice((0.9, 0.5, 0.1)),
        snapshot_inputs=rnd.choice((30, 100, 400)),
        venue=FaultPlan(
            lost_answer_every=rnd.choice((0, 3, 6)),
            lost_request_every=rnd.choice((0, 4, 8)),
            refused_every=rnd.choice((0, 0, 5, 12)),
            thin_every=rnd.choice((0, 2, 4)),
        ),
    )


Coverage = Counter[str]
"""How often each fault happened, and `restart <worker>`, `emergency` and others beside them."""
