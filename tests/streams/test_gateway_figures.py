"""What other threads ask of the gateway while it folds."""

import threading
from pathlib import Path

import pytest

from gateways.core import GatewayCore
from tests.streams.test_gateway_alone import opened


def test_the_figures_of_the_heartbeat_wait_for_whoever_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted beside a fold, the orders changed under the count: in a burst the process ended."""
    world, _ = opened(tmp_path)
    lock, held = world.gateway.lock, []

    def awaited(_core: GatewayCore) -> int:
        taken: list[bool] = []
        other = threading.Thread(target=lambda: taken.append(lock.acquire(blocking=False)))
        other.start()
        other.join()
        held.append(taken == [False])
        return 0

    monkeypatch.setattr(GatewayCore, "awaited", property(awaited))
    world.gateway.figures()
    assert held
    assert all(held)
