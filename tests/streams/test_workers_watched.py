"""Goal: a worker tells the truth about itself while it runs, hangs, and speaks SASL_SSL.

Method: real worker processes on a real broker that has an open and a secured listener.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import topics_apply
from commands.asking import ask
from commands.console import ExitCode, explain
from commands.publish import build
from replay.log import KafkaUnreachableError, ends
from runtime.metrics import METRICS
from runtime.settings import ROOT
from streams.kafka_log import KafkaLog
from tests.streams.secured import SecuredKafka

pytestmark = pytest.mark.timeout(180)
NOTICED_S = 5.0

PARTS = ("bucket", "count", "sum")
"""What a histogram is told as."""


@pytest.fixture(scope="module")
def secured() -> Iterator[SecuredKafka]:
    folder = Path(tempfile.mkdtemp(prefix="qt-"))
    broker = SecuredKafka(folder / "kafka")
    broker.make_secrets()
    broker.start()
    broker.add_user()
    topics_apply.apply(broker.bootstrap)
    yield broker
    broker.kill()
    broker.stop()
    shutil.rmtree(folder, ignore_errors=True)


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError as error:
        return 0, str(error).encode()


def start(
    name: str, folder: Path, *more: str, module: str = "streams.worker", **settings: str
) -> "subprocess.Popen[bytes]":
    """A worker process in a group of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("QUANTUM_")}
    with (folder / f"{name}.out").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, name, "--folder", str(folder), *more],
            env=kept | {"PYTHONPATH": str(ROOT)} | settings,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            start_new_session=True,
        )


def stop(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_ready(process: "subprocess.Popen[bytes]", file: Path) -> int:
    """Port of a worker's health server, once it is ready."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the worker ended"
        if file.exists() and (text := file.read_text()):
            port = int(text)
            if get(port, "/readyz")[0] == 200:
                return port
        time.sleep(0.05)
    raise AssertionError(f"not ready after 60 s: {get(int(file.read_text()), '/health')}")


@pytest.fixture(scope="module")
def hanging(secured: SecuredKafka) -> Iterator[tuple[Path, dict[str, int]]]:
    """Two workers that hang when told to, side by side; their folder and health ports. What hangs
    stays in its consumer group for a while, so no other test may start these two."""
    folder = Path(tempfile.mkdtemp(prefix="qt-"))
    module, servers = "tests.streams.hanging_worker", ("--kafka", secured.bootstrap)
    running = {n: start(n, folder, *servers, module=module) for n in ("signals", "risk")}
    try:
        yield folder, {n: wait_ready(p, folder / f"{n}.port") for n, p in running.items()}
    finally:
        for process in running.values():
            stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def told_lines(port: int, beginning: str) -> list[str]:
    """Lines of /metrics, once one of them begins so: a lag is told when the broker has answered
    where its partitions end, and a busy one is not waited for."""
    deadline = time.monotonic() + 20
    while True:
        status, text = get(port, "/metrics")
        assert status == 200
        lines = text.decode().splitlines()
        if any(line.startswith(beginning) for line in lines):
            return lines
        assert time.monotonic() < deadline, f"no {beginning} among {lines}"
        time.sleep(0.1)


def test_a_worker_tells_health_readiness_and_every_figure_it_should(
    hanging: tuple[Path, dict[str, int]],
) -> None:
    port = hanging[1]["signals"]
    status, body = get(port, "/health")
    told = json.loads(body)
    assert status == 200
    assert told["state"] == "live"
    assert told["sources"] == [f"/signals/{number}" for number in range(8)]
    assert get(port, "/livez")[0] == 200
    lines = told_lines(port, 'quantum_lane_lag_records{lane="control"} ')
    assert "quantum_live 1.0" in lines
    assert "quantum_ready 1.0" in lines
    assert 'quantum_eventbus_publish_errors_total{kind="delivery"} 0.0' in lines
    names = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
    parts = {
        f"{m.name}_{part}" for m in METRICS.values() if m.kind == "histogram" for part in PARTS
    }
    assert names <= METRICS.keys() | parts
    assert "quantum_control_seconds_bucket" in names


def test_a_worker_whose_loop_hangs_is_not_live_within_five_seconds(
    hanging: tuple[Path, dict[str, int]],
) -> None:
    """The event loop of one, the holder of the shell's lock in the other."""
    folder, ports = hanging
    assert [get(port, "/livez")[0] for port in ports.values()] == [200, 200]
    for name, what in (("signals", "loop"), ("risk", "lock")):
        (folder / f"{name}.hang").write_text(what)
    began = time.monotonic()
    noticed: dict[str, float] = {}
    while len(noticed) < len(ports):
        assert time.monotonic() - began < NOTICED_S + 3, f"noticed only {noticed}"
        for name in ports.keys() - noticed.keys():
            status, body = get(ports[name], "/livez")
            if status != 200:
                noticed[name] = time.monotonic() - began
                assert (status, json.loads(body)["state"]) == (503, "hangs")
        time.sleep(0.05)
    for port in ports.values():
        assert get(port, "/readyz")[0] == 503
        assert b"quantum_live 0.0" in get(port, "/metrics")[1]
    assert max(noticed.values()) < NOTICED_S + 0.5, "half a second until the file is looked at"


def test_clients_and_a_worker_work_through_sasl_ssl(
    secured: SecuredKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = secured.settings()
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    log = KafkaLog(secured.secured, "test")
    offsets: list[int] = []
    log.append("commands.control/0", b"no event", "main", offsets.append)
    log.flush()
    (record,) = log.read({"commands.control/0": (offsets[0], offsets[0] + 1)})
    log.close()
    assert record.raw == b"no event"
    assert ends(secured.secured)["commands.control/0"] == offsets[0] + 1
    process = start("control", tmp_path, **settings)
    try:
        wait_ready(process, tmp_path / "control.port")
        data = {
            "expected_version": 0, "operator": "test", "reason": "through TLS",
            "profile": "production", "changes": {},
        }  # fmt: skip
        event = build("policy.set", "main", data, time="2021-05-19T11:00:00.000000Z")
        answer = ask(secured.secured, event)
    finally:
        stop(process)
    assert answer.event.type == "policy.changed.v2"
    assert "correct horse" not in (tmp_path / "control.log").read_text()


def test_a_wrong_password_is_an_error_and_not_a_way_in(
    secured: SecuredKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "password"
    wrong.touch(mode=0o600)
    wrong.write_text("wrong")
    for name, value in secured.settings().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("QUANTUM_KAFKA_SASL_PASSWORD_FILE", str(wrong))
    monkeypatch.setattr("replay.log.REQUEST_TIMEOUT_S", 2.0)
    with pytest.raises(KafkaUnreachableError):
        ends(secured.secured)


def test_a_certificate_that_does_not_fit_is_an_error_and_not_a_way_in(
    secured: SecuredKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another authority's: nothing is said to a broker that cannot show who it is."""
    other = SecuredKafka(tmp_path / "other")
    other.make_secrets()
    for name, value in secured.settings().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("QUANTUM_KAFKA_CA_FILE", str(other.ca_file))
    monkeypatch.setattr("replay.log.REQUEST_TIMEOUT_S", 2.0)
    with pytest.raises(KafkaUnreachableError) as refused:
        ends(secured.secured)
    assert explain(refused.value)[1] == ExitCode.NOT_RUNNING


def test_a_worker_that_waits_for_kafka_at_its_start_is_live_and_not_ready(tmp_path: Path) -> None:
    worker = start("risk", tmp_path, "--kafka", "127.0.0.1:9")
    try:
        file = tmp_path / "risk.port"
        deadline = time.monotonic() + 60
        while not file.exists() or not file.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        port = int(file.read_text())
        assert (get(port, "/livez")[0], get(port, "/readyz")[0]) == (200, 503)
    finally:
        worker.kill()
        worker.wait()
