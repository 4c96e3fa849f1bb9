"""What each figure of a report means: the hover text of the HTML page, the legend of the documents.

One entry a figure, in words; formulas as in DEFINITIONS 3, 6, 9, 10 and 11.
"""

GLOSSARY: dict[str, str] = {
    "return_pct": "Final NAV over first NAV, less 1. NAV is equity per unit: no deposit moves it.",
    "final_equity": "Transfers + realised - fees + funding + open positions at last mark, USDT.",
    "cagr_pct": "NAV growth to the power of 365 / calendar days, less 1. Not said under 30 days.",
    "sharpe": "Mean over standard deviation (ddof 1) of daily UTC returns of NAV, times sqrt(365); "
    "risk-free rate 0. Not said under 30 days.",
    "sortino": "Mean over downside deviation, sqrt(mean(min(r, 0)^2)) over all days, of daily UTC "
    "returns of NAV, times sqrt(365). Not said under 30 days.",
    "calmar": "CAGR over the maximum drawdown from all observations. Not said under 30 days.",
    "volatility_pct": "Standard deviation (ddof 1) of daily UTC returns of NAV, times sqrt(365). "
    "Not said under 30 days.",
    "max_drawdown_pct": "Largest fall of NAV below its high, looked at on every price point and "
    "every fill.",
    "max_drawdown_daily_pct": "Largest fall of NAV below its high, looked at on UTC midnights: "
    "smaller than or equal to the one from all observations.",
    "max_gross_pct": "Largest sum of absolute notionals at mark over equity, at any price point.",
    "exposure_pct": "Gross notional over equity, weighted by time.",
    "in_market_pct": "Share of the time with anything open.",
    "best_day_pct": "Best whole UTC day of NAV.",
    "worst_day_pct": "Worst whole UTC day of NAV.",
    "trades": "Closed trades, flat to flat in a symbol.",
    "win_rate_pct": "Trades with a net result above 0, after fees, funding and slippage.",
    "profit_factor": "Sum of net wins over the absolute sum of net losses. None without losses.",
    "payoff": "Mean net win over mean net loss. None without one of them.",
    "expectancy": "Mean net result of a trade, USDT.",
    "mean_r": "Mean of net result over the risk approved at entry (way to the stop, and costs).",
    "median_r": "Median of net result over the risk approved at entry.",
    "held_mean_h": "Mean time from the first fill to flat, hours.",
    "held_median_h": "Median time from the first fill to flat, hours.",
    "net": "Realised - fees + funding of closed trades, USDT.",
    "start_equity": "Deposits less withdrawals, USDT.",
    "realised": "Realised result of everything that was closed, whole positions or parts, before "
    "fees and funding, USDT.",
    "unrealised": "Result of the open positions at the last price point, USDT.",
    "account_fees": "Fees of all fills, USDT.",
    "account_funding": "All funding received (+) or paid (-), USDT.",
    "fees": "Fees of closed trades, USDT. (In report.json `fees` at the top are those of all "
    "fills.)",
    "funding": "Funding of closed trades, received (+) or paid (-), USDT. (In report.json "
    "`funding` at the top is all of it.)",
    "slippage": "Sum of side x quantity x (fill price - price of the point at arrival), USDT: half "
    "spread, impact, rounding and jumps over a trigger. Already inside every result.",
    "buy_and_hold_pct": "Equal parts of every symbol bought at the first price, one taker fee, "
    "marked at the last. No leverage.",
    "costs": "The same trades with fees and slippage charged twice and three times. Recomputed "
    "from the fills, not run again: another run would size other trades, and its figure would mix "
    "both. The curve loses each extra cost at its fill.",
    "ambiguous": "Candles in which a trade ended by stop or target while both lay in the candle's "
    "range. Beside their net stands what the other level, met first, would have made.",
    "rejected": "Signals and intents that the risk gate refused, by the first failing check.",
    "exits": "Closed trades by the purpose of the order that closed them.",
    "monthly": "Return of NAV in each UTC calendar month; the first and last may be parts.",
    "_30": "The same figure over the last 30 closed trades.",
    "_150": "The same figure over the last 150 closed trades.",
}
