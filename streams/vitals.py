"""Whether a worker lives and how it does: beats of its loops, and figures for its health server.

What the server asks takes no lock of the shell: a thread that hangs while it holds one is exactly
what has to be seen. Figures that need the lock are taken by the heartbeat, once a second.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from domain.source import Source
from runtime.ends import Ends
from runtime.metrics import Samples, exposition
from schemas.topics import EXECUTION_RES, MARKET, TOPICS
from streams.figures import Figures
from streams.progress import Progress
from streams.silence import Silence

logger = logging.getLogger(__name__)
LIVE_S = 4.0
"""A loop that stood still longer hangs: with the second between two beats, seen within five."""
SILENT_S = 5.0
"""A worker that the broker has acknowledged nothing for so long is not ready."""
START_S = 120.0
"""A start without snapshot replays everything, which may take long; one that reads and folds
nothing for so long hangs."""


class Watched(Protocol):
    """What vitals look at: either shell."""

    lock: threading.RLock
    sources: dict[int, Source]

    def position(self, key: str) -> int: ...
    def inputs(self) -> list[str]: ...
    def figures(self) -> dict[str, int]: ...
    def unresolved(self) -> int: ...


class Heard(Protocol):
    """What the log says of the broker: records read in bulk so far, and when it last acknowledged
    something (monotonic). Once a second a live worker writes a report, and should hear of it."""

    taken: int
    heard_at: float


class Vitals:
    """State, beats and figures of one worker. `state`: `starting`, or `live` while it decides."""

    def __init__(
        self,
        worker: str,
        build: str,
        shell: Watched,
        progress: Progress,
        bootstrap: str,
        log: Heard,
    ) -> None:
        self.worker = worker
        self.build = build
        self.figures = Figures(worker)
        self.errors: Counter[str] = Counter()
        """Errors of the producer, by kind."""
        self._shell = shell
        self._progress = progress
        self._log = log
        self._ends = Ends(bootstrap)
        self._known: dict[str, int] = {}
        self._names: list[str] = []
        self._open: Samples = {}
        self._folding = threading.Lock()
        self.reason = ""
        """Why the worker is not ready, where it knows that."""
        self.state = "starting"
        self.start_s = 0.0
        """What taking the sources over took last."""
        self._since = self._beat_at = time.monotonic()
        self._loop_at: float | None = None
        self._moved = (0, self._since)
        self.silence: Silence | None = None

    def failed(self, kind: str) -> None:
        """The producer met an error."""
        self.errors[kind] += 1

    # ------------------------------------------------------------------ beats

    def enter(self, state: str) -> None:
        """The worker is `starting` (recovers partitions) or `live` from now on."""
        now = time.monotonic()
        if (self.state, state) == ("starting", "live"):
            self.start_s = now - self._since
        self._since = self._beat_at = now
        if self._loop_at is not None:
            self._loop_at = self._since
        self.state = state

    def loop_beat(self) -> None:
        """The event loop moved."""
        self._loop_at = time.monotonic()

    def beat(self) -> None:
        """The heartbeat got hold of the shell: whoever decides does not hang."""
        self.look()
        self._beat_at = time.monotonic()

    def _guarded(self, what: Callable[[], None]) -> None:
        """A figure that fails is missed; it stops no worker."""
        try:
            what()
        except Exception:
            logger.warning("figures could not be taken", exc_info=True)

    def age_s(self) -> float:
        """Seconds since the slowest of the loops moved."""
        beats = [self._beat_at] if self._loop_at is None else [self._beat_at, self._loop_at]
        return time.monotonic() - min(beats)

    def silent_s(self) -> float:
        """Seconds since the broker last acknowledged something; 0 while the worker starts."""
        return time.monotonic() - self._log.heard_at if self.state == "live" else 0.0

    @property
    def replayed(self) -> int:
        """Records read in bulk and folded; grows for as long as a start gets on."""
        return self._log.taken + sum(map(self._shell.position, self._shell.inputs()))

    @property
    def live(self) -> bool:
        if self.state != "live":
            now, replayed = time.monotonic(), self.replayed
            if replayed != self._moved[0]:
                self._moved = (replayed, now)
            return now - max(self._since, self._moved[1]) < START_S
        return self.age_s() < LIVE_S

    # ------------------------------------------------------------------ figures

    def look(self) -> None:
        """Take the figures that need the shell's lock, and fold what was published."""
        self._known = self._shell.figures()
        with self._shell.lock:
            sources = list(self._shell.sources.values())
            self._names = sorted(source.name for source in sources)
            if self.worker == "positions":
                self._guarded(lambda: setattr(self, "_open", exposure(sources)))
        self.fold()

    def figure(self, name: str) -> int:
        """A figure of the shell as of the last beat."""
        return self._known.get(name, 0)

    def fold(self) -> None:
        """Fold what was published so far, also while the worker catches up."""
        with self._folding:
            self._guarded(self.figures.fold)

    def health(self) -> dict[str, object]:
        """Answer of `/health`, `/livez` and `/readyz`."""
        live, silent_s = self.live, self.silent_s()
        reason = self.reason
        if silent_s > SILENT_S:
            reason = f"Kafka has acknowledged nothing for {silent_s:.0f} s"
        return {
            "worker": self.worker,
            "state": self.state if live else "hangs",
            "healthy": live and self.state == "live" and not reason,
            **({"reason": reason} if reason else {}),
            "live": live,
            "heartbeat_age_s": round(self.age_s(), 2),
            "build": self.build,
            "start_s": round(self.start_s, 2),
            "replayed": self.replayed,
            "sources": self._names,
            **{name: value for name, value in self._known.items() if name != "sources"},
        }

    def metrics(self) -> bytes:
        """Answer of `/metrics`."""
        with self._folding:
            samples = self.figures.samples()
            histograms = self.figures.histograms()
            samples |= self._own()
            samples |= self._open
            return exposition(samples, histograms)

    def _own(self) -> Samples:
        known, live = self._known, self.live
        made: Samples = {
            "quantum_build_info": {(self.worker, self.build): 1.0},
            "quantum_ready": {(): float(self.health()["healthy"] is True)},
            "quantum_kafka_silent_seconds": {(): self.silent_s()},
            "quantum_live": {(): float(live)},
            "quantum_heartbeat_age_seconds": {(): self.age_s()},
            "quantum_committed_position_age_seconds": {(): self._progress.age_s()},
            "quantum_sources": {(): float(len(self._names))},
            "quantum_records": {(): float(known.get("records", 0))},
            "quantum_duplicates": {(): float(known.get("duplicates", 0))},
            "quantum_halted_accounts": {(): float(known.get("halted", 0))},
            "quantum_dead_letters_total": {(): float(known.get("dead_letters", 0))},
            "quantum_start_seconds": {(): self.start_s},
            "quantum_sources_restored": {(): float(known.get("restored", 0))},
            "quantum_snapshots_total": {(): float(known.get("snapshots", 0))},
            "quantum_snapshot_held_seconds": {(): known.get("snapshot_held_ms", 0) / 1000},
            "quantum_eventbus_publish_errors_total": {
                (kind,): float(self.errors[kind]) for kind in ("client", "delivery")
            },
            "quantum_lane_lag_records": self._lag(),
        }
        if self.silence is not None:
            ages = self.silence.ages().items()
            made["quantum_stream_age_seconds"] = {(topic,): age for topic, age in ages}
            made["quantum_silent_streams"] = {(): float(len(self.silence.silent()))}
        if self.worker == "gateway":
            made["quantum_unresolved_orders"] = {(): float(known.get("unresolved", 0))}
            made["quantum_halt"] = {(): float(known.get("halt", 0))}
            made["quantum_kafka_away"] = {(): float(known.get("away", 0))}
            made["quantum_buffered_records"] = {(): float(known.get("buffered", 0))}
            under_way = float(known.get("entries_under_way", 0))
            made["quantum_entries_under_way"] = {(): under_way}
            made["quantum_entries_allowed"] = {(): float(known.get("entries_allowed", 0))}
        return made

    def _lag(self) -> dict[tuple[str, ...], float]:
        keys = self._shell.inputs()
        lanes: Counter[tuple[str, ...]] = Counter()
        for key, end in self._ends.of(keys).items():
            lane = TOPICS[key.rpartition("/")[0]].lane.name.lower()
            lanes[(lane,)] += max(0, end - self._shell.position(key))
        return {lane: float(records) for lane, records in lanes.items()}


def exposure(sources: list[Source]) -> Samples:
    """Open positions and their value at the last marks; without a mark, at the last fill's price.
    Call under the shell's lock."""
    count, gross, unrealised = 0, 0.0, 0.0
    for source in sources:
        marks = source.slices[MARKET.name]
        for book in source.slices[EXECUTION_RES.name].accounts.values():
            for trade in book.open.values():
                value = trade.quantity * (marks.mark(trade.symbol) or trade.price)
                count += 1
                gross += float(abs(value))
                unrealised += float(value - trade.cost)
    return {
        "quantum_open_positions": {(): float(count)},
        "quantum_exposure_usd": {(): gross},
        "quantum_unrealised_pnl_usd": {(): unrealised},
        "quantum_unrealised_pnl_percent": {(): unrealised / gross * 100 if gross else 0.0},
    }
