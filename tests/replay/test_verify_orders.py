"""Orders in which a source may have folded its inputs: any but those that the records rule out."""

from collections.abc import Iterator
from itertools import product
from typing import Any, cast

import orjson

from replay.sources import RawRecord
from replay.spool import Spool
from replay.verify_judge import vectors

A, B, C = "a/0", "b/0", "c/0"


def record(key: str, offset: int, at: int, **more: Any) -> RawRecord:
    """A record of an input, with the event time 00:00:`at`."""
    body = {"id": f"{key}{offset}", "type": "t", "source": "/s", "partitionkey": "main",
            "time": f"2021-05-19T00:00:{at:02}.000000Z", **more, "data": {}}  # fmt: skip
    topic, _, number = key.rpartition("/")
    return RawRecord(topic, int(number), offset, 0, b"main", orjson.dumps(body))


class Records:
    """What is asked of a spool."""

    def __init__(self, *records: RawRecord) -> None:
        self.records = records

    def records_of(self, key: str) -> Iterator[RawRecord]:
        return (r for r in self.records if f"{r.topic}/{r.partition}" == key)


def tried(*records: RawRecord, high: dict[str, int]) -> list[tuple[int, ...]]:
    """Vectors from zero up to `high` for a cause at second 5, in the order of A, B and C."""
    low = dict.fromkeys(high, 0)
    found = vectors(cast("Spool", Records(*records)), low, high, "2021-05-19T00:00:05.000000Z")
    return [tuple(each[key] for key in high) for each in found]


def test_inputs_are_read_up_to_the_time_of_the_cause_and_each_to_its_end_first() -> None:
    records = [record(key, n, at) for key in (A, B, C) for n, at in enumerate((4, 5, 6))]
    found = tried(*records, high={A: 3, B: 3, C: 3})
    assert found[:2] == [(2, 2, 2), (1, 1, 1)]
    ends = list(product((0, 3), repeat=3))
    assert set(found[2:10]) == set(ends)


def test_then_every_place_of_each_input_is_tried_with_every_place_of_the_others() -> None:
    """Seed 1018 of the simulator: results had come late, and control not to its end."""
    records = [record(key, n, 4) for key in (A, B, C) for n in range(3)]
    found = tried(*records, high={A: 3, B: 3, C: 3})
    assert sorted(found) == sorted(product(range(4), repeat=3))


def test_no_record_is_read_before_what_it_was_based_on() -> None:
    """Seed 211 of the simulator: results before the market, but not before their orders."""
    records = [record(A, 0, 9), record(B, 0, 9, basis={A: 1}), record(C, 0, 9, after={B: 1})]
    assert set(tried(*records, high={A: 1, B: 1, C: 1})) == {
        (0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1),
    }  # fmt: skip


def test_what_an_altered_record_says_of_its_basis_leads_nowhere() -> None:
    for floor in ({B: 10**9}, {B: "x"}, [1], {B: None}):
        for name in ("basis", "after"):
            records = [record(A, 0, 9, **{name: floor}), record(B, 0, 9)]
            assert all(max(each) <= 1 for each in tried(*records, high={A: 1, B: 1}))
