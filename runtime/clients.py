"""What Kafka clients of every room set alike."""

from typing import Any

RECONNECT: dict[str, Any] = {"reconnect.backoff.ms": 250, "reconnect.backoff.max.ms": 250}
"""Soon enough for a broker that was killed, and seldom enough to let it start. While all brokers
are away librdkafka begins anew after each attempt, with a thread made for it and a pause that never
grows. At 50 ms the clients of nine processes took more than one of two processors from a broker
that was starting (with a session of 1.5 s before it was let in): it took 8 seconds instead of 4."""
