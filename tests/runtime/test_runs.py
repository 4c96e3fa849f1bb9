"""Runs of one checkout: one at a time, the last three kept, found again by name."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateways.buffer_folder import LOCK, SPARE
from runtime import processes, runs
from runtime.settings import ROOT


def _finished(data: Path) -> runs.Run:
    run = runs.new_run(data=data)
    run.update(state="stopped")
    return run


def test_a_run_is_found_again_with_what_was_noted(tmp_path: Path) -> None:
    run = runs.new_run(build="b1", details={"speed": "max"}, data=tmp_path)
    run.update(kafka="127.0.0.1:1", postgres="postgresql://x", pids={"risk": 7}, state="running")
    again = runs.open_run("last", tmp_path)
    assert again.name == run.name
    assert again.record.kafka == "127.0.0.1:1"
    assert again.record.details == {"speed": "max"}
    assert runs.open_run(run.name, tmp_path).record == again.record


def test_the_last_three_are_kept(tmp_path: Path) -> None:
    made = [_finished(tmp_path).name for _ in range(5)]
    assert [run.name for run in runs.all_runs(tmp_path)] == made[:1:-1]
    last = runs.last_run(tmp_path)
    assert last is not None
    assert last.name == made[-1]


def _cut_off(data: Path) -> runs.Run:
    run = runs.new_run(data=data)
    run.update(state="running", began="another boot/1")
    return run


def test_a_run_that_was_cut_off_is_never_removed_until_it_ends(tmp_path: Path) -> None:
    older, newer = _cut_off(tmp_path), _cut_off(tmp_path)
    for _ in range(4):
        _finished(tmp_path)
    assert [run.name for run in runs.all_cut_off(tmp_path)] == [newer.name, older.name]
    older.reopen()
    older.update(state="stopped", stopped="2100-01-01T00:00:00.000+00:00")
    _finished(tmp_path)
    assert older.folder.is_dir(), "it is one of the three that were used last"
    older.update(stopped="2020-01-01T00:00:00.000+00:00")
    _finished(tmp_path)
    assert [older.folder.is_dir(), newer.folder.is_dir()] == [False, True]


def test_a_run_whose_gateway_holds_records_is_never_removed(tmp_path: Path) -> None:
    holding, empty = _finished(tmp_path), _finished(tmp_path)
    for run in (holding, empty):
        left = run.logs / "buffer" / "7-1"
        left.mkdir(parents=True)
        for name in (LOCK, SPARE):
            (left / name).touch()
    (holding.logs / "buffer" / "7-1" / "trade.fill-0.000001.jsonl").write_text("a line")
    for _ in range(4):
        _finished(tmp_path)
    assert [holding.folder.is_dir(), empty.folder.is_dir()] == [True, False]
    assert set(runs.NO_RECORDS) == {LOCK, SPARE}


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"\0\0\0", b"..", b"20010101T0Z"])
def test_where_last_names_no_run_it_is_the_newest(tmp_path: Path, content: bytes) -> None:
    """An empty file, or one of zeros, is what a power cut leaves."""
    _finished(tmp_path)
    newest = _finished(tmp_path)
    (tmp_path / "runs" / "last").write_bytes(content)
    assert runs.open_run("last", tmp_path).name == newest.name


def test_what_a_run_says_of_itself_is_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = _finished(tmp_path), _finished(tmp_path)

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="gone"):
        newer.update(state="running")
    with pytest.raises(OSError, match="gone"):
        older.make_last()
    assert newer.record.state == "stopped"
    assert runs.open_run("last", tmp_path).name == newer.name


def test_a_running_run_is_never_removed(tmp_path: Path) -> None:
    alive = runs.new_run(data=tmp_path)
    alive.update(state="running", pid=os.getpid())
    for _ in range(4):
        _finished(tmp_path)
    assert alive.folder.is_dir()
    found = runs.running(tmp_path)
    assert found is not None
    assert found.name == alive.name


def test_a_run_whose_process_is_gone_is_not_running(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()
    run = runs.new_run(data=tmp_path)
    run.update(state="running", pid=gone.pid)
    assert runs.running(tmp_path) is None


def test_another_process_of_the_same_id_is_no_supervisor(tmp_path: Path) -> None:
    """After a reboot, or in a new container, somebody else has the id in the record."""
    run = runs.new_run(data=tmp_path)
    run.update(state="running")
    assert run.is_running()
    assert not runs.was_cut_off(run)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as foreign:
        run.update(pid=foreign.pid)
        assert not run.is_running()
        assert runs.was_cut_off(run)
        assert runs.running(tmp_path) is None
    run.update(pid=os.getpid(), began="another boot/1")
    assert runs.was_cut_off(run)
    run.reopen()
    assert run.is_running()


def test_where_nobody_says_when_a_process_began_its_id_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = runs.new_run(data=tmp_path)
    monkeypatch.setattr(processes, "began", lambda _: None)
    run = runs.new_run(data=tmp_path)
    assert run.record.began is None
    assert run.is_running()
    assert before.is_running()
    monkeypatch.undo()
    assert run.is_running(), "a run of an older build says nothing of it"


def test_a_second_run_of_one_checkout_is_refused_and_another_checkout_is_not(
    tmp_path: Path,
) -> None:
    with runs.lock(tmp_path / "one"), runs.lock(tmp_path / "two"):
        with pytest.raises(runs.RunError) as raised:
            runs.lock(tmp_path / "one")
        assert f"process {os.getpid()}" in str(raised.value)
        assert "./quantum down" in str(raised.value)
    runs.lock(tmp_path / "one").release()


def test_the_lock_is_free_once_its_process_was_killed(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from runtime import runs; "
        "held = runs.lock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(runs.RunError):
            runs.lock(tmp_path)
        holder.kill()
    runs.lock(tmp_path).release()


def test_an_unknown_run_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(runs.RunError, match="There is no run yet"):
        runs.open_run(data=tmp_path)
    run = _finished(tmp_path)
    with pytest.raises(runs.RunError, match=run.name):
        runs.open_run("20010101T000000Z", tmp_path)


def test_a_broken_record_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    run = _finished(tmp_path)
    for content in ("{", "", "7"):
        (run.folder / "run.json").write_text(content)
        with pytest.raises(runs.RunError, match=r"run\.json cannot be read"):
            _ = run.record
    assert runs.running(tmp_path) is None
