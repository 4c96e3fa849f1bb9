"""A reset right after `flat`, where control reads slowly. On a broker of its own: the `flat` here
is written by hand, which `verify` would rightly find."""

import json
from pathlib import Path

import pytest

from commands.publish import Publisher
from domain.processors import build
from domain.source import Source
from schemas.ids import natural_id
from schemas.topics import ORDER, partition_of
from schemas.trade import Flat, OrderData, OrderDecided
from tests.commands.conftest import Answering, Quantum, crash_broker
from tests.crash_hours import crash_log


def flat(emergency: str) -> OrderDecided:
    """The record by which execution, whose part nobody plays here, calls `probe` flat."""
    source = f"/execution/{partition_of('probe', 8)}"
    (*_, last) = (s.event for s in crash_log() if s.event.source == source and s.event.sequence)
    item = Flat(
        kind="flat", id=natural_id("test", "flat", emergency), emergency_id=emergency
    )  # fmt: skip
    return OrderDecided(
        id=natural_id("test", emergency), source=source, subject="probe", time=last.time,
        partitionkey="probe", sequence=(last.sequence or 0) + 1, epoch=last.epoch, basis=last.basis,
        causationid=last.id, correlationid=last.id, data=OrderData(items=(item,)),
    )  # fmt: skip


def test_a_reset_right_after_flat_is_asked_again_until_control_has_read_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("QUANTUM_DATA", str(tmp_path))
    with crash_broker() as bootstrap:
        monkeypatch.setenv("QUANTUM_KAFKA", bootstrap)
        quantum = Quantum()
        answering = Answering(bootstrap, [Source(build("control", 0, 8), 0, 8)])
        answering.start()
        who = ("--account", "probe", "--operator", "ann", "--reason", "test")
        emergency = json.loads(quantum("emergency", "stop", *who, "--json").stdout)["emergency_id"]
        answering.deaf = ORDER.name
        with Publisher(bootstrap) as publisher:
            publisher.send(flat(emergency), ORDER.name)
        done = quantum("emergency", "reset", *who, "--json")
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["emergency_id"] == emergency
        assert "refused: NOT_FLAT" in done.stderr
        assert "control has not read it yet: asking again" in done.stderr
        answering.ending.set()
        answering.join(10)
