"""A log on the local disk, one file a partition: any number of cursors, memory flat.

A verifier reads each partition at several places at once, at a pace of its own. A broker or a
Parquet file is poor at that; a flat file is not. Nothing is decoded here.
"""

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from replay.sources import EventLog, RawRecord, Topics
from schemas.topics import EVENT_TOPICS

_HEAD = struct.Struct("<qqii")
"""Offset, timestamp in ms, length of the key, length of the value; -1: there is none."""
SAMPLE = 500
BUFFER = 32_768
OPEN_MAX = 100


class Spool:
    """Use as a context: the folder (in TMPDIR) is gone afterwards. `counts`: partitions of each
    topic. `first`: the first offset kept; `ends`: next offsets."""

    def __init__(self, log: EventLog, topics: Topics = EVENT_TOPICS) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="quantum-verify-")
        self.folder = Path(self._folder.name)
        self.records = 0
        self.first: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        self._times: list[int] = []
        self._fill(log, topics)
        keys = {*log.starts(topics), *self.ends}
        self.starts = {key: self.first.get(key, 0) for key in keys}
        counts: dict[str, int] = {}
        for key in keys:
            topic, _, number = key.rpartition("/")
            counts[topic] = max(counts.get(topic, 0), int(number) + 1)
        self.counts = counts

    def __getstate__(self) -> dict[str, Any]:
        """A copy for another process reads the same files and leaves their end to this one."""
        return {name: value for name, value in vars(self).items() if name != "_folder"}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def _fill(self, log: EventLog, topics: Topics) -> None:
        files: dict[str, IO[bytes]] = {}
        try:
            for record in log.raw(topics):
                key = f"{record.topic}/{record.partition}"
                file = files.get(key)
                if file is None:
                    if len(files) >= OPEN_MAX:
                        files.pop(next(iter(files))).close()
                    file = files[key] = self.path(key).open("ab", BUFFER)
                self.first.setdefault(key, record.offset)
                self.ends[key] = record.offset + 1
                self.records += 1
                if self.records % SAMPLE == 0:
                    self._times.append(record.timestamp_ms)
                message_key, value = record.key, record.value
                file.write(
                    _HEAD.pack(
                        record.offset,
                        record.timestamp_ms,
                        -1 if message_key is None else len(message_key),
                        -1 if value is None else len(value),
                    )
                )
                file.write(message_key or b"")
                file.write(value or b"")
        finally:
            for file in files.values():
                file.close()

    def path(self, key: str) -> Path:
        return self.folder / key.replace("/", "-")

    def times(self, chunk: int) -> list[int]:
        """Append times, ascending, that cut the log into pieces of about `chunk` records."""
        return sorted(self._times)[:: max(1, chunk // SAMPLE)]

    def cursor(self, key: str, place: int = 0) -> "Cursor":
        """A cursor on a partition; `place` is what another one's `place` said."""
        return Cursor(self.path(key), key, place)

    def records_of(self, key: str) -> Iterator[RawRecord]:
        """All records of a partition."""
        cursor = self.cursor(key)
        while (record := cursor.head) is not None:
            yield record
            cursor.step()


class Cursor:
    """Goes through one partition. `head`: the record it stands at, None behind the last; `place`:
    where that record lies, for another cursor. No file stays open: there may be thousands."""

    __slots__ = ("_at", "_buffer", "_number", "_path", "_read", "_topic", "head", "place")

    def __init__(self, path: Path, key: str, place: int) -> None:
        topic, _, number = key.rpartition("/")
        self._topic, self._number = topic, int(number)
        self._path = path if path.exists() else None
        self._buffer, self._at, self._read = b"", 0, place
        self.place = place
        self.head: RawRecord | None = None
        self._load()

    def step(self) -> None:
        """Go to the next record."""
        record = self.head
        assert record is not None
        self.place += _HEAD.size + len(record.key or b"") + len(record.value or b"")
        self._load()

    def _load(self) -> None:
        size = _HEAD.size
        if len(self._buffer) - self._at < size and not self._more(size):
            self.head = None
            return
        offset, at, key, value = _HEAD.unpack_from(self._buffer, self._at)
        key_size, value_size = max(key, 0), max(value, 0)
        whole = size + key_size + value_size
        if len(self._buffer) - self._at < whole:
            self._more(whole)
        begin = self._at + size
        middle = begin + key_size
        self._at = end = middle + value_size
        self.head = RawRecord(
            self._topic,
            self._number,
            offset,
            at,
            None if key < 0 else self._buffer[begin:middle],
            None if value < 0 else self._buffer[middle:end],
        )

    def _more(self, size: int) -> bool:
        """Read on, at least so many bytes from where it stands; False at the end of the file."""
        if self._path is None:
            return False
        with self._path.open("rb", 0) as file:
            file.seek(self._read)
            more = file.read(BUFFER + size)
        self._read += len(more)
        self._buffer, self._at = self._buffer[self._at :] + more, 0
        return bool(self._buffer)
