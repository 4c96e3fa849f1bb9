"""Identifiers: deterministic for everything decided, natural for everything observed.

``record_id`` takes (source, partition key, cause), ``part_id`` the record's id and an ordinal, so a
decision taken again after a crash has the same ids. The versioned type takes no part.
"""

import hashlib
import secrets
import time
from uuid import UUID

try:  # CPython's own takes half the time of OpenSSL's for so few bytes.
    from _sha1 import sha1  # type: ignore[import-not-found]
except ImportError:  # An interpreter without it.
    from hashlib import sha1

_NAMESPACE = UUID("8f0d9c52-6f0e-5a63-9a4e-0f2b5f6c7d11").bytes


_VARIANT = {f"{n:x}": f"{n & 3 | 8:x}" for n in range(16)}
"""First digit of the fourth group: its two upper bits are 10."""


def _uuid5(names: str) -> str:
    """UUIDv5 of names joined by the unit separator."""
    h = sha1(_NAMESPACE + names.encode()).hexdigest()  # noqa: S324 (the UUID's own hash)
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


def record_id(source: str, partitionkey: str, cause_id: str) -> str:
    """Id of the one record that `source` answers `cause_id` with for `partitionkey`."""
    return _uuid5(f"record\x1f{source}\x1f{partitionkey}\x1f{cause_id}")


def part_id(record: str, ordinal: int) -> str:
    """Id of part `ordinal` (0, 1, …) of a record."""
    return _uuid5(f"part\x1f{record}\x1f{ordinal}")


def natural_id(*key: str) -> str:
    """Id of an outside event from its natural key (symbol, interval, open time; command id; …)."""
    return _uuid5("natural\x1f" + "\x1f".join(key))


def client_order_id(order_id: str) -> str:
    """Client order id of an order: a short hash of the id of the order's part (24 characters)."""
    return "qt" + hashlib.sha256(order_id.encode()).hexdigest()[:22]


def command_id() -> str:
    """UUIDv7, for a person's command only: the one id that is not a function of earlier events."""
    stamp = int(time.time() * 1000).to_bytes(6, "big")
    raw = bytearray(stamp + secrets.token_bytes(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return str(UUID(bytes=bytes(raw)))
