"""docs/dependencies.md names each direct dependency, and no other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dependencies.md").read_text("utf-8")


@pytest.mark.parametrize(("lock", "heading"), [("base", "To run"), ("dev", "To test")])
def test_every_direct_dependency_stands_on_the_page_with_a_reason(lock: str, heading: str) -> None:
    lines = (ROOT / "locks" / f"{lock}.in").read_text("utf-8").split("\n")
    wanted = {
        re.split(r"[\[=<>; ]", line)[0] for line in lines if line and not line.startswith("-")
    }
    section = PAGE.split(f"## {heading}")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, re.MULTILINE))
    assert set(rows) == wanted
    assert all(len(reason) > 5 for reason in rows.values())


def test_every_set_of_jars_stands_on_the_page() -> None:
    from runtime.jars import COORDINATES

    names = {":".join(c.split(":")[:2]) for group in COORDINATES.values() for c in group}
    assert [name for name in names if f"`{name}`" not in PAGE] == []
