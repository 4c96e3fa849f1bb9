"""What the projector tells about itself: `/health`, and a report a second on `progress`.

The report is a copy for `status`; the feed's barrier does not wait for the projector.
"""

import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from confluent_kafka import Producer

from projections.projector import Projector
from runtime.build import own_build
from runtime.ends import Ends
from runtime.health import HealthServer
from runtime.logs import confluent_logger
from runtime.metrics import exposition
from runtime.security import confluent_security
from runtime.settings import Settings
from schemas.topics import PROGRESS

INTERVAL_S = 1.0
LIVE_S, AWAY_S = 4.0, 60.0
"""How long its loop may stand still: connected, and while Kafka or Postgres is away."""


class Reports:
    """Health and progress while the context is open; writes `projector.port` into `folder`."""

    def __init__(self, projector: Projector, folder: Path, port: int = 0) -> None:
        self._projector = projector
        self._folder = folder
        self._incarnation = uuid.uuid4().hex
        self._started_ns = time.time_ns()
        self._done = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": projector.kafka,
                "message.timeout.ms": 5000,
                **confluent_security(),
            },
            logger=confluent_logger(),
        )
        self._ends = Ends(projector.kafka)
        self._build = own_build()
        self._server = HealthServer(
            port, probe=self.health, metrics=self.metrics, host=Settings.load().health_host
        )
        self._thread = threading.Thread(target=self._report, name="reports", daemon=True)

    def health(self) -> dict[str, object]:
        """Answer of `/health`: healthy is a projector that is connected and stopped nowhere."""
        projector = self._projector
        live = self._live
        return {
            "worker": "projector",
            "state": "live" if projector.connected else "waiting",
            "healthy": live and projector.connected and not projector.stopped,
            "live": live,
            "build": self._build,
            "committed": projector.committed,
            "undecodable": projector.undecodable,
            "reconnects": projector.reconnects,
            "stopped": dict(projector.stopped),
        }

    @property
    def _live(self) -> bool:
        """Whether its loop moves; waiting for Kafka or Postgres it may stand still for longer."""
        limit_s = LIVE_S if self._projector.connected else AWAY_S
        return time.monotonic() - self._projector.turned_at < limit_s

    def metrics(self) -> bytes:
        """Answer of `/metrics`."""
        projector, now = self._projector, time.monotonic()
        positions = projector.positions
        ends = self._ends.of(positions)
        lag = sum(max(0, end - positions[key]) for key, end in ends.items())
        live = self._live
        ready = live and projector.connected and not projector.stopped
        return exposition(
            {
                "quantum_build_info": {("projector", self._build): 1.0},
                "quantum_ready": {(): float(ready)},
                "quantum_live": {(): float(live)},
                "quantum_heartbeat_age_seconds": {(): now - projector.turned_at},
                "quantum_committed_position_age_seconds": {(): now - projector.stood_at},
                "quantum_dead_letters_total": {(): float(projector.undecodable)},
                "quantum_projection_lag_records": {(): float(lag)},
                "quantum_projection_records_total": {(): float(projector.committed)},
                "quantum_projection_reconnects_total": {(): float(projector.reconnects)},
                "quantum_projection_stopped_partitions": {(): float(len(projector.stopped))},
            }
        )

    def _report(self) -> None:
        while not self._done.wait(INTERVAL_S):
            if self._projector.connected:
                self._producer.produce(PROGRESS.name, orjson.dumps(self._body()), b"projector")
            self._producer.poll(0)

    def _body(self) -> dict[str, Any]:
        return {
            "worker": "projector",
            "incarnation": self._incarnation,
            "full": True,
            "epochs": {"0": self._started_ns},
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
