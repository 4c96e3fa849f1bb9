"""The live view: a run as it happens, in the terminal; plain lines where there is none.

A consumer of its own in a thread of its own: nothing of the system waits for it. It writes to
stderr, so that data on stdout stays data.
"""

import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, TopicPartition
from rich.console import Console, RenderableType
from rich.live import Live

from commands.view_panels import frame
from commands.view_state import WATCHED, ViewState
from replay.log import client_settings, ends, starts
from runtime.logs import confluent_logger

FRAMES_PER_S = 4
PLAIN_S = 2.0
BATCH = 2_000


class LiveView:
    """Watches a running system. Use as a context, or call :meth:`start` and :meth:`stop`.

    plain: lines instead of a full screen; None: where stderr is no terminal. span: event times
    (canonical) of the feed's beginning and end, for a bar. run: its name, shown first.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        plain: bool | None = None,
        span: tuple[str, str] | None = None,
        run: str = "",
        console: Console | None = None,
    ) -> None:
        self.bootstrap = bootstrap
        self.console = console or Console(stderr=True, highlight=False, emoji=False)
        self.plain = (not self.console.is_terminal) if plain is None else plain
        self.span = span
        self.title = f"run {run}" if run else ""
        self.state = ViewState()
        self.error: str | None = None
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._live: Live | None = None

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

    def start(self) -> None:
        """Begin to watch. Raises KafkaUnreachableError."""
        places = starts(self.bootstrap, WATCHED)
        until = ends(self.bootstrap, WATCHED)
        places["progress/0"] = until.get("progress/0", 0)  # only what comes from now on
        self._run("view-reader", self._read, places)
        if self.plain:
            self._run("view-lines", self._lines)
            return
        self._live = Live(
            console=self.console,
            screen=True,
            get_renderable=self.render,
            refresh_per_second=FRAMES_PER_S,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def stop(self) -> None:
        """Stop watching and give the terminal back. Safe to call twice."""
        self._ending.set()
        if self._live is not None:
            self._live.stop()
            self._live = None
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()

    def _run(self, name: str, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def render(self) -> RenderableType:
        """The current frame."""
        with self._lock:
            self.state.settle(time.monotonic())
            return frame(self.state, self.console.size, span=self.span, title=self.title)

    def _read(self, places: dict[str, int]) -> None:
        consumer = Consumer(
            {
                **client_settings(self.bootstrap),
                "group.id": "quantum-view",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 200,
                "fetch.min.bytes": 65_536,  # few large answers: this reader is not in a hurry
                "queued.max.messages.kbytes": 16_384,
            },
            logger=confluent_logger(),
        )
        try:
            consumer.assign(
                [
                    TopicPartition(key.rpartition("/")[0], int(key.rpartition("/")[2]), at)
                    for key, at in places.items()
                ]
            )
            while not self._ending.is_set():
                batch = consumer.consume(BATCH, 0.2)
                if batch:
                    self._take(batch)
        except Exception as error:  # the view may fail; the run it shows goes on
            self.error = f"{type(error).__name__}: {error}"
        finally:
            consumer.close()

    def _take(self, batch: list[Any]) -> None:
        with self._lock:
            for message in batch:
                if message.error() is None:
                    key = f"{message.topic()}/{message.partition()}"
                    self.state.take(key, message.offset(), message.timestamp()[1], message.value())

    def _lines(self) -> None:
        """One line every two seconds, and one for each trade, emergency or refused command."""
        while True:
            ended = self._ending.wait(PLAIN_S)
            with self._lock:
                self.state.settle(time.monotonic())
                news = list(self.state.news)
                self.state.news.clear()
                line = self._line()
            for each in (*news, line):
                print(each, file=sys.stderr, flush=True)
            if ended:
                return

    def _line(self) -> str:
        summary = self.state.summary
        marks = summary.marks
        accounts = ", ".join(
            f"{name} {account.equity(marks):.2f} ({len(account.positions)} open)"
            for name, account in sorted(summary.accounts.items())
        )
        prices = ", ".join(f"{s} {line.last}" for s, line in sorted(summary.prices.items()))
        speed, per_second = self.state.rates()
        behind = max(self.state.lag().values(), default=0)
        return (
            f"{summary.time[:19].replace('T', ' ')}  x{speed:,.0f}  {per_second:,.0f} records/s  "
            f"lag {behind}  {prices}  {accounts}"
        )
