"""One decision once more, in a process of its own: other hash seed, other time zone, fresh memory.

What a decider gives must not depend on any of these. Reads a pickled :class:`Moment` on stdin and
writes the record's canonical bytes (nothing where nothing is decided) on stdout.
"""

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import Self

from domain.decider import Slices
from domain.processors import build
from domain.source import Source
from runtime.settings import ROOT
from schemas.codec import encode
from schemas.envelope import Envelope

SEEDS = ("1", "2")
LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Moment:
    """A source at the moment of a decision, and the cause it decides on for an account."""

    processor: str
    partition: int
    partitions: int
    epoch: int
    sequence: int
    positions: dict[str, int]
    slices: Slices
    key: str
    cause: Envelope
    account: str

    @classmethod
    def of(cls, source: Source, partitions: int, key: str, cause: Envelope, account: str) -> Self:
        return cls(
            processor=source.decider.name,
            partition=source.partition,
            partitions=partitions,
            epoch=source.epoch,
            sequence=source.sequence,
            positions=source.positions,
            slices=source.slices,
            key=key,
            cause=cause,
            account=account,
        )

    def decide(self) -> bytes | None:
        """Canonical bytes of the record, None where nothing is decided."""
        decider = build(self.processor, self.partition, self.partitions)
        source = Source(decider, self.partition, self.partitions)
        source.epoch, source.sequence = self.epoch, self.sequence
        source.positions, source.slices = dict(self.positions), self.slices
        record = source.answer(self.key, self.cause, self.account)
        return None if record is None else encode(record)


def elsewhere(moment: Moment) -> list[bytes | None]:
    """What processes with other hash seeds and another time zone decide."""
    found: list[bytes | None] = []
    for seed in SEEDS:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "replay.decide_again"],
            input=pickle.dumps(moment),
            capture_output=True,
            cwd=ROOT,
            env=os.environ
            | {"PYTHONHASHSEED": seed, "TZ": "Asia/Kathmandu", "PYTHONPATH": str(ROOT)},
            timeout=LIMIT_S,
            check=True,
        )
        found.append(done.stdout or None)
    return found


if __name__ == "__main__":
    told: Moment = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that began this
    sys.stdout.buffer.write(told.decide() or b"")
