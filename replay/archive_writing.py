"""Writing an archive: new records of each partition appended as segments, memory flat."""

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from replay.archive import (
    MANIFEST,
    SCHEMA,
    ArchiveError,
    Manifest,
    Segment,
    check,
    content_digest,
)
from replay.log import names
from replay.sources import KafkaLog, RawRecord, Topics
from schemas.topics import DEAD_LETTERS, EVENT_TOPICS

ARCHIVED = (*EVENT_TOPICS, *DEAD_LETTERS)
GROUP_ROWS = 2_000
GROUP_BYTES = 2_000_000
SEGMENT_ROWS = 200_000
"""A row group is held in memory, and damage is narrowed down to it; a segment is a file."""


@dataclass(frozen=True, slots=True)
class Archived:
    """What a call added. head: last digest of the chain, worth keeping elsewhere."""

    folder: str
    records: int
    segments: int
    total_records: int
    total_segments: int
    bytes: int
    head: str


def archive(
    log: KafkaLog,
    folder: Path,
    *,
    topics: Topics = ARCHIVED,
    segment_rows: int = SEGMENT_ROWS,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Archived:
    """Append what `log` has and `folder` has not, up to the ends seen at the start.

    What the folder holds already is checked first. Raises ArchiveError where it does not continue
    this log (other topic ids, retention took the records between), DamagedLogError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        manifest = Manifest.load(folder) if (folder / MANIFEST).exists() else Manifest()
        for problem in check(folder, manifest):
            raise problem
        ranges = _ranges(log, folder, manifest, topics)
        before, total = len(manifest.segments), sum(end - at for at, end in ranges.values())
        done = 0
        for key, (first, end) in sorted(ranges.items()):
            rows = log.raw_range({key: (first, end)})
            for segment in _segments(folder, manifest, key, rows, segment_rows):
                manifest.segments.append(replace(segment, chain=segment.chained(manifest.head)))
                manifest.save(folder)
                done += segment.rows
                progress(done, total)
        manifest.save(folder)
    return Archived(
        folder=str(folder),
        records=done,
        segments=len(manifest.segments) - before,
        total_records=sum(each.rows for each in manifest.segments),
        total_segments=len(manifest.segments),
        bytes=sum(each.bytes for each in manifest.segments),
        head=manifest.head,
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArchiveError(
                f"{folder} is being written to by another ./quantum archive: wait for its end"
            ) from None
        yield


def _ranges(
    log: KafkaLog, folder: Path, manifest: Manifest, topics: Topics
) -> dict[str, tuple[int, int]]:
    """Offsets to archive of each partition; topics and their ids go into the manifest."""
    wanted = names(topics)
    ids, ends, starts = log.topic_ids(), log.ends(wanted), log.starts(wanted)
    for topic in sorted({key.rpartition("/")[0] for key in ends}):
        count = sum(key.rpartition("/")[0] == topic for key in ends)
        known = manifest.topics.setdefault(topic, {"id": ids[topic], "partitions": count})
        if known != {"id": ids[topic], "partitions": count}:
            raise ArchiveError(
                f"{folder} holds topic {topic} {known['id']} with {known['partitions']} "
                f"partitions, {log.name} has {ids[topic]} with {count}: this is another log; "
                "archive it into another folder"
            )
    have = manifest.nexts()
    for key, at in have.items():
        if key in ends and ends[key] < at:
            raise ArchiveError(
                f"{folder} holds {key} up to offset {at - 1}, {log.name} ends before {ends[key]}: "
                "the broker lost records; archive what it has into another folder"
            )
        if key in starts and starts[key] > at:
            raise ArchiveError(
                f"{folder} holds {key} up to offset {at - 1}, {log.name} keeps it from "
                f"{starts[key]} on: retention took what lies between; archive into another folder"
            )
    ranges = {key: (max(have.get(key, 0), starts[key]), end) for key, end in ends.items()}
    return {key: span for key, span in ranges.items() if span[0] < span[1]}


def _segments(
    folder: Path, manifest: Manifest, key: str, rows: Iterator[RawRecord], segment_rows: int
) -> Iterator[Segment]:
    """Write the rows of a partition as one file or several; yield each when it is whole on disk."""
    writer: _Writer | None = None
    topic, _, number = key.rpartition("/")
    for group in _groups(rows, min(GROUP_ROWS, segment_rows)):
        if writer is None:
            writer = _Writer(folder, topic, int(number), manifest.topics[topic]["id"], group[0])
        writer.add(group)
        if writer.rows >= segment_rows:
            yield writer.close()
            writer = None
    if writer is not None:
        yield writer.close()


def _groups(rows: Iterator[RawRecord], count: int) -> Iterator[list[RawRecord]]:
    group: list[RawRecord] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row.value or b"")
        if len(group) >= count or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


class _Writer:
    """One segment being written, under a name that no manifest has until it is whole."""

    def __init__(
        self, folder: Path, topic: str, partition: int, topic_id: str, first: RawRecord
    ) -> None:
        self.folder, self.topic, self.partition = folder, topic, partition
        self.topic_id = topic_id
        self.file = f"{topic}/{partition}/{first.offset:020}.parquet"
        self.path = folder / self.file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.aside = self.path.with_suffix(".partial")
        self.parquet = pq.ParquetWriter(self.aside, SCHEMA, compression="zstd")
        self.groups: list[list[object]] = []
        self.first, self.next, self.rows = first.offset, first.offset, 0

    def add(self, group: list[RawRecord]) -> None:
        table = pa.table(
            {
                "topic_id": [self.topic_id] * len(group),
                "partition": [row.partition for row in group],
                "offset": [row.offset for row in group],
                "timestamp": [row.timestamp_ms for row in group],
                "key": [row.key for row in group],
                "value": [row.value for row in group],
                "headers": [[{"name": n, "value": v} for n, v in row.headers] for row in group],
            },
            schema=SCHEMA,
        )
        self.parquet.write_table(table, row_group_size=len(group))
        self.next = group[-1].offset + 1
        self.rows += len(group)
        self.groups.append([group[0].offset, self.next, content_digest(group)])

    def close(self) -> Segment:
        self.parquet.close()
        with self.aside.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.aside.replace(self.path)
        return Segment(
            file=self.file,
            topic=self.topic,
            topic_id=self.topic_id,
            partition=self.partition,
            first=self.first,
            next=self.next,
            rows=self.rows,
            bytes=self.path.stat().st_size,
            sha256=digest,
            groups=self.groups,
        )
