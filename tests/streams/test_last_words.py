"""What a process cannot go on with ends it, with a critical line and a code of its own.

Each of these is an alert: the supervisor starts the process again, and the line says why it ended.
"""

import logging
import os
import threading
import time
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from gateways.buffer import BufferWriter
from streams import followers, worker
from streams.gateway import EXIT_CLOCK, EXIT_PUMP, GatewayShell
from streams.kafka_log import EXIT_FENCED
from streams.worker import Worker
from tests.streams.test_gateway_alone import opened


class EndedError(BaseException):
    """The process would be gone. Its argument is the code."""


@pytest.fixture(autouse=True)
def _ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(code: int) -> NoReturn:
        raise EndedError(code)

    monkeypatch.setattr(os, "_exit", ended)
    monkeypatch.setattr(logging, "shutdown", lambda: None)


def said(caplog: pytest.LogCaptureFixture) -> str:
    """The one critical line."""
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.CRITICAL]
    return line


def broken(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("it broke")


def test_a_follower_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reader = SimpleNamespace(poll=broken, close=lambda: None)
    monkeypatch.setattr(followers, "consumer", lambda *_, **__: reader)
    monkeypatch.setattr(followers, "assign", lambda *_: None)
    follower = followers.Follower("h:1", "market", {}, lambda _: None, lambda: None)
    with pytest.raises(EndedError, match=str(followers.EXIT_FOLLOWER)):
        follower.run()
    assert said(caplog) == "follower follower-market failed; ending the process"


def test_a_heartbeat_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    vitals = SimpleNamespace(fold=lambda: None, state="live")
    alive = SimpleNamespace(vitals=vitals, shell=SimpleNamespace(checkpoint=broken))
    with pytest.raises(EndedError, match=str(EXIT_FENCED - 1)):
        Worker._beat(alive)  # type: ignore[arg-type]
    assert said(caplog) == "heartbeat failed; ending the process"


def test_one_that_was_fenced(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(EndedError, match=str(EXIT_FENCED)):
        Worker._fenced(SimpleNamespace(processor="risk"))  # type: ignore[arg-type]
    assert said(caplog) == "another risk has fenced this one; it stops"


def test_a_buffer_that_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(EndedError, match=str(worker.EXIT_BUFFER)):
        worker._buffer_failed(OSError("input/output error"))
    assert said(caplog) == "the buffer failed; ending the process"


def test_a_sender_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    wake = threading.Event()
    wake.set()
    shell = SimpleNamespace(_wake=wake, _wall=lambda: 0, pump=broken)
    with pytest.raises(EndedError, match=str(EXIT_PUMP)):
        GatewayShell._pump_forever(shell)  # type: ignore[arg-type]
    assert said(caplog) == "the sender failed; ending the process"


def test_a_gateway_whose_clock_was_set(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(EndedError, match=str(EXIT_CLOCK)):
        GatewayShell._stepped(SimpleNamespace(), 3.5)  # type: ignore[arg-type]
    assert said(caplog) == "the host's clock was set by +3.5 s; the gateway starts anew"


def test_a_line_of_a_buffer_that_is_no_record_is_named_and_the_others_are_taken(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The process goes on: what is behind it counts."""
    world, _ = opened(tmp_path)
    folder = tmp_path / "dead"
    folder.mkdir()
    key = "trade.execution.res/0"
    writer = BufferWriter(folder, key, "t1")
    writer.append(b'{"no":"record"}', "main")
    writer.close()
    world.gateway.checkpoint(0.0)
    world.settle()
    world.gateway.checkpoint(0.0)
    assert said(caplog).startswith(f"line 1 of {folder / key} is no record: ")
    assert [path.suffix for path in folder.glob("trade*")] == [".damaged"]
