"""The embedded broker: Apache Kafka (KRaft, one node) as a child process, all state in one folder.

It listens on 127.0.0.1 only and keeps its port for as long as its folder lives, so that clients
find it again after a kill. Its log is the authority; what it acknowledged survives SIGKILL.
"""

import base64
import json
import re
import shutil
import signal
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from runtime import jars, java, processes
from runtime.logs import confluent_logger
from runtime.processes import ServiceError
from runtime.service import Service
from runtime.settings import Settings

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
log.message.timestamp.type=LogAppendTime
log.retention.ms=-1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms={session_ms}
broker.heartbeat.interval.ms=200
# one node on a small machine: few threads, little memory, nobody to hand leadership to
num.network.threads=2
num.io.threads=2
background.threads=2
group.coordinator.threads=1
controlled.shutdown.enable=false
auto.leader.rebalance.enable=false
metadata.max.idle.interval.ms=0
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
metric.reporters=
"""


FIRST_SESSION_MS, NEXT_SESSION_MS = 30_000, 3_000
"""How long a broker may be silent towards its controller, here another thread of one process,
before that takes it out of the cluster: its partitions have no leader then, clients are told of no
brokers at all, and some never find one again. A machine with too much to do starves both for more
than a second. But after a kill the next broker of a folder is let in only when the session of the
one before has run out, by its own setting: a first one waits for nobody."""
LAYOUT = "1"
"""`version` of a log folder's meta.properties, as this Kafka writes it."""


class EmbeddedKafka(Service):
    """One broker in `folder` on 127.0.0.1.

    port: 1-65535, or None for the folder's own port (a free one the first time).
    """

    name = "kafka"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, *, port: int | None = None, cache: Path | None = None) -> None:
        super().__init__(folder)
        self._wanted_port = port
        self._cache = cache
        self._ports: dict[str, int] | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients. RuntimeError before the first start."""
        if self._ports is None:
            raise RuntimeError(f"the broker in {self.folder} was not started yet")
        return f"127.0.0.1:{self._ports['broker']}"

    @property
    def cache(self) -> Path:
        """Where the jars are kept."""
        return self._cache or Settings.load().cache

    def _prepare(self) -> None:
        jars.classpath(self.cache)
        if not (self.folder / "log" / "meta.properties").exists():
            self._format()
        said = (self.folder / "log" / "meta.properties").read_text()
        if (made := re.search(r"(?m)^version=(.*)$", said)) is None or made[1] != LAYOUT:
            raise ServiceError(
                f"{self.folder / 'log'} has layout {made[1] if made else '?'}, this build's Kafka "
                f"has {LAYOUT}: run it with the build that made it, or set QUANTUM_DATA to another "
                "folder."
            )

    def _start_process(self) -> None:
        self._launch(self._command())

    def _command(self) -> list[str]:
        properties = self._write_properties("server.properties", "log", self._settle_ports())
        classpath = jars.classpath(self.cache)
        return java.command(classpath, "kafka.Kafka", properties, cache=self.cache)

    def ready(self) -> bool:
        """Whether it answers and takes part in its cluster. ServiceError if the process ended."""
        if not self.is_running():
            raise self._why_it_ended()
        assert self._ports is not None
        if processes.port_is_free(self._ports["broker"]):
            return False
        try:
            client = AdminClient(
                {"bootstrap.servers": self.bootstrap, "socket.timeout.ms": 500},
                logger=confluent_logger(),
            )
            return bool(client.list_topics(timeout=0.5).brokers)
        except KafkaException:
            return False

    def _settle_ports(self) -> dict[str, int]:
        remembered = self.folder / "ports.json"
        if self._ports is not None:  # clients already know this port: no other will do
            if not processes.wait_until_free(self._ports["broker"], 5):
                raise self._port_taken(self._ports["broker"])
            return self._ports
        try:
            ports: dict[str, int] = json.loads(remembered.read_text())
        except (OSError, ValueError):
            ports = {}
        if self._wanted_port is not None:
            ports["broker"] = self._wanted_port
            if not processes.port_is_free(self._wanted_port):
                raise self._port_taken(self._wanted_port)
        for role in ("broker", "controller"):
            while role not in ports or not processes.port_is_free(ports[role]):
                ports[role] = processes.free_port()
        remembered.write_text(json.dumps(ports))
        self._ports = ports
        return ports

    def _port_taken(self, port: int) -> ServiceError:
        return ServiceError(
            f"Port {port} on 127.0.0.1, wanted for Kafka, is taken by another program: end that "
            "program, set QUANTUM_KAFKA_PORT to a free port, or unset it to have one chosen."
        )

    def _write_properties(self, name: str, logs: str, ports: dict[str, int]) -> Path:
        path = self.folder / name
        session_ms = NEXT_SESSION_MS if self._has_run() else FIRST_SESSION_MS
        properties = PROPERTIES.format(**ports, logs=self.folder / logs, session_ms=session_ms)
        path.write_text(properties)
        return path

    def _has_run(self) -> bool:
        """Whether a broker was started on this folder's log before."""
        return (self.folder / "log" / "__cluster_metadata-0").exists()

    def _format(self) -> None:
        """Format a new log folder, aside and renamed: one interrupted half-way is not used."""
        scratch = self.folder / "log.new"
        for leftover in (scratch, self.folder / "log"):
            shutil.rmtree(leftover, ignore_errors=True)
        ports = {"broker": 9092, "controller": 9093}  # must be said, are not kept
        properties = self._write_properties("format.properties", scratch.name, ports)
        cluster = base64.urlsafe_b64encode(b"q" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        arguments = ("format", "-t", cluster, "-c", properties)
        done = subprocess.run(
            java.command(
                jars.classpath(self.cache),
                "kafka.tools.StorageTool",
                *arguments,
                cache=self.cache,
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["no output"]
            raise ServiceError(
                f"Kafka's folder {self.folder} could not be formatted: {last[0]}. Remove it, or "
                "set QUANTUM_DATA to another folder."
            )
        properties.unlink()
        scratch.rename(self.folder / "log")

    def _why_it_ended(self) -> ServiceError:
        said = self._said()
        if "Address already in use" in said:
            assert self._ports is not None
            return self._port_taken(self._ports["broker"])
        causes = re.findall(r"(?m)^\S*(?:Exception|Error): .*$|(?:ERROR|FATAL) .*$", said)
        cause = causes[-1] if causes else "no reason given"
        return ServiceError(f"Kafka ended with code {self.exit_code}: {cause}. See {self.log}.")
