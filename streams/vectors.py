"""What a worker has read, whichever of its processes did it: reports of all of them in one place.

Two processes of a worker may live side by side: a second one that shares the partitions, a
successor that comes while the first is paused, the paused one that goes on. Each source belongs to
the process that fenced it last; only its owner's word counts for it.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Vector:
    """The latest report of one process, put together from full ones and what changed since.

    `epochs`: epoch of each source it has, by the source's partition."""

    epochs: dict[int, int] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    unresolved: int = 0

    def fold(self, report: dict[str, Any]) -> None:
        """Take over what a report says."""
        epochs = {int(number): epoch for number, epoch in report["epochs"].items()}
        if report["full"]:
            self.epochs, self.positions = epochs, dict(report["positions"])
        else:
            self.epochs |= epochs
            self.positions |= report["positions"]
        self.unresolved = report["unresolved"]


class WorkerVector:
    """Fold of the reports of one worker. `numbers`: partitions of all its sources; those that are
    told of are added, so who only looks need not know them."""

    def __init__(self, numbers: Collection[int] = ()) -> None:
        self.numbers = frozenset(numbers)
        self.processes: dict[str, Vector] = {}
        self.owners: list[Vector] = []
        self.missing: frozenset[int] = self.numbers
        """Sources that nobody has told of since they were last taken over."""
        self._least = dict.fromkeys(self.numbers, 0)

    def fold(self, report: dict[str, Any]) -> Collection[str]:
        """Take a report in; inputs whose position may be another one now.

        A process counts from its first full report on. One that says which sources it is `taking`
        is about to fence them: until it reports, nobody has them, as what its predecessor does from
        now on may be invalid."""
        if "taking" in report:
            return self._taking(report["taking"])
        process = report["incarnation"]
        vector = self.processes.get(process)
        if vector is None:
            if not report["full"]:
                return ()
            vector = self.processes[process] = Vector()
        before = self.keys() if report["full"] or report["epochs"] else ()
        vector.fold(report)
        if report["full"] or report["epochs"]:
            self._settle()
            return {*before, *self.keys()}
        return report["positions"] if process in self.processes else ()

    def _taking(self, numbers: Collection[int]) -> Collection[str]:
        for number in self.numbers & set(numbers):
            held = (v.epochs.get(number, 0) for v in self.processes.values())
            self._least[number] = max(self._least[number], max(held, default=0) + 1)
        self._settle()
        return self.keys()

    def _settle(self) -> None:
        told = {number for vector in self.processes.values() for number in vector.epochs}
        self._least |= dict.fromkeys(told - self.numbers, 0)
        self.numbers |= told
        owners: dict[str, Vector] = {}
        missing = []
        for number in self.numbers:
            at, process = max(
                ((v.epochs.get(number, -1), p) for p, v in self.processes.items()),
                default=(-1, ""),
            )
            if at < self._least[number]:
                missing.append(number)
                continue
            self._least[number] = at
            owners[process] = self.processes[process]
        self.processes = owners  # who owns nothing may come back with a full report only
        self.owners = list(owners.values())
        self.missing = frozenset(missing)

    def keys(self) -> set[str]:
        """Inputs of which a position is known."""
        return {key for vector in self.owners for key in vector.positions}

    def position(self, key: str) -> int | None:
        """Next offset of an input: the lowest of all who read it; None where nobody does."""
        found = [v.positions[key] for v in self.owners if key in v.positions]
        return min(found) if found else None

    @property
    def unresolved(self) -> int:
        return sum(vector.unresolved for vector in self.owners)
