"""What goes wrong in a run with chaos, and when: drawn from a seed, as text that reads as a log.

Every seed draws rates of its own as well (swarm): how often, which kinds, how long. The same seed
is the same list; when a run's processes are hit differs by milliseconds all the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from schemas.topics import WORKERS

PROCESSES = (*WORKERS, "feed", "kafka", "postgres")
DATABASE = "projector-postgres"
LINKS = (*WORKERS, "feed", DATABASE)
"""The link of each process to the broker, and the projector's to its database."""
KINDS = {
    "kill": PROCESSES,
    "pause": PROCESSES,
    "cut": LINKS,
    "refuse": LINKS,
    "half-open": LINKS,
    "half-open-dies": LINKS,
    "mute": LINKS,
    "late": LINKS,
    "slow": LINKS,
    "kill-backend": (DATABASE,),
}
"""Kinds of faults and whom they can hit. cut: connections are reset once; refuse: and so are new
ones for a while; half-open: nothing passes and nothing ends, later it does; half-open-dies: and is
reset at its end; mute: requests pass, answers do not, then it is reset; kill-backend: one process
of the database is killed, and it recovers from that."""
LASTING = frozenset(KINDS) - {"kill", "cut", "kill-backend"}
EVERYBODY = 0.15
"""Share of the faults of links that hit all of them at once: the broker's own network."""
ALL = "all"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. at_s: seconds after the start; seconds: how long it lasts, 0: an instant; amount:
    seconds late, or bytes a second."""

    at_s: float
    kind: str
    target: str
    seconds: float = 0.0
    amount: float = 0.0

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.1f} s" if self.seconds else ""
        amount = {"late": f" by {self.amount:.2f} s", "slow": f" at {self.amount:.0f} bytes/s"}
        return f"{self.at_s:6.1f} {self.kind} {self.target}{amount.get(self.kind, '')}{lasts}"


def drawn(seed: int, *, longest_s: float = 20.0) -> Iterator[Fault]:
    """Faults without end, in order of time."""
    random = Random(seed)
    gap_s = random.choice((0.5, 1.0, 2.0, 4.0))
    kinds = [kind for kind in KINDS if random.random() < 0.75] or list(KINDS)
    weights = [random.choice((1, 2, 4)) * (2 if kind in ("kill", "pause") else 1) for kind in kinds]
    at_s, last = 0.0, ""
    while True:
        at_s += random.expovariate(1 / gap_s)
        (kind,) = random.choices(kinds, weights)
        target = random.choice(KINDS[kind])
        if last in KINDS[kind] and random.random() < 0.3:
            target = last  # what has just come back is hit again
        elif KINDS[kind] == LINKS and random.random() < EVERYBODY:
            target = ALL
        last = target
        seconds = amount = 0.0
        if kind in LASTING:
            shortest, most = random.choice(((0.1, 1.0), (0.1, 1.0), (1.0, 5.0), (5.0, longest_s)))
            seconds = min(longest_s, random.uniform(shortest, most))
        if kind == "late":
            amount = random.choice((0.02, 0.06, 0.15, 0.5))
        elif kind == "slow":
            amount = random.choice((2_000, 10_000, 50_000))
        yield Fault(round(at_s, 2), kind, target, round(seconds, 2), amount)
