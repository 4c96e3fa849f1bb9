"""`/health` of one process: JSON on 127.0.0.1, answered by a thread of its own.

A thread, because an event loop that hangs is what a health check has to notice.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

Probe = Callable[[], dict[str, object]]


class HealthServer:
    """Serves `/health` from `probe()`.

    The probe's answer is sent as JSON: with status 200 if its `healthy` is true or missing, else
    503. A probe that raises counts as unhealthy, its error as the reason. port 0 takes a free one.
    """

    def __init__(self, port: int = 0, *, probe: Probe) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path.split("?")[0] == "/health"
                status, body = _answer(probe) if found else (404, {"error": "only /health is here"})
                data = json.dumps(body, default=str).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a line a second on stderr helps nobody."""

        self._server = _Server(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.5}, daemon=True
        )

    @property
    def port(self) -> int:
        """The port it listens on, 1-65535."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and give the port back."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    """One whose askers may go away before they have their answer."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: by default a traceback goes to stderr."""


def _answer(probe: Probe) -> tuple[int, dict[str, object]]:
    try:
        body = probe()
    except Exception as error:  # whatever the probe met, the caller must hear of it
        return 503, {"healthy": False, "reason": f"{type(error).__name__}: {error}"}
    healthy = bool(body.get("healthy", True))
    return (200 if healthy else 503), {"healthy": healthy, **body}
