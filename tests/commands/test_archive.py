"""Archives of a real broker: what comes out is what was in; a changed byte is found and named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from replay.archive import MANIFEST, ArchiveError, ArchiveLog, Manifest, check
from replay.archive_writing import ARCHIVED, archive
from replay.log import read_kafka
from replay.sources import DamagedLogError, KafkaLog, RawRecord, Topics, open_log
from schemas.topics import EVENT_TOPICS
from tests.commands.conftest import Quantum


class Earlier(KafkaLog):
    """The broker's log as it was when half of each partition was written."""

    def ends(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        return {key: end // 2 for key, end in super().ends(topics).items()}


@pytest.fixture(scope="module")
def whole(crash_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive written by two calls, in small segments."""
    folder = tmp_path_factory.mktemp("archive") / "kept"
    log = KafkaLog(crash_kafka)
    first = archive(Earlier(crash_kafka), folder, segment_rows=500)
    assert first.records == sum(Earlier(crash_kafka).ends(ARCHIVED).values())
    second = archive(log, folder, segment_rows=500)
    assert second.total_records == first.records + second.records
    assert second.total_records == sum(log.ends(ARCHIVED).values())
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_every_record_comes_out_as_the_broker_has_it(crash_kafka: str, whole: Path) -> None:
    def by_place(records: list[RawRecord]) -> list[RawRecord]:
        return sorted(records, key=lambda r: r[:3])

    kept = list(ArchiveLog(whole).raw())
    assert by_place(kept) == by_place(list(KafkaLog(crash_kafka).raw()))
    log = open_log(archive=whole)
    assert log.topic_ids()["market"] == KafkaLog(crash_kafka).topic_ids()["market"]
    assert log.ends() == KafkaLog(crash_kafka).ends()
    assert log.starts() == KafkaLog(crash_kafka).starts()


def test_an_archive_is_read_in_append_order_as_the_topics_are(
    crash_kafka: str, whole: Path
) -> None:
    assert list(open_log(archive=whole).read()) == list(read_kafka(crash_kafka))
    since = crash_log_time(crash_kafka)
    late = [r.place for r in open_log(archive=whole).read(["control", "market"], since=since)]
    assert late == [r.place for r in read_kafka(crash_kafka, ["control", "market"], since=since)]


def crash_log_time(bootstrap: str) -> int:
    return [r.timestamp_ms for r in read_kafka(bootstrap, ["market"])][1500]


def test_segments_are_chained_in_the_order_in_which_they_were_written(whole: Path) -> None:
    manifest = Manifest.load(whole)
    assert len([s for s in manifest.segments if s.key == "market/0"]) >= 4
    assert manifest.head == manifest.segments[-1].chain != ""
    assert check(whole) == []


def middle_byte(file: Path) -> None:
    """Change one byte of a file, in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_changed_byte_is_named_with_file_segment_and_offsets(copy: Path) -> None:
    segment = next(s for s in Manifest.load(copy).segments if s.key == "market/0" and s.first)
    middle_byte(copy / segment.file)
    wrong = check(copy)
    assert [each.file for each in wrong] == [segment.file]
    assert wrong[0].place == f"market/0/{segment.first}-{segment.next - 1}"
    assert "its bytes were altered" in str(wrong[0])
    with pytest.raises(DamagedLogError, match=segment.file):
        open_log(archive=copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    segment = Manifest.load(copy).segments[3]
    (copy / segment.file).unlink()
    assert [(e.file, "is missing" in str(e)) for e in check(copy)] == [(segment.file, True)]


def edited(folder: Path, change: Callable[[list[object]], object]) -> list[DamagedLogError]:
    """What a check says when someone changed the list of segments."""
    path = folder / MANIFEST
    content = json.loads(path.read_text())
    change(content["segments"])
    path.write_text(json.dumps(content))
    return check(folder)


def test_a_segment_taken_out_of_the_list_is_named(copy: Path) -> None:
    after = Manifest.load(copy).segments[3].file
    wrong = edited(copy, lambda segments: segments.pop(2))
    assert wrong[0].file == after
    assert "does not follow from the one before" in str(wrong[0])


def test_segments_taken_off_the_end_of_the_list_are_missed(copy: Path) -> None:
    wrong = edited(copy, lambda segments: segments.pop())
    assert wrong[-1].file == MANIFEST
    assert "entries at its end were removed" in str(wrong[-1])


def test_segments_in_another_order_are_named(copy: Path) -> None:
    moved = Manifest.load(copy).segments[2].file
    wrong = edited(copy, lambda segments: segments.insert(1, segments.pop(2)))
    assert wrong[0].file == moved


def test_an_entry_with_other_offsets_is_named(copy: Path) -> None:
    wrong = edited(copy, lambda segments: segments[-1].update(next=9))  # type: ignore[attr-defined]
    assert wrong[0].file == Manifest.load(copy).segments[-1].file


def test_another_log_is_not_appended_to_an_archive(crash_kafka: str, copy: Path) -> None:
    kept = Manifest.load(copy)
    kept.topics["market"]["id"] = "another"
    kept.save(copy)
    with pytest.raises((ArchiveError, DamagedLogError), match="market"):
        archive(KafkaLog(crash_kafka), copy)


def test_an_altered_list_of_topics_and_an_archive_of_before_its_digest(copy: Path) -> None:
    path = copy / MANIFEST
    content = json.loads(path.read_text())
    del content["topics_sha256"]
    path.write_text(json.dumps(content))
    assert check(copy) == [], "written before there was one"
    Manifest.load(copy).save(copy)
    path.write_text(path.read_text().replace('"partitions": 8', '"partitions": 4', 1))
    with pytest.raises(ArchiveError, match="its list of topics was altered"):
        Manifest.load(copy)


def test_a_folder_without_manifest_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"is no archive: it has no manifest\.json"):
        open_log(archive=tmp_path)


# ---------------------------------------------------------------------- the command line


def test_the_command_says_what_it_added_and_checks_what_it_wrote(
    quantum: Quantum, tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    done = quantum("archive", str(folder), "--json")
    assert done.exit_code == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["records"] == made["total_records"] > 3000
    again = json.loads(quantum("archive", str(folder), "--json").stdout)
    assert (again["records"], again["head"]) == (0, made["head"])
    checked = json.loads(quantum("archive", str(folder), "--check", "--json").stdout)
    assert (checked["damaged"], checked["records"]) == ([], made["records"])
    middle_byte(next((folder / "market" / "0").glob("*.parquet")))
    broken = quantum("archive", str(folder), "--check")
    assert broken.exit_code == 1
    assert "market/0/0-" in broken.stdout


def test_events_and_why_read_an_archive_like_the_running_system(
    quantum: Quantum, idle: Quantum, whole: Path
) -> None:
    events = idle("events", "--archive", str(whole), "--topic", "trade.order", "--json")
    assert events.exit_code == 0, events.stderr
    assert len(events.stdout.splitlines()) > 50
    wanted = json.loads(events.stdout.splitlines()[0])["id"]
    chain = json.loads(idle("why", wanted, "--archive", str(whole), "--json").stdout)
    assert chain["chain"][-1]["id"] == wanted
    misuse = idle("events", "--archive", str(whole), "--follow")
    assert misuse.exit_code == 2
    assert idle("events", "--archive", str(whole / "market")).exit_code == 2


def test_verify_finds_nothing_in_the_archive_and_names_a_damaged_file(
    idle: Quantum, copy: Path
) -> None:
    done = idle("verify", "--archive", str(copy), "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["decisions"] == found["identical"] == 350
    assert (found["different"], found["details"]) == (0, [])
    middle_byte(copy / Manifest.load(copy).segments[0].file)
    broken = idle("verify", "--archive", str(copy))
    assert broken.exit_code == 1
    assert Manifest.load(copy).segments[0].file in broken.stderr.replace("\n", "")
