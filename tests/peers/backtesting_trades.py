# mypy: ignore-errors
"""The yardstick's trades by backtesting.py, as JSON. Run by the peers' interpreter alone.

At every 100th bar, when flat: buy 1 at market, stop 2 % below and target 3 % above its close.
"""

import json
import sys
import warnings

import pandas as pd
from backtesting import Backtest, Strategy

warnings.filterwarnings("ignore")


class EveryHundredthBar(Strategy):
    def init(self) -> None:
        self.bars_seen = 0

    def next(self) -> None:
        self.bars_seen += 1
        if self.bars_seen % 100 == 0 and not self.position:
            close = self.data.Close[-1]
            self.buy(size=1, sl=close * 0.98, tp=close * 1.03)


frame = pd.read_parquet(sys.argv[1])
frame.index = pd.to_datetime(frame.pop("ts"), unit="ms")
frame = frame.rename(columns=str.capitalize)
result = Backtest(
    frame, EveryHundredthBar, cash=1e7, commission=0.0004, finalize_trades=False
).run()
trades = [
    {
        "entry_bar": int(row.EntryBar),
        "exit_bar": int(row.ExitBar),
        "entry_price": float(row.EntryPrice),
        "exit_price": float(row.ExitPrice),
        "quantity": int(row.Size),
        "pnl": float(row.PnL),
        "fees": float(row.Commission),
    }
    for row in result["_trades"].itertuples()
]
print(json.dumps({"trades": trades}))
