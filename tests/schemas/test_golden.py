"""Golden samples: one canonical line of every version of every type, readable by every later build
(LOG-3).

A sample in `schemas/golden/` is never edited. A new version of a type gets a new file; the old one
stays, and is read as the newest version (tests/schemas/test_upcasters.py).
"""

from pathlib import Path

import pytest

from schemas import json_schemas
from schemas.codec import decode, encode
from schemas.events import TYPES
from schemas.upcasters import UPCASTERS

GOLDEN = Path(json_schemas.__file__).parent / "golden"
SAMPLES = sorted(GOLDEN.glob("*.json"))


def test_every_type_has_a_sample_and_every_sample_is_of_a_type() -> None:
    assert {path.stem for path in SAMPLES} == set(TYPES)


@pytest.mark.parametrize(
    "path", [path for path in SAMPLES if path.stem not in UPCASTERS], ids=lambda path: path.stem
)
def test_a_sample_decodes_and_encodes_to_the_same_bytes(path: Path) -> None:
    raw = path.read_bytes()
    assert raw.count(b"\n") == 1, "one line, as in the log"
    assert raw.endswith(b"\n")
    event = decode(raw[:-1])
    assert event.type == path.stem
    assert encode(event) == raw[:-1]


def test_samples_show_every_kind_of_part() -> None:
    kinds = {
        item.kind
        for name in ("trade.order.decided", "trade.execution.reported", "venue.reported")
        for item in decode((GOLDEN / f"{name}.v1.json").read_bytes()[:-1]).data.items  # type: ignore[attr-defined]
    }
    assert kinds >= {"order", "cancel", "dropped", "step", "flat"}
    assert kinds >= {"accepted", "filled", "ended", "unknown", "transferred", "funded", "read_back"}
    assert kinds >= {"found", "cancel_refused"}


def test_the_committed_json_schemas_are_those_of_the_code() -> None:
    committed = {path.stem: path.read_text("utf-8") for path in json_schemas.FOLDER.glob("*.json")}
    generated = {name: json_schemas.json_schema(name) for name in TYPES}
    assert committed == generated, "run python -m schemas.json_schemas and commit what it writes"


def test_json_schemas_are_written_to_a_folder_and_old_ones_removed(tmp_path: Path) -> None:
    (tmp_path / "trade.gone.v1.json").write_text("{}")
    written = json_schemas.write(tmp_path)
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == sorted(TYPES)
    assert len(written) == len(TYPES)
