"""TCP links between processes that can be made bad: late, slow, cut, half open.

One proxy a link, all in one thread. What a link does to bytes is its condition, which can change at
any moment. Bytes that were held are delivered when a link heals, also those of connections their
client has long given up, as a network does; or the link dies and both ends are reset.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from runtime import processes

CHUNK = 65_536
PORTION_S = 0.05
RESET = struct.pack("ii", 1, 0)
Way = Literal["there", "back"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Condition:
    """How a link is. late_s: of every piece, each way; rate: bytes a second each way, None: as fast
    as it goes; held: ways in which nothing passes, without an end; refused: each connection is
    reset as soon as it is made."""

    late_s: float = 0.0
    rate: float | None = None
    held: frozenset[Way] = frozenset()
    refused: bool = False


GOOD = Condition()
HALF_OPEN = Condition(held=frozenset({"there", "back"}))
MUTE = Condition(held=frozenset({"back"}))
"""Requests get through, answers do not."""


class Link:
    """From a port of its own to `target`, both on 127.0.0.1."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = processes.free_port()
        self.condition = GOOD
        self.connections = 0
        """Made so far."""
        self._flows: dict[Way, asyncio.Event] = {"there": asyncio.Event(), "back": asyncio.Event()}
        self._pairs: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        for flow in self._flows.values():
            flow.set()

    async def listen(self) -> None:
        """Take connections from now on."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def close(self) -> None:
        """Take none any more and end those there are. In the thread of the loop."""
        self._server.close()
        self.cut()

    def become(self, condition: Condition) -> None:
        """Change how the link is. In the thread of the loop."""
        self.condition = condition
        for way, flow in self._flows.items():
            if way in condition.held:
                flow.clear()
            else:
                flow.set()

    def cut(self) -> None:
        """Reset every connection, both ends; what was held is lost. In the thread of the loop."""
        for task, writers in list(self._pairs.items()):
            task.cancel()
            for writer in writers:
                _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.condition.refused:
            _reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._pairs[task] = writers = [writer]
        try:
            await self._flows["there"].wait()
            with contextlib.suppress(OSError):
                far, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
                writers.append(far_writer)
                await asyncio.gather(
                    self._pass(reader, far_writer, "there"), self._pass(far, writer, "back")
                )
        except asyncio.CancelledError:
            pass
        finally:
            del self._pairs[task]
            for each in writers:
                _reset(each)

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, way: Way
    ) -> None:
        while piece := await source.read(CHUNK):
            if self.condition.late_s:
                await asyncio.sleep(self.condition.late_s)
            while piece:
                await self._flows[way].wait()
                rate = self.condition.rate
                portion = max(1, int(rate * PORTION_S)) if rate else len(piece)
                target.write(piece[:portion])
                await target.drain()
                piece = piece[portion:]
                if rate:
                    await asyncio.sleep(PORTION_S)
        target.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


class Links:
    """Links by name, in a thread of their own; use as a context."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()
        self._links: dict[str, Link] = {}

    @property
    def names(self) -> list[str]:
        return list(self._links)

    def open(self, name: str, target: int) -> int:
        """Make a link to a port of this machine; the port it listens on."""

        async def opened() -> Link:
            link = Link(target)
            await link.listen()
            return link

        link = self._links[name] = self._call(opened())
        return link.port

    def become(self, name: str, condition: Condition) -> None:
        """Let the link be so from now on."""
        self._soon(lambda: self._links[name].become(condition))

    def cut(self, name: str) -> None:
        """Reset every connection of the link."""
        self._soon(self._links[name].cut)

    def connections(self, name: str) -> int:
        """How many the link has had."""
        return self._links[name].connections

    def close(self) -> None:
        """End all links and the thread."""
        for link in self._links.values():
            self._soon(link.close)
        self._call(self._ended())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _ended(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _soon(self, what: Callable[[], None]) -> None:
        async def done() -> None:
            what()

        self._call(done())

    def _call(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)
