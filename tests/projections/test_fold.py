"""Goal: rows depend on what each topic says, never on the order in which topics arrive.
Method: one trading day, folded whole, and folded with its topics interleaved in random ways."""

import random
from collections import defaultdict
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from projections.digest import columns, compare, fold_rows
from projections.fold import Fold
from projections.log import Cursor, absorb
from projections.reading import Partition
from projections.tables import FOLDED, KEYS, metadata
from schemas.codec import decode
from schemas.ids import natural_id
from schemas.topics import TOPICS
from tests.projections.builders import Log
from tests.projections.days import day
from tests.projections.publishing import Written


def day_with_deletions() -> Log:
    """Deleted: a closed trade, an open one (twice), and one that nobody ever opened."""
    log = day(2)
    for account, close in (("main", True), ("hot", False)):
        trade = log.trade(account, close=close)
        log.later()
        log.delete(account, trade)
    log.delete("hot", trade, "for another reason")
    log.delete("main", natural_id("no trade"))
    return log


MESSAGES = day_with_deletions().messages


def folded(messages: list[Written]) -> tuple[Fold, dict[Partition, Cursor]]:
    fold = Fold()
    cursors: dict[Partition, Cursor] = {}
    for m in messages:
        cursor = cursors.setdefault((m.topic, m.partition), Cursor(m.topic, m.partition))
        absorb(fold, cursor, cursor.next_offset, m.value)
        assert cursor.stopped is None
    return fold, cursors


def shuffled(seed: int) -> list[Written]:
    """The same partitions, each in its order, interleaved at random."""
    lines: dict[Partition, list[Written]] = defaultdict(list)
    for m in MESSAGES:
        lines[m.topic, m.partition].append(m)
    order = [key for key, line in lines.items() for _ in line]
    random.Random(seed).shuffle(order)
    places = {key: iter(line) for key, line in lines.items()}
    return [next(places[key]) for key in order]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_the_order_in_which_topics_arrive_does_not_matter(seed: int) -> None:
    one, other = fold_rows(*folded(MESSAGES)), fold_rows(*folded(shuffled(seed)))
    assert compare(one, other, ("in order", "shuffled")) == []


def test_every_column_is_fed_by_the_one_topic_its_table_says() -> None:
    fed: dict[tuple[str, str], set[str]] = defaultdict(set)
    for m in MESSAGES:
        event = decode(m.value)
        fold = Fold()
        fold.fold(m.topic, event)
        for name, rows in {**fold.states, **fold.appends}.items():
            for row in rows.values():
                for column in row:
                    fed[name, column].add(m.topic)
    for (table, column), topics in fed.items():
        assert topics == {metadata.tables[table].columns[column].info["fed"]}, (table, column)
    assert {table for table, _ in fed} == {table.name for table in FOLDED}


def test_a_comparison_names_table_and_key_of_what_differs() -> None:
    fold, cursors = folded(MESSAGES)
    changed, _ = folded(MESSAGES)
    key = next(iter(changed.states["trades"]))
    changed.states["trades"][key]["net"] = Decimal(99)
    lines = compare(fold_rows(fold, cursors), fold_rows(changed, cursors), ("live", "rebuilt"))
    assert len(lines) == 1
    assert lines[0].startswith(f"trades {key[0]}: net ")
    del changed.appends["fills"][next(iter(changed.appends["fills"]))]
    lines = compare(fold_rows(fold, cursors), fold_rows(changed, cursors), ("live", "rebuilt"))
    assert sum("only in live" in line for line in lines) == 1


def test_a_fill_that_is_reported_twice_counts_once() -> None:
    log = Log()
    order = log.order("main", "BUY", "entry")
    fill = log.filled(order, "BUY", "40000.1")
    log.reported("main", fill)
    log.reported("main", fill, log.ended(order))
    fold, _ = folded(log.messages)
    row = fold.states["orders"][order,]
    assert row["filled_quantity"] == Decimal("0.02")
    assert row["filled_cost"] == Decimal("800.002")
    assert len(fold.appends["fills"]) == 1


def test_a_closed_trade_keeps_its_end_when_the_flat_position_follows() -> None:
    log = Log()
    identity = log.trade("main")
    fold, _ = folded(log.messages)
    row = fold.states["trades"][identity,]
    assert row["closed_at"] is not None
    assert row["quantity"] == Decimal("0.02")
    assert row["open_quantity"] == 0
    assert row["net"] == Decimal("1.247")


def test_a_deletion_says_who_when_and_why_and_leaves_the_figures_of_the_trade() -> None:
    log = Log()
    identity = log.trade("main")
    before, _ = folded(log.messages)
    log.later(5)
    log.delete("main", identity)
    after, _ = folded(log.messages)
    assert after.states["trades"][identity,] == {
        **before.states["trades"][identity,],
        "deleted_at": log.time,
        "deleted_by": "ana",
        "deleted_reason": "a drill",
    }


def test_of_two_deletions_of_a_trade_the_later_one_is_shown() -> None:
    log = Log()
    identity = log.trade("main")
    log.delete("main", identity)
    log.delete("main", identity, "for another reason")
    fold, _ = folded(log.messages)
    assert fold.states["trades"][identity,]["deleted_reason"] == "for another reason"


def test_sums_keep_every_digit() -> None:
    log = Log()
    order = log.order("main", "BUY", "entry")
    tiny, huge = "0." + "0" * 38 + "1", "9" * 39
    log.reported("main", log.filled(order, "BUY", "1", tiny, 0))
    log.reported("main", log.filled(order, "BUY", "1", huge, 1))
    fold, _ = folded(log.messages)
    total = format(fold.states["orders"][order,]["filled_quantity"], "f")
    assert total == huge + tiny[1:]


def test_every_compared_table_is_compared_by_its_key() -> None:
    for table in metadata.tables:
        if table != "projector":
            assert set(KEYS[table]) <= set(columns(table))


def test_all_topics_that_feed_a_column_exist() -> None:
    for table in metadata.tables.values():
        assert {c.info["fed"] for c in table.columns if c.info.get("fed")} <= set(TOPICS)
