"""Inputs of a verification, decoded once for all sources that are near each other."""

from replay.log import decode_message
from replay.sources import RawRecord
from schemas.codec import RecordError
from schemas.envelope import Envelope

KEPT = 5_000
"""Decoded records kept for the other sources that read them."""


class Decoder:
    """Decodes inputs once for all sources that are near each other."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts
        self._kept: dict[tuple[str, int], Envelope | RecordError] = {}

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
            if len(self._kept) >= KEPT:
                for old in list(self._kept)[: KEPT // 2]:
                    del self._kept[old]
            self._kept[place] = found
        return found
