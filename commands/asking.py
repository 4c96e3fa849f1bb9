"""Publishing a record and following it to its answer."""

import time
from dataclasses import dataclass
from typing import Any

from commands.console import CommandError, ExitCode
from commands.publish import Publisher
from replay.log import LogRecord, ends
from replay.tail import Tail
from schemas.envelope import Envelope
from schemas.sources import SourceSkipped
from schemas.topics import CONTROL, SIGNAL_SAFE, Topic

ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The record that answers a request, where the request stands, and how long it took."""

    request: Envelope
    place: tuple[str, int, int]
    record: LogRecord
    waited_ms: float

    @property
    def event(self) -> Envelope:
        assert self.record.event is not None
        return self.record.event

    @property
    def refusal(self) -> str | None:
        """Why the request was refused; None if it was not."""
        return refusal(self.event)


def refusal(event: Envelope) -> str | None:
    """Why an answering record refuses what was asked; None if it does not."""
    data: Any = getattr(event, "data", None)
    if event.type == "command.rejected.v1":
        return f"{data.code}: {data.sentence}"
    if isinstance(event, SourceSkipped):
        return event.data.reason
    if event.type == "source.halted.v1":
        return f"the processor could not decide: {data.error}"
    if event.type == "trade.signal.judged.v1":
        refused = [v for v in data.items if v.verdict == "rejected"]
        if refused and len(refused) == len(data.items):
            first = refused[0]
            sentence = first.failures[0].sentence if first.failures else ""
            return f"{first.reason}: {sentence}"
    return None


def answered_on(event: Envelope) -> Topic:
    """The topic on which a request of this type is answered."""
    return CONTROL if event.type.startswith("command.") else SIGNAL_SAFE


def ask(bootstrap: str, event: Envelope, timeout_s: float = ANSWER_S) -> Answer:
    """Publish a request and wait for its answer.

    Raises CommandError naming what to look at when none comes within `timeout_s` seconds.
    """
    topic = answered_on(event)
    places = ends(bootstrap, (topic,))
    with Tail(bootstrap, places) as tail, Publisher(bootstrap) as publisher:
        started = time.monotonic()
        place = publisher.send(event)
        while time.monotonic() - started < timeout_s:
            for record in tail.poll(0.02):
                if _answers(record, event, place):
                    waited_ms = (time.monotonic() - started) * 1000
                    return Answer(event, place, record, waited_ms)
    worker = "control" if topic is CONTROL else "risk"
    raise CommandError(
        f"{event.type} stands in the log at {'/'.join(map(str, place))}, but was not answered "
        f"within {timeout_s:.0f} s: look whether the worker {worker} runs (./quantum status); it "
        "will be answered when it does",
        ExitCode.FAILED,
    )


def _answers(record: LogRecord, asked: Envelope, place: tuple[str, int, int]) -> bool:
    event = record.event
    if event is None:
        return False
    if isinstance(event, SourceSkipped):
        return (event.data.topic, event.data.partition, event.data.offset) == place
    return event.causationid == asked.id


def checked(answer: Answer) -> Answer:
    """The answer, unless it is a refusal: that ends the command with exit code 4."""
    if answer.refusal is not None:
        raise CommandError(f"refused: {answer.refusal}", ExitCode.REFUSED)
    return answer
