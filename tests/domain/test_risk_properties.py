"""Properties of the gate: no approved order passes a limit; the order of folding does not matter.

The first recomputes every limit from the verdict alone, with arithmetic of its own. The second
folds one log in many interleavings of its topics and compares state digests and the bytes of the
next decision.
"""

import random
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.decider import OWN
from domain.risk import Risk
from domain.source import Source
from schemas.codec import encode
from schemas.reasons import EntryReason
from schemas.trade import SignalData, SignalPublished, Verdict
from tests.domain.risk_world import PRICES, RiskWorld


def pct(low: str, high: str) -> st.SearchStrategy[str]:
    return st.decimals(low, high, places=2).map(lambda d: format(d, "f"))


POLICIES = st.fixed_dictionaries(
    {
        "max_position_usd": pct("1", "30000"),
        "max_size_pct": pct("0.5", "300"),
        "max_gross_pct": pct("1", "300"),
        "max_risk_open_pct": pct("0.1", "20"),
        "max_risk_trade_pct": pct("0.1", "5"),
        "risk_target_pct": pct("0.1", "5"),
        "liq_buffer_pct": pct("0", "90"),
        "max_leverage": st.integers(1, 125),
        "stop_atr_multiple": pct("0.1", "9"),
        "max_entries_per_position": st.sampled_from([1, 5]),
        "max_trades_per_hour": st.integers(0, 3),
        "max_concurrent_trades": st.integers(0, 3),
        "cooldown_s": st.just(0),
    }
)
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["BTCUSDT", "ETHUSDT"]),
        st.sampled_from(["BUY", "SELL"]),
        st.none() | pct("0.1", "100"),
    ),
    min_size=1,
    max_size=4,
)


def assert_inside_limits(verdict: Verdict, policy: dict[str, Any]) -> None:
    """Every limit, from the verdict's figures, with arithmetic of this test."""
    plan, words = verdict.plan, ("signal_time", "regime", "size_cap")
    assert plan is not None
    number = {k: Decimal(v) for k, v in verdict.figures.items() if k not in words}
    limit = {k: Decimal(v) for k, v in policy.items()}
    equity, quantity = number["equity"], Decimal(plan.quantity)
    price = Decimal(PRICES[verdict.symbol])
    slack = Decimal("0.0000001")
    assert quantity % Decimal("0.001") == 0
    assert quantity * price <= limit["max_position_usd"]
    assert 100 * quantity * price / equity <= limit["max_size_pct"]
    assert number["size_pct"] <= limit["max_size_pct"]
    assert 100 * (number["gross_before"] + quantity * price) / equity <= limit["max_gross_pct"]
    distance = abs(price - Decimal(plan.stop_price or 0))
    risk = quantity * (distance + price * Decimal("0.0014"))
    assert abs(risk - Decimal(plan.risk_usdt)) < slack
    assert 100 * risk / equity <= min(limit["max_risk_trade_pct"], limit["risk_target_pct"])
    assert 100 * (number["open_risk_before"] + risk) / equity <= limit["max_risk_open_pct"] + slack
    assert quantity <= 100
    assert 1 <= plan.leverage <= policy["max_leverage"]
    assert number["margin_use_pct"] <= 100 - limit["liq_buffer_pct"] + slack
    assert number["stop_to_liquidation_pct"] <= 100 - limit["liq_buffer_pct"] + slack
    if "proposal_size_pct" in number:
        assert quantity * price <= equity * number["proposal_size_pct"] / 100


@given(policy=POLICIES, requests=REQUESTS, equity=pct("50", "50000"), held=pct("0", "2"))
@settings(max_examples=120, deadline=None)
def test_an_approved_order_never_passes_a_limit_and_a_refused_one_says_why(
    policy: dict[str, Any], requests: list[tuple[str, str, str | None]], equity: str, held: str
) -> None:
    world = RiskWorld(equity=equity, **policy)
    if Decimal(held):
        world.ordered(world.stop("ETHUSDT", "2450"))
        world.holds("ETHUSDT", held)
    verdicts = world.judge(
        *(world.signal(s, side, position_size_pct=size) for s, side, size in requests)
    )
    places = list(EntryReason)
    for verdict in verdicts:
        assert (verdict.verdict == "approved") == (not verdict.failures)
        assert (verdict.plan is not None) == (not verdict.failures)
        order = [places.index(f.code) for f in verdict.failures]
        assert order == sorted(set(order))
        assert verdict.reason == (verdict.failures[0].code if verdict.failures else None)
        if verdict.plan is not None and verdict.kind == "entry":
            assert_inside_limits(verdict, policy)


def scenario() -> RiskWorld:
    """Entries, fills, drops, unknown orders, stops and exits over both symbols."""
    world = RiskWorld(cooldown_s=0, max_entries_per_position=3, max_trades_per_hour=50)
    world.enter("BTCUSDT", position_size_pct="3")
    world.wait(60)
    world.ordered(world.stop("BTCUSDT", "39200"))
    world.enter("BTCUSDT", position_size_pct="3")
    world.dropped(world.ask("ETHUSDT"))
    world.wait(60)
    lost = world.ask("ETHUSDT")
    order = world.order(lost)
    world.ordered(order)
    world.results(world.unknown(order))
    world.wait(60)
    leave = world.ask("BTCUSDT", "SELL")
    out = world.order(leave)
    world.ordered(out)
    world.closed("BTCUSDT")
    world.updated(world.order_end(out, "0.014", "FILLED"))
    world.wait(60)
    world.ask("BTCUSDT", position_size_pct="2")
    return world


def replay(log: list[tuple[str, Any]], seed: int) -> Source:
    """Fold the log's topics one by one (seed 0) or in a random interleaving."""
    topics: dict[str, list[Any]] = {}
    for key, event in log:
        topics.setdefault(key, []).append(event)
    chooser = random.Random(seed)
    names = sorted(topics)
    chooser.shuffle(names)
    partition = next(int(k.rpartition("/")[2]) for k in names if k.startswith("trade.order"))
    source = Source(Risk(partition, 8), partition, 8)
    source.epoch = 1
    while names:
        name = names[0] if seed == 0 else chooser.choice(names)
        event = topics[name].pop(0)
        if name == OWN:
            source.fold_own(event)
        else:
            source.fold(name, source.positions[name], event)
        if not topics[name]:
            names.remove(name)
    return source


def next_decision(source: Source, world: RiskWorld) -> bytes:
    event = world.event(
        SignalPublished,
        SignalData(items=(world.signal("ETHUSDT"), world.signal("BTCUSDT", "SELL"))),
        "/test",
    )
    key = f"trade.signal.v5/{source.partition}"
    source.fold(key, source.positions[key], event)
    (record,) = source.decide(key, event)
    return encode(record)


def test_state_and_decisions_do_not_depend_on_the_order_in_which_topics_were_folded() -> None:
    world = scenario()
    digest = world.source.digest()
    log = list(world.log)
    counts = world._count
    expected = next_decision(world.source, world)
    for seed in range(40):
        source = replay(log, seed)
        assert source.digest() == digest, f"seed {seed}"
        world._count = counts
        assert next_decision(source, world) == expected, f"seed {seed}"


def test_a_decision_changes_no_state() -> None:
    world = scenario()
    event = world.event(SignalPublished, SignalData(items=(world.signal(),)), "/test")
    key = f"trade.signal.v5/{world.partition}"
    world.source.fold(key, world.source.positions[key], event)
    before = world.source.digest()
    first = world.source.decider.decide(world.source.slices, event, world.account, event.id)
    second = world.source.decider.decide(world.source.slices, event, world.account, event.id)
    assert world.source.digest() == before
    assert first == second


def test_facts_ask_for_nothing() -> None:
    world = scenario()
    fact = next(event for key, event in world.log if key.startswith("trade.order"))
    assert list(world.source.decider.asks(world.source.slices, fact)) == []
    assert world.source.decider.decide(world.source.slices, fact, world.account, fact.id) is None
