"""What a process wrote to its buffer and never to the log is offered as reports (SAFE-7).

Under our own sequence, once, by natural ids, never under that of the process that was fenced. What
the venue told us since is known, and gives nothing.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from gateways.buffer_folder import LeftBehind
from schemas.codec import RecordError
from schemas.envelope import Envelope
from schemas.topics import EXECUTION_RES
from streams.buffered_log import BufferedLog
from streams.gateway_source import GatewaySource
from streams.kafka_log import split

logger = logging.getLogger(__name__)


class Offering:
    """Takes what is left behind for partitions of ours. A buffer is removed once a look at it gives
    no news and nothing of ours is on its way: then what came of it is in the log."""

    def __init__(
        self,
        log: BufferedLog,
        gateways: Mapping[int, GatewaySource],
        publish: Callable[[GatewaySource, Envelope], None],
        append: Callable[[str, bytes, str], None],
    ) -> None:
        self._log, self._gateways = log, gateways
        self._publish, self._append = publish, append
        self._appended: set[Path] = set()

    def look(self, *, settled: bool) -> None:
        """Offer what is there; `settled`: nothing of ours is on its way. Under the shell's lock."""
        for left in self._log.left_behind():
            for key in left.partitions():
                topic, number = split(key)
                if topic == EXECUTION_RES.name:
                    source = self._gateways.get(number)
                    if source is None:
                        continue  # another process owns it
                    news = self._offered(left, key, source)
                else:
                    news = self._noted(left, key)
                if settled and not news:
                    left.done(key)
                    logger.warning("what was left in %s is in the log", left.folder / key)

    def _noted(self, left: LeftBehind, key: str) -> int:
        """Outside records have natural ids: appended as they are, once by each process."""
        place = left.folder / key
        if place in self._appended:
            return 0
        self._appended.add(place)
        lines = list(left.lines(key))
        for line in lines:
            self._append(key, line.raw, line.message_key)
        return len(lines)

    def _offered(self, left: LeftBehind, key: str, source: GatewaySource) -> int:
        news = 0
        for line in left.lines(key):
            try:
                record = source.offered(line.raw)
            except RecordError as error:
                left.strange(key)
                logger.critical("line %d of %s is no record: %s", line.n, left.folder / key, error)
                continue
            if record is not None:
                news += 1
                self._publish(source, record)
            news += source.doubts(line.raw)  # kept until the venue has answered
        if news:
            logger.warning("%d lines that were left in %s are news", news, left.folder / key)
        return news
