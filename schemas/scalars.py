"""Checked scalars of the record: times, decimals, names. All are text on the wire and in memory.

Decimals stay text inside an event (fast, lossless, canonical); arithmetic takes them out with
:func:`dec` and puts them back with :func:`text`.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

_DAY = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
SYMBOL_PATTERN = r"^[A-Z0-9_]{2,30}$"
TIME_PATTERN = rf"^{_DAY}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{{6}}Z$"
_NOT_ZERO = r"(0\.[0-9]*[1-9][0-9]*|[1-9][0-9]*(\.[0-9]+)?)"
"""`[0-9]`, never `\\d`: that also matches the digits of other scripts."""
DECIMAL_PATTERN = rf"^(0(\.0+)?|-?{_NOT_ZERO})$"
POSITIVE_PATTERN = rf"^{_NOT_ZERO}$"
UNSIGNED_PATTERN = rf"^(0(\.0+)?|{_NOT_ZERO})$"
DIGITS_MAX = 40
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
DAYS_KEPT = 4096
"""Days whose text and number are remembered: most times that follow each other share theirs."""
TIMES_KEPT = 4096
"""Times whose number is remembered: whatever happens at a candle happens to all accounts."""
_MINUTES = tuple(f"T{minute // 60:02d}:{minute % 60:02d}:" for minute in range(1440))
EPOCH_TEXT = "1970-01-01T00:00:00.000000Z"
_DECIMAL = re.compile(DECIMAL_PATTERN)


def _digits(value: str) -> str:
    if len(value) > DIGITS_MAX and sum(c.isdigit() for c in value) > DIGITS_MAX:
        raise ValueError(f"decimal of more than {DIGITS_MAX} digits")
    return value


def _real_day(value: str) -> str:
    if value[8:10] > "28" or value.startswith("0000"):
        try:
            datetime(int(value[0:4]), int(value[5:7]), int(value[8:10]), tzinfo=UTC)
        except ValueError:
            raise ValueError(f"{value[:10]} is no day of the calendar") from None
    return value


CHARACTER_CHECKS = (_digits, _real_day)
"""They let a text through as it is, or refuse it."""
Time = Annotated[str, StringConstraints(pattern=TIME_PATTERN), AfterValidator(_real_day)]
DecimalText = Annotated[str, StringConstraints(pattern=DECIMAL_PATTERN), AfterValidator(_digits)]
Positive = Annotated[str, StringConstraints(pattern=POSITIVE_PATTERN), AfterValidator(_digits)]
Unsigned = Annotated[str, StringConstraints(pattern=UNSIGNED_PATTERN), AfterValidator(_digits)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Symbol = Annotated[str, StringConstraints(pattern=SYMBOL_PATTERN)]
ClientOrderId = Annotated[str, StringConstraints(pattern=r"^[.A-Z:/a-z0-9_-]{1,36}$")]
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Line = Annotated[str, StringConstraints(max_length=500)]


def dec(value: str) -> Decimal:
    """The number that a checked decimal text stands for."""
    return Decimal(value)


def text(value: Decimal | int) -> str:
    """Canonical text of a number: no exponent, no trailing zeros after the point, never ``-0``.

    Raises ValueError for NaN and infinities: no such number is ever part of a record.
    """
    out = str(value)
    if "E" in out or "N" in out or "I" in out:  # An exponent, NaN, Infinity.
        if not isinstance(value, int) and not value.is_finite():
            raise ValueError(f"{value} is not a finite number and cannot be part of a record")
        out = format(value, "f")
    if "." in out and out[-1] == "0":
        out = out.rstrip("0").rstrip(".")
    return "0" if out == "-0" else out


def is_decimal(value: str) -> bool:
    return _DECIMAL.fullmatch(value) is not None


@lru_cache(maxsize=TIMES_KEPT)
def micros(time: str) -> int:
    """Microseconds since 1970 of a canonical time."""
    return (
        _day_us(time[:10])
        + int(time[11:13]) * 3_600_000_000
        + int(time[14:16]) * 60_000_000
        + int(time[17:19]) * 1_000_000
        + int(time[20:26])
    )


@lru_cache(maxsize=DAYS_KEPT)
def _day_us(day: str) -> int:
    moment = datetime(int(day[0:4]), int(day[5:7]), int(day[8:10]), tzinfo=UTC)
    return (moment - EPOCH).days * DAY_US


def time_text(us: int) -> str:
    """Canonical time of microseconds since 1970 (UTC)."""
    minutes, rest = divmod(us, 60_000_000)
    day, minute = divmod(minutes, 1440)
    if not rest:
        return f"{_day_text(day)}{_MINUTES[minute]}00.000000Z"
    second, part = divmod(rest, 1_000_000)
    return f"{_day_text(day)}{_MINUTES[minute]}{second:02d}.{part:06d}Z"


@lru_cache(maxsize=DAYS_KEPT)
def _day_text(day: int) -> str:
    return (EPOCH + timedelta(days=day)).date().isoformat()


def latest(times: Iterable[str]) -> str:
    """The latest of canonical times: they sort as text."""
    return max(times)
