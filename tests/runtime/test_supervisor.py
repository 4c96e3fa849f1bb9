"""The supervisor brings back what dies, at once, and leaves nothing behind, however it ends."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from runtime.kafka import EmbeddedKafka
from runtime.postgres import EmbeddedPostgres
from runtime.processes import ServiceError, alive
from runtime.settings import ROOT
from runtime.supervisor import ProcessSpec, Supervisor, read_state
from tests.runtime.waiting import until

SLEEPER = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
# a supervisor in a process of its own: two children, one of which has a child and notes its end
PROGRAM = """
import sys, time
from pathlib import Path
from runtime.supervisor import ProcessSpec, Supervisor
folder = Path(sys.argv[1])
child = '''
import signal, subprocess, sys
from pathlib import Path
grandchild = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
def end(*_):
    Path(sys.argv[1]).write_text("ended in order")
    grandchild.kill(); grandchild.wait()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, lambda *_: Path(sys.argv[1]).write_text("was interrupted"))
Path(sys.argv[2]).touch()
while True:
    signal.pause()
'''
specs = [
    ProcessSpec(name="first", argv=[sys.executable, "-S", "-c", "import signal; signal.pause()"]),
    ProcessSpec(
        name="second",
        argv=[sys.executable, "-c", child, folder / "note", folder / "up"],
        ready=(folder / "up").exists,
    ),
]
supervisor = Supervisor(specs, folder / "processes.json")
try:
    supervisor.start()
    supervisor.run(lambda: False, every_s=0.05)
except KeyboardInterrupt:
    pass
finally:
    supervisor.stop()
"""


def _until(supervisor: Supervisor, condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    supervisor.run(lambda: condition() or time.monotonic() > deadline, every_s=0.02)
    assert condition(), json.dumps(supervisor.state())


def _run_program(folder: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    running = subprocess.Popen(command, env=environment, start_new_session=True)
    state = folder / "processes.json"
    until(lambda: [each["state"] for each in read_state(state).values()] == ["running"] * 2)
    return running, [each["pid"] or 0 for each in read_state(state).values()]


def test_a_killed_child_is_started_again_by_the_next_look_and_not_after_a_while(
    tmp_path: Path,
) -> None:
    supervisor = Supervisor([ProcessSpec(name="worker", argv=SLEEPER)], tmp_path / "state.json")
    supervisor.start()
    try:
        first = supervisor.pids()["worker"]
        os.kill(first, signal.SIGKILL)
        while alive(first):
            time.sleep(0.01)
        for _ in range(2):  # one notices it, one starts it
            supervisor.check()
        assert supervisor.state()["worker"]["restarts"] == 1
        assert supervisor.pids()["worker"] != first
        _until(supervisor, lambda: supervisor.state()["worker"]["state"] == "running")
        assert read_state(tmp_path / "state.json")["worker"]["exit_code"] == -signal.SIGKILL
    finally:
        supervisor.stop()
    assert supervisor.pids() == {}
    assert read_state(tmp_path / "state.json")["worker"]["state"] == "stopped"


def test_a_child_that_keeps_dying_is_restarted_more_and_more_slowly(tmp_path: Path) -> None:
    spec = ProcessSpec(name="worker", argv=[sys.executable, "-S", "-c", "raise SystemExit(3)"])
    supervisor = Supervisor([spec], tmp_path / "state.json")
    began = time.monotonic()
    try:
        _until(supervisor, lambda: supervisor.state()["worker"]["restarts"] == 4)
        assert time.monotonic() - began > 0.75
        assert supervisor.state()["worker"]["exit_code"] == 3
    finally:
        supervisor.stop()


def test_a_child_whose_work_is_done_is_not_started_again(tmp_path: Path) -> None:
    done = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); n = p.exists(); p.touch()"
    first_fails = f"{done}; raise SystemExit(0 if n else 3)"
    argv = [sys.executable, "-S", "-c", first_fails, str(tmp_path / "was")]
    supervisor = Supervisor([ProcessSpec(name="feed", argv=argv, finishes=True)], tmp_path / "s")
    try:
        _until(supervisor, lambda: supervisor.state()["feed"]["state"] == "ended")
        assert supervisor.state()["feed"]["exit_code"] == 0
        assert supervisor.state()["feed"]["restarts"] == 1
    finally:
        supervisor.stop()


def test_a_child_that_is_not_to_be_restarted_ends_with_its_code(tmp_path: Path) -> None:
    spec = ProcessSpec(
        name="feed", argv=[sys.executable, "-S", "-c", "raise SystemExit(0)"], restart=False
    )
    supervisor = Supervisor([spec], tmp_path / "state.json")
    try:
        _until(supervisor, lambda: supervisor.state()["feed"]["state"] == "ended")
        assert supervisor.state()["feed"]["exit_code"] == 0
        assert supervisor.state()["feed"]["restarts"] == 0
    finally:
        supervisor.stop()


def test_a_program_that_does_not_exist_ends_the_start_with_its_name(tmp_path: Path) -> None:
    specs = [
        ProcessSpec(name="good", argv=SLEEPER),
        ProcessSpec(name="bad", argv=["/nowhere/program"]),
    ]
    supervisor = Supervisor(specs, tmp_path / "state.json")
    with pytest.raises(ServiceError, match="/nowhere/program"):
        supervisor.start()
    assert supervisor.pids() == {}


def test_what_is_never_ready_ends_the_start_with_its_name(tmp_path: Path) -> None:
    spec = ProcessSpec(name="slow", argv=SLEEPER, ready=lambda: False)
    supervisor = Supervisor([spec], tmp_path / "state.json")
    with pytest.raises(ServiceError, match="slow not ready within 0 s"):
        supervisor.start(timeout_s=0.3)
    assert supervisor.pids() == {}


def test_a_start_is_waited_for_as_long_as_it_gets_on_and_no_longer(tmp_path: Path) -> None:
    """What replays a long log is late and well; what stands still is stopped, with its name."""
    began, folded = time.monotonic(), itertools.count()
    replaying = ProcessSpec(
        name="replaying",
        argv=SLEEPER,
        ready=lambda: time.monotonic() - began > 0.9,
        progress=lambda: next(folded),
    )
    supervisor = Supervisor([replaying], tmp_path / "state.json")
    supervisor.start(timeout_s=0.3)
    stuck = ProcessSpec(name="stuck", argv=SLEEPER, ready=lambda: False, progress=lambda: 70_000)
    supervisor.add([stuck])
    with pytest.raises(ServiceError, match="stuck not ready within 0 s, and no progress"):
        supervisor.start(timeout_s=0.3)
    assert supervisor.pids() == {}


def test_kill_9_of_the_supervisor_leaves_no_child_behind(tmp_path: Path) -> None:
    running, pids = _run_program(tmp_path)
    assert all(alive(pid) for pid in pids)
    running.kill()
    running.wait()
    until(lambda: not any(alive(pid) for pid in pids))
    grandchildren = _group_members(pids[1])
    for pid in grandchildren:  # of a child that does not use processes.spawn: ours all do
        os.kill(pid, signal.SIGKILL)


def test_ctrl_c_reaches_the_supervisor_alone_which_stops_all_in_order(tmp_path: Path) -> None:
    running, pids = _run_program(tmp_path)
    os.killpg(running.pid, signal.SIGINT)  # what a terminal does
    assert running.wait(60) == 0
    assert (tmp_path / "note").read_text() == "ended in order"
    until(lambda: not any(alive(pid) for pid in pids))
    assert not _group_members(pids[1])


def test_broker_and_database_come_back_at_their_addresses_after_kill_9(short_path: Path) -> None:
    broker = EmbeddedKafka(short_path / "kafka")
    database = EmbeddedPostgres(short_path / "postgres")
    supervisor = Supervisor([broker, database], short_path / "state.json")
    supervisor.start()
    try:
        addresses = (broker.bootstrap, database.uri)
        pids = supervisor.pids()
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        _until(
            supervisor,
            lambda: all(
                each["restarts"] == 1 and each["state"] == "running"
                for each in supervisor.state().values()
            ),
        )
        assert (broker.bootstrap, database.uri) == addresses
        assert not set(pids.values()) & set(supervisor.pids().values())
        psycopg.connect(database.uri).close()
    finally:
        supervisor.stop()
    assert not broker.is_running()
    assert not database.is_running()


def _group_members(group: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found.append(int(path.parent.name))
    return found
