"""Strategies that ship, by the name a policy's `strategy` gives. Add your own to the list below:
`docs/own-strategies.md`."""

from domain.baseline import Baseline
from domain.strategies.donchian import Donchian
from domain.strategy import registry

STRATEGIES = registry(Baseline(), Donchian())
