"""One worker process: a shell, its followers, its Faust app, its progress reports and its health.

``python -m streams.worker risk --kafka 127.0.0.1:9092 --folder var/runs/…``
"""

import argparse
import gc
import hashlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from domain.processors import partitions_of
from domain.source import Source
from gateways.buffer_folder import BufferFolder
from runtime import entry, logs
from runtime.build import own_build
from runtime.halt_file import HaltFile
from runtime.health import HealthServer, not_yet, port
from runtime.priority import stand_back
from runtime.settings import Settings
from schemas.codec import encode
from schemas.control import WorkerNotice, WorkerNoticeData, WorkerStarted, WorkerStartedData
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.scalars import EPOCH_TEXT
from schemas.topics import CONTROL, PARTITIONS_EMBEDDED, TOPICS
from schemas.topics import partitions as counted
from streams import broker_topics, sampling
from streams.app import create_app, serve
from streams.buffered_log import BufferedLog
from streams.followers import Followers
from streams.gateway import GatewayShell
from streams.halting import HaltWatch, block_signals
from streams.kafka_log import EXIT_FENCED, KafkaLog, split
from streams.log import Incoming
from streams.membership import look
from streams.processors import AGENTS, numbers
from streams.progress import Progress, Snapshot
from streams.recovery import Identity
from streams.report_line import ReportLine
from streams.shell import Shell
from streams.silence import Silence
from streams.venue_window import outside_window
from streams.vitals import Vitals

logger = logging.getLogger(__name__)
CONTROL_KEY = f"{CONTROL.name}/0"
HEARTBEAT_S = 1.0
LOOK_S, SELDOM = 5.0, 6
"""How often a worker that lacks partitions looks into its group, and one that has all: each sixth
time."""
JOINED_LOOKS = 4
"""How often in a row a worker that is given nothing may be found outside its group."""
STRAIGHT_S = 30.0
"""How long sources that are handed out wait for the buffer to be in the log."""
LOST_S = 30.0
"""Of a worker that Kafka acknowledges nothing for so long, while it answers a new client, the own
clients have lost it. Seen twice: they may be about to find it."""
EXIT_STRANGER = 77
EXIT_BUFFER = 78


class Taking(Protocol):
    """What both shells have in common: the pure processors' and the gateway's."""

    fed: bool
    on_record: Callable[[Envelope], None] | None
    lock: threading.RLock
    sources: dict[int, Source]

    def acquire(self, numbers: Iterable[int]) -> None: ...
    def release(self, numbers: Iterable[int]) -> None: ...
    def receive(self, record: Incoming) -> None: ...
    def position(self, key: str) -> int: ...
    def snapshot(self) -> Snapshot | None: ...
    def checkpoint(self, now_s: float) -> None: ...
    def inputs(self) -> list[str]: ...
    def outputs(self) -> dict[str, int]: ...
    def fenced(self, record: Incoming) -> bool: ...
    def figures(self) -> dict[str, int]: ...
    def unresolved(self) -> int: ...


class Worker:
    """Wires a shell to the broker. `instance` must be unique a data folder and worker."""

    def __init__(
        self, processor: str, bootstrap: str, folder: Path, *, instance: str, partitions: int
    ) -> None:
        self.processor = processor
        self.bootstrap = bootstrap
        self.folder = folder
        self.instance = instance
        self.partitions = partitions
        admin = broker_topics.wait_for(bootstrap, TOPICS)
        counts = {t.name: counted(t, partitions) for t in TOPICS.values()}
        broker_topics.check_counts(bootstrap, counts, admin)
        topic_ids = broker_topics.topic_ids(bootstrap, admin=admin)
        self.identity = Identity(own_build(), configuration(), topic_ids)
        self.kafka = KafkaLog(bootstrap, f"{processor}-{os.getpid()}")
        self.log: KafkaLog | BufferedLog = self.kafka
        if processor == "gateway":
            buffer = BufferFolder(folder / "buffer", self.identity.topic_ids)
            self.log = BufferedLog(self.kafka, buffer)
        self.shell: Taking = self._shell()
        self.silence = Silence(
            lambda: not self.shell.fed, lambda: bool(self.vitals.figure("awaited"))
        )
        if isinstance(self.shell, GatewayShell):
            self.shell.silent = self.silence.silent
        self.progress = Progress(
            processor,
            f"{os.getpid()}-{time.time_ns()}",
            self.log,
            self.shell,
            fed=lambda: self.shell.fed,
            line=ReportLine(folder),
        )
        self.followers = Followers(
            bootstrap,
            self._receive,
            self.progress.touch,
            watch_at_once=processor == "gateway",
        )
        self.vitals = Vitals(
            processor,
            self.identity.build,
            self.shell,
            self.progress,
            bootstrap,
            self.kafka,
        )
        self.vitals.silence = self.silence
        self.shell.on_record = self.vitals.figures.note
        self.kafka.on_error = self.vitals.failed
        self.owned: set[int] = set()
        self._acquiring = threading.Lock()
        self._agent_topics = tuple(topic.name for topic in AGENTS[processor])

    def _shell(self) -> Taking:
        if self.processor == "gateway":
            halt = HaltWatch(HaltFile.of(Settings.load().data))
            gateway = GatewayShell(
                self.partitions, self.log, self.identity, halt=halt.now, instance=self.instance
            )
            halt.wake = gateway.wake
            halt.listen()
            gateway.on_idle = self._delivered
            assert isinstance(self.log, BufferedLog)
            self.log.fenced, self.log.on_fenced = gateway.fenced, self._fenced
            self.log.start_looking(_buffer_failed)
            return gateway
        shell = Shell(
            self.processor,
            self.partitions,
            self.log,
            self.identity,
            admits=outside_window if self.processor == "venue" else None,
        )
        shell.on_idle = self._delivered
        shell.on_halt = self._notice
        return shell

    def _delivered(self) -> None:
        self.progress.touch()

    def _receive(self, record: Incoming) -> None:
        self.silence.heard(record.key.rpartition("/")[0])
        self.shell.receive(record)
        if record.key == CONTROL_KEY:
            self.vitals.figures.controlled(record.timestamp_ms)

    def _catch_up(self) -> None:
        """Read silent streams anew that the broker has more of (EXEC-7)."""
        for topic in self.silence.to_catch_up():
            keys = [key for key in self.shell.inputs() if split(key)[0] == topic]
            try:
                ends = self.kafka.ends(keys, timeout_s=1.0)
            except ConnectionError as error:
                logger.error("%s is silent, and Kafka does not answer: %s", topic, error)
                continue
            behind = {key: self.shell.position(key) for key in keys}
            if any(ends[key] > position for key, position in behind.items()):
                logger.error("%s is silent although there is more of it: read anew", topic)
                self.followers.again(topic, self.shell.position, keys)
            else:
                logger.error("%s is silent: nobody writes it", topic)

    # ------------------------------------------------------------------ ownership

    def acquire(self, assigned: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Take over the assigned partitions; where to start each agent topic."""
        with self._acquiring:  # a rebalance may come before the one before it is dealt with
            return self._acquire(assigned)

    def _acquire(self, assigned: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        if isinstance(self.log, BufferedLog) and self.log.held:
            # a group that has come together again is ahead of what waits on disk to be told
            self.log.wait_until_straight(STRAIGHT_S)
        started = time.monotonic()
        self.vitals.enter("starting")
        wanted = numbers(self.processor, assigned, self.partitions)
        self.followers.stop()
        self.shell.release(self.owned - wanted)
        self.progress.taking(wanted - self.owned)
        gc.disable()  # what a replay builds is no garbage, and looking for some doubles its time
        try:
            self.shell.acquire(wanted)
        finally:
            gc.freeze()
            gc.enable()
        self.owned = wanted
        facts = [k for k in self.shell.inputs() if split(k)[0] not in self._agent_topics]
        self.followers.start(
            {key: self.shell.position(key) for key in facts}, self.shell.outputs(), self._watch
        )
        self.vitals.look()
        self.vitals.enter("live")
        logger.info("live with %s after %.2f s", sorted(wanted), time.monotonic() - started)
        self.progress.touch(full=True)
        self._announce()
        return {(t, n): self.shell.position(f"{t}/{n}") for t, n in assigned}

    def _watch(self, record: Incoming) -> None:
        if self.shell.fenced(record):
            self._fenced()

    def _fenced(self) -> None:
        logger.critical("another %s has fenced this one; it stops", self.processor)
        logging.shutdown()
        os._exit(EXIT_FENCED)

    def _announce(self) -> None:
        event = WorkerStarted(
            id=natural_id("worker.started", self.instance, str(time.time_ns())),
            source="/worker",
            subject=self.processor,
            time=EPOCH_TEXT,
            partitionkey=self.processor,
            data=WorkerStartedData(
                worker=self.processor,
                build=self.identity.build,
                configuration=self.identity.configuration,
                epoch=self.epochs(),
            ),
        )
        self.log.note(CONTROL.name, encode(event), self.processor)

    def epochs(self) -> dict[str, int]:
        """Epoch of each source of this worker."""
        sources = getattr(self.shell, "sources", {})
        return {source.name: source.epoch for source in sources.values()}

    def _notice(self, account: str, cause_id: str, error: str) -> None:
        logger.error("a decision for %s failed: %s", account, error)
        event = WorkerNotice(
            id=natural_id("worker.failed", self.processor, account, cause_id),
            source="/worker",
            subject=account,
            time=EPOCH_TEXT,
            partitionkey=account,
            data=WorkerNoticeData(
                worker=self.processor, account=account, cause_id=cause_id, error=error
            ),
        )
        self.log.note(CONTROL.name, encode(event), account)

    # ------------------------------------------------------------------ running

    def run(self, server: HealthServer) -> None:
        """Serve until the process is told to stop; health by `server`."""
        server.probe, server.metrics = self.vitals.health, self.vitals.metrics
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        threading.Thread(target=self._look_around, name="group", daemon=True).start()
        app = create_app(
            processor=self.processor,
            bootstrap=self.bootstrap,
            instance=self.instance,
            topics=self._agent_topics,
            acquire=self.acquire,
            receive=self._receive,
            after=self.progress.touch,
            datadir=str(self.folder / "faust"),
            beat=self.vitals.loop_beat,
        )
        serve(app)

    def _look_around(self) -> None:
        """Say who else is in the group. A client that a stranger keeps out, or that gave up joining
        when it met a broker that was just starting, never tries again: seen to be no member time
        after time, this process ends, and its successor tries. So it is where the broker answers
        others and nothing of this process (librdkafka issue 5301)."""
        everything = set(partitions_of(self.processor, self.partitions))
        missed = lost = 0
        for turn in itertools.count():
            time.sleep(LOOK_S)
            if self._acquiring.locked() or (self.owned == everything and turn % SELDOM):
                continue
            group = look(self.bootstrap, self.processor)
            if group is None:
                continue
            lost = lost + 1 if self.vitals.silent_s() > LOST_S else 0
            if lost == 2:
                logger.critical("Kafka answers others and not this process, which ends")
                logging.shutdown()
                os._exit(EXIT_STRANGER)
            before, self.vitals.reason = self.vitals.reason, group.wrong
            if group.wrong != before:
                logger.error("%s", group.wrong or f"nobody else is in {group.name} any more")
            missed = 0 if group.ours else missed + 1
            if missed >= (2 if group.wrong or self.owned == everything else JOINED_LOOKS):
                logger.critical("no member of its group; the process ends, to be started again")
                logging.shutdown()
                os._exit(EXIT_STRANGER)

    def _beat(self) -> None:
        while True:
            time.sleep(HEARTBEAT_S)
            self.vitals.fold()
            if self.vitals.state != "live":
                continue
            try:
                self.shell.checkpoint(time.monotonic())
                self.progress.touch(full=True)
                self.vitals.beat()
                self._catch_up()
            except BaseException:
                logger.critical("heartbeat failed; ending the process", exc_info=True)
                logging.shutdown()
                os._exit(EXIT_FENCED - 1)


def _buffer_failed(error: BaseException) -> None:
    """What is in the buffer stays there; whoever is started next offers what can be read of it."""
    logger.critical("the buffer failed; ending the process", exc_info=error)
    logging.shutdown()
    os._exit(EXIT_BUFFER)


def configuration() -> str:
    """Digest of what is configured for every worker: topics, lanes and partition counts."""
    lines = [f"{t.name} {t.lane} {t.keyed}" for t in TOPICS.values()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def parser() -> argparse.ArgumentParser:
    """The worker's command line."""
    settings = Settings.load()
    known = argparse.ArgumentParser(description="One worker of Quantum Trader")
    known.add_argument("processor", choices=sorted(AGENTS))
    known.add_argument("--kafka", default=settings.kafka, help="bootstrap servers")
    known.add_argument("--health-port", type=port, default=0, help="port of /health; 0: free one")
    known.add_argument("--folder", required=True, type=Path, help="folder for logs and ports")
    known.add_argument("--instance", default=None, help="static group member id")
    known.add_argument("--partitions", type=int, default=PARTITIONS_EMBEDDED)
    return known


def main(arguments: list[str] | None = None) -> None:
    """Run one worker."""
    known = parser()
    options = known.parse_args(arguments)
    if options.kafka is None:
        known.error("say --kafka HOST:PORT, or set QUANTUM_KAFKA")
    stand_back(options.processor)
    if options.processor == "gateway":
        block_signals()
        Settings.load().data.mkdir(parents=True, exist_ok=True)
    logs.configure(options.processor, options.folder)
    sampling.start(options.processor)
    instance = options.instance or f"{options.processor}-{options.folder.name}"
    server = HealthServer(
        options.health_port, probe=not_yet(options.processor), host=Settings.load().health_host
    )
    server.start()  # before Kafka is waited for: who looks after this process is answered
    (options.folder / f"{options.processor}.port").write_text(str(server.port))
    worker = Worker(
        options.processor,
        options.kafka,
        options.folder,
        instance=instance,
        partitions=options.partitions,
    )
    worker.run(server)


if __name__ == "__main__":
    entry.run(main)
