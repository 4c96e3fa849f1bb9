"""The disk buffer: records that wait on disk while Kafka is away (SAFE-7). The file format.

One partition's records, a line each, in `NAME.000001.jsonl` and so on, a new file each 100 MB:

    {"crc32":"0a1b2c3d","n":17,"message_key":"main","value":{…the record's own bytes…}}

The checksum is of everything behind it. `n` counts up by one from 1; line 0 of each file names
the topic id. What :meth:`BufferWriter.append` returned for is on the disk. A line that was cut off
by a crash was never acknowledged: it is taken off, its bytes are kept beside the file. A damaged
line with good ones behind it is reported, never passed over in silence.
"""

import errno
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

ROTATE_BYTES = 100_000_000
LINE_MAX = 4_000_000
"""No record is as long: topics take 1,000,000 bytes."""
_HEAD = b'{"crc32":"'
_VALUE = b',"value":'
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class BufferLineError(ValueError):
    """Bytes that are no line of a buffer, and why."""


class Line(NamedTuple):
    """One record that waits. `raw`: its bytes as they go into the log."""

    n: int
    message_key: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes in the middle of a buffer that are no line, or lines that are missing there."""

    file: Path
    at: int
    why: str


def encoded(line: Line) -> bytes:
    """The line as it lies on disk. ValueError for bytes with a line end in them."""
    if b"\n" in line.raw or not line.raw:
        raise ValueError("a record in a buffer is one line of JSON")
    head = orjson.dumps({"n": line.n, "message_key": line.message_key})
    body = head[1:-1] + _VALUE + line.raw + b"}"
    return b'%s%08x",%s\n' % (_HEAD, zlib.crc32(body), body)


def decoded(raw: bytes) -> Line:
    """The line of these bytes, with or without their line end. BufferLineError."""
    whole = raw.removesuffix(b"\n")
    body = whole[len(_HEAD) + 10 :]
    if not whole.startswith(_HEAD) or whole[len(_HEAD) + 8 : len(_HEAD) + 10] != b'",':
        raise BufferLineError("it does not begin as a line does")
    if b"%08x" % zlib.crc32(body) != whole[len(_HEAD) : len(_HEAD) + 8]:
        raise BufferLineError("its checksum does not hold")
    head, value, rest = body.partition(_VALUE)
    try:
        fields = orjson.loads(b"{" + head + b"}")
        n, message_key = fields["n"], fields["message_key"]
    except (ValueError, KeyError, TypeError):
        raise BufferLineError("it does not say what it is") from None
    if not value or not rest.endswith(b"}") or len(rest) < 2 or b"\n" in rest:
        raise BufferLineError("it holds no record")
    if not isinstance(n, int) or n < 0 or not isinstance(message_key, str):
        raise BufferLineError("its number or key is of a wrong kind")
    return Line(n, message_key, rest[:-1])


def name_of(key: str, number: int) -> str:
    """File name of a partition's buffer: ``trade.execution.res/3`` and 1 -> ``…res-3.000001…``."""
    return f"{key.replace('/', '-')}.{number:06}.jsonl"


def files_of(folder: Path, key: str) -> list[Path]:
    """Files of one partition, the oldest first."""
    return sorted(folder.glob(name_of(key, 0).replace("000000", "[0-9]" * 6)))


def keys_in(folder: Path) -> list[str]:
    """Partitions that have a buffer in this folder."""
    stems = {path.name[: -len(".000001.jsonl")] for path in folder.glob("*.[0-9]*.jsonl")}
    return sorted("/".join(stem.rsplit("-", 1)) for stem in stems if "-" in stem)


def read(folder: Path, key: str, after: int = 0) -> Iterator[Line | Damage]:
    """Lines behind number `after`, in order, and what is damaged between them. What is cut off at
    the very end is not there. Streams: memory does not grow with the buffer."""
    expected = 0
    held: list[Damage] = []
    for path in files_of(folder, key):
        for at, line in _lines(path):
            if isinstance(line, str):
                held.append(Damage(path, at, line))
                continue
            yield from held  # with a good line behind it this is no torn end
            held.clear()
            if line.n == 0:
                continue
            if line.n < expected:
                continue  # written again in the next file, after its fsync had failed
            if expected and line.n != expected:
                yield Damage(path, at, f"line {line.n} follows line {expected - 1}")
            expected = line.n + 1
            if line.n > after:
                yield line


def topic_id(folder: Path, key: str) -> str | None:
    """The topic id that a buffer's files name; None if they name none."""
    for path in files_of(folder, key):
        for _, line in _lines(path):
            if isinstance(line, Line) and line.n == 0:
                return line.raw.decode(errors="replace").strip('"')
            break
    return None


def _lines(path: Path) -> Iterator[tuple[int, Line | str]]:
    """Place and content of each line; where it is none, why."""
    at = 0
    with path.open("rb") as file:
        while raw := file.readline(LINE_MAX):
            try:
                found: Line | str = decoded(raw)
            except BufferLineError as error:
                found = str(error)
            yield at, found
            at += len(raw)


def repair(path: Path) -> bytes:
    """Take the torn end off a file and keep it in ``…torn``; what was taken off."""
    good = 0
    for at, line in _lines(path):
        if isinstance(line, Line):
            good = at + len(encoded(line))
    whole = path.stat().st_size
    if good == whole:
        return b""
    with path.open("r+b") as file:
        file.seek(good)
        torn = file.read()
        if good > whole:  # only its line end is missing
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
            return b""
        if torn:
            with path.with_suffix(".torn").open("ab") as aside:
                aside.write(torn)
                aside.flush()
                os.fsync(aside.fileno())
        file.truncate(good)
        os.fsync(file.fileno())
    return torn


class BufferWriter:
    """Appends one partition's records. `topic_id`: which log they are for.

    `spare`: a file whose space is given up when the disk is full, so that the last records of
    a full disk still find a place."""

    def __init__(
        self,
        folder: Path,
        key: str,
        topic_id: str,
        *,
        spare: Path | None = None,
        rotate_bytes: int = ROTATE_BYTES,
    ) -> None:
        self.folder, self.key, self.topic_id = folder, key, topic_id
        self.last = 0
        """Number of the last line that is on the disk."""
        self._spare, self._rotate_bytes = spare, rotate_bytes
        self._number = 0
        self._file = -1
        self._size = 0

    def append(self, raw: bytes, message_key: str) -> int:
        """Number of the line, once it is on the disk. OSError if it cannot be brought there; then
        nothing of it is there either."""
        line = encoded(Line(self.last + 1, message_key, raw))
        if self._file < 0 or self._size + len(line) > self._rotate_bytes:
            self._begin()
        self._write(line)
        self.last += 1
        return self.last

    def _begin(self) -> None:
        """Open the next file."""
        self.close()
        path = self.folder / name_of(self.key, self._number + 1)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self._file, self._size = os.open(path, flags, 0o640), 0
        try:
            self._write(encoded(Line(0, "", orjson.dumps(self.topic_id))))
            _sync(self.folder)
        except OSError:
            self.close()
            path.unlink()
            raise
        self._number += 1

    def _write(self, line: bytes) -> None:
        try:
            self._bring(line)
        except OSError as error:
            if error.errno not in _FULL or self._spare is None or not self._spare.exists():
                raise
            self._spare.unlink()
            self._bring(line)

    def _bring(self, line: bytes) -> None:
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        try:
            os.fsync(self._file)
        except (
            OSError
        ):  # nobody knows now what is on the disk: the next line gets a file of its own
            self.close()
            raise
        self._size += len(line)

    def clear(self) -> None:
        """Remove all files: every line is in the log. Numbers count on."""
        self.close()
        for path in files_of(self.folder, self.key):
            path.unlink()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
