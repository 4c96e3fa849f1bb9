"""States as JSON and back: the same digest and the same further run, for every decider."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import orjson
import pytest

from commands.demo import MARKET as FILES
from domain.source import Source
from gateways.candles import read_candles
from gateways.feed_records import fed_records
from gateways.probes import demo_script
from replay.engine import Engine
from schemas.instruments import load_instruments
from schemas.trade import Ended
from streams.snapshots import packed, state_version, unpack
from streams.state_form import FormError, form_of, shape

FROM = datetime(2021, 5, 19, 11, tzinfo=UTC)
TO = FROM + timedelta(hours=3)
ACCOUNTS = ("main", "hot", "probe")
EVERY = 40


def crash_hours(swap: bool) -> tuple[list[bytes], int]:
    """The hours around the crash, all deciders; with `swap` each source is replaced, again and
    again, by one made from its own snapshot. What was written, and how often that was done."""
    files = [read_candles(FILES / f"{s}-1m-20210516-20210522.parquet") for s in ("BTCUSDT",)]
    records = fed_records(
        files,
        start=FROM,
        end=TO,
        warm_up_start=FROM - timedelta(hours=6),
        instruments=load_instruments("BTCUSDT"),
        funding=[],
        script=demo_script(files, start=FROM, end=TO),
    )
    engine = Engine(ACCOUNTS)
    swaps = 0
    for number, (topic, event) in enumerate(records):
        engine.feed(topic, event)
        if swap and number % EVERY == 0:
            for source in engine.sources:
                _swap(source)
                swaps += 1
            _share(engine.sources)
    return [stored.event.model_dump_json().encode() for stored in engine.log.order], swaps


def _swap(source: Source) -> None:
    fresh = Source(source.decider, source.partition, 8)
    state = orjson.loads(orjson.dumps(packed(source)))
    unpack(fresh, state)
    fresh.epoch = source.epoch
    assert fresh.digest() == source.digest(), source.name
    assert packed(fresh) == state, source.name
    assert state_version(fresh) == state_version(source)
    source.remember(fresh.memory(), fresh.slices_by_key())


def _share(sources: list[Source]) -> None:
    """As the engine does when it starts: one slice of a common input for all of a processor."""
    leaders: dict[str, Source] = {}
    for source in sources:
        leader = leaders.setdefault(source.decider.name, source)
        for key in (
            source.positions.keys() & leader.positions.keys() if leader is not source else ()
        ):
            source.share(key, leader)


def test_a_run_on_restored_states_writes_the_same_bytes() -> None:
    plain, _ = crash_hours(False)
    restored, swaps = crash_hours(True)
    assert swaps > 50
    assert len(plain) > 1_500
    assert restored == plain


@dataclass(slots=True)
class Inner:
    price: Decimal
    side: Literal["BUY", "SELL"] = "BUY"


@dataclass(slots=True)
class Outer:
    whole: int
    share: float
    pairs: dict[tuple[str, int], Inner]
    marks: list[tuple[int, Decimal]]
    seen: set[str]
    name: str | None = None
    cache: dict[str, Any] = field(default_factory=dict, compare=False)


def outer() -> Outer:
    return Outer(
        whole=10**30,
        share=0.1,
        pairs={("b", 2): Inner(Decimal("1E+3")), ("a", 1): Inner(Decimal("-0.10"), "SELL")},
        marks=[(1, Decimal("0.000"))],
        seen={"y", "x"},
        cache={"anything": object()},
    )


def test_values_come_back_as_they_were_in_their_order_without_caches() -> None:
    form = form_of(Outer)
    back = form.unpack(orjson.loads(orjson.dumps(form.pack(outer()))))
    assert back == outer()
    assert list(back.pairs) == [("b", 2), ("a", 1)]
    assert [str(inner.price) for inner in back.pairs.values()] == ["1E+3", "-0.10"]
    assert back.cache == {}


def test_numbers_that_json_has_not_come_back() -> None:
    form = form_of(float)
    for value in (float("inf"), float("-inf"), 5e-324, 1e308):
        assert form.unpack(orjson.loads(orjson.dumps(form.pack(value)))) == value


def test_parts_of_records_come_back_and_are_validated() -> None:
    ended = Ended(
        id="0c0f0e1e-0000-5000-8000-000000000000",
        order_id="0c0f0e1e-0000-5000-8000-000000000001",
        client_order_id="qt" + "0" * 22,
        symbol="BTCUSDT",
        status="FILLED",
        filled_quantity="1.5",
    )
    form = form_of(Ended)
    value = form.pack(ended)
    assert form.unpack(value) == ended
    with pytest.raises(ValueError, match="status"):
        form.unpack(value | {"status": "MAYBE"})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, "x"), (int, 1.5), (int, True), (str, 1), (bool, 1), (float, None),
        (Literal["BUY"], "SELL"), (dict[str, int], ["a"]), (dict[str, int], {"a": 1}),
        (list[int], "12"), (tuple[int, int], [1]), (Inner, ["1"]), (Inner, [1, "BUY"]),
        (Inner, ["1", "HOLD"]), (Inner, ["x", "BUY"]), (Any, ["os.system", "true"]),
    ],
)  # fmt: skip
def test_what_a_type_does_not_allow_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        form_of(kind).unpack(value)


def test_a_value_of_another_type_is_not_written() -> None:
    with pytest.raises(FormError, match="where Decimal is expected"):
        form_of(Inner).pack(Inner(1))  # type: ignore[arg-type]
    with pytest.raises(FormError, match="a strategy remembers a object"):
        form_of(Any).pack(object())


def test_a_strategy_may_remember_plain_values_and_lists() -> None:
    form = form_of(Any)
    for value in (None, 3, [1, [Decimal("2.50"), "x"], None], True):
        assert form.unpack(orjson.loads(orjson.dumps(form.pack(value)))) == value


def test_another_structure_has_another_shape() -> None:
    @dataclass
    class One:
        a: int
        b: str = ""

    @dataclass
    class Two:
        a: int
        b: str | None = None

    assert shape(One) != shape(Two)
    assert shape(One, Inner) != shape(One)
    assert shape(Inner) == shape(Inner)
