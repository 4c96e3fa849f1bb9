"""Every row of docs/failures.md names the test that shows it, and every test it names exists."""

import re
from pathlib import Path

from runtime.settings import ROOT

PAGE = (ROOT / "docs" / "failures.md").read_text("utf-8")
NAMED = re.compile(r"`(test_\w+)`")


def rows() -> list[str]:
    """Rows of all tables, without their heads."""
    lines = [*PAGE.splitlines(), ""]
    return [
        line
        for number, line in enumerate(lines)
        if line.startswith("| ") and not lines[number + 1].startswith("|--")
    ]


def defined() -> set[str]:
    """Names of all tests there are."""
    files = (ROOT / "tests").rglob("test_*.py")
    return {name for file in files for name in re.findall(r"(?m)^def (test_\w+)", _text(file))}


def _text(file: Path) -> str:
    return file.read_text("utf-8")


def test_every_row_of_failures_names_a_test() -> None:
    assert len(rows()) > 70
    assert [row for row in rows() if not NAMED.search(row)] == []


def test_every_test_that_failures_names_exists() -> None:
    assert set(NAMED.findall(PAGE)) - defined() == set()


def test_every_table_of_failures_has_as_many_cells_in_each_row() -> None:
    for table in re.findall(r"(?m)(?:^\|.*\n)+", PAGE):
        assert len({line.replace(r"\|", "").count("|") for line in table.splitlines()}) == 1, table
