"""What a report must say about how its figures came to be (DEFINITIONS 10)."""

from replay.summary import Summary

_PRICES = (
    (
        "prices: 1-minute spot candles as six points each: open, mid, nearer extreme, mid, farther "
        "extreme, mid; nothing is interpolated across gaps"
    ),
)
_FILLS = (
    "latency 250 ms; at most 10 % of the previous candle's volume in one candle",
    "fills: half spread and square-root impact against us, sigma and volume of the previous minute",
    "a limit fills only when price trades through it, at its own price",
    "stop and target are met along that path; where both could be, the stop comes first",
)


def assumptions(summary: Summary) -> list[str]:
    """One line an assumption: prices, path, latency, costs, funding, brackets, what is unknown."""
    lines = [
        *_PRICES,
        "mark: "
        + ("the venue's mark price" if summary.marks_given else "last (the data has none)"),
        *_FILLS,
        *_instruments(summary),
        _funding(summary),
        _counts(summary),
        "costs x2 and x3: the same closed trades, fees and slippage charged twice and three times",
        "no Sharpe ratio: fewer than 30 days are too short for one; variants tried: none",
    ]
    rules = _rules(summary)
    if rules:
        lines.append(f"fills by pricing rule: {rules}")
    return lines


def _instruments(summary: Summary) -> list[str]:
    lines = []
    for symbol, each in sorted(summary.instruments.items()):
        if symbol in summary.prices:
            lines.append(
                f"{symbol}: taker {each.taker_fee_pct} %, maker {each.maker_fee_pct} %, half "
                f"spread {each.half_spread_bp} bp, brackets as of {each.as_of[:10]} ({each.origin})"
            )
    return lines


def _funding(summary: Summary) -> str:
    if not summary.funding_settlements:
        return "funding: no rates were fed, none is charged"
    paid = sum(account.funding_payments for account in summary.accounts.values())
    return f"funding: {summary.funding_settlements} rates fed, {paid} payments on open positions"


def _counts(summary: Summary) -> str:
    unknown, liquidated = _total(summary, "unknown"), _total(summary, "liquidations")
    widened = _total(summary, "stops_widened")
    return f"fate unknown for a while: {unknown}; liquidations: {liquidated}; widened: {widened}"


def _total(summary: Summary, name: str) -> int:
    return sum(getattr(account, name) for account in summary.accounts.values())


def _rules(summary: Summary) -> str:
    counts: dict[str, int] = {}
    for account in summary.accounts.values():
        for rule, number in account.rules.items():
            counts[rule] = counts.get(rule, 0) + number
    return ", ".join(f"{rule} {number}" for rule, number in sorted(counts.items()))
