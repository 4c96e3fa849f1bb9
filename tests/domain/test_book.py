"""Goal: a forced book knows what it is short of, and its policy lets it be held without a stop."""

from decimal import Decimal

import pytest

from domain.futures import isolated_distance
from domain.holdings import Holding
from domain.strategies.book import Book, book_named, book_policy, parse_book, shortfalls
from schemas.policy import Policy, field_path

LONG = Book("long", Decimal("1.5"))
PRICES = {"BTCUSDT": Decimal(40_000), "ETHUSDT": Decimal(2_500)}


def held(cash: str, **positions: tuple[str, str]) -> Holding:
    return Holding(Decimal(cash), {s: (Decimal(q), Decimal(c)) for s, (q, c) in positions.items()})


def short(book: Book, holding: Holding, shares: int = 2) -> list[tuple[str, str, str]]:
    found = shortfalls(book, holding, prices=PRICES, symbols=tuple(PRICES), shares=shares)
    return [(s.symbol, s.side, f"{round(s.size_pct, 2).normalize():f}") for s in found]


@pytest.mark.parametrize(
    ("asked", "name", "leverage"),
    [
        ("long:1.0", "book-long-1", 2),
        ("long:1.5", "book-long-1.5", 2),
        ("short:1.5", "book-short-1.5", 2),
        ("long:3", "book-long-3", 4),
        ("short:0.5", "book-short-0.5", 1),
    ],
)
def test_a_book_is_named_by_direction_and_gross(asked: str, name: str, leverage: int) -> None:
    book = parse_book(asked)
    assert (book.strategy, book.leverage) == (name, leverage)
    assert book_named(name) == book


@pytest.mark.parametrize("asked", ["", "long", "long:", "up:1", "long:0", "long:21", "long:-1"])
def test_what_is_no_book_is_refused(asked: str) -> None:
    with pytest.raises(ValueError, match="--book"):
        parse_book(asked)


@pytest.mark.parametrize("name", [None, "", "baseline", "book", "book-long", "book-long-0"])
def test_other_strategies_name_no_book(name: str | None) -> None:
    assert book_named(name) is None


def test_an_empty_account_is_short_of_an_equal_share_in_every_symbol() -> None:
    assert short(LONG, held("10000")) == [("BTCUSDT", "BUY", "75"), ("ETHUSDT", "BUY", "75")]


def test_what_is_held_counts_at_the_price_of_now() -> None:
    # 5,000 bought at 38,000 is worth 5,263.16 and equity 10,263.16.
    some = held("10000", BTCUSDT=("0.13157894", "4999.99972"))
    assert short(LONG, some) == [("BTCUSDT", "BUY", "23.72"), ("ETHUSDT", "BUY", "75")]


def test_a_shortfall_within_the_band_is_left_alone() -> None:
    almost = held("10000", BTCUSDT=("0.179", "7160"), ETHUSDT=("2.9", "7250"))
    assert short(LONG, almost) == []
    less = held("10000", BTCUSDT=("0.178", "7120"), ETHUSDT=("2.9", "7250"))
    assert short(LONG, less) == [("BTCUSDT", "BUY", "3.8")]


def test_a_book_that_has_too_much_sells_nothing() -> None:
    # 15,000 at entry, after a fall: equity 4,000, gross 225 %.
    fallen = held("10000", BTCUSDT=("0.1125", "7500"), ETHUSDT=("1.8", "7500"))
    assert short(LONG, fallen) == []


def test_a_short_book_sells_and_counts_short_positions() -> None:
    book = Book("short", Decimal("1.5"))
    half = held("10000", BTCUSDT=("-0.1875", "-7500"))
    assert short(book, half) == [("ETHUSDT", "SELL", "75")]


def test_nothing_is_wanted_without_equity_or_without_a_price_of_what_is_held() -> None:
    assert short(LONG, held("0")) == []
    assert short(LONG, held("10000", DOGEUSDT=("1", "1"))) == []
    assert short(LONG, held("10000"), shares=0) == []


def test_the_policy_of_a_book_is_inside_every_range_and_requires_no_stop() -> None:
    for asked in ("long:0.5", "long:1.5", "short:3", "long:20"):
        book = parse_book(asked)
        changes = book_policy(book, Decimal(10_000))
        section = {n: v for n, v in changes.items() if field_path(n) == ("rl_v3_live", n)}
        top = {n: v for n, v in changes.items() if n not in section}
        policy = Policy.model_validate({**top, "rl_v3_live": section})
        assert policy.stops_required is False
        assert policy.strategy == book.strategy
        assert Decimal(policy.max_gross_pct) > book.gross * 100


def test_liquidation_lies_beyond_the_drawdown_breaker() -> None:
    for asked in ("long:1.0", "long:1.5", "short:1.5", "long:3"):
        book = parse_book(asked)
        away = isolated_distance(side=book.side, leverage=book.leverage, mmr=Decimal("0.01"))
        assert away * book.gross > Decimal("0.11"), "the breaker acts at 10 % and is flat by 11 %"
        assert book.gross / book.leverage <= Decimal("0.8"), "margin use stays inside the buffer"
