"""Where a rebuild reads: the topics of a broker, or an archive of them. What is read is the same.

A `str` names a broker (bootstrap servers), a `Path` the folder of an archive whose digests were
checked (:func:`checked`). Offsets are the topics' own, so tables made from an archive are gone on
with by the projector of the broker that the archive was made of.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from projections import log
from projections.database import ProjectionError
from projections.log import Cursor, Ends
from projections.reading import Partition, consumer
from schemas.topics import EVENT_TOPICS

Origin = str | Path
Take = Callable[[Cursor, int, bytes | None], None]
TOLD_EVERY = 2_000


def checked(folder: Path) -> Path:
    """The folder, after every digest of the archive in it was checked. ProjectionError if it is
    none, or damaged."""
    from replay.archive import ArchiveError, ArchiveLog
    from replay.sources import DamagedLogError

    try:
        ArchiveLog(folder)
    except (ArchiveError, DamagedLogError) as error:
        raise ProjectionError(str(error)) from None
    return folder


def cursors(origin: Origin) -> dict[Partition, Cursor]:
    """A cursor at offset 0 for every partition of every event topic that is there."""
    if isinstance(origin, str):
        return log.cursors(origin)
    from replay.archive import Manifest

    names = {topic.name for topic in EVENT_TOPICS}
    return {
        (topic, number): Cursor(topic, number, topic_id=about["id"])
        for topic, about in Manifest.load(origin).topics.items()
        if topic in names
        for number in range(about["partitions"])
    }


def ends(origin: Origin, places: dict[Partition, Cursor]) -> Ends:
    """Next offset of each partition."""
    if isinstance(origin, Path):
        from replay.archive import ArchiveLog

        found = ArchiveLog(origin, check=False).ends()
        return {key: found.get(f"{key[0]}/{key[1]}", 0) for key in places}
    reader = consumer(origin, "ends")
    try:
        return log.ends(reader, places)
    finally:
        reader.close()


def read_to(
    origin: Origin,
    places: dict[Partition, Cursor],
    targets: Ends,
    take: Take,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """As :func:`projections.log.read_to`."""
    if isinstance(origin, str):
        return log.read_to(origin, places, targets, take, progress=progress)
    spans = {
        key: (cursor.next_offset, targets[key])
        for key, cursor in places.items()
        if cursor.next_offset < targets.get(key, 0)
    }
    total = sum(end - at for at, end in spans.values())
    done = 0
    for key, offset, raw in archived(origin, spans):
        take(places[key], offset, raw)
        done += 1
        if progress is not None and done % TOLD_EVERY == 0:
            progress(done, total)
    for key, (_, end) in spans.items():  # where the archive begins later, or a gap was left
        if places[key].stopped is None:
            places[key].next_offset = max(places[key].next_offset, end)
    if progress is not None:
        progress(total, total)
    return done


def archived(
    folder: Path, spans: dict[Partition, tuple[int, int]]
) -> Iterator[tuple[Partition, int, bytes | None]]:
    """Records of an archive: of each partition those from its first up to before its last offset,
    in order, one partition after the other."""
    from replay.archive import ArchiveLog

    ranges = {f"{topic}/{number}": span for (topic, number), span in spans.items()}
    for record in ArchiveLog(folder, check=False).raw_range(ranges):
        yield (record.topic, record.partition), record.offset, record.value
