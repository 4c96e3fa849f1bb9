"""Comparing two runs of the same inputs: record by record, part by part, matched by cause.

Ids are made of source, account and cause, never of content, so the same decision has the same id in
both runs whatever it says. What is equal on both sides is forgotten at once; memory grows with the
differences only.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from replay.why_lines import describe
from schemas.envelope import Envelope
from schemas.topics import ORDER, SIGNAL, SIGNAL_SAFE

Kind = Literal["changed", "figures", "appeared", "vanished"]
DECISIONS = (SIGNAL.name, SIGNAL_SAFE.name, ORDER.name)
"""Topics whose parts are counted as decisions: signals, verdicts, orders and their cancels."""
_FIGURES = frozenset({"limits", "figures", "policy_version", "approval_stale_s"})
"""Fields of a part that say what it was decided with, not what was decided."""


@dataclass(frozen=True, slots=True)
class Said:
    """A decided record of one side. `place`: how many decided records of the recorded run stand
    before it; for the rerun, before the input that led to it."""

    place: int
    topic: str
    event: Envelope


@dataclass(frozen=True, slots=True)
class Difference:
    """A part that is not the same on both sides. `figures`: the same outcome with other figures.
    `field`, `before`, `after`: the first field that differs."""

    kind: Kind
    place: int
    topic: str
    type: str
    record_id: str
    id: str
    account: str
    symbol: str | None
    time: str
    cause: str | None
    field: str | None
    before: str | None
    after: str | None
    line_before: str | None
    line_after: str | None

    @property
    def decision(self) -> bool:
        return self.topic in DECISIONS

    def as_json(self) -> dict[str, Any]:
        names = (
            "kind", "topic", "type", "id", "record_id", "account", "symbol", "time", "cause",
            "field", "before", "after", "line_before", "line_after",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


@dataclass(slots=True)
class Comparison:
    """Fold records of both sides in; ask for :meth:`differences` at the end."""

    recorded: int = 0
    """Decided records of the recorded run so far."""
    counts: tuple[Counter[str], Counter[str]] = field(
        default_factory=lambda: (Counter(), Counter())
    )
    """Parts of the recorded run and of the rerun, by topic."""
    pairs: list[tuple[Said, Said]] = field(default_factory=list)
    """Records of one id that differ."""
    _waiting: tuple[dict[str, Said], dict[str, Said]] = field(default_factory=lambda: ({}, {}))
    _place: int = 0

    def begin_input(self) -> None:
        """The next records of the rerun follow from an input that stands here in the log."""
        self._place = self.recorded

    def take_recorded(self, topic: str, event: Envelope) -> None:
        said = Said(self.recorded, topic, event)
        self.recorded += 1
        self._take(0, said)

    def take_rerun(self, topic: str, event: Envelope) -> None:
        self._take(1, Said(self._place, topic, event))

    def _take(self, side: int, said: Said) -> None:
        event = said.event
        self.counts[side][said.topic] += len(parts(event))
        other = self._waiting[1 - side].pop(event.id, None)
        if other is None:
            self._waiting[side][event.id] = said
        elif not same(event, other.event):
            self.pairs.append((said, other) if side == 0 else (other, said))

    # ------------------------------------------------------------------ asking

    def unmatched(self) -> tuple[list[Said], list[Said]]:
        """Records of the recorded run alone, and of the rerun alone."""
        return list(self._waiting[0].values()), list(self._waiting[1].values())

    def differing(self) -> list[tuple[Said | None, Said | None]]:
        """Records that differ, or stand on one side only, in the order of the recorded run."""
        alone, new = self.unmatched()
        found: list[tuple[Said | None, Said | None]] = [*self.pairs]
        found += [(said, None) for said in alone] + [(None, said) for said in new]
        return sorted(found, key=lambda pair: (_place_of(pair), _event_of(pair).time))

    @property
    def prefix(self) -> int:
        """Decided records of the recorded run before the first that is not the same in the rerun:
        all of them are equal in type, subject, time and data."""
        return min((_place_of(pair) for pair in self.differing()), default=self.recorded)

    def differences(self) -> list[Difference]:
        """Parts that differ, in the order of the recorded run."""
        return [d for pair in self.differing() for d in _differences(*pair)]


def same(one: Envelope, other: Envelope) -> bool:
    """Whether two records say the same: type, subject, time and data (not basis, epoch, place)."""
    return (
        one.type == other.type
        and one.subject == other.subject
        and one.time == other.time
        and _data(one) == _data(other)
    )


def parts(event: Envelope) -> tuple[Any, ...]:
    """The parts of a record; data that has no list of them is its own single part."""
    items = getattr(_data(event), "items", None)
    return items if isinstance(items, tuple) else (_data(event),)


def first_field(before: Any, after: Any, *, outcome: bool = False) -> tuple[str, str, str] | None:
    """Path and values of the first field in which two plain JSON values differ; None: equal.
    `outcome`: fields that only say what was decided with are passed over."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            if outcome and name in _FIGURES:
                continue
            found = first_field(before.get(name), after.get(name), outcome=outcome)
            if found:
                path = f"{name}.{found[0]}" if found[0] else str(name)
                return path.replace(".[", "["), found[1], found[2]
        return None
    if isinstance(before, list) and isinstance(after, list):
        for number in range(max(len(before), len(after))):
            pair = [seq[number] if number < len(seq) else None for seq in (before, after)]
            found = first_field(*pair, outcome=outcome)
            if found:
                path = f"[{number}].{found[0]}" if found[0] else f"[{number}]"
                return path.replace(".[", "["), found[1], found[2]
        return None
    return None if before == after else ("", _shown(before), _shown(after))


def outcome_changed(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether two parts decide differently; of failing checks only the codes count."""
    codes = [[f.get("code") for f in part.get("failures", ())] for part in (before, after)]
    if codes[0] != codes[1]:
        return True
    stripped = [{k: v for k, v in part.items() if k != "failures"} for part in (before, after)]
    return first_field(stripped[0], stripped[1], outcome=True) is not None


def _differences(before: Said | None, after: Said | None) -> Iterator[Difference]:
    if before is None or after is None:
        said = before or after
        assert said is not None
        kind: Kind = "vanished" if before else "appeared"
        for part in parts(said.event):
            yield _difference(kind, said, part if before else None, None if before else part, None)
        return
    ours = {_id(part, before.event): part for part in parts(before.event)}
    theirs = {_id(part, after.event): part for part in parts(after.event)}
    moved = before.event.time != after.event.time
    for name in dict.fromkeys((*ours, *theirs)):
        one, other = ours.get(name), theirs.get(name)
        if one is None or other is None:
            kind = "appeared" if one is None else "vanished"
            yield _difference(kind, after if one is None else before, one, other, None, name)
            continue
        plain = one.model_dump(mode="json"), other.model_dump(mode="json")
        found = first_field(*plain)
        if found is None and moved:
            found = ("time", before.event.time, after.event.time)
        if found is not None:
            changed = outcome_changed(*plain) or found[0] == "time"
            if changed:
                found = first_field(*plain, outcome=True) or found
            yield _difference(
                "changed" if changed else "figures", before, one, other, found, name, after
            )


def _difference(
    kind: Kind,
    said: Said,
    one: Any,
    other: Any,
    found: tuple[str, str, str] | None,
    name: str | None = None,
    after: Said | None = None,
) -> Difference:
    event = said.event
    part = one if one is not None else other
    return Difference(
        kind=kind,
        place=said.place,
        topic=said.topic,
        type=event.type,
        record_id=event.id,
        id=name or _id(part, event),
        account=event.partitionkey,
        symbol=getattr(part, "symbol", None),
        time=event.time,
        cause=event.causationid,
        field=found[0] if found else None,
        before=found[1] if found else None,
        after=found[2] if found else None,
        line_before=_line(event, one),
        line_after=_line(after.event if after else event, other),
    )


def _line(event: Envelope, part: Any) -> str | None:
    if part is None:
        return None
    return describe(event, (part,) if getattr(part, "id", None) else ())[0]


def _id(part: Any, event: Envelope) -> str:
    return str(getattr(part, "id", None) or event.id)


def _data(event: Envelope) -> Any:
    return getattr(event, "data", None)


def _place_of(pair: tuple[Said | None, Said | None]) -> int:
    return min(said.place for said in pair if said is not None)


def _event_of(pair: tuple[Said | None, Said | None]) -> Envelope:
    return (pair[0] or pair[1]).event  # type: ignore[union-attr]


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)[:200]
