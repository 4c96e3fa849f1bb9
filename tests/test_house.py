"""The house style is itself a test: directions of imports, purity, size, dead code, addresses."""

import ast
import re
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (
    "tests", "benchmarks", "docs", "commands", "streams", "projections", "migrations", "replay",
    "learning", "gateways", "runtime", "domain", "schemas",
)  # fmt: skip
"""From the top down: a room imports rooms after it only; the first three see everything."""
STRANGERS = {
    "streams": {"projections", "migrations", "sqlalchemy", "psycopg", "alembic"},
    "projections": {"streams", "faust", "mode"},
    "replay": {"faust", "mode", "sqlalchemy", "psycopg", "streams", "projections", "migrations"},
    "gateways": {"faust", "mode", "sqlalchemy", "psycopg"},
    "schemas": {"faust", "confluent_kafka", "aiokafka", "sqlalchemy", "psycopg", "asyncio"},
}
"""What a room must not know, rooms of its own level included (DESIGN.md, The house)."""
IMPURE_MODULES = {
    "time", "random", "secrets", "os", "io", "asyncio", "threading", "multiprocessing",
    "subprocess", "socket", "pathlib", "tempfile", "faust", "mode", "confluent_kafka", "aiokafka",
    "sqlalchemy", "psycopg", "requests", "logging", "structlog",
}  # fmt: skip
IMPURE_CALLS = {"open", "input", "print", "eval", "exec"}
IMPURE_ATTRIBUTES = {"now", "utcnow", "today", "uuid1", "uuid4", "getenv", "environ"}
PAGES = {"domain/reasons_page.py"}
"""Generators of documentation that print when run as a module."""
TESTED_BY = {
    "domain/stop_widening.py": "tests/domain/test_stops.py",
    "domain/venue_filters.py": "tests/domain/test_venue.py",
}
"""Domain modules that no test names, and the tests that run them through their callers."""
LINES_MAX = 400
ENTRY_POINTS = {
    "upgrade", "downgrade", "run_migrations", "run_migrations_online", "main",
    "pytest_addoption",
    "pytest_configure",
    "pytest_xdist_make_scheduler",
    "pytest_collection_modifyitems",
}  # fmt: skip
"""Found by name by Alembic, the shell or pytest."""


@cache
def tracked() -> tuple[Path, ...]:
    """Files of the repository: committed ones and new ones that are not ignored."""
    told = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    paths = (ROOT / name for name in told.stdout.split("\0") if name)
    return tuple(sorted(path for path in paths if path.is_file()))


@cache
def modules() -> dict[str, ast.Module]:
    """Parsed Python files by their path from the root."""
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8"))
        for path in tracked()
        if path.suffix == ".py"
    }


def imported(tree: ast.Module) -> set[str]:
    """Top-level names of everything a module imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names.add((node.module or "").split(".")[0])
    return names


def room_of(path: str) -> str:
    return path.partition("/")[0]


def test_imports_point_down_the_house_only() -> None:
    wrong = []
    for path, tree in modules().items():
        room = room_of(path)
        if room not in ROOMS or ROOMS.index(room) < 3:
            continue
        above = set(ROOMS[: ROOMS.index(room)])
        wrong += [f"{path} imports {name}" for name in sorted(imported(tree) & above)]
    assert wrong == []


def test_rooms_do_not_know_what_they_must_not_know() -> None:
    wrong = [
        f"{path} imports {name}"
        for path, tree in modules().items()
        for name in sorted(imported(tree) & STRANGERS.get(room_of(path), set()))
    ]
    assert wrong == []


def test_domain_is_pure() -> None:
    """No I/O, clock, randomness or environment: the same input gives the same decision for ever."""
    wrong = []
    for path, tree in modules().items():
        if room_of(path) != "domain" or path in PAGES:
            continue
        wrong += [f"{path} imports {name}" for name in sorted(imported(tree) & IMPURE_MODULES)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in IMPURE_CALLS | IMPURE_ATTRIBUTES - {"now"}:
                    wrong.append(f"{path}:{node.lineno} calls {node.func.id}")
            elif isinstance(node, ast.Attribute) and node.attr in IMPURE_ATTRIBUTES:
                owner = node.value.id if isinstance(node.value, ast.Name) else ""
                if owner in ("datetime", "date", "uuid", "os"):
                    wrong.append(f"{path}:{node.lineno} uses {owner}.{node.attr}")
    assert wrong == []


def test_no_module_is_longer_than_four_hundred_lines() -> None:
    long = {
        path: count
        for path in modules()
        if (count := len((ROOT / path).read_text("utf-8").splitlines())) > LINES_MAX
    }
    assert long == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = re.compile(r"(^|_)(utils?|helpers?|managers?|misc|common)(_|$)")
    assert [path for path in modules() if vague.search(Path(path).stem)] == []


def test_nothing_is_left_to_be_done_later() -> None:
    words = "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX"))
    marks = re.compile(rf"\b({words})\b|raise Not" + "Implemented")
    wrong = [path for path in modules() if marks.search((ROOT / path).read_text("utf-8"))]
    assert wrong == []


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    """But for those that need the peers or the year's candles, which are not shipped, and for
    atheris, which there is for Linux on x86-64 only."""
    marks = re.compile(r"pytest\.(mark\.)?(skip|skipif|xfail|importorskip)\b")
    wrong = [
        path
        for path in modules()
        if room_of(path) == "tests" and marks.search((ROOT / path).read_text("utf-8"))
        and path not in (
            "tests/test_house.py", "tests/peers/test_peers.py",
            "tests/schemas/test_codec_fuzzing.py",
        )
    ]  # fmt: skip
    assert wrong == []


def test_every_reason_code_is_in_the_documentation() -> None:
    from domain.reasons_page import page
    from schemas.reasons import EntryReason

    text = (ROOT / "docs" / "reasons.md").read_text("utf-8")
    assert [code for code in EntryReason if f"| {code} |" not in text] == []
    assert text == page(), "run python -m domain.reasons_page > docs/reasons.md"


def test_every_top_level_function_and_class_is_used() -> None:
    """A name that stands nowhere but where it is defined is dead, unless something finds it by its
    name: commands by their decorator, tests and fixtures by pytest, revisions by Alembic."""
    words: Counter[str] = Counter()
    for file in tracked():
        if file.suffix in (".py", ".toml", ".mako", "") and file.stat().st_size < 1_000_000:
            words.update(re.findall(r"[A-Za-z_]\w*", file.read_text("utf-8", errors="replace")))
    dead = []
    for path, tree in modules().items():
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if node.decorator_list and not isinstance(node, ast.ClassDef):
                continue
            found_by_name = node.name in ENTRY_POINTS or (
                room_of(path) == "tests" and node.name.lower().startswith("test")
            )
            if words[node.name] == 1 and not found_by_name:
                dead.append(f"{path}: {node.name}")
    assert dead == []


def test_every_module_is_imported_or_run() -> None:
    """A file that no other file names is dead."""
    kinds = (".py", ".toml", ".md", ".mako", ".ini", "")
    text = "\n".join(
        file.read_text("utf-8", errors="replace")
        for file in tracked()
        if file.suffix in kinds and file.stat().st_size < 1_000_000
    )
    dead = []
    for path in modules():
        stem, room = Path(path).stem, room_of(path)
        if stem in ("__init__", "__main__", "env", "conftest") or stem.startswith("test_"):
            continue
        if "versions" in path or room == "benchmarks":
            continue
        dotted = path.removesuffix(".py").replace("/", ".")
        package, _, name = dotted.rpartition(".")
        package, dotted_re = re.escape(package), re.escape(dotted)
        used = re.search(
            rf"{dotted_re}\b|{re.escape(path)}|from {package} import [^\n]*\b{name}\b"
            rf"|from {package} import \([^)]*\b{name}\b|[\"']{name}[\"']: "
            rf"|: \(?\s*[\"']{name}[\"'],",
            text,
        )
        if not used:
            dead.append(path)
    assert dead == []


def test_every_domain_module_is_tested_at_the_mirrored_path_or_named_in_a_test() -> None:
    texts = {
        path: (ROOT / path).read_text("utf-8")
        for path in modules()
        if room_of(path) == "tests" and path != "tests/test_house.py"
    }
    untested = []
    for path in modules():
        stem = Path(path).stem
        if room_of(path) != "domain" or stem == "__init__" or TESTED_BY.get(path) in texts:
            continue
        mirrored = f"tests/domain/test_{stem}.py" in texts
        dotted = path.removesuffix(".py").replace("/", ".")
        if not mirrored and not any(dotted in text for text in texts.values()):
            reached = any(
                dotted in (ROOT / other).read_text("utf-8")
                and any(other.removesuffix(".py").replace("/", ".") in t for t in texts.values())
                for other in modules()
                if room_of(other) == "domain"
            )
            if not reached:
                untested.append(path)
    assert untested == []


@pytest.mark.parametrize("name", ["base", "dev"])
def test_locks_hold_names_versions_and_hashes_and_no_address(name: str) -> None:
    text = (ROOT / "locks" / f"{name}.lock").read_text("utf-8")
    assert "://" not in text
    assert "--index" not in text
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    packages = [line for line in lines if not line.startswith(" ")]
    assert packages
    assert all(re.match(r"^[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+", line) for line in packages)
    assert text.count("--hash=sha256:") >= len(packages)


def test_no_machine_path_and_no_registry_address_is_in_the_repository() -> None:
    """Paths of the machine it was written on and addresses of registries help nobody elsewhere."""
    machine = re.compile("/" + r"(work|home|root|Users)/[a-z0-9_-]+/|/tm" + r"p/w/")
    names = ("py" + "pi", "python" + "hosted", "repo1.mav" + "en", "art" + "ifactory", "nex" + "us")
    registry = re.compile(r"https?://[^\s\"')]*(" + "|".join(names) + ")")
    wrong = []
    for file in tracked():
        if file.suffix in (".parquet", ".png", ".gz"):
            continue
        text = file.read_text("utf-8", errors="replace")
        found = [pattern.search(text) for pattern in (machine, registry)]
        wrong += [f"{file.relative_to(ROOT)}: {hit[0]}" for hit in found if hit]
    assert wrong == []
