"""Verdicts cut out of a record's bytes: rows of `intents`, and the sets of limits they share.

Without a backslash a quotation mark always delimits a string, so what is looked for here can only
be structure, never text inside a string.
"""

import re

import orjson

from projections.limits import limits_id
from projections.trusted_items import START

SETS_MAX = 20_000
"""Sets of limits kept at hand, about 1 KB each."""
_VERDICT = re.compile(
    rb'\{"id":"([^"]{36})","request_id":"([^"]{36})","symbol":"([^"]*)","side":"([A-Z]*)",'
    rb'"kind":"([a-z]*)","verdict":"([a-z]*)",(?:"reason":"([^"]*)",)?"failures":\['
)
_END = re.compile(
    rb'\},"origin":"([^"]*)","confidence":"([^"]*)"(?:,"label":"([^"]*)")?'
    rb',"policy_version":([0-9]+)\}(,|\]\}\})'
)
_LIMITS, _FIGURES, _PLAN, _LAST = b'],"limits":[', b'],"figures":{', b'},"plan":{', b'},"origin":"'
_NAMES = (["name", "value"], ["name", "value", "policy_version"])
_NONE = b"\\N"


LimitSet = tuple[bytes, str, bytes]
"""A set of limits: its text as it stands between the name `limits` and the first figure, the id it
has, and its row of `limit_sets`."""
VerdictRow = tuple[str, bytes, LimitSet]
"""Id and row of a verdict, and the limits it names."""


class Verdicts:
    """Cuts verdicts; remembers the limits of each account and kind, which are nearly always those
    of its verdict before."""

    def __init__(self) -> None:
        self._last: dict[tuple[bytes, bytes], LimitSet] = {}

    def cut(
        self, record: bytes, account: bytes, time: bytes, raw: bytes, at: int
    ) -> list[VerdictRow] | None:
        """Rows of a record whose data begin at or after `at`; None where its bytes do not look as
        expected."""
        begin = raw.find(START + b"[", at)
        if begin < 0:
            return None
        at = begin + len(START) + 1
        rows: list[VerdictRow] = []
        while True:
            head = _VERDICT.match(raw, at)
            if head is None:
                return None
            identity, request, symbol, side, kind, verdict, reason = head.groups(_NONE)
            failures = head.end() - 1
            limits = raw.find(_LIMITS, failures)
            if limits < 0:
                return None
            found = self._limits(account, kind, raw, limits + len(_LIMITS) - 1)
            if found is None:
                return None
            figures = limits + len(_LIMITS) - 2 + len(found[0])  # its brace
            last = raw.find(_LAST, figures)
            end = _END.match(raw, last) if last > 0 else None
            if end is None:
                return None
            plan = raw.find(_PLAN, figures, last)
            shut = (plan if plan > 0 else last) + 1
            origin, confidence, label, version, more = end.groups(_NONE)
            line = b"\t".join(
                (
                    identity, request, account, symbol, side, kind, verdict, reason, origin,
                    confidence, label, version, time, raw[failures : limits + 1], found[1].encode(),
                    raw[figures:shut], raw[plan + 9 : last + 1] if plan > 0 else _NONE, record,
                )
            )  # fmt: skip
            rows.append((identity.decode(), line, found))
            at = end.end()
            if more != b",":
                break
        return rows if at == len(raw) else None

    def _limits(self, account: bytes, kind: bytes, raw: bytes, at: int) -> LimitSet | None:
        """The set whose list begins at `at`."""
        last = self._last.get((account, kind))
        if last is not None and raw.startswith(last[0], at):
            return last
        end = raw.find(_FIGURES, at)
        if end < 0:
            return None
        limits = orjson.loads(raw[at : end + 1])
        if not all(type(limit) is dict and list(limit) in _NAMES for limit in limits):
            return None
        key = limits_id(account.decode(), limits)
        line = b"\t".join((key.encode(), account, raw[at : end + 1]))
        if len(self._last) >= SETS_MAX:
            self._last.clear()
        found = (raw[at : end + len(_FIGURES)], key, line)
        self._last[account, kind] = found
        return found
