"""docs/backtest.md is executed: its Python runs, its options exist, its figures are explained."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from commands.app import create
from replay.report_glossary import GLOSSARY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "backtest.md").read_text("utf-8")


def test_the_python_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/backtest.md", "exec"), names)
    assert names["made"].figures["start_equity"] == "20000"
    assert len(names["result"].curve.nav) > 24
    assert len(names["halves"].variants) == 2


def test_every_option_stands_on_the_page_and_no_other() -> None:
    command = typer.main.get_command(create("backtest"))
    backtest: Any = command.commands["backtest"]  # type: ignore[attr-defined]
    there = {name for p in backtest.params for name in p.opts if name.startswith("--")}
    section = PAGE.split("## Options")[1].split("## Data")[0]
    named = set(re.findall(r"`(--[a-z-]+)", section))
    assert named == there - {"--help"}


def test_the_figures_are_those_of_the_glossary() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9_]+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert rows == GLOSSARY
