"""How requests get to the venue: by topics, as the simulated one, or without Kafka."""

from collections.abc import Callable
from typing import Protocol

from schemas.codec import encode
from schemas.topics import VENUE_REQUEST
from schemas.venue import VenueRequested
from streams.log import Delivered


class VenueLine(Protocol):
    """A line to a venue. What the venue says comes back by `venue.report`, or, where there is no
    Kafka between, by :meth:`streams.gateway.GatewayShell.said`."""

    def open(self) -> bool:
        """Whether a request can get there now. While it is False nothing is taken as sent."""

    def send(
        self, request: VenueRequested, partition: int, arrived: Delivered | None = None
    ) -> None:
        """Let a request leave; return at once. Whether the venue takes it nobody knows before a
        report. `arrived` must be called once, by any thread, when it waits in no queue of ours any
        more: with 0 or its offset when it is at the venue's door, with -1 when it is lost. As long
        as it is not called, the request counts as under way (:mod:`streams.entry_way`)."""


class TopicLine:
    """The simulated venue, behind Kafka: unreachable while Kafka is."""

    def __init__(
        self,
        append: Callable[[str, bytes, str, Delivered | None], None],
        away: Callable[[], bool],
    ) -> None:
        self._append, self._away = append, away

    def open(self) -> bool:
        return not self._away()

    def send(
        self, request: VenueRequested, partition: int, arrived: Delivered | None = None
    ) -> None:
        key = f"{VENUE_REQUEST.name}/{partition}"
        self._append(key, encode(request), request.partitionkey, arrived)
