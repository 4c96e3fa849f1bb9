"""The halt file: whatever stands there halts, and nothing that stands there stops the gateway."""

import errno
import json
import os
import re
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.halt_file import MODES, HaltFile, HaltMode, parse
from schemas.halting import HaltNotedData
from streams.halting import noted

WHO = {"operator": "ann", "reason": "odd fills", "at": "2026-11-21T18:00:00Z"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def file(tmp_path: Path) -> HaltFile:
    return HaltFile.of(tmp_path)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_written_is_in_force_for_every_reader_until_it_is_lifted(
    file: HaltFile, mode: HaltMode
) -> None:
    other = HaltFile(file.path)
    assert other.look() is None
    written = file.write(mode, **WHO)
    assert other.look() == written
    assert (written.mode, written.operator, written.defect) == (mode, "ann", "")
    assert other.lift() == written
    assert file.look() is None
    assert file.lift() is None, "there was none"


@pytest.mark.parametrize("error", [errno.EROFS, errno.ENOTDIR, errno.EACCES])
def test_only_a_file_that_is_there_is_a_halt_that_cannot_be_lifted(
    file: HaltFile, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        assert file.lift() is None, "there is no file, whatever its removal says"
    written = file.write("all", **WHO)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        with pytest.raises(OSError, match=re.escape(os.strerror(error))):
            file.lift()
    assert file.look() == written


def test_a_later_halt_takes_the_place_of_the_one_before_at_the_next_look(file: HaltFile) -> None:
    seen = [file.write(mode, **WHO).key for mode in MODES]
    assert len(set(seen)) == len(MODES)
    found = file.look()
    assert found is not None
    assert found.mode == MODES[-1]
    assert list(file.path.parent.iterdir()) == [file.path], "no file aside is left"


def test_a_halt_changed_in_place_without_a_new_size_is_seen_at_once(file: HaltFile) -> None:
    for mode in ("none", "ally", "all"):  # as a person with an editor may do within a millisecond
        file.path.write_text(json.dumps({"mode": mode}).ljust(30))
        found = file.look()
        assert found is not None
        assert found.mode == ("all" if mode == "all" else "entries")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b'{"mode": "entr', "it is no JSON"),
        (b"[1]", "it is no JSON object"),
        (b'{"mode": "al"}', "mode 'al' is none of entries, all, flatten"),
        (b'{"mode": ["all"]}', "is none of entries, all, flatten"),
        (b"{}" + b" " * 70_000, "more than 65,536 bytes"),
        (b"[" * 60_000, "it is no JSON"),
    ],
)
def test_a_file_that_cannot_be_taken_halts_entries_and_says_why(
    file: HaltFile, content: bytes, why: str
) -> None:
    file.path.write_bytes(content)
    found = file.look()
    assert found is not None
    assert found.mode == "entries"
    assert why in found.defect
    assert why in found.sentence()


def test_what_is_no_file_halts_and_nobody_waits_for_it(file: HaltFile) -> None:
    def defect() -> str:
        found = file.look()
        assert found is not None
        return found.defect

    os.mkfifo(file.path)
    assert "no regular file" in defect()
    file.path.unlink()
    file.path.mkdir()
    assert "no regular file" in defect()
    file.path.rmdir()
    file.path.symlink_to("nowhere")
    assert "cannot be read" in defect()
    file.path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(file.path))
    assert "no regular file" in defect()
    file.path.unlink()
    assert file.look() is None
    file.path.parent.rmdir()
    assert "is not there" in defect(), "a data folder that was taken away says nothing of a halt"


def test_a_good_file_by_hand_needs_a_mode_only(file: HaltFile) -> None:
    file.path.write_text('{"mode": "all"}')
    found = file.look()
    assert found is not None
    assert (found.mode, found.operator, found.defect) == ("all", "unknown", "")
    assert found.key, "the same halt is told once"


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_file_holds_is_a_halt_that_can_be_told(content: bytes) -> None:
    halt = parse(content, 0)
    assert halt.mode in MODES
    assert len(halt.sentence()) <= 450
    assert halt.sentence().isprintable()
    assert noted(halt, "set", "gateway", "2021-05-19T12:00:00.000000Z").data.mode == halt.mode


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(MODES),
    st.fixed_dictionaries(dict.fromkeys(("operator", "reason", "at", "key"), JSON)),
    st.integers(0, 400),
)
def test_words_of_any_kind_are_made_fit_for_a_record_and_half_a_file_still_halts(
    mode: HaltMode, words: dict[str, object], cut: int
) -> None:
    content = json.dumps({"mode": mode, **words}).encode()
    whole = parse(content, 0)
    assert (whole.mode, whole.defect) == (mode, "")
    data = noted(whole, "set", "gateway", "2021-05-19T12:00:00.000000Z").data
    assert HaltNotedData.model_validate_json(data.model_dump_json()) == data
    half = parse(content[: min(cut, len(content) - 1)], 0)
    assert half.mode == "entries"
    assert half.defect


def test_whatever_the_words_a_halt_that_is_written_is_in_force_as_it_was_meant(
    tmp_path: Path,
) -> None:
    file = HaltFile.of(tmp_path)
    for words in ("\udcff", "x" * 100_000, "\x1b[2J\n", ""):
        written = file.write("flatten", operator=words, reason=words, at="2026-11-22T05:00:00Z")
        found = HaltFile.of(tmp_path).look()
        assert found is not None
        assert (written.mode, found.mode, found.defect) == ("flatten", "flatten", "")
