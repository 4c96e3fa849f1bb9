"""The small scenarios of the crash tests: outside events, fed one at a time.

The first: accounts alpha and hot stand on partition 0, main on partition 1. alpha and hot are
stopped out by one price (one fact, two records of one source). Then an emergency, entries refused,
a reset, an entry again, a policy change, a rejected command and an opposite signal.
"""

from collections.abc import Callable, Iterator

from replay.simulator.script import BTC, Fed, Script

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


def _open(s: Script, *accounts: str, **changes: str) -> Iterator[Fed]:
    yield s.instruments()
    yield s.warm_up("40000", "1")
    yield s.price("40000")
    yield s.tick()
    for account in accounts:
        yield s.policy(account, 0, cooldown_s=0, **changes)


def hands() -> Iterator[Fed]:
    """People at work: LIMIT entries that rest, fill or are cancelled; reduce, pause, close."""
    s = Script()
    yield from _open(s, ALPHA, MAIN)
    yield s.intent(MAIN, "BUY", BTC, "39900")
    yield s.intent(ALPHA, "BUY", BTC, "39800")
    yield s.price("39850")
    yield s.reduce(MAIN, "50")
    yield s.cancel(ALPHA, BTC)
    yield s.pause(ALPHA, BTC)
    yield s.signal(ALPHA, "BUY")
    yield s.pause(ALPHA, BTC, resume=True)
    yield s.signal(ALPHA, "SELL")
    yield s.close(MAIN, BTC)
    yield s.close(MAIN, BTC)
    yield s.price("39840", 45)
    yield s.tick()


def storm() -> Iterator[Fed]:
    """Emergencies of two accounts with an entry that rests, a fall that trips the third one's
    breaker, a second emergency while the first is latched, resets, and an entry after them."""
    s = Script()
    yield from _open(s, ALPHA, HOT, MAIN, drawdown_stop_pct="1")
    yield s.signal(ALPHA, "BUY")
    yield s.signal(MAIN, "BUY")
    yield s.intent(HOT, "BUY", BTC, "39000")
    yield s.stop(HOT)
    yield s.stop(ALPHA)
    yield s.stop(ALPHA)
    yield s.reset(MAIN)
    yield s.price("36000")
    yield s.tick()
    yield s.reset(HOT)
    yield s.reset(ALPHA)
    yield s.reset(MAIN)
    yield s.hfos(MAIN, "REDUCING")
    yield s.signal(MAIN, "SELL")
    yield s.signal(HOT, "SELL")
    yield s.price("36010", 45)
    yield s.tick()


SCENARIOS: dict[str, Callable[[], Iterator[Fed]]] = {
    "whole": scenario,
    "hands": hands,
    "storm": storm,
}
