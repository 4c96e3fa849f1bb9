"""Sets of limits by what they say: many verdicts share one.

Risk makes the limits of a verdict once for each version of an account's policy and each kind of
request, so a set is written again and again in the log. The tables hold it once, under an id that
any reader can compute: the same in a fold with models, on trusted bytes, and in SQL (migration
0003).
"""

import json
from hashlib import sha256
from typing import Any
from uuid import UUID


def limits_id(account: str, limits: list[dict[str, Any]]) -> str:
    """UUID of a set of an account: the first half of the SHA-256 of the account, a newline, and
    the limits (name, value, policy version if there is one) as Postgres prints `jsonb`."""
    text = json.dumps(limits, ensure_ascii=False)
    return str(UUID(sha256(f"{account}\n{text}".encode()).hexdigest()[:32]))
