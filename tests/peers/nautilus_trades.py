# mypy: ignore-errors
"""The yardstick's trades by nautilus_trader, as JSON. Run by the peers' interpreter alone.

At every 100th bar, when flat: buy 0.1 at market, stop 2 % below and target 3 % above its close.
"""

import json
import sys

import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

INSTRUMENT = TestInstrumentProvider.btcusdt_perp_binance()
BAR_TYPE = BarType.from_str(f"{INSTRUMENT.id}-1-MINUTE-LAST-EXTERNAL")


class EveryHundredthBar(Strategy):
    def __init__(self) -> None:
        super().__init__(StrategyConfig())
        self.bars_seen = 0
        self.fills = []

    def on_start(self) -> None:
        self.subscribe_bars(BAR_TYPE)

    def on_bar(self, bar) -> None:
        self.bars_seen += 1
        if self.bars_seen % 100 == 0 and self.portfolio.is_flat(INSTRUMENT.id):
            close = float(bar.close)
            self.submit_order_list(
                self.order_factory.bracket(
                    INSTRUMENT.id,
                    OrderSide.BUY,
                    INSTRUMENT.make_qty(0.1),
                    sl_trigger_price=INSTRUMENT.make_price(close * 0.98),
                    tp_price=INSTRUMENT.make_price(close * 1.03),
                )
            )

    def on_order_filled(self, event) -> None:
        self.fills.append(
            {
                "ts_ms": event.ts_event // 1_000_000,
                "side": event.order_side.name,
                "type": event.order_type.name,
                "liquidity": event.liquidity_side.name,
                "quantity": str(event.last_qty),
                "price": str(event.last_px),
                "fee": str(event.commission).split()[0],
            }
        )


frame = pd.read_parquet(sys.argv[1])
frame.index = pd.to_datetime(frame.pop("ts"), unit="ms", utc=True)
bars = BarDataWrangler(BAR_TYPE, INSTRUMENT).process(
    frame[["open", "high", "low", "close", "volume"]]
)
engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
engine.add_venue(Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, [Money(1_000_000, USDT)])
engine.add_instrument(INSTRUMENT)
engine.add_data(bars)
strategy = EveryHundredthBar()
engine.add_strategy(strategy)
engine.run()
positions = engine.cache.position_snapshots() + engine.cache.positions()
closed = sorted((p for p in positions if p.is_closed), key=lambda p: p.ts_closed)
pnl = [str(p.realized_pnl).split()[0] for p in closed]
print(
    json.dumps(
        {
            "fills": strategy.fills,
            "pnl": pnl,
            "positions": len(positions),
            "taker_fee": str(INSTRUMENT.taker_fee),
            "maker_fee": str(INSTRUMENT.maker_fee),
            "tick": str(INSTRUMENT.price_increment),
        }
    )
)
