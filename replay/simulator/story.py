"""What clients publish in one seed: prices, signals, commands, emergencies; drawn at random.

Times are instants of the virtual clock; an event's own time is that of its making, as live.
"""

import math
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any, get_args

from replay.simulator.script import BTC, ETH, Fed, Script
from runtime.halt_file import HaltMode
from schemas.envelope import Envelope
from schemas.safety import HfosMode
from schemas.scalars import text

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
    """Makes the records of one seed, in order of time. `duplicate`: chance of publishing twice.
    `seed`: of what is drawn apart from `rnd`, if there are `brakes`."""

    rnd: Random
    script: Script
    accounts: tuple[str, ...]
    duplicate: float = 0.0
    seed: int = 0
    brakes: bool = True
    told: list[Told] | None = None
    volatility: float = 0.0005
    halts: list[tuple[int, HaltMode | None]] = field(default_factory=list)
    """Instants at which a person halts the gateway, and at which the halt is lifted (None)."""

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
        if self.brakes:
            self._brakes(Random(f"brakes {self.seed}"), start_us, seconds)
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

    # ------------------------------------------------------------------ what stops by itself

    def _brakes(self, rnd: Random, start_us: int, seconds: int) -> None:
        """Limits so tight that a small loss trips them, trades that may last seconds only, modes of
        an AI-HFOS, long wicks that widen stops, halts of the gateway, and what else happens to
        money and positions from outside: funding, a flatten; each in some seeds."""
        end_us = start_us + seconds * SECOND_US

        def when(since_us: int = start_us) -> int:
            return int(rnd.uniform(since_us, end_us))

        if rnd.random() < 0.5:
            for account in rnd.sample(self.accounts, rnd.choice((1, 2, 3))):
                limits = tight(rnd)
                self._at(start_us, lambda a=account, c=limits: self.script.policy(a, 1, **c))
                if rnd.random() < 0.5:
                    self._at(when(), partial(self.script.reset, account))
        if rnd.random() < 0.3:
            account = rnd.choice(self.accounts)
            for _ in range(rnd.randint(1, 3)):
                mode: HfosMode = rnd.choice(("CAUTIOUS", "REDUCING", "REDUCING", "NORMAL"))
                self._at(when(), partial(self.script.hfos, account, mode))
        if rnd.random() < 0.3:
            symbol = rnd.choice(SYMBOLS)
            shown = shown_prices({symbol: OPENING[symbol]})[symbol]
            low = shown_prices({symbol: OPENING[symbol] * rnd.choice((0.5, 0.2, 0.05))})[symbol]
            self._at(when(), partial(self.script.wick, symbol, shown, low))
        if rnd.random() < 0.3:
            at_us = when()
            for _ in range(rnd.choice((1, 1, 2))):
                self.halts.append((at_us, rnd.choice(get_args(HaltMode))))
                at_us = when(at_us)
            if rnd.random() < 0.7:
                self.halts.append((at_us, None))
        if rnd.random() < 0.3:
            for _ in range(rnd.randint(1, 3)):
                rate = rnd.choice(("0.0001", "-0.0003", "0.0075"))
                self._at(when(), partial(self.script.funding, rnd.choice(SYMBOLS), rate))
        if rnd.random() < 0.2:
            self._at(when(), partial(self.script.flatten, rnd.choice(self.accounts)))

    def _entry(self, account: str) -> Fed:
        symbol = self.rnd.choice(SYMBOLS)
        return self.script.signal(account, self.rnd.choice(("BUY", "SELL")), "0.9", symbol)


def tight(rnd: Random) -> dict[str, Any]:
    """Limits of an account that holds at most a fifth of its equity; a fall of some percent costs
    it some tenths."""
    stop = rnd.choice((0.05, 0.2, 0.5, 1.0))
    of_it: dict[str, float] = {
        "drawdown_stop_pct": 1.0,
        "governor_reducing_pct": rnd.choice((0.5, 0.7, 2.0)),
        "governor_warn_pct": rnd.choice((0.3, 0.5)),
        "daily_loss_pct": rnd.choice((0.5, 1.0, 3.0)),
        "flash_fall_pct": rnd.choice((0.3, 1.0)),
    }
    changes: dict[str, Any] = {
        name: text(Decimal(f"{stop * share:.4f}")) for name, share in of_it.items()
    }
    changes["flash_rearm_pct"] = changes["flash_fall_pct"]
    if rnd.random() < 0.3:
        changes["max_time_in_trade_s"] = rnd.choice((2, 5, 10))
    return changes


def shown_prices(prices: dict[str, float]) -> dict[str, str]:
    """Prices as text on the grid of every shipped instrument."""
    return {symbol: f"{price:.1f}".removesuffix(".0") for symbol, price in prices.items()}


def opening(script: Script, accounts: tuple[str, ...]) -> list[Fed]:
    """What a system needs before anything can be traded."""
    told = [script.instruments(*SYMBOLS)]
    told += [script.warm_up(p, "1", s) for s, p in shown_prices(OPENING).items()]
    told += [script.prices(shown_prices(OPENING)), script.tick(candle_s=1)]
    return told + [script.policy(account, 0, **POLICY) for account in accounts]
