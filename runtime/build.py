"""Which code this is: a digest of everything that decides."""

import hashlib
from functools import cache

from runtime.settings import ROOT


@cache
def code_digest() -> str:
    """16 hexadecimal digits over every module of schemas/ and domain/, with its name, as they were
    when this process first asked.

    Two processes with equal digests decide alike; a fence, `worker.started` and `status` name it.
    """
    digest = hashlib.sha256()
    for room in ("schemas", "domain"):
        for path in sorted((ROOT / room).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
