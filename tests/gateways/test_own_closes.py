"""Closes of the gateway's own: each is asked about until the venue has said what became of it."""

from typing import Any

from gateways.own_closes import OwnCloses
from schemas.halting import HaltClose, HaltClosed, HaltCloseData
from schemas.ids import natural_id
from schemas.venue import Query, VenueFound, VenueReportData, VenueReported

TIME = "2021-05-19T12:00:00.000000Z"
CLIENT = "qh" + "a" * 22
APART_US = 1_200_000


def envelope(kind: Any, data: Any) -> Any:
    identity = natural_id("own closes", kind.__name__)
    return kind(id=identity, source="/x", subject="main", time=TIME, partitionkey="main", data=data)


def order() -> HaltClosed:
    close = HaltClose(
        id=natural_id("close"), client_order_id=CLIENT, symbol="BTCUSDT", side="SELL", quantity="1"
    )
    return envelope(HaltClosed, HaltCloseData(why="halt", items=(close,)))  # type: ignore[no-any-return]


def said(**found: Any) -> VenueReported:
    item = VenueFound(
        client_order_id=CLIENT, symbol="BTCUSDT", resting=False, fills=(), filled_quantity="0",
        **found,
    )  # fmt: skip
    return envelope(VenueReported, VenueReportData(delivered=True, items=(item,)))  # type: ignore[no-any-return]


def asked(closes: OwnCloses, at_us: int) -> int:
    """How many questions leave then."""
    due = list(closes.due(at_us, 1))
    for question in due:
        assert isinstance(question.request.request, Query)
        closes.sent(question, at_us)
    return len(due)


def test_it_is_asked_about_when_no_request_can_arrive_any_more_and_again_ever_later() -> None:
    closes = OwnCloses("/gateway/0", 1_000, 200)
    closes.ordered(order(), 0)
    assert [asked(closes, at) for at in (0, APART_US - 1, APART_US, APART_US + 1)] == [0, 0, 1, 0]
    assert [asked(closes, n * APART_US) for n in (2, 3, 6, 7)] == [0, 1, 0, 1]
    assert [asked(closes, 7 * APART_US + n * APART_US) for n in (7, 8)] == [0, 1]
    closes.on_report(said(known=True, status="FILLED"))
    assert (closes.unanswered, asked(closes, 99 * APART_US)) == (0, 0)
    closes.ordered(order(), 99 * APART_US)
    assert closes.unanswered == 0, "the record of it comes back from the log later"


def test_not_known_counts_only_where_it_was_asked_when_nothing_was_on_the_wire() -> None:
    """A close whose record was in the log long before it could leave: the question of that very
    round is answered before the close arrives."""
    closes = OwnCloses("/gateway/0", 1_000, 200)
    closes.ordered(order(), 0)
    late = 5 * APART_US
    assert asked(closes, late) == 1
    closes.ordered(order(), late)  # it leaves now
    closes.on_report(said(known=False))
    assert closes.unanswered == 1
    assert asked(closes, late + 2 * APART_US) == 1
    closes.on_report(said(known=False))
    assert closes.unanswered == 0
