"""Runs of this checkout: `var/runs/<UTC time>`, each with its `run.json`; the last three are kept,
and those that hold what was never finished: cut off, or with records that Kafka did not take yet.

One run at a time: the lock is held by the process that runs and freed by its end, however it ends.
Other checkouts have folders, ports and locks of their own.
"""

import contextlib
import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal, Self

from runtime import processes
from runtime.settings import Settings

KEPT = 3
NO_RECORDS = ("lock", "spare")
"""Files of a buffer's folder that hold none (gateways/buffer_folder.py)."""
RunState = Literal["starting", "running", "stopped", "failed"]


class RunError(RuntimeError):
    """There is no such run, or another one is in the way; the text says what to do."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of `run.json`.

    kafka: bootstrap servers; postgres: URI; None until they are known. pid: of the supervising
    process; began: when that began (processes.began), for after a reboot, and in each container,
    another process has its id; None where the system does not say. pids: of all others by name.
    started, stopped: ISO 8601, UTC. build: of the code. details: what the command wants to find
    again (feed, days, speed), JSON values.
    """

    kafka: str | None = None
    postgres: str | None = None
    pid: int | None = None
    began: str | None = None
    pids: dict[str, int] = field(default_factory=dict)
    started: str = ""
    stopped: str | None = None
    build: str = ""
    state: RunState = "starting"
    details: dict[str, object] = field(default_factory=dict)


class Run:
    """One run: a folder and its `run.json`, written as a whole at each change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        """The UTC time at which it was made, e.g. 20210519T130000.123Z."""
        return self.folder.name

    @property
    def logs(self) -> Path:
        """Folder of the logs of all its processes."""
        return self.folder / "logs"

    @property
    def state_file(self) -> Path:
        """What its supervisor says of its processes (supervisor.read_state)."""
        return self.folder / "processes.json"

    @property
    def buffer(self) -> Path:
        """What the gateway wrote down while Kafka was away, in folders by process."""
        return self.logs / "buffer"

    @property
    def record(self) -> RunRecord:
        """What `run.json` says now. RunError if it cannot be read."""
        try:
            content = json.loads((self.folder / "run.json").read_text())
            known = {each.name for each in fields(RunRecord)}
            return RunRecord(**{key: value for key, value in content.items() if key in known})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunError(
                f"{self.folder / 'run.json'} cannot be read ({error}): take another run, "
                f"{self.folder.parent} lists them."
            ) from None

    def update(self, **changes: object) -> RunRecord:
        """Change fields of the record and write it. Returns the new one."""
        record = replace(self.record, **changes)  # type: ignore[arg-type]
        self._write(record)
        return record

    def reopen(self) -> None:
        """Say that this process supervises it from now on. Take the lock first."""
        pid = os.getpid()
        self.update(pid=pid, began=processes.began(pid), state="starting", stopped=None)

    def make_last(self) -> None:
        """Make it the one that `last` names. Take the lock first."""
        _write_durably(self.folder.parent / "last", self.name + "\n")

    def is_running(self) -> bool:
        """Whether its supervising process lives, no other one has its id, and it has not said that
        it stopped."""
        record = self.record
        if record.state not in ("starting", "running") or record.pid is None:
            return False
        if not processes.alive(record.pid):
            return False
        began = processes.began(record.pid)
        return began == record.began or None in (began, record.began)

    def holds_records(self) -> bool:
        """Whether records lie in the gateway's buffer that Kafka did not take yet."""
        return any(path.name not in NO_RECORDS for path in self.buffer.glob("*/*"))

    def _write(self, record: RunRecord) -> None:
        _write_durably(self.folder / "run.json", json.dumps(asdict(record), indent=1) + "\n")


class RunLock:
    """The right to run in this data folder; use as a context, or keep until the process ends."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def release(self) -> None:
        """Let others run."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def lock(data: Path | None = None) -> RunLock:
    """Take the right to run. RunError, naming the other process, if it is taken."""
    data = _data(data)
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = (data / "run.lock").open("a+")
    except OSError as error:
        raise RunError(
            f"{data} cannot be written to ({error.strerror}): set QUANTUM_DATA to a folder that "
            "can."
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise RunError(
            f"This checkout is running already (process {owner}): end it with ./quantum down, or "
            "set QUANTUM_DATA to another folder to run a second one."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return RunLock(file)


def new_run(
    *, build: str = "", details: dict[str, object] | None = None, data: Path | None = None
) -> Run:
    """Make a run of this process and point `last` to it. Runs beyond the three that were used last
    are removed, but for those that were cut off or hold records that Kafka did not take yet.

    Take the lock first: of a locked data folder only.
    """
    folder = _data(data) / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(_make_folder(folder))
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    pid = os.getpid()
    began = processes.began(pid)
    run._write(
        RunRecord(started=started, pid=pid, began=began, build=build, details=dict(details or {}))
    )
    run.make_last()
    for old in sorted(all_runs(data), key=_used, reverse=True)[KEPT:]:
        if not (_runs(old) or was_cut_off(old) or old.holds_records()):
            shutil.rmtree(old.folder, ignore_errors=True)
    return run


def all_runs(data: Path | None = None) -> list[Run]:
    """All runs, the newest first."""
    folder = _data(data) / "runs"
    found = [path for path in folder.glob("2*Z*") if path.is_dir() and not path.is_symlink()]
    return [Run(path) for path in sorted(found, reverse=True)]


def last_run(data: Path | None = None) -> Run | None:
    """The run that was made or resumed last, None if there is none. The newest one if the file
    that names it says nothing of use."""
    found = all_runs(data)
    named = ""
    with contextlib.suppress(OSError):
        named = (_data(data) / "runs" / "last").read_text(errors="replace").strip()
    return next((run for run in found if run.name == named), next(iter(found), None))


def open_run(name: str = "last", data: Path | None = None) -> Run:
    """The run of this name, or the last one. RunError, listing those there are, if none is."""
    if name == "last":
        run = last_run(data)
        if run is None:
            raise RunError("There is no run yet: start one with ./quantum demo or ./quantum up.")
        return run
    for each in all_runs(data):
        if each.name == name:
            return each
    names = ", ".join(each.name for each in all_runs(data)) or "none"
    raise RunError(f"There is no run {name}. There are: {names}; or say last.")


def running(data: Path | None = None) -> Run | None:
    """The run that runs now, None if nothing does."""
    return next((run for run in all_runs(data) if _runs(run)), None)


def was_cut_off(run: Run) -> bool:
    """Whether its supervising process was killed, or the machine went down under it."""
    try:
        return run.record.state in ("starting", "running") and not run.is_running()
    except RunError:
        return False


def all_cut_off(data: Path | None = None) -> list[Run]:
    """All runs that were cut off, the newest first."""
    return [run for run in all_runs(data) if was_cut_off(run)]


def _runs(run: Run) -> bool:
    try:
        return run.is_running()
    except RunError:
        return False


def _used(run: Run) -> tuple[str, str]:
    """When it was used last, as far as it says; sorts as time does."""
    try:
        record = run.record
    except RunError:
        return "", run.name
    return str(record.stopped or record.started), run.name


def _data(data: Path | None) -> Path:
    return data if data is not None else Settings.load().data


def _make_folder(parent: Path) -> Path:
    while True:  # at most a millisecond: names are times, and sort as such
        now = datetime.now(UTC)
        folder = parent / f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z"
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder


def _write_durably(path: Path, text: str) -> None:
    """As a whole, and on the disk when this returns: a power cut leaves the old text or the new."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    with aside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
