"""Publishing by people: commands and hand-made records, checked before they leave.

One idempotent producer, the partitioner of every other client of ours (murmur2), key = account.
"""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from replay.log import REQUEST_TIMEOUT_S, KafkaUnreachableError, client_settings
from runtime.logs import confluent_logger
from schemas.codec import RecordError, decode, decode_request, encode
from schemas.envelope import CONTENT_TYPE, Envelope
from schemas.ids import command_id, part_id
from schemas.topics import COMMANDS_CONTROL, COMMANDS_TRADE, INTENT, SIGNAL, TOPICS, Topic

DELIVERY_S = 15.0
TOPIC_OF: dict[str, Topic] = {
    "command.policy.set.v1": COMMANDS_CONTROL,
    "command.emergency.stop.v1": COMMANDS_CONTROL,
    "command.emergency.reset.v1": COMMANDS_CONTROL,
    "command.account.resume.v1": COMMANDS_CONTROL,
    "command.trade.delete.v1": COMMANDS_CONTROL,
    "command.symbol.pause.v1": COMMANDS_CONTROL,
    "command.symbol.resume.v1": COMMANDS_CONTROL,
    "command.letter.settle.v1": COMMANDS_CONTROL,
    "command.hfos.set.v1": COMMANDS_CONTROL,
    "command.position.close.v1": COMMANDS_TRADE,
    "command.position.reduce.v1": COMMANDS_TRADE,
    "command.account.flatten.v1": COMMANDS_TRADE,
    "command.order.cancel.v1": COMMANDS_TRADE,
    "trade.signal.published.v1": SIGNAL,
    "trade.intent.published.v1": INTENT,
}
"""What people may publish, and where to."""
SHORT = {
    "policy.set": "command.policy.set.v1",
    "emergency.stop": "command.emergency.stop.v1",
    "emergency.reset": "command.emergency.reset.v1",
    "account.resume": "command.account.resume.v1",
    "trade.delete": "command.trade.delete.v1",
    "symbol.pause": "command.symbol.pause.v1",
    "symbol.resume": "command.symbol.resume.v1",
    "letter.settle": "command.letter.settle.v1",
    "hfos.set": "command.hfos.set.v1",
    "position.close": "command.position.close.v1",
    "position.reduce": "command.position.reduce.v1",
    "account.flatten": "command.account.flatten.v1",
    "order.cancel": "command.order.cancel.v1",
    "signal": "trade.signal.published.v1",
    "intent": "trade.intent.published.v1",
}
SOURCE = "/cli"


class PublishError(RuntimeError):
    """A record cannot be published; the text says what is wrong with it or with the broker."""


def full_type(name: str) -> str:
    """The type that a short or full name stands for. Raises PublishError naming all there are."""
    found = SHORT.get(name, name)
    if found not in TOPIC_OF:
        raise PublishError(
            f"{name!r} is nothing that can be sent; there are: {', '.join(SHORT)} "
            "(or their full types)"
        )
    return found


def build(
    name: str,
    account: str,
    data: Mapping[str, Any],
    *,
    time: str,
    record_id: str | None = None,
    source: str = SOURCE,
) -> Envelope:
    """A checked record of a type people publish: `data` as in the schema, without ids of parts.

    `time`: when it was written (canonical). `record_id`: a natural id; a new UUIDv7 by default.
    Raises PublishError naming field and value.
    """
    kind = full_type(name)
    identity = record_id or command_id()
    body = dict(data)
    items = body.get("items")
    subject = account
    if isinstance(items, list):
        body["items"] = [
            {"id": part_id(identity, ordinal), **item} for ordinal, item in enumerate(items)
        ]
        symbols = {symbol for item in items if isinstance(symbol := item.get("symbol"), str)}
        if len(symbols) == 1:
            subject = f"{account}/{symbols.pop()}"
    record = {
        "specversion": "1.0",
        "id": identity,
        "type": kind,
        "source": source,
        "subject": subject,
        "time": time,
        "partitionkey": account,
        "data": body,
    }
    try:
        raw = orjson.dumps(record)
    except TypeError as error:  # a number of more than 64 bits, text that is none
        raise PublishError(f"{name} was not sent: {error}; correct the value") from None
    try:
        event = decode_request(raw, topic=TOPIC_OF[kind].name, partition=0, offset=0)
        decode(encode(event))
    except RecordError as error:
        raise PublishError(f"{name} was not sent: {error}") from None
    return event


class Publisher:
    """A producer for one command; use as a context.

    Idempotent, acks=all: what :meth:`send` returns for is in the log.
    """

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._producer = Producer(
            {
                **client_settings(bootstrap),
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "partitioner": "murmur2_random",
                "delivery.timeout.ms": int(DELIVERY_S * 1000),
            },
            logger=confluent_logger(),
        )

    def __enter__(self) -> Self:
        """Raises KafkaUnreachableError at once rather than after the delivery's time-out."""
        try:
            self._producer.list_topics(timeout=REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise KafkaUnreachableError(self.bootstrap, error.args[0].str()) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._producer.flush(1)

    def send(self, event: Envelope, topic: str | None = None) -> tuple[str, int, int]:
        """Append a record; (topic, partition, offset) of where it stands. `topic`: by its type.

        Raises KafkaUnreachableError, PublishError.
        """
        return self.send_raw(
            topic or TOPIC_OF[event.type].name, event.partitionkey.encode(), encode(event)
        )

    def send_raw(self, topic: str, key: bytes | None, raw: bytes) -> tuple[str, int, int]:
        """Append any bytes, as a person at a Kafka UI might. Unknown topics are refused."""
        if topic not in TOPICS:
            raise PublishError(f"{topic} is no topic of this system; see ./quantum topics list")
        done = threading.Event()
        outcome: list[tuple[KafkaError | None, Message]] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            outcome.append((error, message))
            done.set()

        try:
            self._producer.produce(
                topic,
                raw,
                key,
                on_delivery=delivered,
                headers=[("content-type", CONTENT_TYPE.encode())],
            )
        except (KafkaException, BufferError) as problem:
            raise PublishError(f"{topic}: {problem}") from None
        while not done.is_set():
            self._producer.poll(0.1)
        failure, message = outcome[0]
        if failure is not None:
            raise self._reason(topic, failure)
        return str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)

    def _reason(self, topic: str, error: KafkaError) -> Exception:
        if error.code() in (KafkaError._MSG_TIMED_OUT, KafkaError._ALL_BROKERS_DOWN):
            return KafkaUnreachableError(self.bootstrap, "the record was not acknowledged")
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            return PublishError(f"{topic} does not exist yet: run ./quantum topics apply")
        return PublishError(f"{topic}: {error.str()}")
