"""Where Faust would go wrong in silence: a seek cut off, partitions that nobody is given."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver

from streams.app import EXIT_AGENT, TAKEOVER_S, assignor_of, create_app


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


class Cluster:
    """What a client knows of topics."""

    def __init__(self, **partitions: set[int]) -> None:
        self.partitions_for_topic = partitions.get


def test_a_leader_that_knows_of_no_partitions_ends_instead_of_giving_out_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A static member would be handed the empty assignment for ever (seen in chaos: the broker was
    killed, and a worker came back with a client that had no topics yet)."""

    class EndedError(Exception):
        pass

    def end(code: int) -> None:
        raise EndedError(code)

    monkeypatch.setattr("os._exit", end)
    given: list[object] = []
    kind = assignor_of(("orders",))
    monkeypatch.setattr(kind.__mro__[1], "assign", lambda _self, *about: given.append(about))
    assignor: Any = kind.__new__(kind)
    for nothing in (Cluster(), Cluster(orders=set())):
        with pytest.raises(EndedError, match=str(EXIT_AGENT)):
            assignor.assign(nothing, {})
    assert given == []
    whole = Cluster(orders={0, 1})
    assignor.assign(whole, {})
    assert given == [(whole, {})]
