"""Reason codes: one sentence each, one order, all that DEFINITIONS 4 asks for."""

import string

from schemas.reasons import SENTENCES, EntryReason

ASKED = """LOW_CONFIDENCE, GUARD_A_OPEN_INTENT, GUARD_B_SIZE_PCT, GUARD_C_RATE_LIMIT, POSITION_OPEN,
COOLDOWN, MAX_POSITION, MAX_GROSS, MAX_CONCURRENT, MAX_RISK_TRADE, MAX_RISK_OPEN, MAX_LEVERAGE,
MARGIN_USE, LIQUIDATION_BUFFER, STOP_MISSING, PRICE_COLLAR, STALE_PRICE, STALE_SIGNAL,
SYMBOL_RESTRICTED, SYMBOL_UNKNOWN, FILTER_TICK, FILTER_STEP, FILTER_MIN_NOTIONAL, FILTER_MAX_QTY,
DUPLICATE_SIGNAL, UNKNOWN_ORDER, NOT_RECONCILED, REDUCING, HALTED, GOVERNOR_VETO"""


def test_every_code_that_is_asked_for_is_there() -> None:
    assert set(EntryReason) - {c.strip() for c in ASKED.split(",")} == {"SYMBOL_PAUSED"}


def test_every_code_has_one_sentence_in_the_order_of_the_checks() -> None:
    assert list(SENTENCES) == list(EntryReason)
    assert len(set(SENTENCES.values())) == len(SENTENCES)


def test_sentences_take_value_limit_and_symbol_only() -> None:
    for code, sentence in SENTENCES.items():
        fields = {name for _, name, _, _ in string.Formatter().parse(sentence) if name}
        assert fields <= {"value", "limit", "symbol"}, code


def test_the_guards_say_what_the_features_say() -> None:
    assert SENTENCES[EntryReason.GUARD_A_OPEN_INTENT] == "GUARD A: Open intent already exists"
    assert SENTENCES[EntryReason.GUARD_C_RATE_LIMIT] == "Rate limit exceeded"
    size = SENTENCES[EntryReason.GUARD_B_SIZE_PCT].format(value="20.00")
    assert size == "size_pct 20.00% exceeds policy limit"
