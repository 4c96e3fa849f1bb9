"""Reports of several processes of one worker: each source belongs to who fenced it last."""

from typing import Any

from streams.vectors import WorkerVector


def report(process: str, epochs: dict[str, int], **more: Any) -> dict[str, Any]:
    """A full report of a process that has sources with these epochs; each has read 5 of its own."""
    positions = {f"orders/{number}": 5 for number in epochs} | {"market/0": 9}
    base = {"worker": "risk", "incarnation": process, "full": True, "epochs": epochs}
    return base | {"positions": positions, "unresolved": 0} | more


def vector(*reports: dict[str, Any], numbers: tuple[int, ...] = (0, 1)) -> WorkerVector:
    made = WorkerVector(numbers)
    for each in reports:
        made.fold(each)
    return made


def test_a_second_process_that_has_some_of_the_sources_does_not_speak_for_the_others() -> None:
    first, second = report("a", {"0": 1, "1": 1}), report("b", {"1": 2})
    both = vector(first | {"positions": {"orders/0": 3, "orders/1": 5, "market/0": 7}}, second)
    assert not both.missing
    assert both.position("orders/0") == 3
    assert both.position("market/0") == 7, "the lowest of all who read it"


def test_what_a_process_gave_up_no_longer_counts_for_it() -> None:
    both = vector(
        report("a", {"0": 1, "1": 1}),
        report("b", {"1": 2}, positions={"orders/1": 8, "market/0": 9}),
        report("a", {"0": 1}),
    )
    assert both.position("orders/1") == 8


def test_sources_that_nobody_has_reported_are_missing() -> None:
    assert vector(report("a", {"0": 1})).missing == {1}


def test_a_source_that_is_being_taken_is_missing_until_its_new_owner_reports() -> None:
    taking = {"worker": "risk", "incarnation": "b", "taking": [1]}
    found = vector(report("a", {"0": 1, "1": 1}), taking, report("a", {"0": 1, "1": 1}))
    assert found.missing == {1}, "what the old one says of it after that may be invalid"
    found.fold(report("b", {"1": 2}))
    assert not found.missing


def test_a_fenced_process_cannot_win_a_source_back() -> None:
    found = vector(report("a", {"0": 1, "1": 1}), report("b", {"0": 2, "1": 2}), report("b", {}))
    found.fold(report("a", {"0": 1, "1": 1}))
    assert found.missing == {0, 1}


def test_orders_without_answer_of_all_owners_are_counted() -> None:
    both = vector(
        report("a", {"0": 1}, unresolved=2),
        report("b", {"1": 1}, unresolved=1),
        report("c", {}, unresolved=9),
    )
    assert both.unresolved == 3


def test_who_only_looks_learns_the_sources_from_the_reports() -> None:
    found = vector(report("a", {"0": 1, "1": 1}), numbers=())
    assert found.numbers == {0, 1}
    assert not found.missing


def test_changes_since_a_full_report_are_added_to_it() -> None:
    change = report("a", {}, full=False, positions={"orders/0": 6})
    found = vector(report("a", {"0": 1, "1": 1}), change)
    assert (found.position("orders/0"), found.position("orders/1")) == (6, 5)
