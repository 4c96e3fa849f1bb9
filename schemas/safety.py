"""What the safety processor and the control processor say of an account's safety, on `control`.

Every record of `safety` carries the whole standing of the account after it, with the figures and
limits it was found with: who folds the last one knows all there is to know (SAFE-3, 4 and 9).
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.control import Operator
from schemas.envelope import Count, Envelope, Model
from schemas.scalars import DecimalText, Line, Positive, Symbol, Time, Unsigned
from schemas.trade import Limit

Level = Literal["NORMAL", "WARN", "REDUCING", "STOP"]
Hold = Literal["drawdown", "daily_loss", "flash_crash"]
Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
HfosMode = Literal["NORMAL", "CAUTIOUS", "REDUCING"]


class Observation(Model):
    """Equity as it was seen at one time; `nav`: equity a unit (DEFINITIONS 6)."""

    time: Time
    equity: DecimalText
    nav: DecimalText


class Standing(Model):
    """An account's safety after the cause. `drawdown`: the governor's level by drawdown alone;
    `holds`: what keeps new risk away now; `level` follows from both. `high_water_mark` and
    `day_nav` are NAVs; `gross` is the sum of abs(quantity x mark), USDT. `observed`: the two
    consecutive looks, the one before first."""

    level: Level
    before: Level
    drawdown: Level
    holds: tuple[Hold, ...]
    drawdown_epoch: Count
    units: Unsigned
    high_water_mark: DecimalText
    drawdown_pct: DecimalText
    day: Day
    day_nav: DecimalText
    day_loss_pct: DecimalText
    gross: Unsigned
    observed: Annotated[tuple[Observation, ...], Field(min_length=1, max_length=2)]
    limits: tuple[Limit, ...]


class EquityMarkedData(Standing):
    """`why`: the account was opened, a new high on the grid, a new UTC day, a new drawdown epoch
    after a reset, or all positions closed in an emergency (drawdown when flat)."""

    why: Literal["opened", "high", "day", "epoch", "flat"]


class EquityMarked(Envelope):
    """A figure that later looks are held against; no level changes by it."""

    type: Literal["safety.equity.marked.v1"] = "safety.equity.marked.v1"
    data: EquityMarkedData


class GovernorLevelChangedData(Standing):
    """`sentence`: what happened, with value and limit."""

    sentence: Line


class GovernorLevelChanged(Envelope):
    """The governor's level or what it rests on changed. STOP makes `control` stop the account."""

    type: Literal["safety.governor.level_changed.v1"] = "safety.governor.level_changed.v1"
    data: GovernorLevelChangedData


class FlashCrashDetectedData(GovernorLevelChangedData):
    """Evidence of a flash crash: NAV fell `fall_pct` from its highest of the last 60 s, and the
    symbols in `moved` moved that many percent against the book in the same time. `lag_s`: event
    time from the first point that fulfils it (`met_at`) to the detection."""

    fall_pct: Unsigned
    peak_nav: DecimalText
    peak_at: Time
    moved: dict[Symbol, Positive]
    met_at: Time
    lag_s: Unsigned


class FlashCrashDetected(Envelope):
    type: Literal["market.flash_crash_detected.v1"] = "market.flash_crash_detected.v1"
    data: FlashCrashDetectedData


class HfosSetData(Model):
    """The mode an AI-HFOS (or a person for it) asks risk to obey: CAUTIOUS sizes entries down to
    the policy's `hfos_cautious_pct` of their risk, REDUCING lets none through."""

    mode: HfosMode
    operator: Operator
    reason: Line


class HfosSet(Envelope):
    type: Literal["command.hfos.set.v1"] = "command.hfos.set.v1"
    data: HfosSetData


class HfosModeChangedData(Model):
    mode: HfosMode
    before: HfosMode
    operator: Operator
    reason: Line


class HfosModeChanged(Envelope):
    type: Literal["ai.hfos.mode_changed.v1"] = "ai.hfos.mode_changed.v1"
    data: HfosModeChangedData


class DrawdownEpochOpenedData(Model):
    """A named operator ended a REDUCING of the governor: the high-water mark begins anew."""

    drawdown_epoch: Count
    operator: Operator
    reason: Line


class DrawdownEpochOpened(Envelope):
    type: Literal["drawdown.epoch_opened.v1"] = "drawdown.epoch_opened.v1"
    data: DrawdownEpochOpenedData


SAFETY_TYPES = (EquityMarked, GovernorLevelChanged, FlashCrashDetected)
"""Records of the safety processor: each carries the standing."""
