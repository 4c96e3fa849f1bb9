"""Health of the feed: it is live while it publishes or waits for the workers behind its barrier."""

import time
from pathlib import Path

from runtime.build import own_build
from runtime.health import HealthServer
from runtime.metrics import exposition
from runtime.settings import Settings

LIVE_S = 4.0


class FeedHealth:
    """Serves the feed's health and writes ``feed.port`` into `folder`.

    `ticking`: a clock that stands still for four seconds hangs. A feed of files is as slow as the
    workers it waits for, so it counts as live.
    """

    def __init__(self, folder: Path, *, port: int = 0, ticking: bool) -> None:
        self.records = 0
        self._ticking = ticking
        self._beat_at = time.monotonic()
        self._build = own_build()
        self._server = HealthServer(
            port, probe=self.health, metrics=self.metrics, host=Settings.load().health_host
        )
        self._server.start()
        (folder / "feed.port").write_text(str(self._server.port))

    def beat(self, records: int) -> None:
        """So many records were published up to now."""
        self.records = records
        self._beat_at = time.monotonic()

    def health(self) -> dict[str, object]:
        """Answer of `/health`."""
        age_s = time.monotonic() - self._beat_at
        live = not self._ticking or age_s < LIVE_S
        return {
            "worker": "feed",
            "state": "live" if live else "hangs",
            "healthy": live,
            "live": live,
            "heartbeat_age_s": round(age_s, 2),
            "build": self._build,
            "records": self.records,
        }

    def metrics(self) -> bytes:
        """Answer of `/metrics`."""
        live = float(bool(self.health()["live"]))
        return exposition(
            {
                "quantum_build_info": {("feed", self._build): 1.0},
                "quantum_live": {(): live},
                "quantum_ready": {(): live},
                "quantum_heartbeat_age_seconds": {(): time.monotonic() - self._beat_at},
                "quantum_feed_records_total": {(): float(self.records)},
            }
        )
