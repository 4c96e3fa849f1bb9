"""A source as it stood at a vector of positions, folded from the log: the long way, for one state.

The state is a function of the vector alone, so topics are folded one after the other.
"""

from collections.abc import Callable, Container, Mapping

from domain.processors import build
from domain.source import Source
from replay.log import decode_message
from replay.spool import Spool
from replay.verify_own import OwnRecords
from schemas.codec import RecordError, decode

Make = Callable[[str, int, int], Source]
"""Makes the empty source of a processor on one of so many partitions."""


def make(processor: str, number: int, partitions: int) -> Source:
    """The source as live systems run it."""
    return Source(build(processor, number, partitions), number, partitions)


def stand(spool: Spool, source: Source, basis: Mapping[str, int], sequence: int) -> Source:
    """Fold an empty source's inputs up to `basis` (next offsets) and its own records up to
    `sequence`; returns it. Raises SequenceGap where a partition is broken."""
    own = OwnRecords(source.name, spool.cursor(source.output))
    records, skips = [], set[tuple[str, int]]()
    while (head := own.next()) is not None and head.body["sequence"] <= sequence:
        records.append(head.raw)
        if head.skipped:
            skips.add(head.skipped)
    further(spool, source, basis, skips)
    for raw in records:
        source.fold_own(decode(raw))
    return source


def further(
    spool: Spool, source: Source, basis: Mapping[str, int], skips: Container[tuple[str, int]] = ()
) -> Source:
    """Fold inputs from where a source stands up to `basis`; returns it. Raises SequenceGap."""
    for key, start in list(source.positions.items()):
        end = basis.get(key, 0)
        for record in spool.records_of(key) if start < end else ():
            if record.offset >= end:
                break
            if record.offset < start:
                continue
            try:
                event = decode_message(
                    record[:3], record.key, record.value, partitions=spool.counts[record.topic]
                )
            except RecordError:
                event = None
            skip = (key, record.offset) in skips
            source.fold(key, record.offset, None if skip else event)
    return source
