"""The disk buffer's files: nothing is lost in silence, whatever became of their bytes.

Goal: what was appended is read back in order; a torn end is taken off and kept; any other damage is
reported with the good lines around it; a full disk leaves nothing half written.
"""

import errno
import fcntl
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.buffer import (
    ROTATE_BYTES,
    BufferLineError,
    BufferWriter,
    Damage,
    Line,
    decoded,
    encoded,
    files_of,
    name_of,
    read,
    repair,
)
from gateways.buffer_folder import BufferFolder

KEY = "trade.execution.res/3"
IDS = {"trade.execution.res": "id-1", "control": "id-2"}
RAW = st.binary(min_size=1, max_size=60).map(lambda raw: raw.replace(b"\n", b" "))


def written(folder: Path, count: int, rotate_bytes: int = ROTATE_BYTES) -> list[bytes]:
    writer = BufferWriter(folder, KEY, "id-1", rotate_bytes=rotate_bytes)
    raws = [b'{"number":%d}' % n for n in range(count)]
    assert [writer.append(raw, "main") for raw in raws] == list(range(1, count + 1))
    writer.close()
    return raws


def good(found: Iterable[Line | Damage]) -> list[bytes]:
    return [line.raw for line in found if isinstance(line, Line)]


def damage(found: Iterable[Line | Damage]) -> list[Damage]:
    return [line for line in found if isinstance(line, Damage)]


def test_what_is_appended_comes_back_in_order_over_any_number_of_files(tmp_path: Path) -> None:
    raws = written(tmp_path, 50, rotate_bytes=500)
    assert len(files_of(tmp_path, KEY)) > 5
    assert all(path.stat().st_size <= 500 for path in files_of(tmp_path, KEY))
    assert good(read(tmp_path, KEY)) == raws
    assert good(read(tmp_path, KEY, after=47)) == raws[47:]
    assert damage(read(tmp_path, KEY)) == []


def test_every_line_of_a_file_is_json(tmp_path: Path) -> None:
    written(tmp_path, 3)
    lines = [json.loads(line) for line in files_of(tmp_path, KEY)[0].read_text().splitlines()]
    assert [line["value"] for line in lines[1:]] == [{"number": n} for n in range(3)]


def test_a_line_cut_off_at_any_byte_is_taken_off_and_kept_beside(tmp_path: Path) -> None:
    raws = written(tmp_path, 3)
    (path,) = files_of(tmp_path, KEY)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for cut in range(last, len(whole)):
        path.write_bytes(whole[:cut])
        path.with_suffix(".torn").unlink(missing_ok=True)
        assert good(read(tmp_path, KEY))[:2] == raws[:2]
        torn = repair(path)
        complete = cut == len(whole) - 1  # only its line end is missing: nothing of it is lost
        assert torn == (b"" if complete else whole[last:cut])
        assert path.read_bytes() == (whole if complete else whole[:last])
        if torn:
            assert path.with_suffix(".torn").read_bytes() == torn
        assert damage(read(tmp_path, KEY)) == []


def test_a_changed_byte_anywhere_is_damage_and_the_other_lines_are_read(tmp_path: Path) -> None:
    raws = written(tmp_path, 5)
    (path,) = files_of(tmp_path, KEY)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    begin = len(lines[0]) + len(lines[1]) + len(lines[2])
    for at in range(begin, begin + len(lines[3])):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x01]) + whole[at + 1 :])
        found = list(read(tmp_path, KEY))
        assert damage(found), f"byte {at - begin} of the line"
        assert good(found)[:2] == raws[:2]
        assert good(found)[-1] == raws[-1]
        assert repair(path) == b"", "damage in the middle is no torn end"


def test_a_line_that_is_gone_is_damage(tmp_path: Path) -> None:
    written(tmp_path, 4)
    (path,) = files_of(tmp_path, KEY)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert [each.why for each in damage(read(tmp_path, KEY))] == ["line 3 follows line 1"]


def test_a_full_disk_leaves_nothing_half_written_and_takes_the_spare_space_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = tmp_path / "spare"
    spare.write_bytes(b"x")
    writer = BufferWriter(tmp_path, KEY, "id-1", spare=spare)
    writer.append(b"1", "main")
    full = [True]
    write = os.write

    def writing(handle: int, raw: bytes) -> int:
        if full[0] and (spare.exists() or full == [True, True]):
            write(handle, bytes(raw[:5]))  # as a disk that takes some of it
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, raw)

    monkeypatch.setattr(os, "write", writing)
    assert writer.append(b"2", "main") == 2
    assert not spare.exists(), "its space was given up"
    full.append(True)
    with pytest.raises(OSError, match="No space left"):
        writer.append(b"3", "main")
    full[0] = False
    assert writer.append(b"3", "main") == 3
    found = list(read(tmp_path, KEY))
    assert (good(found), damage(found)) == ([b"1", b"2", b"3"], [])


def test_after_a_failed_fsync_the_record_is_written_again_in_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = BufferWriter(tmp_path, KEY, "id-1")
    writer.append(b"1", "main")
    sync = os.fsync

    def failing(_handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        writer.append(b"2", "main")
    monkeypatch.setattr(os, "fsync", sync)
    assert writer.append(b"2", "main") == 2
    assert len(files_of(tmp_path, KEY)) == 2
    found = list(read(tmp_path, KEY))
    assert (good(found), damage(found)) == ([b"1", b"2"], []), "once, although it lies there twice"


def test_what_a_process_left_is_there_for_the_next_one_and_for_nobody_while_it_lives(
    tmp_path: Path,
) -> None:
    first, second = (BufferFolder(tmp_path, IDS, spare_bytes=1_000) for _ in range(2))
    first.append(KEY, b"1", "main")
    first.append("control/0", b"2", "gateway")
    assert list(second.left_behind()) == []
    first.close()  # its process has ended
    (left,) = second.left_behind()
    assert left.partitions() == ["control/0", KEY]
    for key, raw in (("control/0", b"2"), (KEY, b"1")):
        assert [line.raw for line in left.lines(key)] == [raw]
        left.done(key)
    assert [path for path in tmp_path.iterdir() if path != second.folder] == []
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_seen_without_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that another gateway removes as empty would take no record of its owner any more."""
    other = BufferFolder(tmp_path, IDS, spare_bytes=1_000)
    flock = fcntl.flock

    def interrupted(handle: int, how: int) -> None:
        if how == fcntl.LOCK_EX:  # the owner's own
            assert list(other.left_behind()) == []
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", interrupted)
    ours = BufferFolder(tmp_path, IDS, spare_bytes=1_000)
    assert ours.append(KEY, b"1", "main") == 1


def test_a_process_that_died_in_the_first_line_of_its_buffer_left_nothing(tmp_path: Path) -> None:
    """Found by the simulator: it was taken for a buffer of another log, and lay there for ever."""
    dead, ours = (BufferFolder(tmp_path, IDS, spare_bytes=1_000) for _ in range(2))
    (dead.folder / name_of(KEY, 1)).write_bytes(encoded(Line(0, "", b'"an id"'))[:20])
    dead.release()
    (left,) = ours.left_behind()
    assert left.partitions() == [KEY]
    assert list(left.lines(KEY)) == []
    left.done(KEY)
    assert [left.partitions() for left in ours.left_behind()] == [[]], "the torn bytes are kept"
    ours.close()


def test_a_buffer_of_another_log_or_a_damaged_one_is_never_thrown_away(tmp_path: Path) -> None:
    other = BufferFolder(tmp_path, {"trade.execution.res": "of another broker"})
    other.append(KEY, b"1", "main")
    other.close()
    ours = BufferFolder(tmp_path, IDS)
    assert [left.partitions() for left in ours.left_behind()] == [[]]
    assert good(read(other.folder, KEY)) == [b"1"]

    hurt = BufferFolder(tmp_path, IDS)
    for raw in (b"1", b"2", b"3"):
        hurt.append(KEY, raw, "main")
    hurt.close()
    (path,) = files_of(hurt.folder, KEY)
    path.write_bytes(path.read_bytes().replace(b'"value":2', b'"value":9'))
    (left,) = [left for left in ours.left_behind() if left.folder == hurt.folder]
    assert [line.raw for line in left.lines(KEY)] == [b"1", b"3"]
    left.done(KEY)
    assert [p.suffix for p in hurt.folder.glob("trade*")] == [".damaged"]
    ours.close()


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.integers(0, 2**40), st.text(max_size=20), RAW)
def test_a_line_survives_its_encoding(n: int, message_key: str, raw: bytes) -> None:
    line = Line(n, message_key.encode("utf-8", "replace").decode(), raw)
    assert decoded(encoded(line)) == line


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_a_line_or_refused(raw: bytes, summed: bool) -> None:
    if summed:  # a checksum that holds over what is no line
        raw = b'{"crc32":"%08x",%s' % (zlib.crc32(raw), raw)
    try:
        found = decoded(raw)
    except BufferLineError:
        return
    assert found.n >= 0
    assert found.raw


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_whatever_happens_to_a_file_no_line_is_lost_in_silence(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("buffer")
    raws = written(folder, 8, rotate_bytes=data.draw(st.sampled_from([200, 10_000])))
    path = data.draw(st.sampled_from(files_of(folder, KEY)))
    whole = path.read_bytes()
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, len(whole)))
    path.write_bytes(whole[:begin] + data.draw(st.binary(max_size=60)) + whole[end:])
    is_last = path == files_of(folder, KEY)[-1]
    torn = repair(path) if is_last else b""
    found = list(read(folder, KEY))
    kept = good(found)
    assert [raw for raw in raws if raw in kept] == kept, "in order, once, and none made up"
    lost = len(raws) - len(kept)
    tail = is_last and kept == raws[: len(kept)]  # cut off at the end, as a crash does
    assert lost == 0 or damage(found) or torn or tail
