"""`/health` says 200 or 503 with the probe's reasons, whatever the probe does."""

import json
from http.client import HTTPConnection

from runtime.health import HealthServer


def _get(port: int, path: str = "/health") -> tuple[int, dict[str, object]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    body: dict[str, object] = json.loads(response.read())
    connection.close()
    return response.status, body


def test_a_healthy_probe_is_answered_with_200_and_its_figures() -> None:
    with HealthServer(probe=lambda: {"lag": 3}) as server:
        assert _get(server.port) == (200, {"healthy": True, "lag": 3})
        assert _get(server.port, "/health?x=1")[0] == 200


def test_an_unhealthy_probe_is_answered_with_503() -> None:
    with HealthServer(probe=lambda: {"healthy": False, "reason": "halted"}) as server:
        assert _get(server.port) == (503, {"healthy": False, "reason": "halted"})


def test_a_probe_that_raises_is_unhealthy_and_says_why() -> None:
    def broken() -> dict[str, object]:
        raise RuntimeError("no broker")

    with HealthServer(probe=broken) as server:
        status, body = _get(server.port)
    assert status == 503
    assert body["reason"] == "RuntimeError: no broker"


def test_other_paths_are_not_found_and_the_port_is_given_back() -> None:
    with HealthServer(probe=dict) as server:
        assert _get(server.port, "/metrics")[0] == 404
        port = server.port
    with HealthServer(port, probe=dict) as again:
        assert again.port == port
