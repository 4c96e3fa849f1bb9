"""What the bytes of a record say without being parsed: the envelope of canonical bytes, by pattern.

Who wrote a record decides how far its bytes are trusted. One with an epoch was written by a worker
of this system, through the one encoder: its envelope is read here, its data as they come. Of one
without (feed, gateway's requests) all bytes must match a pattern that is at most as wide as the
schema. Whatever does not match is no mistake: it takes the way of :func:`projections.log.absorb`.
"""

import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache

import orjson

from schemas.heads import COUNT as _COUNT
from schemas.heads import NAME as _NAME
from schemas.heads import TIME as _TIME
from schemas.topics import CLOCK, MARKET, VENUE_REQUEST

DAYS_MAX = 100_000
_WRITER = (
    rb'\{"specversion":"1\.0","id":"([0-9a-f-]{36})","type":"%s","source":"%s",'
    rb'"subject":"([^"]*)","time":"(%s)","partitionkey":"([^"]*)",'
    rb'(?:"sequence":(%s),)?"epoch":(%s),'
    rb'(?:"causationid":"([0-9a-f-]{36})",)?(?:"correlationid":"([0-9a-f-]{36})",)?'
)


NOTHING = re.compile(rb"(?!)").match
"""Matches nothing."""


@lru_cache(1024)
def writer(kind: bytes, source: bytes) -> Callable[[bytes], re.Match[bytes] | None]:
    """Matches the envelope of records of one type by one worker: id, subject, time, account,
    sequence, epoch, causationid, correlationid. Quicker than HEAD, because most is known."""
    parts = (re.escape(kind), re.escape(source), _TIME, _COUNT, _COUNT)
    return re.compile(_WRITER % parts).match


_POSITIVE = rb"(?=[0-9.]{1,40}\")(?:0\.[0-9]*[1-9][0-9]*|[1-9][0-9]*(?:\.[0-9]+)?)"
_UNSIGNED = rb"(?=[0-9.]{1,40}\")(?:0(?:\.[0-9]+)?|[1-9][0-9]*(?:\.[0-9]+)?)"
_SYMBOL = rb"[A-Z0-9_]{2,30}"


def _pattern(text: bytes) -> re.Pattern[bytes]:
    return re.compile(
        text
        % {
            b"symbol": _SYMBOL,
            b"positive": _POSITIVE, b"unsigned": _UNSIGNED, b"time": _TIME,
            b"count": _COUNT, b"client": rb"[.A-Z:/a-z0-9_-]{1,36}", b"name": _NAME,
        }
    )  # fmt: skip


def _listed(item: bytes) -> bytes:
    return rb"(?:%s(?:,%s)*)?" % (item, item)


_PRICES = _pattern(
    rb'"data":\{(?:"point":[0-5],)?"items":\[%s\]\}\}'
    % _listed(rb'\{"symbol":"%(symbol)s","last":"%(positive)s"(?:,"mark":"%(positive)s")?\}')
)
_CANDLES = _pattern(
    rb'"data":\{"warm_up":(?:true|false),"items":\[%s\]\}\}'
    % _listed(
        rb'\{"symbol":"%(symbol)s","interval":"1m","opened_at":"%(time)s","open":"%(positive)s",'
        rb'"high":"%(positive)s","low":"%(positive)s","close":"%(positive)s",'
        rb'"volume":"%(unsigned)s"\}'
    )
)
_TICK = re.compile(rb'"data":\{"candle_s":[1-9][0-9]{0,17}\}\}')
_REQUEST = _pattern(
    rb'(?:"after":(\{[^{}]*\}),)?"data":\{"request":\{(?:'
    rb'"kind":"place","client_order_id":"%(client)s","symbol":"%(symbol)s","side":"(?:BUY|SELL)",'
    rb'"order_type":"(?:MARKET|LIMIT|STOP_MARKET|TAKE_PROFIT_MARKET)",'
    rb'"time_in_force":"(?:GTC|IOC|FOK|GTX)","quantity":"%(positive)s"'
    rb'(?:,"limit_price":"%(positive)s")?(?:,"trigger_price":"%(positive)s")?'
    rb',"reduce_only":(?:true|false),"close_position":(?:true|false)'
    rb'(?:,"leverage":(?:1[01][0-9]|12[0-5]|[1-9][0-9]?))?'
    rb'|"kind":"deposit","transfer_id":"[ !#-~]*","amount":"%(positive)s","asset":"%(name)s"'
    rb'|"kind":"(?:cancel|query)","client_order_id":"%(client)s","symbol":"%(symbol)s")\},'
    rb'"attempt":%(count)s,"sent_at":"(%(time)s)","window_ms":(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|60000)\}\}'
)
_AFTER = re.compile(
    rb'\{(?:"[a-z][a-z0-9./]*":%(n)s(?:,"[a-z][a-z0-9./]*":%(n)s)*)?\}' % {b"n": _COUNT}
)


REAL_DAYS: set[bytes] = set()
"""Days that were found in the calendar."""


def is_real(time: bytes) -> bool:
    """Whether the day of a time that has the form of one is in the calendar."""
    day = time[:10]
    if day in REAL_DAYS:
        return True
    try:
        date(int(day[:4]), int(day[5:7]), int(day[8:]))
    except ValueError:
        return False
    if len(REAL_DAYS) < DAYS_MAX:
        REAL_DAYS.add(day)
    return True


def is_outside_record(topic: str, kind: bytes, raw: bytes, start: int) -> bool:
    """Whether bytes from `start` (after the envelope) are the rest of a valid record without epoch.

    False also for what this does not know.
    """
    if topic == MARKET.name:
        if kind == b"market.prices.observed.v1":
            return _PRICES.fullmatch(raw, start) is not None
        return kind == b"market.candles.closed.v1" and _are_candles(raw, start)
    if topic == CLOCK.name:
        return kind == b"clock.ticked.v1" and _TICK.fullmatch(raw, start) is not None
    if topic == VENUE_REQUEST.name and kind == b"venue.requested.v1":
        found = _REQUEST.fullmatch(raw, start)
        return found is not None and _is_after(found.group(1)) and is_real(found.group(2))
    return False


def _are_candles(raw: bytes, start: int) -> bool:
    if _CANDLES.fullmatch(raw, start) is None:
        return False
    return all(is_real(t) for t in re.findall(rb'"opened_at":"([^"]{10})', raw[start:]))


def _is_after(blob: bytes | None) -> bool:
    """Names and counts, each name once: the encoder never writes one twice."""
    if blob is None:
        return True
    return _AFTER.fullmatch(blob) is not None and len(orjson.loads(blob)) == blob.count(b":")
