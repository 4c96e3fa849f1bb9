"""An embedded broker that clients reach through a TCP proxy only, which can be made slow."""

import contextlib
import socket
import threading
import time
from pathlib import Path

from runtime import processes
from runtime.kafka import EmbeddedKafka

CHUNK = 65_536


class Proxy:
    """Passes connections on to `target` on 127.0.0.1; every piece is `delay_s` seconds late."""

    def __init__(self, port: int, target: int) -> None:
        self.delay_s = 0.0
        self._target = target
        self._server = socket.create_server(("127.0.0.1", port))
        self._open: list[socket.socket] = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    broker = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # the broker is gone
                    client.close()
                    continue
                self._open += [client, broker]
                for ends in ((client, broker), (broker, client)):
                    for end in ends:
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(CHUNK):
                if self.delay_s:
                    time.sleep(self.delay_s)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End all connections."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class SlowKafka(EmbeddedKafka):
    """One broker that names the proxy as its address, once `proxied` was entered."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._proxy_port = processes.free_port()
        self.proxy: Proxy | None = None

    @property
    def slow(self) -> str:
        """Bootstrap servers through the proxy."""
        return f"127.0.0.1:{self._proxy_port}"

    def _write_properties(self, name: str, logs: str, ports: dict[str, int]) -> Path:
        path = super()._write_properties(name, logs, ports)
        direct = f"advertised.listeners=PLAINTEXT://127.0.0.1:{ports['broker']}"
        path.write_text(
            path.read_text().replace(direct, f"advertised.listeners=PLAINTEXT://{self.slow}")
        )
        if name == "server.properties" and self.proxy is None:
            self.proxy = Proxy(self._proxy_port, ports["broker"])
        return path

    def late(self, delay_s: float) -> None:
        """Let every piece of a request or an answer be so late from now on."""
        assert self.proxy is not None
        self.proxy.delay_s = delay_s

    def stop(self, grace_s: float = 15) -> None:
        super().stop(grace_s)
        if self.proxy is not None:
            self.proxy.close()
