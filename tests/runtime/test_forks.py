"""Workers are forked from a process that has imported them, and differ in nothing else.

Goal: name, output, environment, exit code and end of a forked process are those of one that was
started as a new interpreter; the end of the fork server ends nobody, the supervisor's ends all.
Method: the real fork server with small modules in a folder of the test.
"""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime import forks
from runtime.forks import Forked, Forks
from runtime.processes import Process, alive, kill_group
from runtime.settings import ROOT
from tests.runtime.waiting import until

TELLER = """
import os, signal, sys

def main():
    print("words", *sys.argv[1:], flush=True)
    print("home", os.environ.get("PLACE"), os.getsid(0) == os.getpid(), os.getppid(), flush=True)
    print("input", repr(sys.stdin.read()), "imported by", IMPORTER == os.getpid(), flush=True)
    if sys.argv[1] == "stay":
        signal.pause()
    sys.exit(int(sys.argv[1]))

IMPORTER = os.getpid()
if __name__ == "__main__":
    main()
"""
HOST = """
import sys
from pathlib import Path
from runtime.forks import Forks
from tests.runtime.test_forks import environment
folder = Path(sys.argv[1])
forks = Forks(["teller"], environment(folder), folder / "server.out")
forks.start()
with (folder / "out").open("ab") as output:
    argv = [sys.executable, "-P", "-m", "teller", "stay"]
    child = forks.spawn(argv, output=output, env=forks._env)
(folder / "pids").write_text(f"{forks.pid} {child.pid}")
sys.stdin.read()  # until the test kills it, or is gone
"""


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join(map(str, (ROOT, folder)))
    return os.environ | {"PYTHONPATH": path, "PLACE": str(folder)}


@dataclasses.dataclass
class Nest:
    """A fork server that has imported `teller`, and what its children wrote."""

    folder: Path
    forks: Forks

    def spawn(self, *words: str, module: str = "teller", **env: str) -> Process:
        argv = [sys.executable, "-P", "-m", module, *words]
        with self.out.open("ab") as output:
            return self.forks.spawn(argv, output=output, env=self.forks._env | env)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def lines(self) -> list[str]:
        return self.out.read_text().splitlines() if self.out.exists() else []


@pytest.fixture
def nest(tmp_path: Path) -> Iterator[Nest]:
    (tmp_path / "teller.py").write_text(TELLER)
    (tmp_path / "other.py").write_text(TELLER)
    nest = Nest(tmp_path, Forks(["teller"], environment(tmp_path), tmp_path / "server.out"))
    nest.forks.start()
    yield nest
    nest.forks.stop()


@pytest.mark.parametrize("module", ["teller", "other"])
def test_a_forked_process_is_what_a_new_interpreter_would_be(nest: Nest, module: str) -> None:
    child = nest.spawn("7", "a b", module=module)
    assert isinstance(child, Forked)
    assert child.wait(20) == 7
    words, home, imported = nest.lines()
    assert words == "words 7 a b"
    assert home == f"home {nest.folder} True {os.getpid()}"
    assert imported == f"input '' imported by {module == 'other'}"


def test_its_name_its_signals_and_its_end_are_seen(nest: Nest) -> None:
    child = nest.spawn("stay")
    until(lambda: len(nest.lines()) == 3)
    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.05)
    assert Path(f"/proc/{child.pid}/comm").read_text() == "stay\n"
    name = Path(f"/proc/{child.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    assert name == f"{sys.executable} -P -m teller stay"
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == -signal.SIGTERM
    child.send_signal(signal.SIGTERM)  # gone: nothing
    assert not alive(child.pid)


def test_what_cannot_be_forked_is_started_as_a_new_interpreter(nest: Nest) -> None:
    for words in (["-S", "-c", "raise SystemExit(5)"], ["-P", "-c", "raise SystemExit(5)"]):
        with nest.out.open("ab") as output:
            child = nest.forks.spawn([sys.executable, *words], output=output)
        assert isinstance(child, subprocess.Popen)
        assert child.wait(20) == 5
    other = nest.spawn("3", PYTHONHASHSEED="123")  # which is settled when an interpreter starts
    assert isinstance(other, subprocess.Popen)
    assert other.wait(20) == 3


def test_a_module_that_fails_leaves_its_trace_in_its_own_output(nest: Nest) -> None:
    child = nest.spawn("1", module="nowhere")
    assert child.wait(20) == 1
    assert "No module named nowhere" in nest.lines()[-1]
    after = nest.spawn("4")
    assert isinstance(after, Forked), "the fork server is as it was"
    assert after.wait(20) == 4


def test_the_fork_server_may_be_killed_and_another_takes_its_place(nest: Nest) -> None:
    first = nest.spawn("stay")
    until(lambda: len(nest.lines()) == 3)
    before = nest.forks.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    until(lambda: not alive(before))
    second = nest.spawn("6")
    assert isinstance(second, subprocess.Popen), "nobody waits for the next one's imports"
    assert second.wait(20) == 6
    assert first.poll() is None, "what was forked runs on"
    assert nest.forks.pid not in (None, before)
    until(nest.forks._has_imported)
    third = nest.spawn("8")
    assert isinstance(third, Forked)
    assert third.wait(20) == 8
    nest.forks.stop()
    nest.forks.start()
    assert nest.forks.pid is not None, "who looks now and then replaces it"
    assert first.poll() is None
    kill_group(first)
    assert first.wait(20) == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_whenever_it_is_struck_one_process_begins_and_no_other(
    nest: Nest, number: signal.Signals
) -> None:
    """A request takes some milliseconds; it is struck at moments of them."""
    rnd, kinds = random.Random(int(number)), set[type]()
    others = children() - {nest.forks.pid}
    for turn in range(60):
        if turn >= 12 and subprocess.Popen in kinds:
            break
        until(lambda: nest.forks.pid is not None and nest.forks._has_imported())
        server = nest.forks.pid
        assert server is not None
        strike = threading.Timer(rnd.uniform(0, 0.012), os.kill, (server, number))
        strike.start()
        child = nest.spawn("stay", f"turn-{turn}")
        kinds.add(type(child))
        strike.join()
        until(lambda turn=turn: f"words stay turn-{turn}" in nest.lines())  # type: ignore[misc]
        assert len(running(f"turn-{turn}")) == 1
        kill_group(child)
        assert child.wait(20) == -signal.SIGKILL
        if nest.forks.pid == server:  # else it was replaced, and its number may be another's
            os.kill(server, signal.SIGKILL)
            until(lambda: nest.forks.pid is None)
        nest.forks.start()
        began = [line for line in nest.lines() if line.startswith("words")]
        assert began == [f"words stay turn-{n}" for n in range(turn + 1)]
    assert subprocess.Popen in kinds, "no strike met a request"
    nest.forks.stop()
    assert children() <= others, "nobody is left, zombies included"


def children() -> set[int | None]:
    """Of this process, those that have ended included."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(word) for task in tasks for word in (task / "children").read_text().split()}


def running(word: str) -> list[str]:
    """Ids of processes that have a word on their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().split()
            if word in words:
                found.append(process.name)
    return found


def test_a_launcher_that_ignores_the_ends_of_children_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "teller.py").write_text(TELLER)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    nest = Nest(tmp_path, Forks(["teller"], environment(tmp_path), tmp_path / "server.out"))
    try:
        nest.forks.start()
        child = nest.spawn("3")
        assert isinstance(child, Forked)
        assert child.wait(20) == 3
        assert len(nest.lines()) == 3
    finally:
        nest.forks.stop()
        signal.signal(signal.SIGCHLD, before)


def test_where_orphans_go_elsewhere_nothing_is_forked(
    nest: Nest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "_adopt", lambda _: None)
    child = nest.spawn("3")
    assert isinstance(child, subprocess.Popen)
    assert child.wait(20) == 3
    assert nest.forks.pid is None
    nest.forks.start()
    assert nest.forks.pid is None, "it is not tried again and again"
    assert len(nest.lines()) == 3


def test_a_fork_server_that_cannot_import_is_not_started_again(tmp_path: Path) -> None:
    (tmp_path / "teller.py").write_text(TELLER)
    nest = Nest(tmp_path, Forks(["nowhere"], environment(tmp_path), tmp_path / "server.out"))
    nest.forks.start()
    child = nest.spawn("3")
    assert isinstance(child, subprocess.Popen)
    assert child.wait(20) == 3
    nest.forks.start()
    assert nest.forks.pid is None
    assert "No module named 'nowhere'" in (tmp_path / "server.out").read_text()


def test_one_that_cannot_import_any_more_is_not_started_for_ever(nest: Nest) -> None:
    """As when the code is changed under a running system."""
    first = nest.spawn("3")
    assert isinstance(first, Forked)
    assert first.wait(20) == 3
    before = nest.forks.pid
    assert before is not None
    broken = (nest.folder / "teller.py").rename(nest.folder / "gone.py")
    os.kill(before, signal.SIGKILL)
    until(lambda: nest.forks.pid is None)
    nest.forks.start()
    assert nest.forks.pid is not None
    until(lambda: nest.forks.pid is None)
    for _ in range(2):
        nest.forks.start()
        assert nest.forks.pid is None
    broken.rename(nest.folder / "teller.py")
    child = nest.spawn("4")
    assert isinstance(child, subprocess.Popen)
    assert child.wait(20) == 4


def test_a_fork_server_with_threads_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    (tmp_path / "teller.py").write_text(TELLER)
    nest = Nest(tmp_path, Forks(["threaded"], environment(tmp_path), tmp_path / "server.out"))
    nest.forks.start()
    try:
        child = nest.spawn("2")
        assert isinstance(child, subprocess.Popen)
        assert child.wait(20) == 2
        assert nest.forks.pid is None
        again = nest.spawn("2")
        assert isinstance(again, subprocess.Popen), "it is not tried again and again"
        assert again.wait(20) == 2
        assert nest.forks.pid is None
    finally:
        nest.forks.stop()


def test_what_was_forked_ends_with_the_supervisor_however_that_goes(tmp_path: Path) -> None:
    (tmp_path / "teller.py").write_text(TELLER)
    with subprocess.Popen(
        [sys.executable, "-c", HOST, str(tmp_path)],
        env=environment(tmp_path),
        cwd=ROOT,
        stdin=subprocess.PIPE,
    ) as host:
        try:
            until((tmp_path / "pids").exists)
            until((tmp_path / "pids").read_text)
            pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
            until(lambda: len((tmp_path / "out").read_text().splitlines()) == 3)
            assert all(map(alive, pids))
            host.kill()
            host.wait(20)
            until(lambda: not any(map(alive, pids)))
        finally:
            host.kill()
