"""The documentation of reason codes is the code's own text (RISK-6)."""

from pathlib import Path

from domain.reasons_page import page
from domain.risk_checks import ENTRY_CHECKS, EXIT_CHECKS
from schemas.reasons import SENTENCES, EntryReason

PAGE = Path(__file__).parents[2] / "docs" / "reasons.md"


def test_the_committed_page_is_the_generated_one() -> None:
    assert PAGE.read_text() == page(), "run python -m domain.reasons_page > docs/reasons.md"


def test_every_code_has_a_sentence_and_a_check_in_its_order() -> None:
    assert set(SENTENCES) == set(EntryReason)
    assert set(EntryReason) - set(ENTRY_CHECKS) == {EntryReason.NOT_RECONCILED}
    order = list(EntryReason)
    for checks in (ENTRY_CHECKS, EXIT_CHECKS):
        places = [order.index(code) for code in checks]
        assert places == sorted(places)
