"""The second stop path on the whole system: `./quantum halt`, with Kafka and without (SAFE-6).

Goal: a halt is obeyed while the broker stands still, closes what is open by the gateway alone once
the venue can be reached, outlives a kill of the gateway, and is told on the log.
Method: the running system; the command line for what a person does, the log for what came of it.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from commands import figures
from commands.live import health
from replay.log import KafkaUnreachableError, read_kafka
from runtime.supervisor import read_state
from schemas.halting import HaltClosed, HaltNoted
from schemas.topics import CONTROL, EXECUTION_RES
from tests.system.running import LIMIT_S, Checkout, wait_until

pytestmark = pytest.mark.timeout(LIMIT_S)
WHO = ("--operator", "ann", "--reason", "test")
ASK = ("send", "signal", "symbol=ETHUSDT", "side=BUY", "confidence=0.9", "--account", "halted")


class Seen:
    """A running system as its log and its processes show it."""

    def __init__(self, running: Checkout) -> None:
        status = running.json("status")
        self.kafka = str(status["kafka"])
        self.run = Path(status["run"])

    def pid(self, name: str) -> int:
        found = read_state(self.run / "processes.json")[name]["pid"]
        assert found is not None
        return found

    def is_another(self, name: str, than: int) -> bool:
        """Whether another process of that name runs; none does while it is being started."""
        return read_state(self.run / "processes.json")[name]["pid"] not in (None, than)

    def says(self, name: str) -> int:
        """A figure of the gateway's `/health`; -1 where it does not answer. `halt`: 0 nothing,
        1 entries, 2 all, 3 flatten."""
        return int(health(self.run / "logs" / "gateway.port").get(name, -1))

    def buffers(self) -> list[Path]:
        """What waits on disk."""
        return list((self.run / "logs" / "buffer").rglob("*.jsonl"))

    def account(self) -> Any:
        return figures.current(self.kafka).accounts["halted"]

    def closed(self) -> bool:
        """Whether nothing is open; False while the broker is not there yet."""
        with suppress(KafkaUnreachableError):
            return not self.account().positions
        return False

    def told(self, kind: type[Any]) -> list[Any]:
        found = [r.event for r in read_kafka(self.kafka, (CONTROL,)) if isinstance(r.event, kind)]
        return [event.data for event in found]

    def ends(self) -> list[str]:
        """Why orders have ended."""
        records = read_kafka(self.kafka, (EXECUTION_RES,))
        events: list[Any] = [r.event for r in records if r.event is not None]
        items = [i for e in events if e.type.startswith("trade.") for i in e.data.items]
        return [item.why or "" for item in items if item.kind == "ended"]


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """A process that is paused."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_halt_is_obeyed_without_kafka_and_told_when_kafka_is_back(running: Checkout) -> None:
    seen = Seen(running)
    changes = ("start_equity_usdt=10000", "cooldown_s=0")
    running.run("policy", "set", *changes, "--profile", "testnet", "--account", "halted", *WHO)
    wait_until(lambda: seen.account().equity({}) > 0, "there is money")
    assert running.json(*ASK, "--wait")["refused"] is None
    wait_until(lambda: len(seen.account().positions) == 1, "a position is open")

    gateway = seen.pid("gateway")
    with standing_still(seen.pid("kafka")):
        done = running.json("halt", "--flatten", *WHO)
        assert done["halt"] == {**done["halt"], "mode": "flatten", "operator": "ann"}
        assert done["obeyed"] is True, "with no broker to ask"
        wait_until(lambda: seen.says("buffered") > 0, "that it obeys waits on disk to be told")
        assert seen.says("away") == 1

    wait_until(seen.closed, "it is closed", seconds=60)
    wait_until(lambda: seen.says("away") == seen.says("buffered") == 0, "the buffer is in the log")
    assert seen.pid("gateway") == gateway, "it has lived through it"
    assert seen.buffers() == []
    assert seen.account().exits() == {"halt": 1}, "by the gateway alone"
    assert seen.told(HaltClosed), "what it closed stands in the log"
    shown = running.run("status")[0]
    assert "HALTED (flatten, by ann" in shown
    assert ", obeyed;" in shown

    assert running.json(*ASK, "origin=again", "--wait")["refused"] is None, "risk approves"
    why = "no new risk is allowed: halt --flatten by ann"
    wait_until(lambda: any(why in end for end in seen.ends()), "the entry was never sent")
    os.kill(gateway, signal.SIGKILL)
    wait_until(
        lambda: seen.is_another("gateway", gateway) and seen.says("halt") == 3, "it survives a kill"
    )

    assert running.json("halt", "--lift")["lifted"]["mode"] == "flatten"
    wait_until(lambda: seen.told(HaltNoted)[-1].state == "lifted", "it is told as lifted")


def test_a_signal_alone_halts_and_what_a_killed_gateway_had_on_disk_is_told_by_the_next(
    running: Checkout,
) -> None:
    seen = Seen(running)
    gateway = seen.pid("gateway")
    try:
        with standing_still(seen.pid("kafka")):
            os.kill(gateway, signal.SIGUSR1)
            wait_until((running.data / "halt.json").exists, "the file is there")
            wait_until(lambda: seen.says("buffered") > 0, "it waits on disk to be told")
            os.kill(gateway, signal.SIGKILL)
        wait_until(lambda: seen.is_another("gateway", gateway) and seen.says("halt") == 1, "obeyed")
        wait_until(lambda: seen.buffers() == [], "the next one has brought it into the log")
        assert [note.operator for note in seen.told(HaltNoted)][-1] == "signal"
    finally:
        running.run("halt", "--lift")
    wait_until(lambda: seen.told(HaltNoted)[-1].state == "lifted", "it is told as lifted")
