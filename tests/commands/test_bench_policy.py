"""When a change of policy was known: from what records say they had read of `control` (POL-4)."""

from commands.bench_policy import TOLD_BY, Change, reached
from streams.simulated.broker import Broker, MemoryLog


def test_the_last_processor_that_knew_a_change_is_what_counts() -> None:
    broker = Broker(per_ms=1)
    log = MemoryLog(broker)
    change = Change(offset=7, at_ms=1_700_000_000_002)

    def append(processor: str, known: int) -> None:
        raw = b'{"basis":{"control/0":%d,"market/0":99}}' % known
        log.append(f"{TOLD_BY[processor].name}/3", raw, "main", lambda _offset: None)
        log.flush()

    for processor in TOLD_BY:  # at 0, 1, 2, 3 ms: none of them knows it
        append(processor, 7)
    for processor in ("gateway", "risk", "positions"):  # at 4, 5, 6 ms
        append(processor, 8)
    found = reached(log, [change, Change(offset=100, at_ms=change.at_ms)])
    assert found["n"] == 1, "what nobody told of says nothing"
    assert (found["max_ms"], found["known_max_ms"]) == (1.0, 4.0)
    gateway, positions = (found["processors"][name] for name in ("gateway", "positions"))
    assert (gateway["max_ms"], gateway["known_max_ms"]) == (0.0, 2.0)
    assert (positions["max_ms"], positions["known_max_ms"]) == (1.0, 4.0)
    assert found["processors"]["execution"]["n"] == 0
