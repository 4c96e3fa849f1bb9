"""Makes the topics of a broker agree with :mod:`schemas.topics`, or says where they do not.

A partition count is never changed: the account of every key would move to another partition, away
from its history. A wrong one is an error that names both counts.
"""

import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from replay.log import REQUEST_TIMEOUT_S, KafkaUnreachableError, client_settings
from runtime.logs import confluent_logger
from runtime.settings import Settings
from schemas.topics import PARTITIONS_EMBEDDED, TOPICS, Topic, partitions

REPLICAS_WANTED = 3


@dataclass(frozen=True, slots=True)
class TopicDifference:
    """One thing in which the broker differs from the code. `what`: `missing`, `partitions` or the
    name of a setting. Only `partitions` cannot be mended."""

    topic: str
    what: str
    found: str | None
    wanted: str

    @property
    def action(self) -> Literal["create", "alter", "impossible"]:
        if self.what == "missing":
            return "create"
        return "impossible" if self.what == "partitions" else "alter"


class PartitionCountError(RuntimeError):
    """A topic has another number of partitions than wanted."""

    def __init__(self, difference: TopicDifference) -> None:
        super().__init__(
            f"topic {difference.topic} has {difference.found} partitions, {difference.wanted} are "
            "wanted, and a partition count never changes after creation: say --partitions "
            f"{difference.found} if that is what this system was built with, or use another broker"
        )


class TooFewBrokersError(RuntimeError):
    """More copies of a topic are wanted than there are brokers."""


def settings_of(topic: Topic) -> dict[str, str]:
    """Broker settings of a topic; `min.insync.replicas` where QUANTUM_KAFKA_MIN_INSYNC is set."""
    least = Settings.load().kafka_min_insync
    return {
        **({"min.insync.replicas": str(least)} if least else {}),
        "cleanup.policy": "delete",
        "retention.ms": str(topic.retention_ms),
        "retention.bytes": str(topic.retention_bytes),
        **_segments(topic),
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": "1048588",
    }


def _segments(topic: Topic) -> dict[str, str]:
    """What is forgotten is forgotten by whole segments: an eighth of the size each."""
    size = topic.retention_bytes
    return {"segment.bytes": str(size // 8)} if size > 0 else {}


def diff(
    bootstrap: str,
    accounts: int = PARTITIONS_EMBEDDED,
    topics: Iterable[Topic] = tuple(TOPICS.values()),
) -> list[TopicDifference]:
    """Where the broker differs from `topics`; empty when it agrees.

    `accounts`: wanted partition count of account-keyed topics. Raises KafkaUnreachableError.
    """
    admin = _admin(bootstrap)
    there = _list(bootstrap, admin).topics
    wanted = {topic.name: topic for topic in topics}
    found = _settings(admin, [name for name in wanted if name in there])
    differences: list[TopicDifference] = []
    for name, topic in wanted.items():
        count = partitions(topic, accounts)
        if name not in there:
            differences.append(TopicDifference(name, "missing", None, f"{count} partitions"))
            continue
        if len(there[name].partitions) != count:
            number = str(len(there[name].partitions))
            differences.append(TopicDifference(name, "partitions", number, str(count)))
        differences += [
            TopicDifference(name, setting, found[name].get(setting), value)
            for setting, value in settings_of(topic).items()
            if found[name].get(setting) != value
        ]
    return differences


def apply(
    bootstrap: str,
    accounts: int = PARTITIONS_EMBEDDED,
    topics: Iterable[Topic] = tuple(TOPICS.values()),
) -> list[TopicDifference]:
    """Create what is missing and alter settings that differ; returns what was done.

    Raises PartitionCountError and TooFewBrokersError before anything is changed,
    KafkaUnreachableError.
    """
    topics = tuple(topics)
    todo = diff(bootstrap, accounts, topics)
    for difference in todo:
        if difference.action == "impossible":
            raise PartitionCountError(difference)
    admin = _admin(bootstrap)
    missing = {d.topic for d in todo if d.action == "create"}
    if missing:
        copies = _replicas(bootstrap, admin)
        _create(admin, [t for t in topics if t.name in missing], accounts, copies)
        _await(bootstrap, admin, missing)
    _alter(admin, [d for d in todo if d.action == "alter"])
    return todo


def _replicas(bootstrap: str, admin: AdminClient) -> int:
    """Copies of a new topic: as QUANTUM_KAFKA_REPLICATION says, else three where there are three
    brokers. Raises TooFewBrokersError."""
    brokers = len(_list(bootstrap, admin).brokers)
    said = Settings.load().kafka_replication
    if said is not None and said > brokers:
        raise TooFewBrokersError(
            f"QUANTUM_KAFKA_REPLICATION={said} copies need as many brokers, {bootstrap} has "
            f"{brokers}: start the others first, or lower it"
        )
    return said or min(REPLICAS_WANTED, brokers)


def _create(admin: AdminClient, topics: list[Topic], accounts: int, replicas: int) -> None:
    if not topics:
        return
    new = [
        NewTopic(t.name, partitions(t, accounts), replicas, config=settings_of(t)) for t in topics
    ]
    for name, future in admin.create_topics(new, operation_timeout=REQUEST_TIMEOUT_S).items():
        try:
            future.result()
        except KafkaException as error:  # another starter may have made it meanwhile
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise RuntimeError(f"topic {name} cannot be created: {error.args[0]}") from None


def _await(bootstrap: str, admin: AdminClient, names: set[str]) -> None:
    """Until brokers name what the controller has made; who asked before is told it is missing."""
    deadline = time.monotonic() + REQUEST_TIMEOUT_S
    while names - _list(bootstrap, admin).topics.keys():
        if time.monotonic() > deadline:
            said = ", ".join(sorted(names))
            raise KafkaUnreachableError(bootstrap, f"it made topics and does not name them: {said}")
        time.sleep(0.02)


def _alter(admin: AdminClient, differences: list[TopicDifference]) -> None:
    changes: dict[str, list[Any]] = {}
    for each in differences:
        entry = ConfigEntry(each.what, each.wanted, incremental_operation=AlterConfigOpType.SET)
        changes.setdefault(each.topic, []).append(entry)
    if not changes:
        return
    resources = [
        ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        for name, entries in changes.items()
    ]
    _results(admin.incremental_alter_configs(resources))


def _settings(admin: AdminClient, topics: list[str]) -> dict[str, dict[str, str]]:
    if not topics:
        return {}
    asked = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    answered = _results(admin.describe_configs(asked))
    return {
        resource.name: {name: str(entry.value) for name, entry in entries.items()}
        for resource, entries in answered.items()
    }


def _results(futures: dict[Any, Future[Any]]) -> dict[Any, Any]:
    """Results of requests. The admin client is kept alive by the caller until they are here."""
    return {resource: future.result() for resource, future in futures.items()}


def _admin(bootstrap: str) -> AdminClient:
    return AdminClient(client_settings(bootstrap), logger=confluent_logger())


def _list(bootstrap: str, admin: AdminClient) -> Any:
    try:
        return admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise KafkaUnreachableError(bootstrap, str(error.args[0].str())) from None
