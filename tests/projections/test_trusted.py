"""Goal: trusted bytes fold as models do. Method: the same messages both ways, rows compared:
golden samples, the log of a run, generated records with every optional field, damaged messages."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from projections.fold import Fold
from projections.log import Cursor, absorb
from projections.reading import Partition
from projections.tables import FOLDED, KEYS, STORED
from projections.text_rows import COLUMNS, STATES, field
from projections.trusted import DistrustError, TrustedFold
from projections.trusted_items import SHAPES
from schemas import positions, trade
from schemas.codec import BYTES_MAX, encode
from schemas.heads import HEAD
from schemas.ids import natural_id
from schemas.reasons import EntryReason
from schemas.topics import EVENT_TOPICS, EXECUTION_RES, ORDER, POSITION_UPDATE, TOPICS
from tests.crash_hours import crash_log
from tests.projections.builders import Log
from tests.projections.days import day
from tests.projections.publishing import Written
from tests.projections.test_fold import day_with_deletions

GOLDEN = Path(__file__).parents[2] / "schemas" / "golden"
JSONS = {"failures", "limits", "figures", "plan", "marks", "steps", "before", "after", "policy",
         "origins"}  # fmt: skip
Rows = dict[str, dict[tuple[str, ...], tuple[Any, ...]]]


def shown(table: str, column: str, text: str) -> Any:
    if column in JSONS and text != "\\N":
        return orjson.loads(text.replace("\\\\", "\\"))
    return text


def by_key(table: str, lines: Iterable[str]) -> dict[tuple[str, ...], tuple[Any, ...]]:
    found = {}
    for line in lines:
        values = line.split("\t")
        assert len(values) == len(COLUMNS[table]), line
        key = tuple(values[: len(KEYS[table])])
        assert key not in found, f"{table} {key} stands twice"
        found[key] = tuple(shown(table, c, v) for c, v in zip(COLUMNS[table], values, strict=True))
    return found


def checked_way(messages: Iterable[Written]) -> tuple[Rows, dict[Partition, Cursor]]:
    fold, cursors = Fold(), dict[Partition, Cursor]()
    for m in messages:
        cursor = cursors.setdefault((m.topic, m.partition), Cursor(m.topic, m.partition))
        absorb(fold, cursor, cursor.next_offset, m.value)
    rows = {
        name: by_key(name, ["\t".join(map(field, row)) for row in fold.rows(name)])
        for name in ("events", *(t.name for t in FOLDED))
    }
    return rows, cursors


def trusted_way(messages: Iterable[Written]) -> tuple[Rows, dict[Partition, Cursor], TrustedFold]:
    fold, cursors = TrustedFold(), dict[Partition, Cursor]()
    for m in messages:
        cursor = cursors.setdefault((m.topic, m.partition), Cursor(m.topic, m.partition))
        fold.absorb(cursor, cursor.next_offset, m.value)
    fold.rows.settle()
    rows = {name: by_key(name, fold.rows.drain(name).decode().split("\n")[:-1]) for name in COLUMNS}
    for table, change in fold.rows.late:  # control's part of rows that others feed, too
        values = orjson.loads(change)
        key = tuple(values[name] for name in KEYS[table])
        default = ["\\N" if c != "steps" else [] for c in COLUMNS[table]]
        row = list(rows[table].get(key, default))
        for name, value in values.items():
            row[COLUMNS[table].index(name)] = field(value)
        rows[table][key] = tuple(row)
    return rows, cursors, fold


def assert_same(messages: list[Written]) -> TrustedFold:
    wanted, places = checked_way(messages)
    found, cursors, fold = trusted_way(messages)
    assert {k: (c.next_offset, c.events, c.undecodable, c.stopped, c.validity.sources)
            for k, c in cursors.items()} == {
        k: (c.next_offset, c.events, c.undecodable, c.stopped, c.validity.sources)
        for k, c in places.items()
    }  # fmt: skip
    for table, rows in wanted.items():
        assert found[table] == rows, table
    return fold


def golden() -> list[Written]:
    """Every golden sample on every topic, first as it is, then as a fence would let it in."""
    messages = []
    for path in sorted(GOLDEN.glob("*.json")):
        raw = path.read_bytes().rstrip(b"\n")
        messages += [Written(topic.name, 0, b"k", raw) for topic in EVENT_TOPICS]
    return messages


def test_the_columns_are_those_of_the_tables() -> None:
    assert {name: STORED[name] for name in COLUMNS} == COLUMNS
    states = {t.name for t in FOLDED if not t.info["append"]}
    assert set(STATES) == states
    assert set(COLUMNS) == {"events", *(t.name for t in FOLDED)}


def test_the_shapes_are_those_of_the_models() -> None:
    models: list[type[BaseModel]] = [
        trade.Order, trade.Cancel, trade.Dropped, trade.Declined, trade.Accepted, trade.Unknown,
        trade.Funded, trade.Filled, trade.Transferred, trade.Ended,
        positions.PositionItem, positions.OrderEndItem, positions.TradeClosedItem,
        positions.EquityItem,
    ]  # fmt: skip
    found = {
        model.model_fields["kind"].default: tuple(
            name if f.default is not None or name == "kind" else f"{name}?"
            for name, f in model.model_fields.items()
        )
        for model in models
    }
    assert found == SHAPES


def test_golden_samples_fold_alike_on_whatever_topic_they_stand() -> None:
    for message in golden():
        assert_same([message])
        fenced = Log()
        source = HEAD.match(message.value)
        if source is not None and source[8] is not None:
            processor = source[3].decode().split("/")[1]
            partition = int(source[3].decode().rpartition("/")[2])
            fenced.fence(processor, TOPICS[message.topic], partition)
            first = message.value.replace(b'"sequence":%s,' % (source[7] or b"0"), b'"sequence":1,')
            fenced.messages.append(Written(message.topic, partition, b"k", first))
            assert_same(fenced.messages)


def test_the_log_of_a_run_folds_alike_and_nearly_all_of_it_without_models() -> None:
    messages = [
        Written(stored.key.rpartition("/")[0], int(stored.key.rpartition("/")[2]), b"k",
                encode(stored.event))
        for stored in crash_log()
    ]  # fmt: skip
    fold = assert_same(messages)
    assert fold.checked < len(messages) / 50


def test_days_of_every_story_fold_alike() -> None:
    assert_same(day_with_deletions().messages)
    assert_same(day(2).messages)


ID = st.uuids().map(str)
NUMBER = st.decimals(0, 10**9, allow_nan=False, places=8).map(lambda d: format(d, "f"))
POSITIVE = NUMBER.map(lambda n: n if Decimal(n) else "0.00000001")
SIGNED = st.builds(lambda n, minus: f"-{n}" if minus and Decimal(n) else n, NUMBER, st.booleans())
TIME = st.datetimes().map(
    lambda t: t.replace(year=1000 + t.year % 9000).isoformat(timespec="microseconds") + "Z"
)
LINE = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PLAIN = st.one_of(st.just("a plain line"), LINE)
SYMBOL = st.sampled_from(("BTCUSDT", "ETHUSDT"))
SIDE = st.sampled_from(("BUY", "SELL"))
CLIENT = st.from_regex(r"\A[.A-Z:/a-z0-9_-]{1,36}\Z")
FEW = st.sampled_from([natural_id("few", str(n)) for n in range(4)])


def maybe(strategy: Any) -> Any:
    return st.one_of(st.none(), strategy)


ORDERS = st.one_of(
    st.builds(
        trade.Order, id=FEW, client_order_id=CLIENT, symbol=SYMBOL, side=SIDE,
        order_type=st.sampled_from(("MARKET", "LIMIT", "STOP_MARKET")),
        time_in_force=st.just("GTC"), quantity=POSITIVE, limit_price=maybe(POSITIVE),
        trigger_price=maybe(POSITIVE), reduce_only=st.booleans(), close_position=st.booleans(),
        leverage=maybe(st.integers(1, 125)), purpose=st.sampled_from(("entry", "stop")),
        owner_id=maybe(ID), request_id=maybe(ID), instruction_id=maybe(ID), approved_at=TIME,
        approval_stale_s=st.integers(0, 60), replaces=maybe(ID), regime=maybe(st.just("NORMAL")),
        policy_version=st.integers(0, 9), note=maybe(PLAIN),
    ),
    st.builds(trade.Cancel, id=ID, order_id=FEW, client_order_id=CLIENT, symbol=SYMBOL,
              why=st.just("orphan"), instruction_id=maybe(ID)),
    st.builds(trade.Declined, id=ID, instruction_id=ID, symbol=SYMBOL, why=st.just("NO_POLICY")),
    st.builds(trade.Dropped, id=ID, request_id=ID, symbol=SYMBOL, why=st.just("STALE")),
    st.builds(trade.EmergencyStep, id=ID, emergency_id=FEW, step=st.integers(1, 5),
              name=st.just("block"), attempt=st.integers(0, 3)),
    st.builds(trade.Flat, id=ID, emergency_id=FEW),
)  # fmt: skip
REPORTS = st.one_of(
    st.builds(trade.Accepted, id=ID, order_id=FEW, client_order_id=CLIENT, symbol=SYMBOL),
    st.builds(
        trade.Filled, id=st.one_of(ID, FEW), order_id=maybe(FEW), client_order_id=maybe(CLIENT),
        symbol=SYMBOL, side=SIDE, trade_id=PLAIN, quantity=POSITIVE, price=POSITIVE, fee=SIGNED,
        fee_asset=st.just("USDT"), liquidity=st.just("maker"), reference=POSITIVE, filled_at=TIME,
        rule=PLAIN,
    ),
    st.builds(trade.Ended, id=ID, order_id=FEW, client_order_id=CLIENT, symbol=SYMBOL,
              status=st.sampled_from(("FILLED", "REJECTED")), filled_quantity=NUMBER,
              why=maybe(PLAIN)),
    st.builds(trade.Unknown, id=ID, order_id=FEW, client_order_id=CLIENT, symbol=SYMBOL,
              attempt=st.integers(0, 3)),
    st.builds(trade.Transferred, id=ID, transfer_id=PLAIN, amount=SIGNED, asset=st.just("USDT")),
    st.builds(trade.Funded, id=ID, symbol=SYMBOL, amount=SIGNED, quantity=SIGNED, mark=POSITIVE,
              rate=SIGNED),
)  # fmt: skip
UPDATES = st.one_of(
    st.builds(
        positions.PositionItem, id=ID, symbol=SYMBOL, trade_id=FEW, quantity=SIGNED, cost=SIGNED,
        average_entry=maybe(POSITIVE), realised=SIGNED, fees=SIGNED, funding=SIGNED,
        opened_at=TIME, entry_at=TIME,
    ),
    st.builds(positions.OrderEndItem, id=ID, order_id=FEW, symbol=SYMBOL,
              status=st.just("CANCELED"), filled_quantity=NUMBER),
    st.builds(
        positions.TradeClosedItem, id=ID, trade_id=FEW, symbol=SYMBOL, side=SIDE,
        quantity_max=POSITIVE, entry_average=POSITIVE, exit_average=POSITIVE, realised=SIGNED,
        fees=SIGNED, funding=SIGNED, net=SIGNED, opened_at=TIME, closed_at=TIME,
        exit_order_id=maybe(ID),
    ),
    st.builds(
        positions.EquityItem, id=ID, transfers=SIGNED, realised=SIGNED, fees=SIGNED,
        funding=SIGNED, unrealised=SIGNED, equity=SIGNED, gross=NUMBER,
        marks=st.dictionaries(SYMBOL, POSITIVE),
    ),
)  # fmt: skip
FAILURE = st.builds(
    trade.Failure, code=st.sampled_from(list(EntryReason)), sentence=PLAIN, value=maybe(PLAIN),
    limit=maybe(PLAIN), shortfall=maybe(PLAIN),
)  # fmt: skip
LIMIT = st.builds(trade.Limit, name=PLAIN, value=PLAIN, policy_version=maybe(st.integers(0, 9)))
PLAN = st.builds(
    trade.Plan, quantity=POSITIVE, order_type=st.just("LIMIT"), limit_price=maybe(POSITIVE),
    stop_price=maybe(POSITIVE), target_price=maybe(POSITIVE), leverage=st.integers(1, 125),
    stop_distance=maybe(POSITIVE), risk_usdt=NUMBER, regime=st.just("NORMAL"),
)  # fmt: skip
VERDICTS = st.builds(
    trade.Verdict, id=st.one_of(ID, FEW), request_id=ID, symbol=SYMBOL, side=SIDE,
    kind=st.sampled_from(("entry", "exit")), verdict=st.sampled_from(("approved", "rejected")),
    reason=maybe(st.sampled_from(list(EntryReason))),
    failures=st.lists(FAILURE, max_size=3).map(tuple),
    limits=st.lists(LIMIT, max_size=3).map(tuple),
    figures=st.dictionaries(st.sampled_from(("a", "plan", "limits", "origin")), PLAIN),
    plan=maybe(PLAN), origin=st.just("baseline"), confidence=st.just("0.7"), label=maybe(PLAIN),
    policy_version=st.integers(0, 9),
)  # fmt: skip
RECORDS = st.one_of(
    st.tuples(st.just("decided"), st.lists(ORDERS, max_size=3)),
    st.tuples(st.just("reported"), st.lists(REPORTS, max_size=3)),
    st.tuples(st.just("updated"), st.lists(UPDATES, max_size=3)),
    st.tuples(st.just("judged"), st.lists(VERDICTS, max_size=3)),
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(RECORDS, max_size=6))
def test_generated_records_of_workers_fold_alike(records: list[tuple[str, list[Any]]]) -> None:
    log = Log()
    for name, items in records:
        log.later()
        if name == "judged":
            log.judged("main", *items)
        else:
            getattr(log, name)("main", *items)
    assert_same(log.messages)


OUTSIDE = [m for m in day(1).messages if b'"epoch"' not in m.value] + [
    Written(stored.key.rpartition("/")[0], int(stored.key.rpartition("/")[2]), b"k",
            encode(stored.event))
    for stored in crash_log()[::37]
    if stored.event.epoch is None
]  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(OUTSIDE), st.integers(0, 10_000), st.binary(max_size=2), st.integers(0, 2))
@example(OUTSIDE[0], 0, b"", 0)
def test_damaged_bytes_that_no_worker_wrote_are_taken_or_refused_alike(
    message: Written, at: int, put: bytes, cut: int
) -> None:
    at %= len(message.value)
    value = message.value[:at] + put + message.value[at + cut :]
    assert_same([Written(message.topic, message.partition, message.key, value)])


@pytest.mark.parametrize(
    ("found", "put"),
    [
        (b'"point":0', b'"point":6'), (b'"point":0', b'"point":00'), (b"40000", b"040000"),
        (b"40000", b"0"), (b"40000", b"0." + b"0" * 39 + b"1"), (b"40000", b"4e4"),
        (b"2021-05-19", b"2021-02-30"), (b"2021-05-19", b"0000-05-19"),
        (b'"market"', b'"ma rket"'), (b"T11", b"T24"), (b'"items":[', b'"items":[,'),
    ],
)  # fmt: skip
def test_market_bytes_at_the_edge_of_the_schema_are_taken_or_refused_alike(
    found: bytes, put: bytes
) -> None:
    log = Log()
    log.tick()
    for m in log.messages:
        assert_same([Written(m.topic, m.partition, m.key, m.value.replace(found, put))])


def test_what_is_no_record_is_indexed_alike() -> None:
    junk = [None, b"", b"{}", b"\xff\xfe", b"x" * (BYTES_MAX + 1), b'{"specversion":"1.0"}', b"[1]"]
    assert_same([Written(ORDER.name, 0, b"", value) for value in junk])  # type: ignore[arg-type]


def test_zombies_gaps_and_repeated_fills_are_taken_alike() -> None:
    log = Log()
    order = log.order("main", "BUY", "entry")
    fill = log.filled(order, "BUY", "40000.1")
    log.reported("main", fill)
    log.reported("main", fill, log.ended(order))
    partition = log.messages[-1].partition
    log.fence("execution", ORDER, partition)
    zombie = Log()
    zombie.order("main", "SELL", "entry")
    log.messages += [m for m in zombie.messages[1:] if m.topic == ORDER.name]
    log.order("main", "BUY", "entry")
    last = log.messages[-1]
    jumped = last.value.replace(b'"sequence":2', b'"sequence":9')
    assert jumped != last.value
    log.write(ORDER, "main", jumped, last.partition)
    log.order("main", "BUY", "entry")
    fold = assert_same(log.messages)
    assert fold.checked == 0


def test_a_workers_record_that_holds_something_else_is_not_guessed_at() -> None:
    log = Log()
    log.reported("main", log.filled(log.order("main", "BUY", "entry"), "BUY", "40000.1"))
    raw = log.messages[-1].value.replace(b'"price":"40000.1"', b'"price":"nothing"')
    log.messages[-1] = Written(EXECUTION_RES.name, log.messages[-1].partition, b"main", raw)
    with pytest.raises(DistrustError):
        trusted_way(log.messages)


def test_items_of_another_topic_are_left_to_the_models() -> None:
    log = Log()
    log.updated("main", log.equity())
    raw = log.messages[-1].value.replace(b'"kind":"equity"', b'"kind":"filled"')
    log.messages[-1] = Written(POSITION_UPDATE.name, log.messages[-1].partition, b"main", raw)
    assert assert_same(log.messages).checked == 1
