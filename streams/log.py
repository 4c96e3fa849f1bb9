"""What the shell needs of a log. The broker and the in-memory log pass the same contract tests."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol


class Incoming(NamedTuple):
    """A record as it lies in the log. `key`: ``topic/partition``; `timestamp_ms`: LogAppendTime."""

    key: str
    offset: int
    timestamp_ms: int
    message_key: bytes | None
    raw: bytes | None


Delivered = Callable[[int], None]
"""Called once with the record's offset, when the log has it durably."""


class Log(Protocol):
    """Appends in order, reads in bulk. Raises ConnectionError when the log cannot be reached."""

    def end(self, key: str, *, timeout_s: float = 10.0) -> int:
        """Offset of the next record of a partition, asked of the log now."""

    def ends(self, keys: Iterable[str], *, timeout_s: float = 10.0) -> dict[str, int]:
        """The same of several partitions, asked at once."""

    def start(self, key: str) -> int:
        """Offset of the oldest record that is still kept."""

    def read(self, ranges: Mapping[str, tuple[int, int]]) -> Iterator[Incoming]:
        """Records of several partitions, each from its start up to before its end. In order within
        a partition; partitions may be interleaved."""

    def append(self, key: str, raw: bytes, message_key: str, delivered: Delivered) -> None:
        """Append in order, idempotent, gapless; return at once. A failure ends the process."""

    def flush(self) -> None:
        """Return when everything appended so far is delivered."""

    def dead_letter(self, processor: str, record: Incoming, reason: str) -> None:
        """Keep the original bytes of a record that could not be taken."""


class FailingLog(Log, Protocol):
    """A log whose appends may fail, and that can be told to let go of what it did not send yet."""

    def append(
        self,
        key: str,
        raw: bytes,
        message_key: str,
        delivered: Delivered,
        failed: Callable[[str], None] | None = None,
    ) -> None:
        """With `failed` that is called, with the reason, for a record that is not in the log."""

    def purge(self) -> None:
        """Fail every append that was not sent."""
