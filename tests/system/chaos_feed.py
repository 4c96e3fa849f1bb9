"""The demo's feed with emergencies in its script: each account in turn is stopped, and reset later.

``python -m tests.system.chaos_feed`` like `streams.feed`. The commands are outside events at times
of their own, so that a run that nobody disturbs says what must come of them.
"""

from collections.abc import Sequence
from datetime import date, datetime

from gateways.candles import Candles
from gateways.feed_records import Scripted, milliseconds, stamp
from gateways.probes import ACCOUNTS, demo_script
from runtime import entry
from schemas.control import (
    EmergencyReset,
    EmergencyResetData,
    EmergencyStop,
    EmergencyStopData,
)
from schemas.ids import natural_id
from schemas.topics import COMMANDS_CONTROL
from streams import feed

FIRST_MINUTE, EVERY_MINUTES, LASTING_MINUTES = 11, 23, 3
"""The first one is a minute after the probes have opened a position."""
MINUTE_MS = 60_000


def emergencies(start: date | datetime, end: date | datetime) -> list[Scripted]:
    """Stops and resets over [start, end)."""
    first, last = milliseconds(start) + FIRST_MINUTE * MINUTE_MS, milliseconds(end)
    found: list[Scripted] = []
    names = [account.name for account in reversed(ACCOUNTS)]
    for number, at in enumerate(range(first, last, EVERY_MINUTES * MINUTE_MS)):
        account, later = names[number % len(names)], at + LASTING_MINUTES * MINUTE_MS
        about = {"subject": account, "partitionkey": account, "source": "/chaos"}
        stop = EmergencyStop(
            id=natural_id("chaos stop", account, stamp(at)), time=stamp(at), **about,
            data=EmergencyStopData(operator="chaos", reason="rehearsal"),
        )  # fmt: skip
        reset = EmergencyReset(
            id=natural_id("chaos reset", account, stamp(later)), time=stamp(later), **about,
            data=EmergencyResetData(operator="chaos", reason="rehearsal is over"),
        )  # fmt: skip
        found.append(Scripted(stamp(at), COMMANDS_CONTROL.name, stop))
        if later < last:
            found.append(Scripted(stamp(later), COMMANDS_CONTROL.name, reset))
    return found


def script(
    files: Sequence[Candles], *, start: date | datetime, end: date | datetime
) -> tuple[Scripted, ...]:
    """The demo's script and the emergencies, in order of time."""
    whole = [*demo_script(files, start=start, end=end), *emergencies(start, end)]
    return tuple(sorted(whole, key=lambda each: each.time))


if __name__ == "__main__":
    vars(feed)["demo_script"] = script
    entry.run(feed.main)
