"""The log on a real broker: an idempotent producer in order, bulk reads by plain consumers."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from runtime.clients import RECONNECT
from runtime.security import confluent_security
from schemas.envelope import CONTENT_TYPE
from schemas.topics import dead_letters
from streams.log import Delivered, Incoming

logger = logging.getLogger(__name__)
HEADERS: list[tuple[str, str | bytes | None]] = [("content-type", CONTENT_TYPE.encode())]
STALLED_S = 30.0
PATIENT_S = 1.0
"""Long enough for a client to look up leaders, connect and ask."""
EXIT_DELIVERY = 70
EXIT_FENCED = 75
RENEW_S = 5.0
"""A reader that got no answer for so long is replaced: a client that was told of no brokers at all
(one that has just come back says so) may never find them again, librdkafka issue 5301."""
RETRY_S, FLUSH_S = 0.05, 0.001
LATEST = -1
"""Asked for the offset at this time, a broker answers with the end of the partition."""
LEADERLESS = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
FORGOTTEN = (KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC)
"""A client's own answer. It asks nobody: see :func:`watermarks`."""


def client(bootstrap: str, **more: Any) -> dict[str, Any]:
    """Settings every confluent client of ours has. librdkafka's lines go to `logging`."""
    return {
        "bootstrap.servers": bootstrap,
        "logger": logging.getLogger("librdkafka"),
        "socket.keepalive.enable": True,
        **RECONNECT,
        **confluent_security(),
        **more,
    }


def consumer(bootstrap: str, **more: Any) -> Consumer:
    """A plain consumer without group: it assigns, never subscribes, never commits."""
    return Consumer(
        client(
            bootstrap,
            **{
                "group.id": "unused",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": False,
                "fetch.wait.max.ms": 500,
                "fetch.error.backoff.ms": 20,
                "queued.min.messages": 20_000,
                "topic.metadata.refresh.interval.ms": 300_000,
                **more,
            },
        )
    )


def assign(reader: Consumer, starts: Mapping[str, int]) -> None:
    """Assign partitions (key to offset), their leaders looked up first: librdkafka begins to fetch
    a topic that a consumer does not know yet up to a second late."""
    with contextlib.suppress(KafkaException):  # no broker now: then it is as late as that
        for key in {split(key)[0]: key for key in starts}.values():
            watermarks(reader, key, 2)
    reader.assign([TopicPartition(*split(key), offset) for key, offset in starts.items()])


def watermarks(reader: Consumer, key: str, timeout_s: float) -> tuple[int, int]:
    """First offset and end of a partition. KafkaException if they are not known in time.

    A broker that has just begun to answer again may name topics without leaders. librdkafka takes
    that for the truth until it looks again, five minutes later, and answers by itself meanwhile
    that there is no such partition: so the broker is asked what there is. A partition that was just
    made has no leader for a moment either.
    """
    deadline = time.monotonic() + timeout_s
    topic, number = split(key)
    while True:
        left = max(0.001, deadline - time.monotonic())
        try:
            low, high = reader.get_watermark_offsets(TopicPartition(topic, number), timeout=left)
            return int(low), int(high)
        except KafkaException as error:
            code = error.args[0].code()
            if code in FORGOTTEN:
                reader.list_topics(topic, timeout=left)  # the client takes note of what it hears
            if code not in (*LEADERLESS, *FORGOTTEN) or time.monotonic() + RETRY_S > deadline:
                raise
        time.sleep(RETRY_S)


def split(key: str) -> tuple[str, int]:
    """Topic and number of a partition key ``topic/number``."""
    topic, _, number = key.rpartition("/")
    return topic, int(number)


def incoming(message: Message) -> Incoming:
    """A broker's message as the shell sees it."""
    return Incoming(
        _place(message.topic(), message.partition()),
        message.offset() or 0,
        message.timestamp()[1],
        message.key(),
        message.value(),
    )


@cache
def _place(topic: str | None, partition: int | None) -> str:
    return f"{topic}/{partition}"


class KafkaLog:
    """One producer with a thread that serves its deliveries; bulk reads on a consumer of their own.

    A record that cannot be delivered ends the process with exit code 70: what persists is a prefix,
    and the restart decides again what is missing.
    """

    def __init__(self, bootstrap: str, name: str) -> None:
        self.bootstrap = bootstrap
        self.on_error: Callable[[str], None] | None = None
        """Called with `delivery` or `client` when the producer met an error, for figures."""
        self.taken = 0
        """Records read in bulk so far: how far a replay has come."""
        self.heard_at = time.monotonic()
        """When the broker last acknowledged something."""
        self.producer = Producer(
            client(
                bootstrap,
                **{
                    "client.id": name,
                    "enable.idempotence": True,
                    "acks": "all",
                    "linger.ms": 0,
                    "partitioner": "murmur2_random",
                    "compression.type": "none",
                    "delivery.timeout.ms": 120_000,
                    "queue.buffering.max.messages": 500_000,
                    "error_cb": self._client_error,
                },
            )
        )
        self._reader: Consumer | None = None
        self._answered_at = time.monotonic()
        self._reading = threading.Lock()
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="ends")
        self._open = True
        self._thread = threading.Thread(target=self._serve, name="deliveries", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while self._open:
            try:
                self.producer.poll(0.2)
            except KafkaException as error:  # it can deliver nothing any more
                logger.critical("the producer has failed: %s; ending the process", error.args[0])
                logging.shutdown()
                os._exit(EXIT_DELIVERY)

    def close(self) -> None:
        """Deliver what is pending, then stop."""
        self.producer.flush(10)
        self._open = False
        self._thread.join(1)
        self._asker.shutdown(wait=False, cancel_futures=True)
        if self._reader:
            self._reader.close()

    # ------------------------------------------------------------------ writing

    def append(
        self,
        key: str,
        raw: bytes,
        message_key: str,
        delivered: Delivered,
        failed: Callable[[str], None] | None = None,
    ) -> None:
        """With `failed` a record that cannot be delivered is told there, and the process goes on,
        unless the producer can deliver nothing any more."""

        def acknowledged(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._failed("delivery")
                if failed is not None and not error.fatal():
                    failed(str(error))
                    return
                logger.critical(
                    "a record for %s was not delivered: %s; ending the process", key, error
                )
                logging.shutdown()
                os._exit(EXIT_DELIVERY)
            self.heard_at = time.monotonic()
            delivered(message.offset() or 0)

        topic, number = split(key)
        self.producer.produce(
            topic, raw, message_key, number, on_delivery=acknowledged, headers=list(HEADERS)
        )

    def flush(self) -> None:
        # not the producer's own flush: deliveries told by two threads are told out of order
        until = time.monotonic() + STALLED_S
        while len(self.producer):
            if time.monotonic() > until:
                raise ConnectionError(f"{self.bootstrap} did not acknowledge in {STALLED_S:.0f} s")
            time.sleep(FLUSH_S)

    def purge(self) -> None:
        """Let go of appends that were not sent: each is told as failed. Returns when it is done:
        what is appended afterwards is not meant."""
        self.producer.purge(in_queue=True, in_flight=False, blocking=True)

    def dead_letter(self, processor: str, record: Incoming, reason: str) -> None:
        topic, number = split(record.key)
        self.producer.produce(
            dead_letters(processor).name,
            record.raw,
            record.message_key,
            0,
            headers=[
                ("topic", topic.encode()),
                ("partition", str(number).encode()),
                ("offset", str(record.offset).encode()),
                ("reason", reason.encode()),
            ],
            on_delivery=self._noted,
        )

    def note(self, topic: str, raw: bytes, message_key: str) -> None:
        """An outside record for people (worker.started, worker.failed, progress): no promise."""
        self.producer.produce(
            topic, raw, message_key, 0, headers=list(HEADERS), on_delivery=self._noted
        )

    def _noted(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed("delivery")
            logger.warning("a note was not delivered: %s", error)
        else:
            self.heard_at = time.monotonic()

    def _client_error(self, error: KafkaError) -> None:
        self._failed("client")
        logger.debug("Kafka at %s: %s", self.bootstrap, error)  # its own lines say it too

    def _failed(self, kind: str) -> None:
        if self.on_error:
            self.on_error(kind)

    # ------------------------------------------------------------------ reading

    def _consumer(self) -> Consumer:
        if self._reader is None:
            # a short wait: a fetch that waits at one place holds up the next place asked for
            # a short queue: a record is folded while its bytes are still in the processor's cache
            queue = {"queued.max.messages.kbytes": 8_192, "fetch.queue.backoff.ms": 10}
            more = {"fetch.wait.max.ms": 10, "fetch.max.bytes": 4_194_304, **queue}
            self._reader = consumer(self.bootstrap, **more)
        return self._reader

    def end(self, key: str, *, timeout_s: float = 10.0) -> int:
        with self._reading:
            return self._end(key, time.monotonic() + timeout_s)

    def ends(self, keys: Iterable[str], *, timeout_s: float = 10.0) -> dict[str, int]:
        """Who cannot wait long is told so, and the question goes on: a client that has lost its
        broker finds it again within one, and would never get there in questions cut short."""
        wanted = list(keys)
        if timeout_s >= PATIENT_S:
            return self._ends(wanted, timeout_s)
        try:
            asked = self._asker.submit(self._ends, wanted, PATIENT_S)
        except RuntimeError:  # the process is about to end, and threads of it still ask
            raise ConnectionError(f"{self.bootstrap} is asked nothing more: closed") from None
        try:
            return asked.result(timeout_s)
        except TimeoutError:
            asked.cancel()
            raise ConnectionError(f"no answer of {self.bootstrap} in {timeout_s:g} s") from None

    def _ends(self, wanted: list[str], timeout_s: float) -> dict[str, int]:
        """Asked in one request a broker; a partition that gave no answer is asked by itself."""
        deadline = time.monotonic() + timeout_s
        with self._reading:
            asked = [TopicPartition(*split(key), LATEST) for key in wanted]
            answers: list[TopicPartition] = []
            with contextlib.suppress(KafkaException):
                answers = self._consumer().offsets_for_times(asked, timeout=timeout_s)
            found = {
                f"{each.topic}/{each.partition}": int(each.offset)
                for each in answers
                if each.error is None and each.offset >= 0
            }
            if found:
                self._answered_at = time.monotonic()
            return {key: found[key] if key in found else self._end(key, deadline) for key in wanted}

    def start(self, key: str) -> int:
        with self._reading:
            try:
                return watermarks(self._consumer(), key, 10.0)[0]
            except KafkaException as error:
                raise ConnectionError(f"Kafka at {self.bootstrap}: {error.args[0]}") from None

    def _end(self, key: str, deadline: float) -> int:
        try:
            end = watermarks(self._consumer(), key, deadline - time.monotonic())[1]
        except KafkaException as error:
            if time.monotonic() > self._answered_at + RENEW_S:
                self._reader, self._answered_at = None, time.monotonic()
            raise ConnectionError(f"Kafka at {self.bootstrap}: {error.args[0]}") from None
        self._answered_at = time.monotonic()
        return end

    def read(self, ranges: Mapping[str, tuple[int, int]]) -> Iterator[Incoming]:
        wanted = {key: span for key, span in ranges.items() if span[0] < span[1]}
        if not wanted:
            return
        with self._reading:
            reader = self._consumer()
            assign(reader, {key: span[0] for key, span in wanted.items()})
            left = {key: span[1] for key, span in wanted.items()}
            try:
                while left:
                    messages = reader.consume(2_000, 0.02)
                    self.taken += len(messages)
                    for message in messages:
                        if message.error():
                            raise ConnectionError(f"Kafka at {self.bootstrap}: {message.error()}")
                        record = incoming(message)
                        end = left.get(record.key)
                        if end is None:
                            continue
                        if record.offset < end:
                            yield record
                        if record.offset >= end - 1:
                            del left[record.key]
            finally:
                reader.unassign()
