"""Everything logged ends as JSON in one file a process, and nothing in the terminal by itself."""

import json
import subprocess
import sys
from pathlib import Path

from runtime.settings import ROOT

PROGRAM = """
import logging, sys
from pathlib import Path
import structlog
from confluent_kafka import Producer
from runtime import logs
logs.configure("risk", Path(sys.argv[1]), "INFO", stderr=sys.argv[2] == "screen")
structlog.get_logger("shell").info("fenced", epoch=7)
logging.getLogger("faust.app").warning("from %s", "faust")
logging.getLogger("aiokafka").info("too much detail")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("failed")
producer = Producer({"bootstrap.servers": "127.0.0.1:1"}, logger=logs.confluent_logger())
producer.produce("t", b"x")
for _ in range(20):
    producer.poll(0.05)
producer.purge()
"""


def _run(folder: Path, where: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), where],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )


def test_all_loggers_write_json_lines_to_the_file_and_nothing_to_the_terminal(
    tmp_path: Path,
) -> None:
    done = _run(tmp_path, "file")
    assert done.stdout == done.stderr == ""
    lines = [json.loads(line) for line in (tmp_path / "risk.log").read_text().splitlines()]
    by_event = {line["event"]: line for line in lines}
    assert by_event["fenced"]["epoch"] == 7
    assert by_event["fenced"]["process"] == "risk"
    assert by_event["fenced"]["level"] == "info"
    assert by_event["fenced"]["time"].endswith("Z")
    assert by_event["from faust"]["logger"] == "faust.app"
    assert "too much detail" not in by_event
    assert "ZeroDivisionError" in json.dumps(by_event["failed"]["exception"])
    assert any(line["logger"] == "librdkafka" for line in lines)


def test_people_at_the_terminal_see_text_without_tracebacks(tmp_path: Path) -> None:
    done = _run(tmp_path, "screen")
    assert done.stdout == ""
    assert "fenced" in done.stderr
    assert "failed" in done.stderr
    assert "Traceback" not in done.stderr
