"""What the projector tells about itself: `/health`, and a report a second on `progress`.

The report is a copy for `status`; the feed's barrier does not wait for the projector.
"""

import threading
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from confluent_kafka import Producer

from projections.projector import Projector
from runtime.health import HealthServer
from runtime.logs import confluent_logger
from schemas.topics import PROGRESS

INTERVAL_S = 1.0


class Reports:
    """Health and progress while the context is open; writes `projector.port` into `folder`."""

    def __init__(self, projector: Projector, folder: Path) -> None:
        self._projector = projector
        self._folder = folder
        self._incarnation = uuid.uuid4().hex
        self._done = threading.Event()
        self._server = HealthServer(probe=self.health)
        self._thread = threading.Thread(target=self._report, name="reports", daemon=True)

    def health(self) -> dict[str, object]:
        """Answer of `/health`: healthy is a projector that is connected and stopped nowhere."""
        projector = self._projector
        return {
            "worker": "projector",
            "state": "live" if projector.connected else "waiting",
            "healthy": projector.connected and not projector.stopped,
            "committed": projector.committed,
            "undecodable": projector.undecodable,
            "reconnects": projector.reconnects,
            "stopped": dict(projector.stopped),
        }

    def _report(self) -> None:
        producer = Producer(
            {"bootstrap.servers": self._projector.kafka, "message.timeout.ms": 5000},
            logger=confluent_logger(),
        )
        while not self._done.wait(INTERVAL_S):
            if self._projector.connected:
                producer.produce(PROGRESS.name, orjson.dumps(self._body()), b"projector")
            producer.poll(0)

    def _body(self) -> dict[str, Any]:
        return {
            "worker": "projector",
            "incarnation": self._incarnation,
            "full": True,
            "positions": self._projector.positions,
            "ends": {},
            "unresolved": 0,
            "time": "",
        }

    def __enter__(self) -> Self:
        self._server.start()
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "projector.port").write_text(str(self._server.port))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._server.stop()
