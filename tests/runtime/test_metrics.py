"""Every metric in the code stands in docs/metrics.md and the other way round (OBS-1)."""

import re

import pytest

from runtime.metrics import METRICS, Histogram, exposition
from runtime.metrics_page import page
from runtime.settings import ROOT

PAGE = (ROOT / "docs" / "metrics.md").read_text("utf-8")
TELLERS = ("streams", "projections", "runtime")


def test_the_page_is_what_the_code_says() -> None:
    assert page() == PAGE, "run python -m runtime.metrics_page > docs/metrics.md"


def test_every_metric_that_is_told_is_documented_and_every_documented_one_is_told() -> None:
    told: set[str] = set()
    for room in TELLERS:
        for path in sorted((ROOT / room).glob("*.py")):
            if path.name not in ("metrics.py", "metrics_page.py"):
                told |= set(re.findall(r'"(quantum_[a-z_]+)"', path.read_text("utf-8")))
    assert told == set(METRICS)


def test_the_names_that_were_promised_are_there() -> None:
    assert {
        "quantum_eventbus_publish_errors_total",
        "quantum_signals_total",
        "quantum_approval_rate",
        "quantum_execution_latency_seconds",
    } <= METRICS.keys()


def test_names_follow_the_conventions_of_prometheus() -> None:
    for metric in METRICS.values():
        assert re.fullmatch(r"quantum_[a-z_]+", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name


def test_samples_come_out_in_the_text_format_with_labels_and_buckets() -> None:
    latency = Histogram((0.5, 1))
    for seconds in (0.5, 0.7, 9):
        latency.observe(seconds)
    text = exposition(
        {"quantum_signals_rejected_total": {("COOLDOWN",): 2.0}, "quantum_live": {(): 1.0}},
        {"quantum_execution_latency_seconds": latency},
    ).decode()
    assert 'quantum_signals_rejected_total{reason="COOLDOWN"} 2.0' in text
    assert "# TYPE quantum_signals_rejected_total counter" in text
    assert "quantum_live 1.0" in text
    assert 'quantum_execution_latency_seconds_bucket{le="0.5"} 1.0' in text
    assert 'quantum_execution_latency_seconds_bucket{le="+Inf"} 3.0' in text
    assert "quantum_execution_latency_seconds_sum 10.2" in text


@pytest.mark.parametrize(
    "samples",
    [{"quantum_of_solace": {(): 1.0}}, {"quantum_live": {("surplus",): 1.0}}],
)
def test_what_is_not_in_the_table_is_refused(
    samples: dict[str, dict[tuple[str, ...], float]],
) -> None:
    with pytest.raises(ValueError, match="quantum_"):
        exposition(samples)
