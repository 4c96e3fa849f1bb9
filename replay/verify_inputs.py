"""Inputs of a verification, decoded once for all sources that are near each other.

A record that was decided again with the very bytes of the log needs no decoding: what was decided
is what those bytes stand for (``decode(encode(event)) == event``, which tests hold for every record
of their logs). Only what `decode_message` looks at besides the bytes is looked at here as well.
"""

from collections.abc import Iterable

from replay.log import decode_message
from replay.sources import RawRecord
from replay.verify_own import Head
from schemas.codec import BYTES_MAX, RecordError
from schemas.envelope import Envelope
from schemas.topics import TOPICS, partition_of
from schemas.upcasters import UPCASTERS

KEPT = 5_000
"""Decoded records kept for the other sources that read them."""


class Decoder:
    """Decodes inputs once for all sources that are near each other."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts
        self._kept: dict[tuple[str, int], Envelope | RecordError] = {}
        self._read: set[str] = set()

    def read(self, keys: Iterable[str]) -> None:
        """Say that these inputs are read: the records decided for them are worth keeping."""
        self._read.update(keys)

    def decided(self, key: str, head: Head, event: Envelope) -> None:
        """Take over a record whose bytes are those in the log at `head`."""
        account, kind = event.partitionkey, event.type
        topic, _, number = key.rpartition("/")
        if (
            key in self._read
            and head.key == account.encode()
            and len(head.raw) <= BYTES_MAX
            and not kind.startswith("source.")
            and kind not in UPCASTERS
            and (
                not TOPICS[topic].keyed
                or partition_of(account, self._counts.get(topic, 0) or 1) == int(number)
            )
        ):
            self._keep((key, head.offset), event)

    def __call__(self, key: str, record: RawRecord) -> Envelope | RecordError:
        """The event as the processors take it, or why they do not."""
        place = (key, record.offset)
        found = self._kept.get(place)
        if found is None:
            try:
                found = decode_message(
                    record[:3], record.key, record.value, partitions=self._counts[record.topic]
                )
            except RecordError as error:
                found = error
            self._keep(place, found)
        return found

    def _keep(self, place: tuple[str, int], found: Envelope | RecordError) -> None:
        if len(self._kept) >= KEPT:
            for old in list(self._kept)[: KEPT // 2]:
                del self._kept[old]
        self._kept[place] = found
