"""Documentation is executed: messages are taken and answered, commands exist, links lead somewhere.

Method: JSON examples of README.md go through `decode_request` and the in-process engine; every
``./quantum …`` in the pages is held against the command line; every relative link is followed.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from commands.app import COMMANDS, create
from commands.publish import TOPIC_OF
from replay.engine import Engine
from runtime.settings import Settings
from schemas.codec import decode_request
from schemas.control import PolicySet, PolicySetData
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.topics import COMMANDS_CONTROL, TOPICS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLE = re.compile(
    r"^Topic `([^`]+)`, key `([^`]+)`[^\n]*\n+(?:[^`\n][^\n]*\n+)*```json\n(.*?)^```",
    re.MULTILINE | re.DOTALL,
)
CALL = re.compile(r"\./quantum((?: +[^\s`|;,()]+)*)")
LINK = re.compile(r"\]\(([^)#\s]+)\)")
EXAMPLES = EXAMPLE.findall(README)
ANSWER = {"commands.control": "control", "trade.signal.v5": "trade.signal.safe"}


def request(topic: str, raw: str) -> Envelope:
    return decode_request(raw.encode(), topic=topic, partition=0, offset=0)


def opened(account: str) -> PolicySet:
    """The command that the demo opened the account with: version 1 is there."""
    return PolicySet(
        id=natural_id("test", account),
        source="/test",
        subject=account,
        time="2021-05-17T00:00:00.000000Z",
        partitionkey=account,
        data=PolicySetData(
            expected_version=0, operator="demo", reason="test", profile="production", changes={}
        ),
    )


def test_the_readme_has_the_messages_it_is_to_explain() -> None:
    types = [request(topic, raw).type for topic, _, raw in EXAMPLES]
    assert types == [
        "command.policy.set.v1",
        "command.emergency.stop.v1",
        "trade.signal.published.v1",
    ]
    assert README.count("```json") == len(EXAMPLES)


@pytest.mark.parametrize(("topic", "key", "raw"), EXAMPLES)
def test_a_message_of_the_readme_is_taken_from_its_topic_and_key(
    topic: str, key: str, raw: str
) -> None:
    event = request(topic, raw)
    assert event.partitionkey == key
    assert TOPICS[topic].people
    assert TOPIC_OF[event.type].name == topic


@pytest.mark.parametrize(("topic", "key", "raw"), EXAMPLES)
def test_a_message_of_the_readme_is_answered_by_one_record_and_not_refused_as_a_command(
    topic: str, key: str, raw: str
) -> None:
    engine = Engine([key])
    engine.feed(COMMANDS_CONTROL.name, opened(key))
    event = request(topic, raw)
    engine.feed(topic, event)
    answers = [
        (stored.key.rpartition("/")[0], stored.event.type)
        for stored in engine.log.order
        if stored.event.causationid == event.id
        and stored.key.rpartition("/")[0] in (ANSWER[topic], "control")
    ]
    expected = {
        "command.policy.set.v1": "policy.changed.v2",
        "command.emergency.stop.v1": "emergency.activated.v2",
        "trade.signal.published.v1": "trade.signal.judged.v1",
    }
    assert answers == [(ANSWER[topic], expected[event.type])]


def test_the_same_policy_message_with_a_stale_version_gets_the_answer_the_readme_quotes() -> None:
    topic, key, raw = EXAMPLES[0]
    engine = Engine([key])
    engine.feed(COMMANDS_CONTROL.name, opened(key))
    engine.feed(topic, request(topic, raw))
    engine.feed(topic, request(topic, raw.replace("b7e10", "b7e11")))
    last: Any = engine.log.order[-1].event
    assert last.type == "command.rejected.v1"
    quoted = " ".join(README.split())
    for text in (last.data.code, last.data.sentence, f'"value":"{last.data.value}"'):
        assert text in quoted


def test_what_the_readme_says_may_be_left_out_may_be_and_the_rest_may_not() -> None:
    import json

    topic, _, raw = EXAMPLES[0]
    body = json.loads(raw)
    for name in ("specversion", "id", "source", "time", "partitionkey"):
        del body[name]
    assert request(topic, json.dumps(body)).partitionkey == "main"
    for name in ("type", "subject", "data"):
        less = {k: v for k, v in body.items() if k != name}
        with pytest.raises(ValueError):
            request(topic, json.dumps(less))


# ---------------------------------------------------------------- commands


ROOT_OPTIONS = ("--help", "--install-completion", "--show-completion")


def calls() -> list[tuple[str, str]]:
    """(page, words after ./quantum) of every call in the pages."""
    return sorted({
        (str(page.relative_to(ROOT)), words.strip())
        for page in PAGES
        for words in CALL.findall(page.read_text("utf-8"))
    })  # fmt: skip


@pytest.fixture(scope="module")
def root() -> Any:
    """The command line as click sees it."""
    return typer.main.get_command(create())


@pytest.mark.parametrize(("page", "words"), calls())
def test_every_command_in_the_pages_exists_with_its_options(
    root: Any, page: str, words: str
) -> None:
    given = words.split()
    if not given or given[0] in ("test", "COMMAND", *ROOT_OPTIONS):
        return
    assert given[0] in COMMANDS, f"{page}: there is no command {given[0]}"
    command = root.commands[given[0]]
    rest = given[1:]
    if hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"{page}: {given[0]} has no {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    unknown = {w for w in rest if re.fullmatch(r"--?[a-z][a-z-]*", w)} - known - {"--help", "-h"}
    assert unknown == set(), f"{page}: {words}"


def test_the_list_of_commands_says_of_each_what_its_own_help_says(root: Any) -> None:
    """The list is made without importing any of them."""
    said = {name: " ".join(each.short_help.split()) for name, each in root.commands.items()}
    assert said == {name: line for name, (_, line) in COMMANDS.items()}
    listed = typer.main.get_command(create(names_only=True))
    assert list(listed.commands) == list(COMMANDS)  # type: ignore[attr-defined]


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert [name for name in (*COMMANDS, "test") if f"./quantum {name}" not in text] == []


# ---------------------------------------------------------------- links and settings


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_setting_is_in_the_readme_or_where_it_sends_those_who_deploy() -> None:
    names = [f"QUANTUM_{name.upper()}" for name in Settings.model_fields]
    deploying = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    assert "docs/deployment.md" in README
    assert [name for name in names if f"`{name}`" not in README + deploying] == []


def test_every_room_is_in_the_readme() -> None:
    rooms = [p.name for p in ROOT.iterdir() if p.is_dir() and (p / "__init__.py").exists()]
    assert [room for room in rooms if f"`{room}/`" not in README] == []


def test_architecture_stays_under_two_hundred_lines() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text("utf-8").splitlines()) < 200


def test_decisions_are_numbered_without_a_gap_and_have_three_parts() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        parts = re.findall(r"^## (.+)$", page.read_text("utf-8"), re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences"], page.name
