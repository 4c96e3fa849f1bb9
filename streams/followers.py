"""Followers: plain consumers in threads, one a lane, no group. They bring facts to the shell."""

import logging
import os
import threading
from collections.abc import Callable, Collection
from typing import Any

from confluent_kafka import Consumer, KafkaError

from schemas.topics import TOPICS, Lane
from streams.kafka_log import assign, consumer, incoming, split
from streams.log import Incoming

logger = logging.getLogger(__name__)
BATCH_MAX = 500
FATAL = (KafkaError._FATAL, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET)
EXIT_FOLLOWER = 71
LAZY: dict[str, Any] = {"fetch.min.bytes": 1_000_000, "fetch.wait.max.ms": 500}


class Follower(threading.Thread):
    """Reads the partitions of one lane from given offsets and hands each record over.

    `after` is called once a batch. An exception in either ends the process: state would be torn.
    """

    def __init__(
        self,
        bootstrap: str,
        name: str,
        starts: dict[str, int],
        take: Callable[[Incoming], None],
        after: Callable[[], None],
        settings: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name=f"follower-{name}", daemon=True)
        self._starts = starts
        self._take = take
        self._after = after
        self._stopping = threading.Event()
        self._consumer: Consumer = consumer(bootstrap, **(settings or {}))

    def run(self) -> None:
        try:
            assign(self._consumer, self._starts)
            while not self._stopping.is_set():
                self._batch()
        except BaseException:
            logger.critical("follower %s failed; ending the process", self.name, exc_info=True)
            logging.shutdown()
            os._exit(EXIT_FOLLOWER)
        finally:
            self._consumer.close()

    def _batch(self) -> None:
        message = self._consumer.poll(0.5)
        count = 0
        while message is not None:
            error = message.error()
            if error is None:
                self._take(incoming(message))
            elif error.code() in FATAL:
                raise RuntimeError(f"reading {message.topic()}: {error}")
            count += 1
            if count >= BATCH_MAX:
                break
            message = self._consumer.poll(0)
        if count:
            self._after()

    def stop(self) -> None:
        """End the thread; returns when it has."""
        self._stopping.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(2)


class Followers:
    """One follower a lane for the facts of a worker, and one for its own output.

    Without `watch_at_once` own output comes in large pieces, half a second late at most: enough to
    notice another's fence, and the broker serves a fetch less for each record."""

    def __init__(
        self,
        bootstrap: str,
        take: Callable[[Incoming], None],
        after: Callable[[], None],
        *,
        watch_at_once: bool = True,
    ) -> None:
        self._bootstrap = bootstrap
        self._lazy = {} if watch_at_once else LAZY
        self._take = take
        self._after = after
        self._running: list[Follower] = []
        self._lanes: dict[Follower, dict[str, int]] = {}

    def start(
        self, starts: dict[str, int], watch: dict[str, int], seen: Callable[[Incoming], None]
    ) -> None:
        """Follow `starts` (key to next offset) lane by lane and `watch` on a lane of its own."""
        self.stop()
        lanes: dict[Lane, dict[str, int]] = {}
        for key, offset in starts.items():
            lanes.setdefault(TOPICS[split(key)[0]].lane, {})[key] = offset
        for lane, keys in sorted(lanes.items()):
            self._running.append(self._follower(lane, keys))
        if watch:
            self._running.append(
                Follower(self._bootstrap, "own", watch, seen, _nothing, self._lazy)
            )
        for follower in self._running:
            follower.start()

    def _follower(self, lane: Lane, keys: dict[str, int]) -> Follower:
        made = Follower(self._bootstrap, lane.name.lower(), keys, self._take, self._after)
        self._lanes[made] = keys
        return made

    def again(self, topic: str, position: Callable[[str], int], keys: Collection[str] = ()) -> None:
        """Follow the lane of `topic` with a consumer of its own, from `position` of each partition.
        One that hangs may come back: what was folded is dropped. What the Faust agent takes nobody
        follows: then `keys` are followed beside it."""
        hanging = [f for f, held in self._lanes.items() if any(split(k)[0] == topic for k in held)]
        lanes = [list(self._lanes.pop(follower)) for follower in hanging]
        for follower in hanging:
            follower.stop()
            self._running.remove(follower)
        for held in lanes or [list(keys)]:
            fresh = self._follower(TOPICS[topic].lane, {key: position(key) for key in held})
            self._running.append(fresh)
            fresh.start()

    def stop(self) -> None:
        """Stop all lanes."""
        self._lanes.clear()
        for follower in self._running:
            follower.stop()
        self._running.clear()


def _nothing() -> None:
    """After a batch of own output nothing is to be reported."""
