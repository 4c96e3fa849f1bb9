"""docs/deployment.md names every setting, every port of the compose file, and nothing else."""

import re

import yaml

from runtime.settings import ROOT, Settings
from schemas.topics import TOPICS

PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    named = set(re.findall(r"QUANTUM_[A-Z_]+", PAGE))
    assert named == {f"QUANTUM_{field.upper()}" for field in Settings.model_fields}


def test_the_table_of_services_is_that_of_the_compose_file() -> None:
    file = yaml.safe_load((ROOT / "docker-compose.kafka.yml").read_text("utf-8"))
    rows = dict(re.findall(r"(?m)^\| `([a-z-]+)` \| (\d+|-) \|", PAGE))
    wanted = {
        name: service["ports"][0].split(":")[1] if "ports" in service else "-"
        for name, service in file["services"].items()
    }
    assert rows == wanted


def test_the_topics_people_may_write_are_those_of_the_code() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| people |"))
    assert set(re.findall(r"`([a-z0-9.]+)`", row)) == {t.name for t in TOPICS.values() if t.people}
