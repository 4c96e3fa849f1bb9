"""Text of `docs/policy.md`: every policy value with default, range, unit and meaning.

``python -m schemas.policy_page > docs/policy.md`` writes it; a test compares it with the file.
Defaults and ranges come from :mod:`schemas.policy`, meanings stand here.
"""

from typing import Any

from schemas.policy import EMERGENCY_FIELDS, PROFILES, Policy, RlV3Live, profile_policy

SECTION = "rl_v3_live"
MEANING: dict[str, str] = {
    "profile": "where defaults come from; fixed when the account is opened",
    "strategy": "strategy whose signals the account takes; none: only what is sent to it",
    "emergency_mode": "an emergency stop is active: HALTED",
    "allow_new_trades": "false: REDUCING, only exits and reductions pass",
    "emergency_reason": "reason given with the emergency stop",
    "emergency_activated_at": "event time of the emergency stop",
    "emergency_id": "id of the record that activated it",
    "margin_mode": "margin of positions; fixed when the account is opened",
    "position_mode": "one position a symbol; fixed when the account is opened",
    "start_equity_usdt": "first deposit, asked of the venue when the account is opened",
    "max_position_usd": "largest notional in one symbol, open entries included",
    "max_leverage": "upper bound of the leverage, which is an output",
    "max_concurrent_trades": "symbols with a position or an open entry",
    "max_entries_per_position": "entries into one position; 1: no pyramiding",
    "max_risk_trade_pct": "cap on the risk of one trade, of equity",
    "risk_target_pct": "risk a trade is sized with, of equity",
    "max_risk_open_pct": "cap on the sum of open risk, of equity",
    "max_gross_pct": "cap on gross exposure, of equity",
    "confidence_threshold": "below it a strategy's opinion is HOLD and is not published",
    "min_confidence": "below it the risk gate refuses; inclusive, for every source",
    "cooldown_s": "after the last entry or close in a symbol; entries only",
    "guard_release_s": "event time after which an approval without order frees guard A",
    "signal_stale_s": "oldest signal the gate takes",
    "approval_stale_s": "oldest approval an entry is sent on",
    "limit_expiry_s": "an unfilled LIMIT entry is cancelled after it",
    "max_time_in_trade_s": "a position older than this is closed",
    "collar_pct": "how far a LIMIT may be off mark, and last off mark for a MARKET entry",
    "slippage_pct": "slippage assumed for each of entry and exit when sizing",
    "participation_pct": "share of the last candle's volume an entry may be sized to",
    "stops_required": "false: entries without a stop are allowed",
    "stop_atr_multiple": "stop distance in ATRs of one hour, before the regime's multiplier",
    "stop_min_pct": "smallest stop distance, of the entry price",
    "stop_max_pct": "largest stop distance, of the entry price",
    "target_r": "target distance in stop distances",
    "high_vol_multiplier": "stop distance multiplier in HIGH_VOL",
    "extreme_vol_multiplier": "stop distance multiplier in EXTREME_VOL",
    "stop_failed_pct": "a stop crossed by this much has failed ...",
    "stop_failed_s": "... after this time without a fill; the position is closed",
    "unprotected_s": "a stop not accepted within this time after the first fill: close",
    "restricted_symbols": "no entries in these",
    "max_symbols": "symbols to trade, by volume",
    "paused_symbols": "no entries in these for now; set by `pause` and `resume`",
    "operators": "who may command this account; none: everybody who may write to the topics",
    "governor_warn_pct": "drawdown from which the governor warns",
    "governor_reducing_pct": "drawdown from which only reductions pass; over below the warning",
    "drawdown_stop_pct": "drawdown at which the emergency stop trips",
    "daily_loss_pct": "loss since 00:00 UTC from which only reductions pass until the next day",
    "flash_fall_pct": "flash crash: fall of NAV within 60 s, together with ...",
    "flash_move_pct": "... a held symbol's move against the book in the same 60 s",
    "flash_rearm_pct": "a flash crash is over when NAV fell less than this for 5 min",
    "hfos_cautious_pct": "share of the risk target that entries get in AI-HFOS mode CAUTIOUS",
    "retrain_interval_h": "time between retrains",
    "retrain_samples_min": "samples a retrain needs",
    "exploration_pct": "share of exploration",
    "rl_v3_live.enabled": "the section is in force",
    "rl_v3_live.mode": "what the orchestrator may do",
    "rl_v3_live.min_confidence": "the orchestrator's own line before it publishes an intent",
    "rl_v3_live.max_size_pct": "guard B: largest size of one order, notional in % of equity",
    "rl_v3_live.liq_buffer_pct": "margin never used, and how far stops stay from liquidation",
    "rl_v3_live.promotion_requires_ack": "a promotion needs an operator's acknowledgement",
    "rl_v3_live.max_trades_per_hour": "guard C: approved entries in any rolling hour",
    "rl_v3_live.symbols": "symbols the orchestrator may trade",
}
UNREAD = (
    "max_symbols", "retrain_interval_h", "retrain_samples_min", "exploration_pct",
    "rl_v3_live.enabled", "rl_v3_live.mode", "rl_v3_live.min_confidence",
    "rl_v3_live.promotion_requires_ack", "rl_v3_live.symbols",
)  # fmt: skip
"""Kept, checked and versioned, but read by no processor of this build."""
UNITS = {"pct": "%", "s": "s", "h": "h", "usd": "USDT", "usdt": "USDT", "r": "R"}
UNIT_OF = {"slippage_pct": "% of price", "collar_pct": "% of price", "stop_atr_multiple": "ATR"}
HEAD = """\
# Policy

Generated by `python -m schemas.policy_page > docs/policy.md`; do not edit by hand.

One policy an account is the only place where limits are kept. It stands whole in every event that
changes it. `./quantum policy show` prints it with the version that set each value; a verdict's
`limits` name the same. Values of the section `rl_v3_live` may be given by their bare name
(`max_size_pct`); `min_confidence` alone means the risk gate's.

- Set one: `./quantum policy set max_leverage=10 --account main --operator ann --reason "calmer"`.
- A command names the version it expects; a stale one is refused with both versions. All or nothing:
  one field out of its range, and none is changed.
- A tightened limit never forces a trade; entries wait until the book is inside it.

| field | production | testnet | range | unit | what it does |
|---|---|---|---|---|---|
"""
TAIL = """
- Fixed when an account is opened: `profile`, `margin_mode`, `position_mode`. To have others, open
  another account.
- Only emergency commands change {emergency};
  `allow_new_trades` is held at false by an active emergency.
- Marked "(not read yet)": kept, checked and versioned, but no processor of this build reads it.
- Not policy, because they are facts of the market and not of an account: what HIGH_VOL and
  EXTREME_VOL are (hourly ATR over 3 % and 6 %, docs/decisions/0006), and when a last price is stale
  (5 s live, two candle intervals in replay).
"""


def page() -> str:
    """The whole page as Markdown."""
    rows = [_row(name, Policy, name) for name in Policy.model_fields if name != SECTION]
    rows += [_row(f"{SECTION}.{name}", RlV3Live, name) for name in RlV3Live.model_fields]
    emergency = ", ".join(f"`{name}`" for name in EMERGENCY_FIELDS)
    return HEAD + "\n".join(rows) + "\n" + TAIL.format(emergency=emergency)


def _row(path: str, model: Any, name: str) -> str:
    values = [_value(path, profile) for profile in PROFILES]
    schema = model.model_json_schema()["properties"][name]
    meaning = MEANING[path] + (" (not read yet)" if path in UNREAD else "")
    unit = UNIT_OF.get(name) or UNITS.get(name.rpartition("_")[2], "")
    return f"| `{path}` | {' | '.join(values)} | {_range(schema)} | {unit} | {meaning} |"


def _value(path: str, profile: Any) -> str:
    policy = profile_policy(profile)
    head, _, tail = path.partition(".")
    value = getattr(policy, head)
    value = getattr(value, tail) if tail else value
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _range(schema: dict[str, Any]) -> str:
    """What a field takes, from its JSON Schema."""
    if "anyOf" in schema:
        return _range(schema["anyOf"][0])
    if "enum" in schema or "const" in schema:
        return ", ".join(str(value) for value in schema.get("enum", [schema.get("const")]))
    if "minimum_text" in schema:
        low, high = schema["minimum_text"], schema["maximum_text"]
        return f"above {low} to {high}" if schema.get("exclusive_minimum") else f"{low} to {high}"
    kind = schema.get("type")
    if kind == "integer":
        high = schema.get("maximum")
        return f"{schema['minimum']} up" if high is None else f"{schema['minimum']} to {high}"
    if kind == "array":
        return f"at most {schema['maxItems']} symbols"
    if kind == "boolean":
        return "true, false"
    pattern = schema.get("pattern", "")
    if "T(" in pattern:
        return "a time"
    return "above 0" if "[1-9]" in pattern else "text"


if __name__ == "__main__":
    print(page(), end="")
