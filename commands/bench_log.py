"""A long log to measure with: what two accounts really did, told again for many accounts.

The in-process engine trades the hours around the crash with the demo's accounts. Each record is
cut into a template once; a copy differs in account, ids, partition and sequence. So sizes, types,
their order and their proportions are those of a run, and epochs and sequences are valid.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from confluent_kafka import Producer

from commands.demo import MARKET as FILES
from gateways.candles import read_candles
from gateways.feed_records import fed_records
from gateways.probes import demo_script
from replay.engine import Engine
from runtime.logs import confluent_logger
from schemas.codec import encode
from schemas.instruments import load_instruments
from schemas.sources import FencedData, SourceFenced
from schemas.topics import CONTROL, PARTITIONS_EMBEDDED, TOPICS, partition_of

FROM, TO = datetime(2021, 5, 19, tzinfo=UTC), datetime(2021, 5, 20, tzinfo=UTC)
WARM_UP = timedelta(hours=6)
TEMPLATES = ("hot", "main")
FED = frozenset({"control", "trade.order", "trade.execution.res", "trade.position.update",
                 "trade.signal.safe"})  # fmt: skip
"""Topics that feed tables besides the index."""
_ID = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_PLACES = re.compile(
    rb"(?P<id>%s)|(?P<order>(?<=\"qt)[0-9a-f]{22})|(?P<fill>(?<=\"trade_id\":\")[0-9a-f]{24})"
    rb"|(?P<source>\"source\":\"/[a-z]+/)[0-9]+|(?P<sequence>\"sequence\":)[0-9]+"
    rb"|(?P<basis>\"(?:trade|venue|commands)\.[a-z0-9.]+/)[0-9]+|(?P<percent>%%)" % _ID
)


@dataclass(frozen=True, slots=True)
class Template:
    """A record of a template account, ready for `%`; `source` names who wrote it, if in order."""

    topic: str
    source: str | None
    text: bytes


@dataclass(frozen=True, slots=True)
class LongLog:
    """What was written. `folded`: records of topics that feed tables besides the index."""

    events: int
    folded: int
    size: int
    accounts: int
    seconds: float


Message = tuple[str, int, bytes, bytes]
"""Topic, partition, key, value."""


def write_log(
    kafka: str,
    events: int,
    *,
    partitions: int = PARTITIONS_EMBEDDED,
    progress: Callable[[int], None],
) -> LongLog:
    """Append about `events` records (never fewer) to topics that exist and are empty.

    progress: called with the count so far. RuntimeError if the broker refuses one.
    """
    started = time.perf_counter()
    refused: list[str] = []
    sender = producer(kafka, refused)
    count = size = 0
    topics: Counter[str] = Counter()
    shared, templates = cut()
    accounts = accounts_for(events, shared, templates)
    for message in messages(shared, templates, accounts, partitions):
        produce(sender, message, refused)
        count += 1
        size += len(message[3])
        topics[message[0]] += 1
        if count % 10_000 == 0:
            sender.poll(0)
            progress(count)
    sender.flush()
    if refused:
        raise RuntimeError(f"the broker refused {len(refused)} records: {refused[0]}")
    folded = sum(topics[name] for name in FED)
    return LongLog(count, folded, size, accounts, round(time.perf_counter() - started, 1))


def producer(kafka: str, refused: list[str]) -> Producer:
    """One that writes fast and in order; what the broker refuses is noted in `refused`."""
    return Producer(
        {
            "bootstrap.servers": kafka,
            "enable.idempotence": True,
            "linger.ms": 50,
            "batch.size": 1_000_000,
            "queue.buffering.max.kbytes": 131_072,
            "on_delivery": lambda error, _: refused.append(str(error)) if error else None,
        },
        logger=confluent_logger(),
    )


def produce(sender: Producer, message: Message, refused: list[str]) -> None:
    """Append a message; waits while too much is on its way. RuntimeError once one was refused."""
    topic, partition, key, value = message
    while True:
        try:
            sender.produce(topic, value, key, partition)
            return
        except BufferError:
            sender.poll(0.1)
            if refused:
                raise RuntimeError(f"the broker refused a record: {refused[0]}") from None


def cut() -> tuple[list[Message], dict[str, list[Template]]]:
    """The run's market and clock as they are, and templates of each template account in order."""
    engine = _run()
    shared: list[Message] = []
    templates: dict[str, list[Template]] = {name: [] for name in TEMPLATES}
    outside = set[bytes]()
    for stored in engine.log.order:
        event, topic = stored.event, stored.key.rpartition("/")[0]
        if topic in ("market", "clock"):
            shared.append((topic, 0, event.partitionkey.encode(), encode(event)))
            outside.add(event.id.encode())
        elif event.partitionkey in templates:
            source = event.source if event.epoch is not None else None
            text = _template(encode(event), event.partitionkey.encode(), outside, topic)
            templates[event.partitionkey].append(Template(topic, source, text))
    return shared, templates


def messages(
    shared: list[Message],
    templates: dict[str, list[Template]],
    accounts: int,
    partitions: int,
    sequences: dict[tuple[str, int], int] | None = None,
) -> Iterator[Message]:
    """The whole log: fences, then a step of every account in turn, market and clock in between.

    sequences: last sequence of each processor and partition, counted on here.
    """
    sequences = {} if sequences is None else sequences
    every = [template for line in templates.values() for template in line]
    writers = {t.source.split("/")[1]: t.topic for t in every if t.source}
    for processor, topic in writers.items():
        for partition in range(partitions if TOPICS[topic].keyed else 1):
            yield _fence(processor, topic, partition)
    names = [f"acct-{number:05d}" for number in range(accounts)]
    kinds = _kinds(templates)
    lines = [kinds[number % len(kinds)] for number in range(accounts)]
    places = [partition_of(name, partitions) for name in names]
    steps = max(len(line) for line in lines)
    for step in range(steps):
        yield from shared[len(shared) * step // steps : len(shared) * (step + 1) // steps]
        for number, line in enumerate(lines):
            if step < len(line):
                yield _instance(line[step], names[number], number, places[number], sequences)


def _instance(
    template: Template, name: str, number: int, place: int, sequences: dict[tuple[str, int], int]
) -> Message:
    partition = place if TOPICS[template.topic].keyed else 0
    sequence = 0
    if template.source is not None:
        key = (template.source.split("/")[1], partition)
        sequence = sequences[key] = sequences.get(key, 0) + 1
    account = name.encode()
    value = template.text % {
        b"a": account, b"c": b"%06x" % number, b"o": b"%d" % place, b"p": b"%d" % partition,
        b"s": b"%d" % sequence,
    }  # fmt: skip
    return template.topic, partition, account, value


def _template(raw: bytes, account: bytes, outside: set[bytes], topic: str) -> bytes:
    def place(found: re.Match[bytes]) -> bytes:
        kind, text = found.lastgroup, found.group()
        if kind == "id":
            return text if text in outside else text[:24] + b"%(c)s" + text[30:]
        if kind in ("order", "fill"):
            return b"%(c)s" + text[6:]
        if kind == "source":
            return found.group("source") + b"%(p)s"
        if kind == "sequence":
            return found.group("sequence") + b"%(s)s"
        if kind == "basis":
            # what control was based on names all partitions of a topic
            return text if topic == CONTROL.name else found.group("basis") + b"%(o)s"
        return b"%%"

    text = _PLACES.sub(place, raw)
    return re.sub(rb'(?<=["/])%s(?=["/])' % account, b"%(a)s", text)


def _fence(processor: str, topic: str, partition: int) -> Message:
    about = FencedData(build="bench", configuration="bench", topic_ids={})
    event = SourceFenced.opening(f"/{processor}/{partition}", 1, about)
    return topic, partition, event.partitionkey.encode(), encode(event)


def accounts_for(events: int, shared: list[Message], templates: dict[str, list[Template]]) -> int:
    """How many accounts it takes."""
    kinds = _kinds(templates)
    each = sum(len(line) for line in kinds) / len(kinds)
    return max(len(kinds), round((events - len(shared)) / each) + 1)


def _kinds(templates: dict[str, list[Template]]) -> list[list[Template]]:
    """What accounts there are: those of the demo, and one at a real exchange, which has no records
    of a simulated venue."""
    lines = [templates[name] for name in TEMPLATES]
    return [*lines, [t for t in lines[-1] if not t.topic.startswith("venue.")]]


def _run() -> Engine:
    files = [
        read_candles(FILES / f"{symbol}-1m-20210516-20210522.parquet")
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    records = fed_records(
        files,
        start=FROM,
        end=TO,
        warm_up_start=FROM - WARM_UP,
        instruments=load_instruments("BTCUSDT", "ETHUSDT"),
        funding=[],
        script=[
            scripted
            for scripted in demo_script(files, start=FROM, end=TO)
            if scripted.event.partitionkey in TEMPLATES
        ],
    )
    engine = Engine(TEMPLATES)
    for topic, event in records:
        engine.feed(topic, event)
    return engine
