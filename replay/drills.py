"""Crash drills: what the breaker did in a backtest, read from its records (DEFINITIONS 6).

A drill is one start of a book (or a strategy) on recorded prices. What counts is the drawdown when
flat, closing costs included: at most 11 %, or past it because one step between two consecutive
looks was that large. A drill whose gross never exceeded equity has shown nothing and says so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from statistics import median
from typing import Any

from schemas.envelope import Envelope
from schemas.safety import (
    SAFETY_TYPES,
    FlashCrashDetected,
    GovernorLevelChanged,
    Standing,
)
from schemas.scalars import dec, micros
from schemas.trade import Flat, OrderDecided

PAST_PCT = Decimal(11)
FULL_PCT = Decimal(100)


@dataclass(frozen=True, slots=True)
class Trip:
    """One trip of the breaker. Drawdowns in percent of the epoch's high; times canonical.

    `seen_pct`: at the look before; `step_pct`: what the trip's look added to it; `flat_pct`: when
    flat, None if the run ended before; `flat_s`: event time from the trip to flat."""

    at: str
    seen_pct: Decimal
    trip_pct: Decimal
    flat_at: str | None
    flat_pct: Decimal | None
    flat_s: float | None

    @property
    def step_pct(self) -> Decimal:
        return self.trip_pct - self.seen_pct

    @property
    def is_past(self) -> bool:
        """Whether it was past 11 % when flat."""
        return self.flat_pct is not None and self.flat_pct > PAST_PCT

    @property
    def is_explained(self) -> bool:
        """Past 11 % because of the single step: without it, it would have tripped within."""
        assert self.flat_pct is not None
        return self.flat_pct - self.step_pct <= PAST_PCT


@dataclass(frozen=True, slots=True)
class Drill:
    """What one run showed. `gross_pct`: highest gross exposure in percent of equity; `flash_lag_s`:
    the longest from the first point that fulfils it to its detection, event time."""

    start: str
    gross_pct: Decimal
    trips: tuple[Trip, ...]
    flashes: tuple[str, ...]
    flash_lag_s: Decimal

    @property
    def is_vacuous(self) -> bool:
        """Never above 1x gross: nothing was shown."""
        return self.gross_pct <= FULL_PCT


def drill(events: Iterable[Envelope], *, start: str, gross_pct: float) -> Drill:
    """The drill of one account's valid records on `control` and `trade.order`, in append order."""
    trips: list[dict[str, Any]] = []
    flashes: list[str] = []
    lag = Decimal(0)
    for event in events:
        if isinstance(event, SAFETY_TYPES):
            standing: Standing = event.data
            if isinstance(event, FlashCrashDetected):
                flashes.append(event.time)
                lag = max(lag, dec(event.data.lag_s))
            if _trips(event):
                trips.append({"at": event.time, **_looks(standing), "flat_at": None})
            elif trips and trips[-1]["flat_at"] is None:
                trips[-1]["last"] = dec(standing.drawdown_pct)
        elif trips and _is_flat(event):
            trips[-1]["flat_at"] = trips[-1]["flat_at"] or event.time
    return Drill(start, Decimal(str(gross_pct)), tuple(map(_trip, trips)), tuple(flashes), lag)


def _is_flat(event: Envelope) -> bool:
    return isinstance(event, OrderDecided) and any(isinstance(i, Flat) for i in event.data.items)


def _trips(event: Envelope) -> bool:
    told = isinstance(event, GovernorLevelChanged | FlashCrashDetected)
    return told and event.data.level == "STOP" and event.data.before != "STOP"  # type: ignore[attr-defined]


def _looks(standing: Standing) -> dict[str, Decimal]:
    """Drawdown at the look before, and at this one."""
    high = dec(standing.high_water_mark)
    before = dec(standing.observed[0].nav)
    return {
        "seen": max(100 * (1 - before / high), Decimal(0)),
        "trip": dec(standing.drawdown_pct),
        "last": dec(standing.drawdown_pct),
    }


def _trip(found: dict[str, Any]) -> Trip:
    flat_at = found["flat_at"]
    seconds = None if flat_at is None else (micros(flat_at) - micros(found["at"])) / 1e6
    flat_pct = None if flat_at is None else found.get("last")
    return Trip(found["at"], found["seen"], found["trip"], flat_at, flat_pct, seconds)


def table_row(name: str, drills: Sequence[Drill]) -> dict[str, Any]:
    """The figures of many starts of one book: medians, worst, shares. Percent, seconds."""
    counted = [each for each in drills if not each.is_vacuous]
    trips = [trip for each in counted for trip in each.trips[:1]]
    flats = [trip.flat_pct for trip in trips if trip.flat_pct is not None]
    past = [trip for trip in trips if trip.is_past]
    worst = max(past, key=lambda trip: trip.flat_pct or Decimal(0), default=None)
    return {
        "book": name,
        "starts": len(drills),
        "vacuous": len(drills) - len(counted),
        "gross_max_pct": _shown(max((d.gross_pct for d in drills), default=None)),
        "tripped": len(trips),
        "not_flat": len(trips) - len(flats),
        "trip_median_pct": _shown(median(t.trip_pct for t in trips) if trips else None),
        "flat_median_pct": _shown(median(flats) if flats else None),
        "flat_worst_pct": _shown(max(flats, default=None)),
        "flat_s_max": max((t.flat_s for t in trips if t.flat_s is not None), default=None),
        "past_11": len(past),
        "past_11_unexplained": sum(not trip.is_explained for trip in past),
        "worst": None
        if worst is None
        else {k: _plain(v) for k, v in asdict(worst).items()}
        | {"step_pct": _shown(worst.step_pct)},
        "flashes": sum(len(each.flashes) for each in counted),
        "flash_lag_max_s": float(max((d.flash_lag_s for d in counted), default=Decimal(0))),
    }


def days_with_flash(drills: Iterable[Drill]) -> set[str]:
    """UTC days on which a flash crash was detected."""
    return {time[:10] for each in drills for time in each.flashes}


def _shown(value: Decimal | None) -> float | None:
    return None if value is None else round(float(value), 3)


def _plain(value: Any) -> Any:
    return _shown(value) if isinstance(value, Decimal) else value
