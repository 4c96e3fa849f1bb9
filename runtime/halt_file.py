"""The halt file: the stop path that needs neither Kafka nor Postgres (SAFE-6).

``halt.json`` in the data folder of the host on which the gateway runs. While it is there no order
that increases risk leaves; with mode `all` no order at all; with mode `flatten` the gateway closes
what the venue says is open. What is there but cannot be read counts as `entries`, and says why: a
person with nothing but a shell may stop new risk with ``touch var/halt.json``.
"""

import hashlib
import json
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

HaltMode = Literal["entries", "all", "flatten"]
MODES: tuple[HaltMode, ...] = get_args(HaltMode)
NAME = "halt.json"
SIZE_MAX = 65_536
WORDS_MAX = {"operator": 64, "reason": 300, "at": 40, "key": 64}
SENTENCE_MAX = 450
SETTLED_NS = 1_000_000_000
"""A file changed less than this ago is read again at each look: two changes may share a stamp."""


@dataclass(frozen=True, slots=True)
class Halt:
    """A halt in force. `key` is the same for as long as it is this one; `at`: wall time, ISO 8601,
    as its writer said; `defect`: why the file could not be taken as it is, empty for a good one."""

    mode: HaltMode
    operator: str
    reason: str
    at: str
    key: str
    defect: str = ""

    def sentence(self) -> str:
        """One line for the end of an order that it refuses, and for people."""
        what = {"entries": "halt", "all": "halt --all", "flatten": "halt --flatten"}[self.mode]
        if self.defect:
            return f"{what}: the halt file counts, but {self.defect}"[:SENTENCE_MAX]
        return f"{what} by {self.operator} at {self.at}: {self.reason}"[:SENTENCE_MAX]


class HaltFile:
    """The file at `path`. Looks are cheap: one or two `stat` where nothing has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name, self._folder = os.fspath(path), os.fspath(path.parent)
        self._seen: tuple[int, ...] = ()
        self._halt: Halt | None = None

    @classmethod
    def of(cls, data: Path) -> "HaltFile":
        """The one of a data folder."""
        return cls(data / NAME)

    def look(self) -> Halt | None:
        """The halt in force; None if there is none. Never raises: what cannot be known is one."""
        try:
            about = os.lstat(self._name)
        except FileNotFoundError:
            return self._nothing()
        except OSError as error:
            return _defective(f"it cannot be looked at ({error.strerror})", "unseen")
        seen = (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_mode)
        settled = abs(time.time_ns() - about.st_ctime_ns) > SETTLED_NS
        if seen == self._seen and settled and not stat.S_ISLNK(about.st_mode):
            return self._halt
        self._seen, self._halt = seen, self._read(about.st_mtime_ns)
        return self._halt

    def _nothing(self) -> Halt | None:
        self._seen = ()
        if os.path.isdir(self._folder):  # noqa: PTH112 (at each order that leaves)
            return None
        return _defective(f"its folder {self._folder} is not there", "no folder")

    def _read(self, at_ns: int) -> Halt:
        try:
            if not stat.S_ISREG(os.stat(self._name).st_mode):  # noqa: PTH116 (a pipe would block)
                return _defective("it is no regular file", str(at_ns))
            with open(self._name, "rb") as file:
                content = file.read(SIZE_MAX + 1)
        except OSError as error:
            return _defective(f"it cannot be read ({error.strerror})", str(at_ns))
        return parse(content, at_ns)

    def write(self, mode: HaltMode, *, operator: str, reason: str, at: str) -> Halt:
        """Put a halt in force, as a whole and durably; it replaces the one before. OSError."""
        said = {"operator": operator, "reason": reason, "at": at}
        # whatever a shell hands over: a halt is never refused for its words
        words = {name: _line(value, WORDS_MAX[name]) for name, value in said.items()}
        body = {"mode": mode, **words, "key": f"{time.time_ns():x}-{os.getpid()}"}
        content = json.dumps(body, ensure_ascii=False).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path)
        finally:
            aside.unlink(missing_ok=True)
        self._sync_folder()
        self._seen = ()
        return parse(content, 0)

    def lift(self) -> Halt | None:
        """Take the file away; the halt it was, None if there was no file. OSError."""
        halt = self.look()
        self._seen = ()
        try:
            self.path.unlink()
        except OSError:  # a file system that cannot be written to says so of what is not there too
            if self._may_be_there():
                raise
            return None
        self._sync_folder()
        return halt

    def _may_be_there(self) -> bool:
        """False only where it is certain that there is no file."""
        try:
            os.lstat(self._name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def parse(content: bytes, at_ns: int) -> Halt:
    """The halt that a file's content is, whatever it is. `at_ns`: when the file was changed."""
    key = f"{hashlib.sha256(content).hexdigest()[:16]}-{at_ns}"
    if not content.strip():
        return _defective("it is empty", key)
    if len(content) > SIZE_MAX:
        return _defective(f"it has more than {SIZE_MAX:,} bytes", key)
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return _defective("it is no JSON", key)
    if not isinstance(body, dict):
        return _defective("it is no JSON object", key)
    mode = body.get("mode")
    if mode not in MODES:
        return _defective(f"mode {str(mode)[:40]!r} is none of {', '.join(MODES)}", key)
    words = {name: _line(body.get(name), most) for name, most in WORDS_MAX.items()}
    return Halt(
        mode=mode,
        operator=words["operator"] or "unknown",
        reason=words["reason"] or "no reason was given",
        at=words["at"] or "an unknown time",
        key=words["key"] or key,
    )


def _line(value: object, most: int) -> str:
    """Text of one line, without what would break a record or a terminal."""
    if not isinstance(value, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in value[:most]).strip()


def _defective(why: str, key: str) -> Halt:
    return Halt("entries", "unknown", why, "an unknown time", key, defect=why)
