"""docs/events.md says what the code does: it is generated, and its readers are the deciders'."""

from pathlib import Path

import pytest

from domain.processors import PROCESSORS, build
from schemas.events import TYPES
from schemas.events_page import PLACES, READERS, page
from schemas.topics import EVENT_TOPICS, PARTITIONS_EMBEDDED, TOPICS
from streams.gateway import GatewaySource
from streams.processors import AGENTS

PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run python -m schemas.events_page > docs/events.md"


def test_every_type_is_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in TYPES if f"| `{name}` |" not in text] == []


def test_every_event_topic_has_the_readers_it_has_in_the_code() -> None:
    found: dict[str, set[str]] = {topic.name: set() for topic in EVENT_TOPICS}
    for name in PROCESSORS:
        for read in build(name, 0, PARTITIONS_EMBEDDED).reads:
            found[read.topic.name].add(name)
    for key in GatewaySource(0, PARTITIONS_EMBEDDED).positions:
        found[key.rpartition("/")[0]].add("gateway")
    assert {name: set(readers) for name, readers in READERS.items()} == found


def test_readers_are_named_with_the_processor_that_takes_the_topic_as_its_agent_first() -> None:
    agents = {topic.name: name for name, taken in AGENTS.items() for topic in taken}
    wrong = {t: r for t, r in READERS.items() if t in agents and r[0] != agents[t]}
    assert wrong == {}


@pytest.mark.parametrize("processor", sorted(PROCESSORS))
def test_every_processor_is_the_writer_of_its_output_topic(processor: str) -> None:
    output = build(processor, 0, PARTITIONS_EMBEDDED).output.name
    writers = {place.writer for place in PLACES.values() if place.topic == output}
    assert any(processor in writer.split(", ") for writer in writers)


def test_people_write_exactly_to_the_topics_that_are_for_people() -> None:
    by_hand = {place.topic for place in PLACES.values() if "people" in place.writer}
    allowed = {name for name, topic in TOPICS.items() if topic.people}
    assert by_hand == allowed
