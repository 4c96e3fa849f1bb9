"""How requests get to the venue: by topics, as the simulated one, or without Kafka."""

from collections.abc import Callable
from typing import Protocol

from schemas.codec import encode
from schemas.topics import VENUE_REQUEST
from schemas.venue import VenueRequested


class VenueLine(Protocol):
    """A line to a venue. What the venue says comes back by `venue.report`, or, where there is no
    Kafka between, by :meth:`streams.gateway.GatewayShell.said`."""

    def open(self) -> bool:
        """Whether a request can get there now. While it is False nothing is taken as sent."""

    def send(self, request: VenueRequested, partition: int) -> None:
        """Let a request leave; return at once. Whether it arrives nobody knows before a report."""


class TopicLine:
    """The simulated venue, behind Kafka: unreachable while Kafka is."""

    def __init__(self, append: Callable[[str, bytes, str], None], away: Callable[[], bool]) -> None:
        self._append, self._away = append, away

    def open(self) -> bool:
        return not self._away()

    def send(self, request: VenueRequested, partition: int) -> None:
        key = f"{VENUE_REQUEST.name}/{partition}"
        self._append(key, encode(request), request.partitionkey)
