"""Faust's seek is where sources are taken over: it must not be cut off."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver

from streams.app import TAKEOVER_S, create_app


def test_taking_sources_over_may_take_longer_than_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust waits for a seek as long as for a request of its clients (30 s), then cancels it."""
    app = create_app(
        processor="risk",
        bootstrap="127.0.0.1:1",
        instance="risk-test",
        topics=("trade.signal.v5",),
        acquire=lambda _: {},
        receive=lambda _: None,
        after=lambda: None,
        datadir=str(tmp_path),
    )
    assigned: list[object] = []

    async def note(_self: object, *about: object) -> None:
        assigned.append(about)

    monkeypatch.setattr(driver.Consumer, "on_partitions_assigned", note)
    made = app.transport.Consumer
    consumer: Any = made.__new__(made)
    consumer.app = app
    assert app.conf.broker_request_timeout < TAKEOVER_S, "the clients are made with this"
    asyncio.run(consumer.on_partitions_assigned(set(), 3))
    assert app.conf.broker_request_timeout == TAKEOVER_S
    assert assigned == [(set(), 3)]
