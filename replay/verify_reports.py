"""How a walker reports a difference: with place, class, the record's own words and its fields."""

from typing import Any

from domain.source import Source
from replay.sources import RawRecord
from replay.verify_findings import Class, Difference, Kind, Verified, fields
from replay.verify_own import Head, envelope
from schemas.codec import RecordError, encode, renewed
from schemas.envelope import Envelope
from schemas.upcasters import UPCASTERS


class Reporter:
    """Reports about one source. `now_ms`: append time of the record that was folded last."""

    def __init__(self, source: Source, findings: Verified) -> None:
        self.source = source
        self.findings = findings
        self.now_ms = 0

    def _unreadable(self, key: str, record: RawRecord, error: RecordError) -> None:
        """An input that cannot be read now was read then: no record says that it was skipped."""
        self._difference(
            "unreadable",
            "altered",
            f"{self.source.name} read it and did not skip it; now {error.reason}",
            place=f"{key}/{record.offset}",
        )

    def _report_lost(self, head: Head, again: Envelope) -> None:
        suspect = head.suspects.pop(0) if head.suspects else None
        offset = suspect.offset if suspect else head.offset
        problem = suspect.problem if suspect else f"nothing stands before offset {head.offset}"
        self._difference(
            "unreadable" if suspect else "missing",
            "altered",
            f"sequence {again.sequence} of {self.source.name} is not in its partition: {problem}",
            place=f"{self.source.output}/{offset}",
            about=encode(again),
            found=fields(suspect.raw if suspect else None, encode(again)),
        )

    def _report(self, kind: Kind, cls: Class, head: Head, note: str) -> None:
        self._difference(
            kind, cls, note, place=f"{self.source.output}/{head.offset}", about=head.raw
        )

    def _difference(
        self,
        kind: Kind,
        cls: Class,
        note: str,
        *,
        place: str,
        about: bytes | None = None,
        found: tuple[tuple[str, Any, Any], ...] = (),
        records: int = 1,
    ) -> None:
        body = envelope(about) or {}
        self.findings.add(
            Difference(
                kind=kind,
                cls=cls,
                source=self.source.name,
                place=place,
                note=note,
                id=body.get("id"),
                type=body.get("type"),
                time=body.get("time"),
                account=body.get("partitionkey"),
                fields=found,
                records=records,
                order=self.now_ms,
            )
        )


def newest(head: Head) -> bytes | None:
    """A record of an older version as this build writes it (docs/decisions/0013)."""
    try:
        return renewed(head.raw) if head.body["type"] in UPCASTERS else None
    except RecordError:
        return None
