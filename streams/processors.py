"""Which topics each worker's Faust agent takes; everything else it reads comes by followers."""

from schemas.topics import (
    CLOCK,
    COMMANDS_CONTROL,
    COMMANDS_TRADE,
    EXECUTION_RES,
    INTENT,
    ORDER,
    POSITION_UPDATE,
    SIGNAL,
    SIGNAL_SAFE,
    VENUE_REQUEST,
    Topic,
)

AGENTS: dict[str, tuple[Topic, ...]] = {
    "control": (COMMANDS_CONTROL,),
    "signals": (CLOCK,),  # prices by a follower: at a third of the processor time
    "risk": (SIGNAL, INTENT, COMMANDS_TRADE),
    "execution": (SIGNAL_SAFE,),
    "gateway": (ORDER,),
    "venue": (VENUE_REQUEST,),
    "positions": (EXECUTION_RES,),
    "safety": (POSITION_UPDATE,),
}


def numbers(processor: str, assigned: set[tuple[str, int]], partitions: int) -> set[int]:
    """Partitions a worker has sources on when its group gave it `assigned` (topic, number).

    Whoever has the one partition of a single-partition agent topic owns every source: `signals` is
    driven by candles alone and writes to all account partitions, `control` has one source."""
    if processor == "signals":
        return set(range(partitions)) if assigned else set()
    return {number for _, number in assigned}
