"""Fences, zombies and gaps: which records of a partition count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.sources import CheckpointData, FencedData, SourceCheckpointed, SourceFenced
from schemas.validity import SequenceGap, Validity

SOURCE = "/risk/3"


def test_nothing_counts_before_the_first_fence() -> None:
    validity = Validity()
    with pytest.raises(SequenceGap, match="without its fence"):
        validity.admit_head(SOURCE, 1, 1, False)


def test_the_next_sequence_of_the_fenced_epoch_counts_once() -> None:
    validity = Validity()
    assert not validity.admit_head(SOURCE, 1, None, True)
    assert validity.admit_head(SOURCE, 1, 1, False)
    assert not validity.admit_head(SOURCE, 1, 1, False)
    assert validity.admit_head(SOURCE, 1, 2, False)
    assert (validity.epoch(SOURCE), validity.sequence(SOURCE)) == (1, 2)


def test_a_zombie_s_records_are_dropped_after_the_fence_of_another() -> None:
    validity = Validity()
    validity.admit_head(SOURCE, 1, None, True)
    validity.admit_head(SOURCE, 1, 1, False)
    validity.admit_head(SOURCE, 2, None, True)
    assert not validity.admit_head(SOURCE, 1, 2, False)
    assert validity.admit_head(SOURCE, 2, 2, False)


def test_an_equal_or_older_fence_changes_nothing() -> None:
    validity = Validity({SOURCE: (5, 7)})
    assert not validity.admit_head(SOURCE, 5, None, True)
    assert not validity.admit_head(SOURCE, 4, None, True)
    assert validity.admit_head(SOURCE, 5, 8, False)


def test_a_gap_stops_the_partition_and_says_where() -> None:
    validity = Validity({SOURCE: (1, 4)})
    with pytest.raises(SequenceGap, match=r"/risk/3 jumped from sequence 4 to 6 in epoch 1"):
        validity.admit_head(SOURCE, 1, 6, False)
    assert validity.sequence(SOURCE) == 4


def test_outside_events_count_always() -> None:
    assert Validity().admit_head("/feed", None, None, False)


def test_sources_of_one_partition_do_not_disturb_each_other() -> None:
    validity = Validity({"/control/0": (1, 9), "/safety/0": (3, 2)})
    assert validity.admit_head("/safety/0", 3, 3, False)
    assert validity.admit_head("/control/0", 1, 10, False)


def test_events_are_admitted_by_their_envelope() -> None:
    validity = Validity()
    about = FencedData(build="b", configuration="c", topic_ids={})
    assert not validity.admit(SourceFenced.opening(SOURCE, 1, about))
    record = SourceCheckpointed(
        id="00000000-0000-5000-8000-000000000000", source=SOURCE, subject="risk",
        time="2021-05-19T12:58:00.000000Z", partitionkey="risk", sequence=1, epoch=1,
        basis={}, data=CheckpointData(digest="d"),
    )  # fmt: skip
    assert validity.admit(record)
    assert not validity.admit(record)


@given(st.lists(st.sampled_from(["fence", "write", "zombie", "again"]), max_size=40))
def test_what_counts_is_what_the_owner_of_the_latest_fence_wrote(steps: list[str]) -> None:
    """Naive model: writers that take over from each other, each going on where the log stands."""
    validity, epoch, wrote, counted = Validity(), 0, 0, 0
    for step in steps:
        if step == "fence":
            epoch += 1
            assert not validity.admit_head(SOURCE, epoch, None, True)
        elif not epoch:
            continue
        elif step == "write":
            wrote += 1
            counted += validity.admit_head(SOURCE, epoch, wrote, False)
        elif step == "zombie":
            assert not validity.admit_head(SOURCE, epoch - 1, wrote + 1, False)
        elif wrote:
            assert not validity.admit_head(SOURCE, epoch, wrote, False)
    assert counted == wrote == validity.sequence(SOURCE)
