"""Reason codes of verdicts: one enum, one fixed order, one human sentence a code (RISK-6).

The order is the order of checks: `reason` of a verdict is the first failing one. Sentences take
`{value}`, `{limit}` and `{symbol}`. `docs/reasons.md` is generated from this module.
"""

from enum import StrEnum


class EntryReason(StrEnum):
    """Why an entry (or an exit request) is refused, in the order in which checks are listed."""

    DUPLICATE_SIGNAL = "DUPLICATE_SIGNAL"
    SYMBOL_UNKNOWN = "SYMBOL_UNKNOWN"
    HALTED = "HALTED"
    REDUCING = "REDUCING"
    STALE_SIGNAL = "STALE_SIGNAL"
    STALE_PRICE = "STALE_PRICE"
    GOVERNOR_VETO = "GOVERNOR_VETO"
    LOW_CONFIDENCE = "LOW_CONFIDENCE"
    SYMBOL_RESTRICTED = "SYMBOL_RESTRICTED"
    SYMBOL_PAUSED = "SYMBOL_PAUSED"
    NOT_RECONCILED = "NOT_RECONCILED"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    GUARD_A_OPEN_INTENT = "GUARD_A_OPEN_INTENT"
    POSITION_OPEN = "POSITION_OPEN"
    COOLDOWN = "COOLDOWN"
    GUARD_C_RATE_LIMIT = "GUARD_C_RATE_LIMIT"
    MAX_CONCURRENT = "MAX_CONCURRENT"
    GUARD_B_SIZE_PCT = "GUARD_B_SIZE_PCT"
    PRICE_COLLAR = "PRICE_COLLAR"
    FILTER_TICK = "FILTER_TICK"
    STOP_MISSING = "STOP_MISSING"
    MAX_POSITION = "MAX_POSITION"
    MAX_GROSS = "MAX_GROSS"
    MAX_RISK_TRADE = "MAX_RISK_TRADE"
    MAX_RISK_OPEN = "MAX_RISK_OPEN"
    FILTER_STEP = "FILTER_STEP"
    FILTER_MIN_NOTIONAL = "FILTER_MIN_NOTIONAL"
    FILTER_MAX_QTY = "FILTER_MAX_QTY"
    MAX_LEVERAGE = "MAX_LEVERAGE"
    MARGIN_USE = "MARGIN_USE"
    LIQUIDATION_BUFFER = "LIQUIDATION_BUFFER"


SENTENCES: dict[EntryReason, str] = {
    EntryReason.DUPLICATE_SIGNAL: "A signal of this origin, symbol, side and time came before",
    EntryReason.SYMBOL_UNKNOWN: "No filters, fees and brackets are known for {symbol}",
    EntryReason.HALTED: "Emergency stop is active: no new risk",
    EntryReason.REDUCING: "New trades are not allowed: only reductions pass",
    EntryReason.STALE_SIGNAL: "Signal is {value} s old, at most {limit} s are allowed",
    EntryReason.STALE_PRICE: "Price of {symbol} is {value} s old, at most {limit} s are allowed",
    EntryReason.GOVERNOR_VETO: "The governor did not approve this signal",
    EntryReason.LOW_CONFIDENCE: "Confidence {value} is below {limit}",
    EntryReason.SYMBOL_RESTRICTED: "{symbol} is on the restricted list",
    EntryReason.SYMBOL_PAUSED: "{symbol} is paused: no entries until it is resumed",
    EntryReason.NOT_RECONCILED: "The account is not reconciled with the venue",
    EntryReason.UNKNOWN_ORDER: "The fate of an order in {symbol} is unknown",
    EntryReason.GUARD_A_OPEN_INTENT: "GUARD A: Open intent already exists",
    EntryReason.POSITION_OPEN: "A position in {symbol} is open ({value}); {limit} entry a position",
    EntryReason.COOLDOWN: "Cooldown: {value} s since the last entry or close, {limit} required",
    EntryReason.GUARD_C_RATE_LIMIT: "Rate limit exceeded",
    EntryReason.MAX_CONCURRENT: "{value} trades are open, at most {limit} are allowed",
    EntryReason.GUARD_B_SIZE_PCT: "size_pct {value}% exceeds policy limit",
    EntryReason.PRICE_COLLAR: "Price is {value} % off the mark, at most {limit} % are allowed",
    EntryReason.FILTER_TICK: "Price {value} is not a multiple of the tick {limit}",
    EntryReason.STOP_MISSING: "No stop distance is known and the policy requires a stop",
    EntryReason.MAX_POSITION: "Notional {value} USDT in {symbol}, at most {limit} USDT are allowed",
    EntryReason.MAX_GROSS: "Gross exposure {value} % of equity, at most {limit} % are allowed",
    EntryReason.MAX_RISK_TRADE: "Risk of the trade {value} % of equity, at most {limit} % allowed",
    EntryReason.MAX_RISK_OPEN: "Sum of open risk {value} % of equity, at most {limit} % allowed",
    EntryReason.FILTER_STEP: "Quantity {value} is below one step of {limit}",
    EntryReason.FILTER_MIN_NOTIONAL: "Order of {value} is below the venue's minimum of {limit}",
    EntryReason.FILTER_MAX_QTY: "Quantity {value} is above the venue's maximum of {limit}",
    EntryReason.MAX_LEVERAGE: "Leverage {value} is needed, at most {limit} is allowed",
    EntryReason.MARGIN_USE: "Margin use {value} % of margin balance, at most {limit} % are allowed",
    EntryReason.LIQUIDATION_BUFFER: "The stop lies beyond {limit} % of the way to liquidation",
}
