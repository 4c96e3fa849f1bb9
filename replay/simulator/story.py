"""What clients publish in one seed: prices, signals, commands, emergencies; drawn at random.

Times are instants of the virtual clock; an event's own time is that of its making, as live.
"""

import math
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from replay.simulator.script import BTC, ETH, Fed, Script
from schemas.envelope import Envelope

SECOND_US = 1_000_000
OPENING = {BTC: 40_000.0, ETH: 2_500.0}
SYMBOLS = tuple(OPENING)
POLICY: dict[str, Any] = {
    "cooldown_s": 0,
    "max_gross_pct": "20",
    "rl_v3_live.max_trades_per_hour": 1000,
}
"""Of every account: room for one position and a third of another, so that every entry that is
counted too late breaks a limit."""

Told = tuple[int, str, Envelope]
"""(instant, topic, event) of one record that a client publishes."""


@dataclass(slots=True)
class Story:
    """Makes the records of one seed, in order of time. `duplicate`: chance of publishing twice."""

    rnd: Random
    script: Script
    accounts: tuple[str, ...]
    duplicate: float = 0.0
    told: list[Told] | None = None
    volatility: float = 0.0005

    def drawn(self, start_us: int, seconds: int) -> list[Told]:
        """Everything from an instant on, for so many seconds."""
        rnd = self.rnd
        self.told = []
        self.volatility = rnd.choice((0.0002, 0.0008, 0.003))
        self._market(start_us, seconds)
        for _ in range(rnd.randint(8, 24)):
            self._at(start_us + int(rnd.uniform(0, seconds) * SECOND_US), self._request)
        if rnd.random() < 0.55:
            self._emergencies(start_us, seconds)
        self.told.sort(key=lambda told: told[0])
        return self.told

    def _tell(self, at_us: int, fed: Fed) -> None:
        assert self.told is not None
        self.told.append((at_us, *fed))
        while self.rnd.random() < self.duplicate and fed[0] != "clock":
            at_us += int(self.rnd.choice((0.001, 0.2, 5.0)) * self.rnd.random() * SECOND_US)
            self.told.append((at_us, *fed))

    def _at(self, at_us: int, make: Any) -> None:
        self.script.us = at_us
        self._tell(at_us, make())

    # ------------------------------------------------------------------ the feed

    def _market(self, start_us: int, seconds: int) -> None:
        """A price a second of each symbol as a random walk, with a fall now and then; a tick after
        each; the minute's candles, some of them with hardly any volume."""
        rnd, prices = self.rnd, dict(OPENING)
        fall_at = rnd.randrange(5, seconds) if rnd.random() < 0.4 else -1
        fall = rnd.choice((0.02, 0.05, 0.12)) * rnd.choice((1, 1, -1))
        for second in range(seconds):
            at = start_us + second * SECOND_US
            for symbol in SYMBOLS:
                prices[symbol] *= math.exp(rnd.gauss(0, self.volatility))
                if second == fall_at:
                    prices[symbol] *= 1 - fall
            shown = shown_prices(prices)
            if second % 60 == 0:
                volume = rnd.choice(("1000", "1000", "50", "0.5"))
                self._at(
                    at - 1, lambda shown=shown, volume=volume: self.script.closed(shown, volume)
                )
            self._at(at, lambda shown=shown: self.script.prices(shown))
            self._at(at + 1, lambda: self.script.tick(candle_s=1))

    # ------------------------------------------------------------------ people and signals

    def _request(self) -> Fed:
        rnd, script = self.rnd, self.script
        account, symbol = rnd.choice(self.accounts), rnd.choice(SYMBOLS)
        drawn = rnd.random()
        if drawn < 0.62:
            sure = "0.9" if rnd.random() < 0.9 else "0.3"
            return script.signal(account, rnd.choice(("BUY", "BUY", "SELL")), sure, symbol)
        if drawn < 0.76:
            near = OPENING[symbol] * rnd.choice((0.9995, 0.998, 1.001))
            limit = shown_prices({symbol: near})[symbol]
            return script.intent(account, "BUY", symbol, limit)
        if drawn < 0.84:
            return script.close(account, symbol)
        if drawn < 0.89:
            return script.reduce(account, rnd.choice(("30", "50", "100")))
        if drawn < 0.92:
            return script.cancel(account, symbol)
        if drawn < 0.96:
            return script.pause(account, symbol, resume=rnd.random() < 0.6)
        allowed = rnd.random() < 0.6
        return script.policy(account, rnd.randint(1, 3), allow_new_trades=allowed)

    def _emergencies(self, start_us: int, seconds: int) -> None:
        rnd = self.rnd
        for account in rnd.sample(self.accounts, rnd.choice((1, 1, len(self.accounts)))):
            at = start_us + int(rnd.uniform(0.1, 0.9) * seconds * SECOND_US)
            self._at(at, partial(self.script.stop, account))
            for _ in range(rnd.randint(1, 4)):  # entries that race with it
                near = at + int(rnd.gauss(0, 0.4) * SECOND_US)
                self._at(near, partial(self._entry, account))
            if rnd.random() < 0.4:
                later = at + int(rnd.uniform(1, 20) * SECOND_US)
                self._at(later, partial(self.script.reset, account))

    def _entry(self, account: str) -> Fed:
        symbol = self.rnd.choice(SYMBOLS)
        return self.script.signal(account, self.rnd.choice(("BUY", "SELL")), "0.9", symbol)


def shown_prices(prices: dict[str, float]) -> dict[str, str]:
    """Prices as text on the grid of every shipped instrument."""
    return {symbol: f"{price:.1f}".removesuffix(".0") for symbol, price in prices.items()}


def opening(script: Script, accounts: tuple[str, ...]) -> list[Fed]:
    """What a system needs before anything can be traded."""
    told = [script.instruments(*SYMBOLS)]
    told += [script.warm_up(p, "1", s) for s, p in shown_prices(OPENING).items()]
    told += [script.prices(shown_prices(OPENING)), script.tick(candle_s=1)]
    return told + [script.policy(account, 0, **POLICY) for account in accounts]
