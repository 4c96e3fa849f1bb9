"""What a worker asks of a broker before it reads or writes: topics, their partitions, their ids.

A client that was told of no brokers at all, as one that has just come back says it, may never find
them again (librdkafka issue 5301): where it matters, another one asks.
"""

import time
from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from runtime.settings import SettingsError
from streams.kafka_log import RENEW_S, RETRY_S, client

PATIENT_S = 120.0


def wait_for(bootstrap: str, topics: Iterable[str], timeout_s: float = PATIENT_S) -> AdminClient:
    """Return when the broker answers and has all topics: the client that was answered, to ask more.
    TimeoutError names what is missing."""
    deadline, renew = time.monotonic() + timeout_s, 0.0
    missing = set(topics)
    while True:
        if time.monotonic() > renew:
            admin, renew = AdminClient(client(bootstrap)), time.monotonic() + RENEW_S
        try:
            missing -= admin.list_topics(timeout=2).topics.keys()
            why = f"topics {', '.join(sorted(missing)[:3])} are missing: ./quantum topics apply"
        except KafkaException as error:
            why = str(error.args[0])
        if not missing:
            return admin
        if time.monotonic() > deadline:
            raise TimeoutError(f"Kafka at {bootstrap} is not ready: {why}")
        time.sleep(0.1)


def check_counts(
    bootstrap: str, wanted: Mapping[str, int], admin: AdminClient | None = None
) -> None:
    """SettingsError, naming both, if a topic has another number of partitions than `wanted`:
    accounts would be looked for where they are not. TimeoutError if one is not named any more."""
    topics = (admin or AdminClient(client(bootstrap))).list_topics(timeout=10).topics
    for name, count in wanted.items():
        if name not in topics:
            raise TimeoutError(f"Kafka at {bootstrap} does not name topic {name} any more")
        found = len(topics[name].partitions)
        if found != count:
            raise SettingsError(
                f"topic {name} has {found} partitions, {count} are wanted, and a count never "
                "changes after creation: say --partitions as the topics were made, or use "
                "another broker (./quantum topics diff shows all)."
            )


def topic_ids(
    bootstrap: str, timeout_s: float = PATIENT_S, admin: AdminClient | None = None
) -> dict[str, str]:
    """Ids of all topics of the broker, as a fence names them. TimeoutError if it does not say
    them. admin: who is asked first, then others."""
    deadline = time.monotonic() + timeout_s
    while True:
        admin = admin or AdminClient(client(bootstrap))
        try:
            known = admin.list_topics(timeout=RENEW_S).topics
            names = [name for name in known if not name.startswith("__")]
            asked = admin.describe_topics(TopicCollection(names), request_timeout=RENEW_S)
            return {name: str(future.result().topic_id) for name, future in asked.items()}
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"Kafka at {bootstrap} does not say which topics it has: {error.args[0]}"
                ) from None
        admin = None
        time.sleep(RETRY_S)
