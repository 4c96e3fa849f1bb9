"""A disk is full: what was acknowledged stays, what waits goes on, nobody sees a traceback.

Method: an ordinary user has no small disk, but limits: a file size limit (RLIMIT_FSIZE) gives a
running broker the error a full disk gives; /dev/full is a disk without space for files of ours.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

from runtime.kafka import EmbeddedKafka
from runtime.settings import ROOT
from runtime.supervisor import ProcessSpec, Supervisor, read_state
from streams.kafka_log import KafkaLog

TOPIC = "full-disk"
RECORDS, BYTES = 60, 100_000
LIMIT_BYTES = 2_000_000
SLEEPER = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
LOGGING = """
import logging, sys
from pathlib import Path
from runtime import logs
folder = Path(sys.argv[1])
logs.configure("risk", folder, "INFO")
for number in range(5):
    logging.getLogger("streams.shell").error("line %d", number)
print("still here")
"""
WRITING = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
from commands.__main__ import main
sys.argv = ["quantum", *sys.argv[1:]]
main()
"""


def test_a_broker_whose_disk_is_full_ends_and_what_waited_is_delivered_once_there_is_space(
    short_path: Path,
) -> None:
    """The limit is that of the one process: the next one has space."""
    broker = EmbeddedKafka(short_path / "kafka")
    supervisor = Supervisor([broker], short_path / "processes.json")
    supervisor.start()
    log = KafkaLog(broker.bootstrap, "test")
    acknowledged: list[int] = []
    try:
        _create(broker.bootstrap)
        full = broker.pid
        assert full is not None
        resource.prlimit(full, resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))
        for number in range(RECORDS):
            log.append(f"{TOPIC}/0", b"%03d" % number + b"x" * BYTES, "a", acknowledged.append)
        deadline = time.monotonic() + 90
        while len(acknowledged) < RECORDS:
            assert time.monotonic() < deadline, f"{len(acknowledged)} of {RECORDS}"
            supervisor.check()
            time.sleep(0.05)
        assert supervisor.state()["kafka"]["restarts"] >= 1
        assert broker.pid != full
        assert "have failed" in broker.log.read_text(), "the operator reads why in kafka.log"
        stored = [r.raw or b"" for r in log.read({f"{TOPIC}/0": (0, log.end(f"{TOPIC}/0"))})]
        assert [int(raw[:3]) for raw in stored] == list(range(RECORDS)), "each once, in order"
    finally:
        log.close()
        broker.kill()
        supervisor.stop()


def _create(bootstrap: str) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    from runtime.logs import confluent_logger

    admin = AdminClient({"bootstrap.servers": bootstrap}, logger=confluent_logger())
    admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(10)


def test_a_log_file_that_cannot_be_written_costs_its_lines_only(tmp_path: Path) -> None:
    (tmp_path / "risk.log").symlink_to("/dev/full")
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "still here\n"
    (line,) = done.stderr.splitlines()
    assert "risk.log cannot be written: No space left on device" in line


def test_a_supervisor_that_cannot_write_its_state_goes_on_supervising(tmp_path: Path) -> None:
    state = tmp_path / "processes.json"
    state.with_suffix(".new").symlink_to("/dev/full")
    supervisor = Supervisor([ProcessSpec(name="sleeper", argv=SLEEPER)], state)
    try:
        supervisor.start()
        first = supervisor.pids()["sleeper"]
        assert read_state(state) == {}
        state.with_suffix(".new").unlink()
        supervisor.check()
        assert read_state(state)["sleeper"]["pid"] == first
    finally:
        supervisor.stop()


def test_a_command_whose_output_does_not_fit_is_refused_with_one_line(tmp_path: Path) -> None:
    files = ROOT / "data" / "market" / "BTCUSDT-1m-20210516-20210522.parquet"
    done = subprocess.run(
        [sys.executable, "-c", WRITING, "backtest", str(files), "--out", str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "QUANTUM_DATA": str(tmp_path),
             "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"--out {tmp_path / 'out'}: File too large; give a folder that can be written" in line
