"""Records a source writes about itself: fences, checkpoints, skipped inputs, halted accounts."""

import hashlib
from typing import Literal

from schemas.envelope import Count, Envelope, Model
from schemas.ids import natural_id
from schemas.scalars import EPOCH_TEXT, Line, Name


class FencedData(Model):
    build: str
    configuration: str
    topic_ids: dict[str, str]


class SourceFenced(Envelope):
    """Opens an epoch of a source. Carries an epoch and no sequence."""

    type: Literal["source.fenced.v1"] = "source.fenced.v1"
    data: FencedData

    @classmethod
    def opening(cls, name: str, epoch: int, data: FencedData) -> "SourceFenced":
        """The fence that opens `epoch` of source `name` (``/processor/partition``)."""
        processor = name.split("/")[1]
        return cls(
            id=natural_id("fence", name, str(epoch), data.configuration),
            source=name,
            subject=processor,
            time=EPOCH_TEXT,
            partitionkey=processor,
            epoch=epoch,
            data=data,
        )


class CheckpointData(Model):
    digest: str


class SourceCheckpointed(Envelope):
    """A basis and the digest of the state there; no decision."""

    type: Literal["source.checkpointed.v1"] = "source.checkpointed.v1"
    data: CheckpointData


class SkippedData(Model):
    """An input that was not decided on: replays follow it and skip the same. `digest` is the
    SHA-256 of the original bytes, which lie in the processor's dead letters."""

    topic: str
    partition: Count
    offset: Count
    digest: str
    reason: Line

    @classmethod
    def of(cls, key: str, offset: int, raw: bytes | None, reason: str) -> "SkippedData":
        """Of the input ``topic/partition`` at an offset."""
        topic, _, partition = key.rpartition("/")
        return cls(
            topic=topic,
            partition=int(partition),
            offset=offset,
            digest=hashlib.sha256(raw or b"").hexdigest(),
            reason=reason[:500],
        )


class SourceSkipped(Envelope):
    type: Literal["source.skipped.v1"] = "source.skipped.v1"
    data: SkippedData


class HaltedData(Model):
    """A decision failed with an exception: entries of the account are refused until resumed."""

    account: Name
    cause_id: str
    error: Line


class SourceHalted(Envelope):
    type: Literal["source.halted.v1"] = "source.halted.v1"
    data: HaltedData
