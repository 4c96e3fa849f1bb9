"""Dead letters read back, with what people did about them; publishing one anew, settling one."""

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

from commands.console import CommandError, ExitCode
from schemas.codec import RecordError, decode_request, encode
from schemas.envelope import Envelope
from schemas.ids import natural_id, part_id
from schemas.topics import CONTROL, DEAD_LETTERS, TOPICS

NEVER_FOLDED = (
    "NOT_JSON", "NOT_AN_EVENT", "UNKNOWN_TYPE", "FUTURE_VERSION", "INVALID_FIELD", "NOT_CANONICAL",
    "WRONG_KEY", "TOO_LARGE",
)  # fmt: skip
"""Reasons of letters that were refused before they were folded: their ids were never seen."""


def letters(bootstrap: str, topics: list[str]) -> list[dict[str, Any]]:
    """Dead letters of topics: id, place of the original, reason, bytes (base64), state."""
    from confluent_kafka import Consumer, TopicPartition

    from replay.log import client_settings, ends, starts
    from runtime.logs import confluent_logger

    until, begin = ends(bootstrap, topics), starts(bootstrap, topics)
    left = {key for key, end in until.items() if begin[key] < end}
    rows: list[dict[str, Any]] = []
    consumer = Consumer(
        {**client_settings(bootstrap), "group.id": "quantum-dlq", "enable.auto.commit": False},
        logger=confluent_logger(),
    )
    try:
        consumer.assign([TopicPartition(key.rpartition("/")[0], 0, begin[key]) for key in left])
        while left:
            for message in consumer.consume(500, 0.1):
                if message.error() is None:
                    rows.append(_letter(message))
                    key = f"{message.topic()}/{message.partition()}"
                    if (message.offset() or 0) + 1 >= until[key]:
                        left.discard(key)
    finally:
        consumer.close()
    known = settled(bootstrap) if rows else {}
    for row in rows:
        row["settled"] = known.get(row["id"])
        row["state"] = row["settled"]["outcome"] if row["settled"] else "open"
    return sorted(rows, key=lambda row: (row["written_ms"], row["processor"], row["offset"]))


def _letter(message: Any) -> dict[str, Any]:
    headers = {
        name: (value or b"").decode(errors="replace") for name, value in message.headers() or ()
    }
    raw = message.value()
    processor = message.topic().removeprefix("dlq.")
    return {
        "id": f"{processor}/{message.offset()}",
        "processor": processor,
        "offset": message.offset(),
        "written_ms": message.timestamp()[1],
        "topic": headers.get("topic"),
        "partition": headers.get("partition"),
        "original_offset": headers.get("offset"),
        "place": "/".join(str(headers.get(name)) for name in ("topic", "partition", "offset")),
        "reason": headers.get("reason"),
        "key": None if message.key() is None else message.key().decode(errors="replace"),
        "bytes": None if raw is None else len(raw),
        "base64": None if raw is None else base64.b64encode(raw).decode(),
    }


def settled(bootstrap: str) -> dict[str, dict[str, Any]]:
    """What was done about letters, by letter: outcome, who, why, when."""
    from replay.log import read_kafka
    from schemas.control import LetterSettled

    found: dict[str, dict[str, Any]] = {}
    for record in read_kafka(bootstrap, (CONTROL,)):
        if record.valid and isinstance(record.event, LetterSettled):
            data = record.event.data
            found[f"{data.processor}/{data.offset}"] = {
                "outcome": data.outcome,
                "operator": data.operator,
                "reason": data.reason,
                "time": record.event.time,
                "replayed_as": data.replayed_as,
            }
    return found


def find_letter(bootstrap: str, wanted: str) -> dict[str, Any]:
    """The letter of an id (``risk/0``) or of its original's place (``topic/partition/offset``).

    CommandError (misuse) if there is none, or if several processors have one of that place.
    """
    rows = letters(bootstrap, [topic.name for topic in DEAD_LETTERS])
    found = [row for row in rows if wanted in (row["id"], row["place"])]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(row["id"] for row in found)
        raise CommandError(f"{wanted} lies in several: name one of {names}", ExitCode.MISUSE)
    hint = "./quantum dlq list shows them" if rows else "there are no dead letters"
    raise CommandError(f"there is no dead letter {wanted}: {hint}", ExitCode.MISUSE)


# ---------------------------------------------------------------- replaying


def verdict(row: dict[str, Any]) -> str:
    """What this build would say to the original bytes."""
    try:
        event = _taken(row)
    except RecordError as error:
        return f"still refused: {error.reason}"
    refusal = _unfit(row, event)
    return f"cannot be replayed: {refusal}" if refusal else f"would be taken: {event.type}"


def _taken(row: dict[str, Any]) -> Envelope:
    """The event of the original bytes, whatever the message key was. Raises RecordError."""
    raw = None if row["base64"] is None else base64.b64decode(row["base64"])
    place = {"partition": int(row["partition"] or 0), "offset": int(row["original_offset"] or 0)}
    return decode_request(raw, topic=str(row["topic"]), **place)


def _unfit(row: dict[str, Any], event: Envelope) -> str | None:
    """Why a record that decodes is not to be published again by a person; None: it may be."""
    if event.epoch is not None:
        return (
            f"it is record {event.sequence} of {event.source}; its place in that source's order is "
            "gone, and a copy would be dropped as seen"
        )
    topic = TOPICS.get(str(row["topic"]))
    if topic is None or not topic.people:
        return f"{row['topic']} is written by the feed and the workers only"
    return None


def publish_anew(bootstrap: str, row: dict[str, Any], operator: str, reason: str) -> dict[str, Any]:
    """Publish the original on its topic: `place`, `id` and `new_id` of what stands there now.

    CommandError before anything is published: for what cannot be taken, or was settled before, and
    where control would not take the note of `operator` and `reason`.
    """
    from commands.publish import Publisher

    if row["settled"]:
        was = row["settled"]
        raise CommandError(
            f"refused: {row['id']} was {was['outcome']} by {was['operator']} already "
            f"({was['reason']}); send a new record instead (./quantum send)",
            ExitCode.REFUSED,
        )
    try:
        event = _taken(row)
    except RecordError as error:
        raise CommandError(
            f"refused: this build cannot take it either: {error.reason}; send a right one "
            "(./quantum send), and discard this one",
            ExitCode.REFUSED,
        ) from None
    unfit = _unfit(row, event)
    if unfit is not None:
        raise CommandError(f"refused: {row['id']}: {unfit}", ExitCode.REFUSED)
    _check_note(bootstrap, row, event.partitionkey, operator, reason)
    raw = base64.b64decode(row["base64"])
    new_id = _is_to_be_renamed(row, raw)
    if new_id:
        raw = encode(_renamed(event, row))
    with Publisher(bootstrap) as publisher:
        topic, partition, offset = publisher.send_raw(
            str(row["topic"]), event.partitionkey.encode(), raw
        )
    again = decode_request(raw, topic=topic, partition=partition, offset=offset)
    return {"place": f"{topic}/{partition}/{offset}", "id": again.id, "new_id": new_id}


def _check_note(
    bootstrap: str, row: dict[str, Any], account: str, operator: str, reason: str
) -> None:
    """Raises CommandError where the note that follows would be refused; who is no operator of the
    account is refused by control, so that it is recorded."""
    from commands.policy import read
    from domain.control_verbs import unknown_operator

    _note(row, "replayed", operator, reason, None)
    if unknown_operator(read(bootstrap).accounts.get(account), operator) is not None:
        settle(bootstrap, row, "replayed", operator, reason)


def _is_to_be_renamed(row: dict[str, Any], raw: bytes) -> bool:
    """Whether it needs an id made from its first place: one that was folded before, and one that
    came without (its readers would make another from each place that it stands at)."""
    import orjson

    folded = str(row["reason"]).partition(":")[0] not in NEVER_FOLDED
    return folded or "id" not in orjson.loads(raw)


def _renamed(event: Envelope, row: dict[str, Any]) -> Envelope:
    """The event under an id made from the letter's place: the same for every replay of it."""
    body = event.model_dump(mode="json", exclude_none=True)
    body["id"] = natural_id("replayed", str(row["place"]))
    for ordinal, item in enumerate(body["data"].get("items") or ()):
        item["id"] = part_id(body["id"], ordinal)
    return type(event).model_validate_json(_dumps(body))


def _dumps(body: dict[str, Any]) -> bytes:
    import orjson

    return orjson.dumps(body)


def settle(
    bootstrap: str,
    row: dict[str, Any],
    outcome: str,
    operator: str,
    reason: str,
    *,
    replayed_as: str | None = None,
) -> Envelope:
    """Have the control processor record what was done about a letter; the event that says so."""
    from commands.asking import ask, checked

    command = _note(row, outcome, operator, reason, replayed_as)
    return checked(ask(bootstrap, command)).event


def _note(
    row: dict[str, Any], outcome: str, operator: str, reason: str, replayed_as: str | None
) -> Envelope:
    """The command for that; CommandError (misuse) names what is wrong with it."""
    from commands.publish import PublishError, build

    raw = base64.b64decode(row["base64"] or "")
    data: dict[str, Any] = {
        "processor": row["processor"],
        "offset": row["offset"],
        "outcome": outcome,
        "place": row["place"],
        "digest": hashlib.sha256(raw).hexdigest(),
        "operator": operator,
        "reason": reason,
    }
    if replayed_as is not None:
        data["replayed_as"] = replayed_as
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    try:
        return build("letter.settle", _account(row), data, time=moment)
    except PublishError as error:
        raise CommandError(str(error), ExitCode.MISUSE) from None


def _account(row: dict[str, Any]) -> str:
    """The account a letter is about, so that its operators are asked for; else the processor."""
    try:
        return _taken(row).partitionkey
    except RecordError:
        return str(row["processor"])
