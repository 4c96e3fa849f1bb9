"""A sweep: one backtest a variant of the policy, in sample and out of sample, over all cores.

Every variant tried is in the result, in the order in which it was asked for. The best one in sample
never stands alone: beside it stands what it did out of sample, and its rank there.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product
from multiprocessing import get_context
from typing import Any

from replay.backtest import Backtest, complete, run
from replay.report import report
from replay.report_assumptions import settings

IN_SAMPLE_PCT = 70
VARIANTS_MAX = 1000
KEPT = ("return_pct", "max_drawdown_pct", "sharpe", "trades", "profit_factor", "win_rate_pct")
"""Figures of a part; what they mean: GLOSSARY."""
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant: the fields it sets, and figures of both parts. `rank_in`, `rank_out`: by
    return, 1 is the best."""

    fields: dict[str, Any]
    in_sample: dict[str, Any]
    out_of_sample: dict[str, Any]
    rank_in: int = 0
    rank_out: int = 0

    def json(self) -> dict[str, Any]:
        return {
            "fields": self.fields,
            "in_sample": self.in_sample,
            "out_of_sample": self.out_of_sample,
            "rank_in": self.rank_in,
            "rank_out": self.rank_out,
        }


@dataclass(frozen=True, slots=True)
class Sweep:
    """All variants tried. In sample is [start, split), out of sample [split, end)."""

    start: datetime
    split: datetime
    end: datetime
    variants: tuple[Variant, ...]

    @property
    def best(self) -> Variant:
        """The best in sample; ask for its `out_of_sample` in the same breath."""
        return min(self.variants, key=lambda variant: variant.rank_in)

    def json(self) -> dict[str, Any]:
        """For `--json`: every variant, then the best in sample with its figure out of sample."""
        return {
            "from": self.start.isoformat(),
            "split": self.split.isoformat(),
            "to": self.end.isoformat(),
            "variants_tried": len(self.variants),
            "variants": [variant.json() for variant in self.variants],
            "best_in_sample": self.best.json(),
        }


def parse_sweep(texts: Iterable[str]) -> dict[str, list[str]]:
    """`policy.field=a,b,c` (the `policy.` may be left out) as values by field. Raises ValueError
    for another form, a field given twice, a value given twice, or more than 1,000 variants."""
    found: dict[str, list[str]] = {}
    count = 1
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().removeprefix("policy.")
        listed = [value.strip() for value in values.split(",")]
        if not equals or not name or "" in listed:
            raise ValueError(
                f"--sweep {text}: write field=a,b,c, for example risk_target_pct=0.5,1"
            )
        if name in found:
            raise ValueError(f"--sweep {name} is given twice: write all its values in one")
        if len(set(listed)) < len(listed):
            raise ValueError(f"--sweep {text}: a value is given twice")
        found[name] = listed
        count *= len(listed)
    if count > VARIANTS_MAX:
        raise ValueError(
            f"--sweep makes {count} variants, at most {VARIANTS_MAX}: give fewer values"
        )
    return found


def sweep(
    backtest: Backtest,
    fields: Mapping[str, Sequence[Any]],
    *,
    in_sample_pct: float = IN_SAMPLE_PCT,
    workers: int | None = None,
) -> Sweep:
    """Run every combination of `fields` on both parts of the period.

    Each part begins flat with the start equity and its own warm-up before it; out of sample the
    warm-up are the last candles of the sample, as they would be live. `workers`: processes, all
    cores by default; 1 runs here (own strategies of a notebook need that: another process
    cannot import them). Raises ValueError for a value no policy takes, before anything runs.
    """
    plan = complete(backtest)
    assert plan.start is not None
    assert plan.end is not None
    if not 0 < in_sample_pct < 100:
        raise ValueError(f"in-sample share {in_sample_pct} is outside above 0 to below 100")
    minutes = int((plan.end - plan.start) / MINUTE * in_sample_pct / 100)
    split = plan.start + minutes * MINUTE
    if not plan.start < split < plan.end:
        raise ValueError("the period is too short to be split in two")
    combinations = [dict(zip(fields, values, strict=True)) for values in product(*fields.values())]
    plans = []
    for combination in combinations:
        varied = with_fields(plan, combination)
        settings(varied)
        plans += [replace(varied, end=split), replace(varied, start=split)]
    figures = _run_all(plans, workers or os.cpu_count() or 1)
    variants = [
        Variant(combination, figures[2 * n], figures[2 * n + 1])
        for n, combination in enumerate(combinations)
    ]
    return Sweep(plan.start, split, plan.end, _ranked(variants))


def with_fields(plan: Backtest, fields: Mapping[str, Any]) -> Backtest:
    """The plan with policy fields set; `strategy` and `start_equity_usdt` override the options."""
    changes = dict(fields)
    strategy = changes.pop("strategy", plan.strategy)
    equity = changes.pop("start_equity_usdt", plan.equity)
    return replace(plan, strategy=strategy, equity=equity, policy={**plan.policy, **changes})


def _ranked(variants: list[Variant]) -> tuple[Variant, ...]:
    def places(part: str) -> dict[int, int]:
        order = sorted(
            range(len(variants)), key=lambda n: -getattr(variants[n], part)["return_pct"]
        )
        return {n: place for place, n in enumerate(order, 1)}

    inside, outside = places("in_sample"), places("out_of_sample")
    return tuple(
        replace(variant, rank_in=inside[n], rank_out=outside[n])
        for n, variant in enumerate(variants)
    )


def _run_all(plans: list[Backtest], workers: int) -> list[dict[str, Any]]:
    """Figures of each plan, in order. Candles go to a worker once: they are most of a plan."""
    if workers <= 1 or len(plans) <= 1:
        return [figures_of(plan) for plan in plans]
    shared = plans[0].candles
    light = [replace(plan, candles=()) for plan in plans]
    with ProcessPoolExecutor(
        min(workers, len(plans)),
        mp_context=get_context("spawn"),
        initializer=_keep,
        initargs=(shared,),
    ) as pool:
        return list(pool.map(_figures, light))


_kept: dict[str, Any] = {}


def _keep(candles: Any) -> None:
    """In a worker, once: the candles of all its plans."""
    _kept["candles"] = candles


def _figures(plan: Backtest) -> dict[str, Any]:
    return figures_of(replace(plan, candles=_kept["candles"]))


def figures_of(plan: Backtest) -> dict[str, Any]:
    """What a sweep keeps of one run: :data:`KEPT`, final equity and digest."""
    figures = report(run(plan)).figures
    statistics = figures["statistics"]
    return {
        **{name: statistics[name] for name in KEPT},
        "final_equity": figures["final_equity"],
        "events_digest": figures["events_digest"],
    }
