"""When sources tell their states: checkpoints, snapshots, and how much of the time both may take.

A digest of a state, and a snapshot more so, takes as long as the state is large, and the sources of
the process stand still meanwhile. Large states in a burst, or on a crowded machine where everything
takes longer, would leave a process time for nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from domain.source import Source

CHECKPOINT_INPUTS = 1_000
CHECKPOINT_S = 10.0
"""A quiet live system would else write a record a source each second, kept for ever."""
AHEAD_S = 1.0
"""How far work may run ahead of its share: states that are small are told at once."""


@dataclass(frozen=True, slots=True)
class Every:
    """When a snapshot of a source is due: after `inputs` records folded, or after `seconds` if
    at least `news` were. `share`: what the snapshots of one source may take of the time at most,
    `process_share`: what checkpoints and snapshots of all sources may, as fractions."""

    inputs: int = 20_000
    seconds: float = 60.0
    news: int = 1_000
    share: float = 0.001
    process_share: float = 0.05


@dataclass(slots=True)
class Pace:
    """When a source was last kept, and how many inputs it had folded then."""

    at_s: float
    folded: int
    cost_s: float = 0.0


@dataclass(slots=True)
class Paces:
    """Of the sources of one process. All times are monotonic seconds."""

    every: Every = field(default_factory=Every)
    kept: dict[str, Pace] = field(default_factory=dict)
    told: dict[str, tuple[float, int]] = field(default_factory=dict)
    """When a source was last seen to have written, or to have folded nothing; and its sequence."""
    rests_until: float = float("-inf")

    def rested(self, now_s: float) -> bool:
        """Whether the process has done enough else since it told states."""
        return now_s >= self.rests_until - AHEAD_S

    def spent(self, now_s: float, cost_s: float) -> None:
        """Telling a state took `cost_s`."""
        if (rest_s := cost_s / self.every.process_share) > 0:
            self.rests_until = max(self.rests_until, now_s) + rest_s

    def checkpoints(
        self, sources: Iterable[Source], since: Mapping[str, int], now_s: float
    ) -> list[Source]:
        """Sources that wrote before and folded a while without a record, who folded most first.
        `since`: inputs folded without a record, by source."""
        due: list[Source] = []
        for source in sources:
            folded = since.get(source.name, 0)
            at_s, sequence = self.told.setdefault(source.name, (now_s, source.sequence))
            if sequence != source.sequence or not folded:
                self.told[source.name] = now_s, source.sequence
            elif source.sequence and (now_s - at_s >= CHECKPOINT_S or folded >= CHECKPOINT_INPUTS):
                due.append(source)
        return sorted(due, key=lambda source: -since[source.name])

    def snapshot(self, sources: Iterable[Source], now_s: float) -> Source | None:
        """The source that most needs a snapshot, if one does."""
        found: Source | None = None
        most = 0
        for source in sources:
            folded = sum(source.positions.values())
            pace = self.kept.setdefault(source.name, Pace(now_s, folded))
            news, age_s = folded - pace.folded, now_s - pace.at_s
            wanted = news >= self.every.inputs or (
                news >= self.every.news and age_s >= self.every.seconds
            )
            rested = age_s >= pace.cost_s / self.every.share
            if wanted and rested and news > most:
                found, most = source, news
        return found if self.rested(now_s) else None
