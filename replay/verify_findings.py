"""What a verification found: differences with their class, and the sum of them."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

Class = Literal["altered", "input missing", "decided by other code", "nondeterminism"]
Kind = Literal["different", "missing", "unexpected", "unreadable", "unverifiable"]
CLASSES: dict[Class, str] = {
    "altered": "a record is not what was written: its bytes break the chain, or this build's code "
    "gives other bytes every time (the record itself, or an input it depends on, was changed)",
    "input missing": "records it was decided on are not in the log: take them from an archive",
    "decided by other code": "the fence of its epoch names another build than this one",
    "nondeterminism": "this build gives other bytes when it decides again: a defect",
}
FIELDS_MAX = 20
DETAILS_MAX = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. place: ``topic/partition/offset`` of the recorded event, or of the cause
    where none is recorded. fields: (path, recorded, decided again); None: not there.

    records: how many own records it concerns (the rest of a source whose inputs are missing)."""

    kind: Kind
    cls: Class
    source: str
    place: str
    note: str
    id: str | None = None
    type: str | None = None
    time: str | None = None
    account: str | None = None
    fields: tuple[tuple[str, Any, Any], ...] = ()
    records: int = 1
    order: int = 0
    """Append time in ms: the first difference is the one to look at."""

    def as_json(self) -> dict[str, Any]:
        body = asdict(self)
        body["class"] = body.pop("cls")
        body["fields"] = [
            {"field": path, "recorded": old, "again": new} for path, old, new in self.fields
        ]
        del body["order"]
        return body


@dataclass(slots=True)
class Verified:
    """What came out. decisions: recorded ones that were decided again; nothing: facts that were
    looked at again and, as in the log, gave nothing; consulted: how often a decider was asked
    about an input and an account, or found that it concerns none; waiting: requests behind the
    last record of their source, not answered yet; unsure: facts that would have led to a record
    in one order of topics and not in another, where the log does not say which it was; records:
    all that were read."""

    decisions: int = 0
    identical: int = 0
    different: int = 0
    nothing: int = 0
    consulted: int = 0
    waiting: int = 0
    unsure: int = 0
    records: int = 0
    sources: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    build: str = ""
    builds: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    details: list[Difference] = field(default_factory=list)

    def add(self, difference: Difference) -> None:
        """Count a difference; the first hundred are kept."""
        self.different += difference.records
        self.classes[difference.cls] += difference.records
        self.details.append(difference)
        if len(self.details) > 2 * DETAILS_MAX:
            self._keep_first()

    def join(self, other: "Verified") -> None:
        """Add what another part of the verification found."""
        for name in (
            "decisions",
            "identical",
            "different",
            "nothing",
            "consulted",
            "waiting",
            "unsure",
            "sources",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.cpu_seconds += other.cpu_seconds
        self.builds += other.builds
        self.classes += other.classes
        self.details += other.details
        self._keep_first()

    def _keep_first(self) -> None:
        self.details.sort(key=lambda each: each.order)
        del self.details[DETAILS_MAX:]

    def as_json(self) -> dict[str, Any]:
        return {
            "decisions": self.decisions,
            "identical": self.identical,
            "different": self.different,
            "nothing": self.nothing,
            "consulted": self.consulted,
            "waiting": self.waiting,
            "unsure": self.unsure,
            "records": self.records,
            "sources": self.sources,
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "build": self.build,
            "builds": dict(self.builds),
            "classes": dict(self.classes),
            "details": [each.as_json() for each in self.details],
        }


def fields(recorded: bytes | None, again: bytes | None) -> tuple[tuple[str, Any, Any], ...]:
    """Fields in which two records differ, by path (``data.items[0].price``), the first twenty."""
    old, new = _flat(recorded), _flat(again)
    paths = [*new, *(path for path in old if path not in new)]
    found = [(p, old.get(p), new.get(p)) for p in paths if old.get(p) != new.get(p)]
    if not found and recorded != again and recorded is not None and again is not None:
        at = next(
            (n for n, (a, b) in enumerate(zip(recorded, again, strict=False)) if a != b),
            min(len(recorded), len(again)),
        )
        span = slice(max(0, at - 12), at + 12)
        found = [(f"byte {at}", _text(recorded[span]), _text(again[span]))]
    return tuple(found[:FIELDS_MAX])


def _flat(raw: bytes | None) -> dict[str, Any]:
    try:
        body = orjson.loads(raw or b"")
    except orjson.JSONDecodeError:
        return {"record": _text(raw or b"")[:200]} if raw else {}
    flat: dict[str, Any] = {}
    _flatten("", body, flat)
    return flat


def _flatten(path: str, value: Any, flat: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            _flatten(f"{path}.{name}" if path else str(name), each, flat)
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            _flatten(f"{path}[{number}]", each, flat)
    else:
        flat[path] = value


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
