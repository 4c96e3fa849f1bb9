"""Who is in a worker's consumer group.

A group's name is all that another program needs to join it. One that assigns partitions in another
way keeps workers out, and a client of theirs then waits without a word: so a worker looks who is
there, and says it.
"""

from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from runtime.logs import confluent_logger
from runtime.security import confluent_security

ASK_S = 5.0
PREFIX = "quantum-"


def group_of(processor: str) -> str:
    """The consumer group of a processor's workers, and the client id they have there."""
    return PREFIX + processor


@dataclass(frozen=True, slots=True)
class Group:
    """Members at one moment. ours: whether a worker is among them; strangers: everybody else, as
    client and address."""

    name: str
    ours: bool
    strangers: tuple[str, ...]

    @property
    def wrong(self) -> str:
        """What is wrong and what to do, in a sentence; empty if nothing is."""
        if not self.strangers:
            return ""
        return (
            f"consumer group {self.name} is used by another program ({'; '.join(self.strangers)}), "
            "and what that is assigned is kept from this worker: end that program, or give it a "
            "group of its own"
        )


def look(bootstrap: str, processor: str) -> Group | None:
    """The group of a processor's workers now; None while the broker does not answer.

    By the older of the two requests there are for this: where the broker stalls during the newer
    one, `describe_consumer_groups`, librdkafka ends the process (its issue 4605)."""
    name = group_of(processor)
    admin = AdminClient(
        {"bootstrap.servers": bootstrap, **confluent_security()}, logger=confluent_logger()
    )
    try:
        found = admin.list_groups(name, timeout=ASK_S)
    except KafkaException:
        return None
    members = [(str(m.client_id), str(m.client_host)) for each in found for m in each.members]
    others = tuple(f"client {client} at {host}" for client, host in members if client != name)
    return Group(name, ours=len(members) > len(others), strangers=others)
