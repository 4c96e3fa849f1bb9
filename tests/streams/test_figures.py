"""Figures are folded from own records: given records, the metrics say what happened."""

import pytest

from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.reasons import EntryReason
from schemas.trade import (
    Accepted,
    Ended,
    ExecutionData,
    ExecutionReported,
    Filled,
    Order,
    OrderData,
    OrderDecided,
    SignalJudged,
    Verdict,
    VerdictData,
)
from schemas.venue import Place, VenueRequestData, VenueRequested
from streams.figures import CONTROL_AGE, Figures
from tests.domain.safety_world import SafetyWorld

TIME = "2021-05-19T12:00:00.000000Z"
ID = natural_id("figures")
CLIENT = "q" + "a" * 20


def around(data: object, kind: type[Envelope]) -> Envelope:
    return kind(id=ID, source="/risk/0", subject="main", time=TIME, partitionkey="main", data=data)  # type: ignore[call-arg]


def verdict(confidence: str, reason: EntryReason | None = None) -> Verdict:
    return Verdict(
        id=ID, request_id=ID, symbol="BTCUSDT", side="BUY", kind="entry",
        verdict="rejected" if reason else "approved", reason=reason, figures={},
        origin="probe", confidence=confidence, policy_version=1,
    )  # fmt: skip


def fill(side: str, price: str, fee: str, asset: str = "USDT") -> Filled:
    return Filled.model_validate(
        {
            "id": ID, "order_id": ID, "client_order_id": CLIENT, "symbol": "BTCUSDT", "side": side,
            "trade_id": "1", "quantity": "1", "price": price, "fee": fee, "fee_asset": asset,
            "liquidity": "taker", "reference": "100", "filled_at": TIME, "rule": "market",
        }
    )  # fmt: skip


def test_verdicts_give_counts_reasons_average_confidence_and_the_approval_rate() -> None:
    figures = Figures("risk")
    items = (
        verdict("0.8"), verdict("0.4", EntryReason.LOW_CONFIDENCE),
        verdict("0.9", EntryReason.COOLDOWN), verdict("0.7", EntryReason.COOLDOWN),
    )  # fmt: skip
    figures.note(around(VerdictData(items=items), SignalJudged))
    assert figures.samples()["quantum_signals_total"] == {(): 0.0}, "folded later"
    figures.fold()
    told = figures.samples()
    assert told["quantum_signals_total"] == {(): 4.0}
    assert told["quantum_signals_approved_total"] == {(): 1.0}
    assert told["quantum_signals_rejected_total"] == {("LOW_CONFIDENCE",): 1.0, ("COOLDOWN",): 2.0}
    assert told["quantum_signal_confidence_average"][()] == pytest.approx(0.7)
    assert told["quantum_approval_rate"] == {(): 0.25}


def test_a_worker_that_answered_nothing_has_no_rate_and_no_average() -> None:
    told = Figures("risk").samples()
    assert "quantum_approval_rate" not in told
    assert "quantum_signal_confidence_average" not in told


def test_results_give_fill_rate_signed_slippage_and_fees_by_asset() -> None:
    figures = Figures("gateway")
    ended = {"id": ID, "order_id": ID, "client_order_id": CLIENT, "symbol": "BTCUSDT"}
    items = (
        fill("BUY", "101", "0.5"), fill("SELL", "98", "0.25"), fill("BUY", "97", "-0.01", "BNB"),
        Ended.model_validate(ended | {"status": "FILLED", "filled_quantity": "1"}),
        Ended.model_validate(ended | {"status": "CANCELED", "filled_quantity": "0"}),
    )  # fmt: skip
    figures.note(around(ExecutionData(items=items), ExecutionReported))
    figures.fold()
    told = figures.samples()
    assert told["quantum_fills_total"] == {("taker",): 3.0}
    assert told["quantum_fill_rate"] == {(): 0.5}
    assert told["quantum_slippage_percent_average"] == {(): 0.0}, "1 paid, 2 paid, 3 gained"
    assert told["quantum_slippage_percent_max"] == {(): 2.0}
    assert told["quantum_fees"] == {("USDT",): 0.75, ("BNB",): -0.01}
    assert told["quantum_order_ends_total"] == {("FILLED",): 1.0, ("CANCELED",): 1.0}


def test_latency_is_from_an_orders_first_request_to_the_first_report_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures = Figures("gateway")
    place = Place(
        client_order_id=CLIENT, symbol="BTCUSDT", side="BUY", order_type="MARKET",
        time_in_force="IOC", quantity="1", reduce_only=False, close_position=False,
    )  # fmt: skip
    request = VenueRequestData(request=place, attempt=0, sent_at=TIME, window_ms=1000)
    accepted = Accepted(id=ID, order_id=ID, client_order_id=CLIENT, symbol="BTCUSDT")
    report = around(ExecutionData(items=(accepted,)), ExecutionReported)
    for at_s, record in ((10.0, around(request, VenueRequested)), (10.2, report), (19.0, report)):
        monkeypatch.setattr("streams.figures.time.monotonic", lambda at_s=at_s: at_s)
        figures.note(record)
    figures.fold()
    assert sum(figures.latency.counts) == 1
    assert figures.latency.total == pytest.approx(0.2)


def test_orders_are_counted_by_purpose() -> None:
    figures = Figures("execution")
    order = Order.model_validate(
        {
            "id": ID, "client_order_id": CLIENT, "symbol": "BTCUSDT", "side": "BUY",
            "order_type": "MARKET", "time_in_force": "IOC", "quantity": "1", "reduce_only": False,
            "purpose": "entry", "approved_at": TIME, "approval_stale_s": 5, "policy_version": 1,
        }
    )  # fmt: skip
    figures.note(around(OrderData(items=(order, order)), OrderDecided))
    figures.fold()
    assert figures.samples()["quantum_orders_total"] == {("entry",): 2.0}


def test_what_a_record_of_control_took_to_be_folded_is_told_by_every_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.figures.time.time", lambda: 1_000.02)
    for name in ("risk", "gateway"):
        figures = Figures(name)
        for appended_ms in (1_000_010, 1_000_000, 1_000_030):  # the last by a clock that is ahead
            figures.controlled(appended_ms)
        told = dict(figures.histograms()[CONTROL_AGE].buckets())
        assert (told["0.001"], told["0.01"], told["0.025"], told["+Inf"]) == (1, 2, 3, 3)


def test_a_flash_crash_that_was_detected_late_is_counted_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    figures = Figures("safety")
    assert figures.samples()["quantum_flash_crashes_late_total"] == {(): 0.0}
    world = SafetyWorld(daily_loss_pct="100")
    world.price(BTCUSDT="40000")
    world.hold("BTCUSDT", "0.3")
    world.price(BTCUSDT="38900")
    (found,) = world.of("flash_crash")
    for lag_s in ("15", "15.1"):
        data = found.data.model_copy(update={"lag_s": lag_s})
        figures.note(found.model_copy(update={"data": data}))
    figures.fold()
    assert figures.samples()["quantum_flash_crashes_total"] == {(): 2.0}
    assert figures.samples()["quantum_flash_crashes_late_total"] == {(): 1.0}
    assert [(r.levelname, r.message[:10]) for r in caplog.records] == [("CRITICAL", "main: NAV ")]
