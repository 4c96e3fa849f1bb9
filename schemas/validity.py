"""Which records of a partition are valid: one function of that partition's order alone.

Valid is a record whose epoch is that of its source's latest accepted fence before it in the same
partition, and whose sequence is the next. Lower: dropped (a zombie, or seen). Higher: the partition
is broken and must be stopped. Outside events have no epoch and are always valid here.
"""

from schemas.envelope import Envelope

FENCE = "source.fenced.v1"


class SequenceGap(RuntimeError):
    """A source's sequence jumped: records are missing. Stop the partition and alarm."""


class Validity:
    """Fold of one partition. `sources` maps a source to (epoch, last sequence)."""

    __slots__ = ("sources",)

    def __init__(self, sources: dict[str, tuple[int, int]] | None = None) -> None:
        self.sources: dict[str, tuple[int, int]] = dict(sources or {})

    def admit(self, event: Envelope) -> bool:
        """Fold a record in; True if it is valid. A fence is folded and never valid as an event."""
        source, epoch, sequence = event.source, event.epoch, event.sequence
        return self.admit_head(source, epoch, sequence, event.type == FENCE)

    def admit_head(self, source: str, epoch: int | None, sequence: int | None, fence: bool) -> bool:
        """The same from the four fields that matter."""
        if epoch is None:
            return not fence
        current, last = self.sources.get(source, (0, 0))
        if fence:
            if epoch > current:
                self.sources[source] = (epoch, last)
            return False
        if epoch > current:
            raise SequenceGap(
                f"{source} writes in epoch {epoch} without its fence (epoch {current} is known): "
                "records are missing; stop reading this partition and restore it"
            )
        if epoch < current or sequence is None or sequence <= last:
            return False
        if sequence != last + 1:
            raise SequenceGap(
                f"{source} jumped from sequence {last} to {sequence} in epoch {epoch}: "
                "records are missing; stop reading this partition and restore it"
            )
        self.sources[source] = (current, sequence)
        return True

    def admit_run(self, source: str, epoch: int, first: int, last: int) -> bool:
        """Admit the records of a source with sequences `first` to `last` in one go; False, and
        nothing is folded, where they do not follow what is known."""
        if self.sources.get(source) != (epoch, first - 1):
            return False
        self.sources[source] = (epoch, last)
        return True

    def epoch(self, source: str) -> int:
        return self.sources.get(source, (0, 0))[0]

    def sequence(self, source: str) -> int:
        return self.sources.get(source, (0, 0))[1]
