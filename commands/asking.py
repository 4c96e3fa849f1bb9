"""Publishing a record and following it to its answer."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from commands.console import CommandError, ExitCode
from commands.publish import TOPIC_OF, Publisher
from replay.log import LogRecord, ends
from replay.tail import Tail
from schemas.envelope import Envelope
from schemas.sources import SourceSkipped
from schemas.topics import COMMANDS_CONTROL, CONTROL, SIGNAL_SAFE, Topic

ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The record that answers a request, where the request stands, and how long it took."""

    request: Envelope
    place: tuple[str, int, int]
    record: LogRecord
    waited_ms: float
    followed: LogRecord | None = None
    """What the answer led to in turn, where that was waited for."""

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
    if event.type == "trade.command.judged.v1" and data.verdict == "rejected":
        return f"{data.code}: {data.sentence}"
    if event.type == "trade.signal.judged.v1":
        refused = [v for v in data.items if v.verdict == "rejected"]
        if refused and len(refused) == len(data.items):
            first = refused[0]
            sentence = first.failures[0].sentence if first.failures else ""
            return f"{first.reason}: {sentence}"
    return None


def answered_on(event: Envelope) -> Topic:
    """The topic on which a request of this type is answered."""
    return CONTROL if TOPIC_OF.get(event.type) is COMMANDS_CONTROL else SIGNAL_SAFE


def ask(bootstrap: str, event: Envelope, timeout_s: float = ANSWER_S) -> Answer:
    """Publish a request and wait for its answer.

    Raises CommandError naming what to look at when none comes within `timeout_s` seconds.
    """
    return ask_all(bootstrap, [event], timeout_s=timeout_s)[0]


def ask_all(
    bootstrap: str,
    events: Sequence[Envelope],
    *,
    then: Topic | None = None,
    timeout_s: float = ANSWER_S,
) -> list[Answer]:
    """Publish requests of one kind, then wait for all answers, in the order of the requests.

    `then`: wait also for what each answer that is no refusal causes on that topic. Raises
    CommandError naming what to look at when something does not come within `timeout_s` seconds.
    """
    topic = answered_on(events[0])
    places = ends(bootstrap, (topic, then) if then else (topic,))
    found: dict[str, Answer] = {}
    with Tail(bootstrap, places) as tail, Publisher(bootstrap) as publisher:
        started = time.monotonic()
        sent = {event.id: (event, publisher.send(event)) for event in events}
        while time.monotonic() - started < timeout_s:
            for record in tail.poll(0.02):
                waited_ms = (time.monotonic() - started) * 1000
                _note(record, sent, found, waited_ms)
            if len(found) == len(sent) and all(_is_done(a, then) for a in found.values()):
                return [found[event.id] for event in events]
    late = next((e.id for e in events if e.id not in found), None)
    event, place = sent[late or events[0].id]
    worker = "execution" if late is None else "control" if topic is CONTROL else "risk"
    raise CommandError(
        f"{event.type} stands in the log at {'/'.join(map(str, place))}, but was not "
        f"{'carried out' if late is None else 'answered'} "
        f"within {timeout_s:.0f} s: look whether the worker {worker} runs (./quantum status); it "
        "will be when it does",
        ExitCode.FAILED,
    )


def _is_done(answer: Answer, then: Topic | None) -> bool:
    return then is None or answer.refusal is not None or answer.followed is not None


def _note(
    record: LogRecord,
    sent: dict[str, tuple[Envelope, tuple[str, int, int]]],
    found: dict[str, Answer],
    waited_ms: float,
) -> None:
    """Keep a record that answers a request, or that an answer caused."""
    for name, (event, place) in sent.items():
        known = found.get(name)
        if known is None:
            if _answers(record, event, place):
                found[name] = Answer(event, place, record, waited_ms)
        elif record.event is not None and record.event.causationid == known.event.id:
            found[name] = replace(known, followed=record, waited_ms=waited_ms)


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
