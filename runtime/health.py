"""`/health`, `/livez`, `/readyz` and `/metrics` of one process, answered by a thread of its own.

A thread, because an event loop that hangs is what a health check has to notice. ``python -m
runtime.health 8003`` asks a process of this machine: exit code 0 if it is ready, for containers.
"""

import json
import sys
import threading
import urllib.request
from argparse import ArgumentTypeError
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

Probe = Callable[[], dict[str, object]]
PATHS = {"/health": "healthy", "/readyz": "healthy", "/livez": "live"}
"""Path to the field of the probe's answer that decides its status."""
ASK_S = 3.0
PORT_MAX = 65_535


class HealthServer:
    """Serves `/health`, `/livez` and `/readyz` from `probe()`, `/metrics` from `metrics()`.

    The probe's answer is sent as JSON: with status 200 if its `healthy` (`/livez`: its `live`) is
    true or missing, else 503. A probe that raises counts as neither, its error as the reason; it
    must not wait for a lock that a hung thread may hold. port 0 takes a free one. Both may be set
    anew at any time.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        probe: Probe,
        metrics: Callable[[], bytes] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.probe, self.metrics = probe, metrics
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                if path == "/metrics" and owner.metrics is not None:
                    self._send(*_told(owner.metrics), "text/plain; version=0.0.4; charset=utf-8")
                    return
                if path in PATHS:
                    status, body = _answer(owner.probe, PATHS[path])
                else:
                    status, body = 404, {"error": f"only {', '.join(PATHS)} and /metrics are here"}
                data = json.dumps(body, default=str).encode()
                self._send(status, data, "application/json")

            def _send(self, status: int, data: bytes, content: str) -> None:
                self.send_response(status)
                self.send_header("content-type", content)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a line a second on stderr helps nobody."""

        self._server = _Server((host, port), Handler)
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


def not_yet(worker: str) -> Probe:
    """What a process says while it waits for others and has nothing to tell: live, not ready."""
    return lambda: {"worker": worker, "state": "waiting", "healthy": False, "live": True}


def port(text: str) -> int:
    """A port from the command line, 0 for a free one. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or int(text) > PORT_MAX:
        raise ArgumentTypeError(f"{text!r} is no port: 1 to {PORT_MAX}, or 0 for a free one")
    return int(text)


class _Server(ThreadingHTTPServer):
    """One whose askers may go away before they have their answer."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: by default a traceback goes to stderr."""


def _answer(probe: Probe, verdict: str) -> tuple[int, dict[str, object]]:
    try:
        body = probe()
    except Exception as error:  # whatever the probe met, the caller must hear of it
        return 503, {verdict: False, "reason": f"{type(error).__name__}: {error}"}
    good = bool(body.get(verdict, True))
    return (200 if good else 503), {verdict: good, **body}


def _told(metrics: Callable[[], bytes]) -> tuple[int, bytes]:
    try:
        return 200, metrics()
    except Exception as error:  # a figure that fails must not take the other answers with it
        return 500, f"{type(error).__name__}: {error}\n".encode()


def main(arguments: list[str] | None = None) -> int:
    """Ask `/readyz` of a port on this machine; 0 if it is ready, else 1 with the answer."""
    words = sys.argv[1:] if arguments is None else arguments
    if len(words) != 1 or not words[0].isdigit():
        print("usage: python -m runtime.health PORT", file=sys.stderr)
        return 2
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{words[0]}/readyz", timeout=ASK_S):
            return 0
    except OSError as error:
        print(f"port {words[0]}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
