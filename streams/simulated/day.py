"""A day of one account on the virtual clock: how much faster than real time a simulation is.

Prices every ten seconds, candles and ticks every minute, some eighty signals: entries with stop and
target, exits. Workers die about once an hour.
"""

import math
import time
from functools import partial
from random import Random

from replay.simulator.faults import Rates
from replay.simulator.found import BrokenPromise
from replay.simulator.script import BTC
from replay.simulator.story import OPENING, Story, Told, shown_prices
from schemas.codec import shared_decoding
from streams.simulated.seed import ACCOUNTS, Bystanders, Outcome, Run
from streams.simulated.simulation import SECOND_US

DAY_S = 86_400
SIGNALS = 80
BEAT_S = 600
"""Between two looks whether a checkpoint is due, live each second: a quiet day is full of them."""
ACCOUNT = ACCOUNTS[0]
RATES = Rates(
    strike=0.00002,
    kinds=(("crash", 1.0), ("late", 1.0), ("zombie", 1.0), ("double", 1.0), ("pause", 1.0)),
    snapshot_inputs=2_000,
)


class Day(Story):
    """What is published in a day."""

    def drawn(self, start_us: int, seconds: int) -> list[Told]:
        rnd, script = self.rnd, self.script
        self.told, price = [], OPENING[BTC]
        for second in range(0, seconds, 10):
            at = start_us + second * SECOND_US
            price *= math.exp(rnd.gauss(0, 0.0006))
            shown = shown_prices({BTC: price})
            if second % 60 == 0:
                self._at(at - 1, partial(script.closed, shown, "1000"))
            self._at(at, partial(script.prices, shown))
            if second % 60 == 0:
                self._at(at + 1, script.tick)
        for number in range(SIGNALS):
            at = start_us + int((number + rnd.random()) * seconds / SIGNALS) * SECOND_US
            self._at(at, partial(script.signal, ACCOUNT, rnd.choice(("BUY", "SELL")), "0.9", BTC))
        self.told.sort(key=lambda told: told[0])
        return self.told


@shared_decoding()
def simulate_day(seed: int, bystanders: Bystanders = tuple) -> Outcome:
    """Run a day; the outcome says how many orders there were and what it took."""
    began = time.process_time()
    run, out = Run(seed, bystanders, RATES), Outcome(seed)
    world = run.world
    world.beat_us = BEAT_S * SECOND_US
    start_us = world.now_us
    try:
        story = Day(Random(seed), run.script, (ACCOUNT,))
        run.play(story.drawn(start_us + SECOND_US, DAY_S), DAY_S + 2)
        run.rest()
        _, out.decisions = run.check()
    except BrokenPromise as broken:
        out.broken = str(broken)
    out.finish(world, start_us, began)
    return out
