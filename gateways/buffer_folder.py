"""The buffers of one process, in a folder of their own under a lock; and those left by others.

A process that ends leaves its folder; whoever owns a partition afterwards takes what is there, once
the lock is free. So two processes never write to one buffer, and none is read while it is written.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from gateways.buffer import (
    ROTATE_BYTES,
    BufferWriter,
    Damage,
    Line,
    files_of,
    keys_in,
    read,
    repair,
    topic_id,
)

logger = logging.getLogger(__name__)
SPARE_BYTES = 8_000_000
LOCK, SPARE = "lock", "spare"


class BufferFolder:
    """Writers of this process by partition (``topic/number``), made when first needed.

    `topic_ids`: by topic, as the broker has them: what is left behind is offered to no other log.
    """

    def __init__(
        self,
        root: Path,
        topic_ids: Mapping[str, str],
        *,
        rotate_bytes: int = ROTATE_BYTES,
        spare_bytes: int = SPARE_BYTES,
    ) -> None:
        self.root = root
        self.topic_ids = topic_ids
        self.folder = root / f"{os.getpid()}-{time.time_ns()}"
        self._rotate_bytes = rotate_bytes
        self._lock = _made(self.folder)
        self._writers: dict[str, BufferWriter] = {}
        self._foreign: set[Path] = set()
        """Buffers of other logs that were named once."""
        try:
            with (self.folder / SPARE).open("wb") as spare:
                os.posix_fallocate(spare.fileno(), 0, spare_bytes)
        except OSError as error:
            logger.warning("no space is kept for the buffer: %s", error)

    def append(self, key: str, raw: bytes, message_key: str) -> int:
        """Number of the line in its partition's buffer, once it is on the disk. OSError."""
        writer = self._writers.get(key)
        if writer is None:
            writer = self._writers[key] = BufferWriter(
                self.folder,
                key,
                self.topic_ids.get(key.rpartition("/")[0], ""),
                spare=self.folder / SPARE,
                rotate_bytes=self._rotate_bytes,
            )
        return writer.append(raw, message_key)

    def partitions(self) -> list[str]:
        """Partitions with a buffer."""
        return sorted(self._writers)

    def last(self, key: str) -> int:
        """Number of the last line of a partition; 0 without any."""
        writer = self._writers.get(key)
        return writer.last if writer else 0

    def lines(self, key: str, after: int) -> Iterator[Line | Damage]:
        """Lines of a partition behind number `after`."""
        return read(self.folder, key, after)

    def clear(self) -> None:
        """Remove all lines: they are in the log."""
        for writer in self._writers.values():
            writer.clear()

    def left_behind(self) -> Iterator["LeftBehind"]:
        """Folders with lines whose process has ended, each under its lock until the next is asked
        for; those of another log and those of living processes are passed over."""
        for folder in sorted(self.root.iterdir() if self.root.is_dir() else ()):
            if folder == self.folder or folder.name.startswith(".") or not folder.is_dir():
                continue
            with contextlib.suppress(OSError), (folder / LOCK).open("ab") as lock:
                if _locked(lock):
                    yield LeftBehind(folder, self.topic_ids, self._foreign)

    def close(self) -> None:
        """Let go; an empty folder is removed."""
        for writer in self._writers.values():
            writer.close()
        if not any(files_of(self.folder, key) for key in self._writers):
            shutil.rmtree(self.folder, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Let go of the lock, as the end of the process does."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def _made(folder: Path) -> int:
    """The lock of a folder that is made: held before others see the folder, who would remove an
    empty one of nobody."""
    aside = folder.with_name(f".{folder.name}")
    aside.mkdir(parents=True)
    lock = os.open(aside / LOCK, os.O_WRONLY | os.O_CREAT, 0o640)
    fcntl.flock(lock, fcntl.LOCK_EX)
    aside.rename(folder)
    return lock


def _locked(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class LeftBehind:
    """What a process left. Under its lock."""

    def __init__(self, folder: Path, topic_ids: Mapping[str, str], foreign: set[Path]) -> None:
        self.folder = folder
        self._topic_ids, self._foreign = topic_ids, foreign
        self._damaged: set[str] = set()

    def partitions(self) -> list[str]:
        """Partitions with lines for this log. A folder with nothing for anybody is removed."""
        there = keys_in(self.folder)
        kept = [path for path in self.folder.iterdir() if path.name not in (LOCK, SPARE)]
        if not kept:
            shutil.rmtree(self.folder, ignore_errors=True)
        return [key for key in there if self._is_ours(key)]

    def _is_ours(self, key: str) -> bool:
        named = topic_id(self.folder, key)
        if named is None and not any(isinstance(n, Line) for n in read(self.folder, key)):
            return True  # the process died in its first line: there is nothing for anybody
        ours = named == self._topic_ids.get(key.rpartition("/")[0], "")
        place = self.folder / key
        if not ours and place not in self._foreign:
            self._foreign.add(place)
            logger.critical("%s is for another log (topic id %s) and is left alone", place, named)
        return ours

    def lines(self, key: str) -> Iterator[Line]:
        """Its lines in order. A torn end is taken off; damage is named in the log, and the files
        are kept as ``….damaged`` by :meth:`done`."""
        for path in files_of(self.folder, key)[-1:]:
            if torn := repair(path):
                logger.warning("%s: %d bytes of a torn end were taken off", path, len(torn))
        for line in read(self.folder, key):
            if isinstance(line, Damage):
                self._damaged.add(key)
                logger.critical("%s is damaged at byte %d: %s", line.file, line.at, line.why)
            else:
                yield line

    def strange(self, key: str) -> None:
        """A line of it is no record: its files are kept as damaged ones are."""
        self._damaged.add(key)

    def done(self, key: str) -> None:
        """Remove a partition's files: its lines are in the log. Damaged ones are put aside."""
        for path in files_of(self.folder, key):
            if key in self._damaged:
                path.replace(path.with_suffix(".damaged"))
            else:
                path.unlink()
        self.partitions()
