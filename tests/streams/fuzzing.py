"""Records that are nearly right: golden samples with a few things changed."""

import copy
import json
from typing import Any

import orjson
from hypothesis import strategies as st

from schemas import json_schemas
from schemas.topics import TOPICS, Topic

SAMPLES = [
    path.read_bytes().rstrip(b"\n")
    for path in sorted((json_schemas.FOLDER.parent / "golden").glob("*.json"))
]
ODD: list[Any] = [
    None, True, 0, -1, 1.5, 1e308, 10**30, "", "NaN", "Infinity", "1e5", "-0", "00.1", "0.10",
    "9" * 60, "BTCUSDT", "\x00", "\ud7ff", "ÿ" * 300, "main", "/risk/0",
    "2021-02-30T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "2021-05-19T11:00:00Z",
    [], {}, [[]], [{}], {"items": []},
    {"kind": "order"}, "trade.order.decided.v9", "no.such.type.v1",
]  # fmt: skip
DEEP = b"[" * 3_000


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in a JSON value, the whole included."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        inner = list(value.items() if isinstance(value, dict) else enumerate(value))
    return [at, *(path for key, each in inner for path in _places(each, (*at, key)))]


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A sample with one to three values replaced, removed, doubled or renamed."""
    record = orjson.loads(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(_places(record)[1:] or [("id",)]))
        parent = record
        for step in way:
            parent = parent[step]
        kind = draw(st.sampled_from(("odd", "odd", "gone", "twice", "renamed")))
        if kind == "odd":
            parent[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
        elif kind == "gone":
            del parent[last]
        elif isinstance(parent, list):
            parent.append(parent[last])
        else:
            parent[f"{last}_" if kind == "renamed" else "extra"] = parent[last]
    return json.dumps(record, separators=(",", ":")).encode("utf-8", "surrogatepass")


@st.composite
def torn(draw: st.DrawFn) -> bytes:
    """A sample with bytes cut off, inserted or changed."""
    raw = bytearray(draw(st.sampled_from(SAMPLES)))
    at = draw(st.integers(0, len(raw) - 1))
    kind = draw(st.sampled_from(("cut", "byte", "insert")))
    if kind == "cut":
        del raw[at:]
    elif kind == "byte":
        raw[at] = draw(st.integers(0, 255))
    else:
        raw[at:at] = draw(st.one_of(st.binary(max_size=8), st.just(DEEP)))
    return bytes(raw)


def records() -> st.SearchStrategy[bytes | None]:
    """Values of messages: nearly right, torn, anything, none."""
    anything: st.SearchStrategy[bytes | None] = st.binary(max_size=200)
    return st.one_of(changed(), changed(), torn(), torn(), anything, st.none())


def topics() -> list[Topic]:
    """Topics that a worker reads events from."""
    return [topic for topic in TOPICS.values() if topic.lane < 9]
