"""The emergency stop rehearsed on the whole system, as a person runs it (SAFE-1)."""

import json
from pathlib import Path

import pytest

from tests.system.running import LIMIT_S, Checkout

pytestmark = pytest.mark.timeout(LIMIT_S)


def test_a_drill_stops_an_account_blocks_what_comes_after_and_ends_flat(tmp_path: Path) -> None:
    others = {
        "QUANTUM_KAFKA": "127.0.0.1:9",
        "QUANTUM_KAFKA_SECURITY_PROTOCOL": "SSL",
        "QUANTUM_POSTGRES": "postgresql://127.0.0.1:9/quantum",
    }  # of a live system: a drill has services of its own
    out, _ = Checkout(tmp_path / "var", **others).run("drill", "--json", timeout_s=150)
    told = json.loads(out)
    assert told["passed"], told["failures"]
    assert [step["step"] for step in told["steps"]] == [
        "activated", "block", "cancel_entries", "close", "confirm", "cancel_protection", "flat",
    ]  # fmt: skip
    assert told["gross_pct"] > 100, "a book of less than its equity would show nothing"
    assert told["closes"] >= 1
    assert told["fills"] >= 1
    by_risk = {why: n for why, n in told["blocked"].items() if why.startswith("refused by risk")}
    assert sum(by_risk.values()) >= 20
    assert by_risk["refused by risk: HALTED"] >= 10, "a signal or two came before risk knew of it"
    assert told["entries_accepted_after"] == 0
