"""docs/policy.md says what the code does: it is generated, and what it calls unread is unread."""

from pathlib import Path

import pytest

from domain.policy_changes import Change, change_policy
from schemas.policy import Policy, RlV3Live, profile_policy
from schemas.policy_page import MEANING, UNREAD, page

ROOT = Path(__file__).parents[2]
NAMES = [n for n in Policy.model_fields if n != "rl_v3_live"]
NAMES += [f"rl_v3_live.{n}" for n in RlV3Live.model_fields]
SCHEMAS_ONLY = ("emergency_reason", "profile", "position_mode")
"""Looked at where policies are made, not where decisions are."""


def test_the_page_is_up_to_date() -> None:
    text = (ROOT / "docs" / "policy.md").read_text("utf-8")
    assert text == page(), "run python -m schemas.policy_page > docs/policy.md"


def test_every_field_has_a_meaning_and_no_meaning_is_left_over() -> None:
    assert sorted(MEANING) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_field_is_named_by_a_decider_unless_the_page_says_that_nobody_reads_it(name: str) -> None:
    rooms = [*(ROOT / "domain").glob("*.py"), *(ROOT / "gateways").glob("*.py")]
    left_out = ("policy_state.py", "policy_changes.py", "reasons_page.py")
    bare = name.rpartition(".")[2]
    named = any(
        f'"{bare}"' in (text := path.read_text("utf-8")) or f".{bare}" in text
        for path in rooms
        if path.name not in left_out
    )
    if name in UNREAD:
        # `symbols` and `min_confidence` are names of other things too
        assert not named or bare in ("symbols", "min_confidence", "mode", "enabled")
    elif name not in SCHEMAS_ONLY:
        assert named


def test_the_bare_min_confidence_is_the_gates_own_as_the_page_says() -> None:
    changed = change_policy(profile_policy("production"), {"min_confidence": "0.7"}, opening=False)
    assert isinstance(changed, Change)
    assert changed.after == {"min_confidence": "0.7"}
