"""An archive: topics as partitioned Parquet, and a manifest whose segment digests are chained.

A folder with ``manifest.json`` and ``<topic>/<partition>/<first offset>.parquet``; what the columns
and the chain are stands in docs/archive.md. :class:`ArchiveLog` reads it wherever a topic is read.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from replay import log
from replay.log import LogRecord
from replay.sources import DamagedLogError, RawRecord, Topics
from schemas.topics import EVENT_TOPICS

VERSION = 1
MANIFEST = "manifest.json"
READ_ROWS = 100
"""Records of each partition that are decoded ahead while partitions are merged."""
SCHEMA = pa.schema(
    [
        ("topic_id", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ]
)
"""One row a Kafka record. timestamp: broker append time, milliseconds since 1970, UTC."""


class ArchiveError(RuntimeError):
    """A folder that is no archive, or cannot be continued; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One Parquet file: offsets `first` up to before `next` of one partition.

    groups: [first, next, SHA-256 of the content] of each row group; sha256: of the file's bytes.
    chain: SHA-256 of the chain before and all of the above.
    """

    file: str
    topic: str
    topic_id: str
    partition: int
    first: int
    next: int
    rows: int
    bytes: int
    sha256: str
    groups: list[list[Any]]
    chain: str = ""

    @property
    def key(self) -> str:
        return f"{self.topic}/{self.partition}"

    def chained(self, before: str) -> str:
        """The digest that binds this segment to all before it."""
        content = {k: v for k, v in asdict(self).items() if k != "chain"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256((before + text).encode()).hexdigest()


KINDS: dict[str, type] = {
    "file": str, "topic": str, "topic_id": str, "partition": int, "first": int, "next": int,
    "rows": int, "bytes": int, "sha256": str, "groups": list, "chain": str,
}  # fmt: skip
"""Of the fields of a segment's entry."""


@dataclass(slots=True)
class Manifest:
    """What an archive holds. topics: name to Kafka's topic id and partition count; segments: in the
    order in which they were written, each chained to the one before."""

    topics: dict[str, dict[str, Any]] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    said: str | None = None
    """The end of the chain as the file says it; None: not read from a file."""

    @property
    def head(self) -> str:
        """The last digest of the chain: kept elsewhere, it proves the whole archive."""
        return self.segments[-1].chain if self.segments else ""

    def nexts(self) -> dict[str, int]:
        """Next offset of each partition with a segment."""
        return {segment.key: segment.next for segment in self.segments}

    def save(self, folder: Path) -> None:
        """Write it whole, aside and renamed."""
        aside = folder / f"{MANIFEST}.new"
        self.said = self.head
        content = {
            "version": VERSION,
            "topics": self.topics,
            "topics_sha256": _digest(self.topics),
            "segments": [asdict(segment) for segment in self.segments],
            "head": self.head,
        }
        aside.write_text(json.dumps(content, indent=1) + "\n")
        aside.replace(folder / MANIFEST)

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """The manifest of a folder. Raises ArchiveError where there is none that can be read."""
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_text())
            if content["version"] != VERSION:
                raise ArchiveError(
                    f"{path} has version {content['version']}; this build reads {VERSION}"
                )
            segments = [Segment(**each) for each in content["segments"]]
            digest = content.pop("topics_sha256", None)  # archives of before have none
            if digest not in (None, _digest(content["topics"])):
                raise ValueError("its list of topics was altered")
            if strange := sorted({*content} - {"version", "topics", "segments", "head"}):
                raise ValueError(f"nothing is called {strange[0]} there")
            for number, segment in enumerate(segments):
                if wrong := [
                    n for n, kind in KINDS.items() if type(getattr(segment, n)) is not kind
                ]:
                    raise ValueError(
                        f"segment {number}: {wrong[0]} is no {KINDS[wrong[0]].__name__}"
                    )
            return cls(content["topics"], segments, str(content["head"]))
        except FileNotFoundError:
            raise ArchiveError(
                f"{folder} is no archive: it has no {MANIFEST}; make one with ./quantum archive"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArchiveError(f"{path} cannot be read: {error}") from None


def _digest(topics: dict[str, dict[str, Any]]) -> str:
    """SHA-256 of the list of topics: segments name theirs, their numbers of partitions do not."""
    text = json.dumps(topics, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def content_digest(rows: list[RawRecord]) -> str:
    """SHA-256 over offsets, timestamps, keys, values and headers of records, lengths included."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(b"%d %d;" % (row.offset, row.timestamp_ms))
        texts = [row.key, row.value]
        for name, value in row.headers:
            texts += [name.encode(), value]
        for text in texts:
            digest.update(b"-;" if text is None else b"%d;%b" % (len(text), text))
    return digest.hexdigest()


def rows_of(batch: Any, topic: str) -> list[RawRecord]:
    """Records of an Arrow batch or table of one segment."""
    columns = [batch.column(n).to_pylist() for n in range(1, 7)]
    return [
        RawRecord(
            topic, partition, offset, at, key, value,
            tuple((h["name"], h["value"]) for h in headers or ()),
        )
        for partition, offset, at, key, value, headers in zip(*columns, strict=True)
    ]  # fmt: skip


def check(folder: Path, manifest: Manifest | None = None) -> list[DamagedLogError]:
    """Everything that is wrong with an archive: the chain, the files, their order and bytes."""
    found = manifest or Manifest.load(folder)
    wrong: list[DamagedLogError] = []
    before, nexts = "", dict[str, int]()
    for number, segment in enumerate(found.segments):
        if segment.chain != segment.chained(before):
            wrong.append(_damage(segment, f"segment {number}: its entry does not follow from the "
                                 "one before: an entry was altered, removed or moved"))  # fmt: skip
        before = segment.chain
        expected = nexts.get(segment.key, segment.first)
        if segment.first != expected:
            wrong.append(_damage(segment, f"segment {number} begins at offset {segment.first}, "
                                 f"the one before it ended before {expected}"))  # fmt: skip
        nexts[segment.key] = segment.next
        if problem := _file_problem(folder, segment):
            wrong.append(_damage(segment, f"segment {number}: {problem[0]}", problem[1]))
    if found.said not in (None, before):
        wrong.append(
            DamagedLogError(
                f"{folder / MANIFEST}: the chain ends with {before[:16] or 'nothing'}… after "
                f"{len(found.segments)} segments, its head says {str(found.said)[:16]}…: entries "
                "at its end were removed",
                place="",
                file=MANIFEST,
            )
        )
    return wrong


def _damage(segment: Segment, text: str, offsets: tuple[int, int] | None = None) -> DamagedLogError:
    first, last = offsets or (segment.first, segment.next - 1)
    place = f"{segment.key}/{first}-{last}"
    return DamagedLogError(
        f"archive file {segment.file} ({place}): {text}", place=place, file=segment.file
    )


def _file_problem(folder: Path, segment: Segment) -> tuple[str, tuple[int, int] | None] | None:
    """What is wrong with a segment's file, and the offsets concerned if they can be told."""
    path = folder / segment.file
    if not path.is_file():
        return "the file is missing", None
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == segment.sha256:
        return None
    said = f"its bytes were altered (SHA-256 {found[:16]}…, manifest {segment.sha256[:16]}…)"
    try:
        reader = pq.ParquetFile(path)
        for number, (first, following, digest) in enumerate(segment.groups):
            if _group_digest(reader, number, segment.topic) != digest:
                return said, (first, following - 1)
    except (pa.ArrowException, OSError, ValueError, IndexError):
        return f"{said}; it cannot be read as Parquet", None
    return f"{said}; all records in it are whole", None


def _group_digest(reader: Any, number: int, topic: str) -> str:
    try:
        return content_digest(rows_of(reader.read_row_group(number), topic))
    except (pa.ArrowException, OSError, ValueError):
        return "unreadable"


class _Message:
    """A row as the merge of :mod:`replay.log` takes it from a broker."""

    __slots__ = ("row",)

    def __init__(self, row: RawRecord) -> None:
        self.row = row

    def topic(self) -> str:
        return self.row.topic

    def partition(self) -> int:
        return self.row.partition

    def offset(self) -> int:
        return self.row.offset

    def key(self) -> bytes | None:
        return self.row.key

    def value(self) -> bytes | None:
        return self.row.value

    def timestamp(self) -> tuple[int, int]:
        return 2, self.row.timestamp_ms


class ArchiveLog:
    """An archive folder as a log. Raises ArchiveError, and DamagedLogError for the first damage
    unless `check` is False."""

    def __init__(self, folder: Path, *, check: bool = True) -> None:
        self.folder = folder
        self.name = f"archive {folder}"
        self.manifest = Manifest.load(folder)
        if check:
            for problem in _check(folder, self.manifest):
                raise problem

    def segments(self, topics: Topics = EVENT_TOPICS) -> dict[str, list[Segment]]:
        """Segments of each partition, in offset order as the manifest lists them."""
        wanted = set(log.names(topics))
        found: dict[str, list[Segment]] = {
            f"{topic}/{number}": []
            for topic, about in self.manifest.topics.items()
            if topic in wanted
            for number in range(about["partitions"])
        }
        for segment in self.manifest.segments:
            if segment.topic in wanted:
                found.setdefault(segment.key, []).append(segment)
        return found

    def starts(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        return {k: found[0].first if found else 0 for k, found in self.segments(topics).items()}

    def ends(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        return {k: found[-1].next if found else 0 for k, found in self.segments(topics).items()}

    def topic_ids(self) -> dict[str, str]:
        return {topic: about["id"] for topic, about in self.manifest.topics.items()}

    def raw(self, topics: Topics = EVENT_TOPICS) -> Iterator[RawRecord]:
        for segments in self.segments(topics).values():
            yield from self._partition(segments)

    def raw_range(self, ranges: dict[str, tuple[int, int]]) -> Iterator[RawRecord]:
        """Bytes of offsets from first up to before next of each ``topic/partition``, one partition
        after the other."""
        for key, segments in self.segments().items():
            first, end = ranges.get(key, (0, 0))
            wanted = [s for s in segments if s.next > first and s.first < end]
            for record in self._partition(wanted):
                if first <= record.offset < end:
                    yield record

    def _partition(self, segments: list[Segment]) -> Iterator[RawRecord]:
        for segment in segments:
            try:
                with pq.ParquetFile(self.folder / segment.file) as reader:
                    # one group after the other: an iterator over all keeps something of each
                    for number in range(reader.num_row_groups):
                        group = reader.read_row_group(number, use_threads=False)
                        yield from rows_of(group, segment.topic)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise _damage(segment, f"cannot be read: {error}") from None

    def read(
        self, topics: Topics = EVENT_TOPICS, *, since: int | None = None
    ) -> Iterator[LogRecord]:
        segments = self.segments(topics)
        merge = log.Merge(self.starts(topics), self.ends(topics))
        cursors = {key: self._partition(found) for key, found in segments.items()}
        while not merge.done:
            batch: list[Any] = []
            for key in merge.hungry():
                taken = [_Message(row) for _, row in zip(range(READ_ROWS), cursors[key])]  # noqa: B905
                if not taken:
                    raise _damage(segments[key][-1], "holds fewer records than its entry says")
                batch += taken
            for record in merge.take(batch):
                if record.timestamp_ms >= (since or 0):
                    yield record


_check = check
