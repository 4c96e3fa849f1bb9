"""Text of `docs/events.md`: every topic and type, who writes it, who reads it, what it is for.

``python -m schemas.events_page > docs/events.md`` writes it. Topics, lanes and fields come from the
code; writers and readers are said here, and a test holds them against the deciders.
"""

from typing import Any, NamedTuple, get_args

from pydantic import BaseModel

from schemas import topics
from schemas.events import TYPES
from schemas.topics import TOPICS, Lane, Topic
from schemas.upcasters import UPCASTERS, newest


class Place(NamedTuple):
    """Where a type stands: its topic, who writes it, what it says."""

    topic: str
    writer: str
    purpose: str


PEOPLE = "people"
FEED = "feed"
READERS: dict[str, tuple[str, ...]] = {
    topics.COMMANDS_CONTROL.name: ("control",),
    topics.CONTROL.name: (
        "control", "signals", "risk", "execution", "gateway", "positions", "safety",
    ),
    topics.ORDER.name: ("gateway", "risk", "control"),
    topics.EXECUTION_RES.name: ("positions", "execution", "risk"),
    topics.POSITION_UPDATE.name: ("safety", "risk", "signals"),
    topics.VENUE_REQUEST.name: ("venue",),
    topics.VENUE_REPORT.name: ("gateway",),
    topics.MARKET.name: (
        "signals", "control", "risk", "execution", "venue", "positions", "gateway", "safety",
    ),
    topics.CLOCK.name: (
        "signals", "control", "risk", "execution", "venue", "positions", "gateway", "safety",
    ),
    topics.COMMANDS_TRADE.name: ("risk",),
    topics.SIGNAL.name: ("risk",),
    topics.INTENT.name: ("risk",),
    topics.SIGNAL_SAFE.name: ("execution",),
}  # fmt: skip
"""Processors that fold a topic. The projector reads all of them and is not repeated."""
PLACES: dict[str, Place] = {
    "command.policy.set.v1": Place(
        "commands.control", PEOPLE, "open an account, or change fields of its policy"
    ),
    "command.emergency.stop.v1": Place(
        "commands.control", PEOPLE, "stop an account: no new risk, close everything"
    ),
    "command.emergency.reset.v1": Place(
        "commands.control", PEOPLE, "lift an emergency once the account was recorded flat"
    ),
    "command.account.resume.v1": Place(
        "commands.control", PEOPLE, "let entries through again after a processor halted the account"
    ),
    "command.trade.delete.v1": Place(
        "commands.control", PEOPLE, "take a closed trade out of the default view; nothing is lost"
    ),
    "command.symbol.pause.v1": Place(
        "commands.control", PEOPLE, "no entries in a symbol from now on"
    ),
    "command.symbol.resume.v1": Place("commands.control", PEOPLE, "entries in it pass again"),
    "command.letter.settle.v1": Place(
        "commands.control", PEOPLE, "what was done about a dead letter: discarded, replayed"
    ),
    "command.hfos.set.v1": Place(
        "commands.control", PEOPLE, "the mode an AI-HFOS asks risk to obey"
    ),
    "command.position.close.v1": Place(
        "commands.trade", PEOPLE, "close the position in a symbol and cancel its entries"
    ),
    "command.position.reduce.v1": Place(
        "commands.trade", PEOPLE, "sell a share of a position, or of all"
    ),
    "command.account.flatten.v1": Place(
        "commands.trade", PEOPLE, "close every position and cancel every entry, once"
    ),
    "command.order.cancel.v1": Place(
        "commands.trade", PEOPLE, "cancel entry orders; a stop or target only by its id"
    ),
    "policy.changed.v2": Place(
        "control", "control", "a policy at a new version: who, why, before, after, the whole policy"
    ),
    "emergency.activated.v2": Place(
        "control", "control", "an emergency began; carries the policy change that blocks new risk"
    ),
    "emergency.reset.v2": Place(
        "control", "control", "an emergency was lifted; opens a drawdown epoch"
    ),
    "account.resumed.v1": Place("control", "control", "entries of a halted account pass again"),
    "trade.deleted.v1": Place(
        "control", "control", "a trade was taken out of the default view: which, who, why"
    ),
    "letter.settled.v1": Place(
        "control", "control", "what was done about a dead letter, by whom and why"
    ),
    "command.rejected.v1": Place(
        "control", "control", "a command was refused: code, sentence, value, limit"
    ),
    "safety.equity.marked.v1": Place(
        "control", "safety", "a new high, day or epoch of an account's NAV; drawdown when flat"
    ),
    "safety.governor.level_changed.v1": Place(
        "control", "safety", "NORMAL, WARN, REDUCING or STOP, with the figures it was found with"
    ),
    "market.flash_crash_detected.v1": Place(
        "control", "safety", "NAV fell within a minute while a held symbol moved against the book"
    ),
    "ai.hfos.mode_changed.v1": Place("control", "control", "the mode that risk obeys from now on"),
    "drawdown.epoch_opened.v1": Place(
        "control", "control", "an operator ended the governor's REDUCING; a new high-water mark"
    ),
    "worker.started.v1": Place(
        "control", "each worker", "information: build, configuration and epochs of a worker"
    ),
    "worker.failed.v1": Place(
        "control", "each worker", "information: a decision failed, the account is halted"
    ),
    "halt.noted.v1": Place(
        "control", "gateway", "information: a halt is obeyed or lifted, or an account is flat by it"
    ),
    "halt.close.ordered.v1": Place(
        "control", "gateway", "what the gateway closes by itself, without a decision of execution"
    ),
    "market.prices.observed.v1": Place("market", FEED, "prices of all symbols at one instant"),
    "market.candles.closed.v1": Place("market", FEED, "closed candles; `time` is their close"),
    "market.funding.settled.v1": Place("market", FEED, "funding rates at a settlement"),
    "market.instruments.listed.v1": Place(
        "market", FEED, "filters, fees and brackets, dated and with their origin"
    ),
    "clock.ticked.v1": Place("clock", FEED, "event time; the only cause a timer fires on"),
    "trade.signal.published.v1": Place(
        "trade.signal.v5", "signals, people", "signals of strategies; HOLD is never published"
    ),
    "trade.intent.published.v1": Place(
        "trade.intent", PEOPLE, "entry proposals with prices of their own"
    ),
    "trade.signal.judged.v1": Place(
        "trade.signal.safe", "risk", "one verdict a signal or intent, with every check and figure"
    ),
    "trade.command.judged.v1": Place(
        "trade.signal.safe", "risk", "the answer to a command on positions and orders"
    ),
    "trade.order.decided.v1": Place(
        "trade.order", "execution", "orders, cancels, dropped approvals, emergency steps, `flat`"
    ),
    "trade.execution.reported.v1": Place(
        "trade.execution.res", "gateway", "what the venue did: accepted, filled, ended, unknown, …"
    ),
    "trade.position.updated.v1": Place(
        "trade.position.update", "positions", "positions, order ends, closed trades, equity"
    ),
    "venue.requested.v1": Place(
        "venue.request", "gateway", "a request to the simulated venue, as it left"
    ),
    "venue.reported.v1": Place(
        "venue.report", "venue", "its answer; `delivered` false: lost on the way to the gateway"
    ),
    "source.fenced.v1": Place("", "each source", "opens an epoch of a source"),
    "source.checkpointed.v1": Place(
        "", "each source", "basis and state digest where nothing was decided for a while"
    ),
    "source.skipped.v1": Place(
        "", "each source", "an input could not be taken; replays skip the same"
    ),
    "source.halted.v1": Place(
        "", "each source", "a decision failed; the account's entries are refused until resumed"
    ),
    **{name: Place("control", "earlier builds", f"read as `{newest(name)}`") for name in UPCASTERS},
}
HEAD = """\
# Topics and events

Generated by `python -m schemas.events_page > docs/events.md`; do not edit by hand.

Every record is one CloudEvents 1.0 object in JSON. The message key is the account (`partitionkey`);
`market` and `clock` carry their own name. A keyed topic has 8 partitions in the embedded system,
chosen by murmur2 of the key, as Java clients and Kafka UIs do. Each type has a JSON Schema in
`schemas/json/` and a golden sample in `schemas/golden/`.

A type's version is its suffix. Old versions are read for ever and never written: their bytes are
held against their own schema, then lifted by `schemas/upcasters.py`, so readers see the newest
only. `./quantum events --json` shows a record as it stands in the log.
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([HEAD, *_topics(), "", *_types(), "", *_parts(), ""])


def _topics() -> list[str]:
    lines = ["## Topics", "", "| topic | lane | partitions | kept | by hand | read by | what |"]
    lines.append("|---|---|---|---|---|---|---|")
    lines += [_topic(topic) for topic in (*topics.EVENT_TOPICS, topics.PROGRESS)]
    names = ", ".join(f"`{topic.name}`" for topic in topics.DEAD_LETTERS)
    lines += ["", f"Dead letters, one topic a worker, one partition, kept for ever: {names}."]
    lines += [
        "",
        "The projector reads every topic of the table but `progress`. `progress` holds plain JSON,",
        "no event: positions of each worker, for the feed's barrier and for `./quantum status`;",
        "nothing that trades is decided from it.",
    ]
    return lines


def _topic(topic: Topic) -> str:
    lane = "-" if topic.lane is Lane.NONE else f"{topic.lane.value} {topic.lane.name.lower()}"
    kept = "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms // topics.DAY_MS} d"
    readers = ", ".join(READERS.get(topic.name, ("feed", "`status`")))
    hand = "yes" if topic.people else ""
    count = "accounts" if topic.keyed else "1"
    return f"| `{topic.name}` | {lane} | {count} | {kept} | {hand} | {readers} | {topic.purpose} |"


def _types() -> list[str]:
    lines = ["## Types", "", "| type | topic | written by | what it says | `data` |"]
    lines.append("|---|---|---|---|---|")
    for name, place in PLACES.items():
        topic = f"`{place.topic}`" if place.topic else "the source's output"
        fields = ", ".join(f"`{f}`" for f in _data(TYPES[name]).model_fields)
        lines.append(f"| `{name}` | {topic} | {place.writer} | {place.purpose} | {fields} |")
    return lines


def _parts() -> list[str]:
    lines = ["## Parts", "", "What `data.items` (or `data.request`) of a record may hold."]
    lines += ["", "| type | part | fields |", "|---|---|---|"]
    for name in PLACES:
        for part in _items(_data(TYPES[name])):
            kind = part.model_fields.get("kind")
            label = f"`{kind.default}`" if kind and not kind.is_required() else part.__name__
            fields = ", ".join(
                f"`{f}`" for f in part.model_fields if f != "kind" or "`" not in label
            )
            lines.append(f"| `{name}` | {label} | {fields} |")
    return lines


def _data(event: Any) -> type[BaseModel]:
    data: type[BaseModel] = event.model_fields["data"].annotation
    return data


def _items(data: type[BaseModel]) -> list[type[BaseModel]]:
    field = data.model_fields.get("items") or data.model_fields.get("request")
    return list(dict.fromkeys(_models(field.annotation))) if field else []


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


assert set(PLACES) == set(TYPES), set(PLACES) ^ set(TYPES)
assert {place.topic for place in PLACES.values() if place.topic} <= set(TOPICS)

if __name__ == "__main__":
    print(page(), end="")
