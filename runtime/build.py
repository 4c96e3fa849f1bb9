"""Which code this is: a digest of everything that decides."""

import hashlib
from functools import cache

from runtime.settings import ROOT


def code_digest() -> str:
    """16 hexadecimal digits over every module of schemas/ and domain/, with its name, as the files
    are now.

    Two processes with equal digests decide alike; a fence, `worker.started` and `status` name it.
    """
    digest = hashlib.sha256()
    for room in ("schemas", "domain"):
        for path in sorted((ROOT / room).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def own_build() -> str:
    """The digest of the code of this process: of the files as they were when it was first asked
    for, before anything of them was changed."""
    return code_digest()
