"""Everything logged ends as JSON in one file a process, and nothing in the terminal by itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import logs
from runtime.settings import ROOT, SettingsError

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
logs.handling.set("5f0c")
logging.getLogger("streams.shell").warning("while it is handled")
logs.handling.set("")
logging.getLogger("streams.shell").warning("after it")
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


def test_a_folder_that_is_a_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    with pytest.raises(SettingsError, match=f"no log can be written in {place} .*give a folder"):
        logs.configure("risk", place)


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
    assert by_event["while it is handled"]["correlation_id"] == "5f0c"
    assert "correlation_id" not in by_event["after it"]
    assert "ZeroDivisionError" in json.dumps(by_event["failed"]["exception"])
    assert any(line["logger"] == "librdkafka" for line in lines)


def test_people_at_the_terminal_see_text_without_tracebacks(tmp_path: Path) -> None:
    done = _run(tmp_path, "screen")
    assert done.stdout == ""
    assert "fenced" in done.stderr
    assert "failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_client_says_again_and_again_is_written_once_and_counted(tmp_path: Path) -> None:
    program = """
import logging, sys
from pathlib import Path
from runtime import logs
logs.REPEAT_S = 0.2
logs.configure("risk", Path(sys.argv[1]), "INFO")
for number in range(50):
    logging.getLogger("aiokafka.conn").error("closed after %d ms", number)
    logging.getLogger("streams.shell").error("ours after %d ms", number)
logging.getLogger("aiokafka.conn").error("another thing")
while not logging.getLogger("aiokafka.conn").error("closed after 99 ms"):
    if "more like this" in (Path(sys.argv[1]) / "risk.log").read_text():
        break
"""
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env={"PYTHONPATH": str(ROOT)}, check=True
    )
    lines = (tmp_path / "risk.log").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert sum(event.startswith("ours") for event in events) == 50, "ours are all kept"
    first, again = (event for event in events if event.startswith("closed"))
    assert first == "closed after 0 ms"
    assert again.startswith("closed after 99 ms (")
    assert int(again.partition("(")[2].split()[0]) >= 49
    assert "another thing" in events


def test_a_log_file_is_rotated_by_size_and_three_older_ones_are_kept(tmp_path: Path) -> None:
    program = """
import logging, sys
from pathlib import Path
from runtime import logs
logs.MAX_BYTES = 10_000
logs.configure("risk", Path(sys.argv[1]), "INFO")
for number in range(400):
    logging.getLogger("shell").info("line %d of many", number)
"""
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env={"PYTHONPATH": str(ROOT)}, check=True
    )
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["risk.log", "risk.log.1", "risk.log.2", "risk.log.3"]
    assert all(path.stat().st_size <= 10_000 for path in tmp_path.iterdir())
    last = (tmp_path / "risk.log").read_text().splitlines()[-1]
    assert json.loads(last)["event"] == "line 399 of many"
