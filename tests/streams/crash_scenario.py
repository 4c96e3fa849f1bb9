"""The small scenario of the crash tests: outside events, fed one at a time.

Accounts alpha and hot stand on partition 0, main on partition 1. alpha and hot are stopped out by
one price (one fact, two records of one source). Then an emergency, entries refused, a reset, an
entry again, a policy change, a rejected command and an opposite signal.
"""

from collections.abc import Iterator

from replay.simulator.script import Fed, Script

PARTITIONS = 2
ALPHA, HOT, MAIN = "alpha", "hot", "main"


def scenario() -> Iterator[Fed]:
    """All outside events, in order."""
    s = Script()
    yield s.instruments()
    yield s.warm_up("40000", "1")
    yield s.price("40000")
    yield s.tick()
    quick = {"cooldown_s": 0}
    for account in (ALPHA, HOT, MAIN):
        yield s.policy(account, 0, **quick)
    yield s.signal(ALPHA, "BUY")
    yield s.signal(HOT, "BUY")
    yield s.price("40010")
    yield s.signal(MAIN, "BUY", "0.3")
    yield s.signal(MAIN, "SELL")
    yield s.price("39000")
    yield s.tick()
    yield s.signal(ALPHA, "SELL")
    yield s.signal(MAIN, "BUY")
    yield s.stop(ALPHA)
    yield s.signal(ALPHA, "BUY")
    yield s.price("38900")
    yield s.tick()
    yield s.reset(ALPHA)
    yield s.reset(HOT)
    yield s.policy(ALPHA, 3, max_leverage=5)
    yield s.signal(ALPHA, "BUY")
    yield s.policy(HOT, 9, max_leverage=5)
    yield s.price("38950", 45)
    yield s.tick()
    yield s.signal(MAIN, "SELL")
