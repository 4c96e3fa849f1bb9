"""One seed: a safety phase with faults, then faults stop and everything must come to rest.

A system that is warm (instruments, prices, accounts with a deposit) is made once and copied.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from random import Random

from domain.control_emergency import BREAKER
from domain.venue import Venue
from replay.simulator import at_rest
from replay.simulator.faults import Coverage, Rates, drawn
from replay.simulator.found import BrokenPromise, Found, valid
from replay.simulator.script import START_US, Script
from replay.simulator.story import OPENING, Story, Told, opening, shown_prices
from replay.sources import RawRecord, RecordedLog
from replay.verify import verify
from schemas.codec import shared_decoding
from schemas.control import EmergencyActivated
from schemas.envelope import Envelope
from schemas.halting import HaltClosed, HaltNoted
from schemas.safety import FlashCrashDetected, GovernorLevelChanged, HfosModeChanged
from schemas.topics import COMMANDS_CONTROL, COMMANDS_TRADE, INTENT, SIGNAL
from schemas.trade import OrderDecided
from streams.gateway import GatewayShell
from streams.paces import Every
from streams.simulated.process import frozen, thawed
from streams.simulated.simulation import NAMES, SECOND_US, Bystander, Simulation

ACCOUNTS = ("alpha", "hot", "main")
PARTITIONS = 2
SECONDS = 12, 24
"""Least and most of virtual time with faults."""
REST_S = 150
"""How long everything may take to come to rest once faults have stopped, of virtual time."""
REQUESTS = {t.name for t in (COMMANDS_CONTROL, COMMANDS_TRADE, INTENT, SIGNAL)}
Bystanders = Callable[[], Iterable[Bystander]]


@dataclass(slots=True)
class Outcome:
    """What became of a seed. `broken`: the promise that was, or None."""

    seed: int
    broken: str | None = None
    coverage: Coverage = field(default_factory=Coverage)
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    records: int = 0
    orders: int = 0
    decisions: int = 0
    exposure_pct: float = 0.0
    trace: list[str] = field(default_factory=list)

    def finish(self, world: Simulation, start_us: int, began: float) -> None:
        """Figures of a world whose run began at `start_us`, at `began` of processor time."""
        self.coverage = world.coverage
        self.virtual_s = (world.now_us - start_us) / SECOND_US
        world.close()
        self.records = len(world.broker.appends)
        self.orders = len(world.watch.orders)
        self.exposure_pct = float(world.watch.exposure_pct)
        if self.broken:
            self.trace = told_trace(world)
        self.cpu_s = time.process_time() - began


@cache
def warm() -> tuple[bytes, bytes]:
    """A system at rest with prices and accounts, and the script that made it so."""
    world, script = Simulation(PARTITIONS), Script()
    for topic, event in opening(script, ACCOUNTS):
        world.publish(topic, event)
        world.run(world.now_us + SECOND_US // 4)
    script.us = world.now_us
    _require(at_ease(world), "the system did not come to rest before it was used")
    world.trace.clear()
    world.close()
    return frozen(world), frozen(script)


class Run:
    """One seed on a copy of the warm system."""

    def __init__(self, seed: int, bystanders: Bystanders, rates: Rates | None = None) -> None:
        world, script = warm()
        self.seed = seed
        self.world: Simulation = thawed(world)
        self.world.settle(seed)
        self.script: Script = thawed(script)
        rnd = self.world.rnd = Random(seed)
        self.rates = rates or drawn(rnd)
        self.prices = shown_prices(OPENING)
        self._fit(list(bystanders()))

    def _fit(self, bystanders: list[Bystander]) -> None:
        """Let the warm system have the seed's ways."""
        world, rates = self.world, self.rates
        world.rates, world.plan = rates, rates.venue
        world.bystanders = bystanders
        for record in world.broker.appends:
            for bystander in bystanders:
                bystander.note(record)
        world.clock_us["gateway"] = rates.skew_us
        world.watch.slack_us = 200_000 if rates.skew_us or rates.step else 0
        world.coverage["clock skew"] = int(rates.skew_us != 0)
        for actor in world.actors:
            actor.shell.keeper.paces.every = Every(
                inputs=rates.snapshot_inputs, share=float("inf"), process_share=float("inf")
            )
            for source in actor.shell.sources.values():
                if isinstance(venue := getattr(source, "decider", None), Venue):
                    venue.faults = rates.venue

    # ------------------------------------------------------------------ phases

    def play(self, told: list[Told], seconds: int) -> None:
        """The safety phase: clients publish, faults happen."""
        world = self.world
        start_us, seen = world.now_us, set[str]()
        for at_us, topic, event in told:
            world.at(at_us, world.publish, topic, event)
            world.coverage["duplicate"] += event.id in seen
            seen.add(event.id)
            if topic == "market" and event.type == "market.prices.observed.v1":
                self.prices = {item.symbol: item.last for item in event.data.items}  # type: ignore[attr-defined]
        world.strikes.weather()
        world.run(start_us + seconds * SECOND_US)

    def rest(self) -> None:
        """Faults stop; everything comes to rest in bounded time, and exits are possible."""
        world = self.world
        world.strikes.cease()
        if world.halted is not None:
            self._until(self._flattened, "halt --flatten does not close everything")
            world.halt(None)
        self._until(self._safe, "it does not come to rest")
        stopped = [name for name in ACCOUNTS if world.watch.latched(name)]
        world.watch.at_rest(ACCOUNTS)
        for name in stopped:
            world.publish(*self.script.reset(name))
        self._until(self._safe, "it does not come to rest after resets")
        for name in stopped:
            _require(not world.watch.latched(name), f"{name} is flat and its reset is refused")
        world.watch.halts.at_rest()
        self._exits()

    def _exits(self) -> None:
        """Every open position is left, by an opposite signal or by a person's close."""
        world = self.world
        held = sorted((a, s) for (a, s), q in self.positions().items() if q)
        for account, symbol in held:
            quantity = self.positions()[account, symbol]
            side = "SELL" if quantity > 0 else "BUY"
            close = world.rnd.random() < 0.5
            script = self.script
            script.us = world.now_us
            world.publish(
                *(
                    script.close(account, symbol)
                    if close
                    else script.signal(account, side, "0.9", symbol)
                )
            )
            world.coverage["exit asked for at the end"] += 1

        def left() -> str:
            still = [place for place in held if self.positions().get(place)]
            return f"exits were asked for, open: {still}" if still else self._safe()

        self._until(left, "positions are not left")

    def _until(self, holds: Callable[[], str], why: str) -> None:
        """Let time pass with a calm feed until nothing is left (`holds` says what is)."""
        world, what = self.world, ""
        for _ in range(REST_S):
            self.script.us = world.now_us
            world.publish(*self.script.prices(self.prices))
            world.publish(*self.script.tick(candle_s=1))
            began = world.now_us
            # a beat may be under way at some moments of a second, at the same ones of each
            moments = sorted(world.rnd.randrange(1, SECOND_US) for _ in range(4))
            for moment in (*moments, SECOND_US):
                world.run(began + moment - 1)
                what = holds()
                if not what:
                    return
        raise BrokenPromise(f"{why} in {REST_S} s: {what}")

    # ------------------------------------------------------------------ what is

    def positions(self) -> dict[tuple[str, str], Decimal]:
        """Signed open quantities by account and symbol, as the venue reported them."""
        return {
            (name, symbol): quantity
            for name, account in self.world.watch.venue.items()
            for symbol, quantity in account.open.items()
        }

    def _safe(self) -> str:
        """What is still to be done, or nothing."""
        what = not_at_ease(self.world)
        for name in ACCOUNTS:
            stop = self.world.watch.latched(name)
            if not what and stop is not None and stop.flat_at > self.world.now_us:
                what = f"the emergency of {name} is not flat"
        return what

    def _flattened(self) -> str:
        """What a halt that closes positions has still to do, or nothing."""
        world = self.world
        assert world.halted is not None
        held = [place for place, quantity in self.positions().items() if quantity]
        told = world.watch.halts.flat.get(world.halted.key, set())
        silent = sorted(set(ACCOUNTS) - told)
        return f"open: {held}, not told to be flat: {silent}" if held or silent else ""

    # ------------------------------------------------------------------ the end

    def check(self) -> tuple[list[Found], int]:
        """Everything that holds of a log at rest; valid records, and decisions taken again."""
        world = self.world
        found = valid(world.broker.appends)
        items = at_rest.items_by_kind(found)
        resting = {
            client
            for source in world.live("venue")[0].shell.sources.values()
            for account in source.slices["own"].accounts.values()
            for client in account.orders
        }
        at_rest.every_request_has_one_answer(found, PARTITIONS)
        at_rest.every_order_has_one_end(items, resting)
        at_rest.fills_are_told_once(items)
        at_rest.payments_are_told_once(items)
        at_rest.ids_are_of_one_record(found)
        at_rest.no_order_is_unknown(items)
        at_rest.positions_are_those_of_the_venue(found, self.positions())
        for bystander in world.bystanders:
            bystander.check(world)
        return found, self._decided_again()

    def _decided_again(self) -> int:
        records = []
        for record in self.world.broker.appends:
            topic, _, number = record.key.rpartition("/")
            place = (topic, int(number), record.offset, record.timestamp_ms)
            records.append(RawRecord(*place, record.message_key, record.raw))
        log = RecordedLog(records, partitions=PARTITIONS)
        result = verify(log, make=self.world.source, build="simulated", elsewhere=False)
        if result.different:
            each = result.details[0]
            raise BrokenPromise(f"verify: {each.source} {each.place}: {each.note}")
        return result.decisions


def at_ease(world: Simulation) -> bool:
    return not not_at_ease(world)


def not_at_ease(world: Simulation) -> str:
    """What is still on its way, or nothing."""
    for name in NAMES:
        live = world.live(name)
        if len(live) != 1 or world.starting[name]:
            return f"{len(live)} processes of {name} and {world.starting[name]} starts"
        actor = live[0]
        behind = [key for key in actor.at if actor.unread(key)]
        waiting = sum(len(queue) for queue in actor.shell._queues.values())
        if behind or actor.log.flight or waiting:
            return (
                f"{name} has not read {behind}, {waiting} wait, {len(actor.log.flight)} in flight"
            )
        if isinstance(actor.shell, GatewayShell) and actor.shell.unresolved():
            return f"{actor.shell.unresolved()} orders without an answer"
    if left := world.disk.left():
        return f"on disk and not in the log: {left}"
    if world.landing:
        return f"{world.landing} appends on the wire"
    return next((w for b in world.bystanders if (w := b.behind(world))), "")


@shared_decoding()
def simulate(seed: int, bystanders: Bystanders = tuple, rates: Rates | None = None) -> Outcome:
    """Run a seed; never raises for a broken promise: the outcome says it. `rates`: instead of what
    the seed draws."""
    began = time.process_time()
    run = Run(seed, bystanders, rates)
    world, out = run.world, Outcome(seed)
    start_us = world.now_us
    try:
        played(run)
        found, out.decisions = run.check()
        _count(world, found)
    except BrokenPromise as broken:
        out.broken = str(broken)
    out.finish(world, start_us, began)
    return out


def played(run: Run) -> None:
    """Both phases of a seed."""
    world = run.world
    seconds = world.rnd.randint(*SECONDS)
    rates = run.rates
    story = Story(world.rnd, run.script, ACCOUNTS, rates.duplicate, run.seed, rates.brakes)
    told = story.drawn(world.now_us + SECOND_US, seconds)
    for at_us, mode in story.halts:
        world.at(at_us, world.halt, mode)
    run.play(told, seconds + 2)
    run.rest()


def told_trace(world: Simulation) -> list[str]:
    """The trace as lines: seconds since the start, who, what."""
    return [
        f"{(at - START_US) / SECOND_US:10.6f} {'  ' * depth}{who}: {what}"
        for at, depth, who, what in world.trace
    ]


def _count(world: Simulation, found: list[Found]) -> None:
    """What the log shows of faults."""
    coverage = world.coverage
    for _, _, event in found:
        coverage["emergency"] += event.type.startswith("emergency.activated")
        _count_brake(coverage, event)
        if event.type == "venue.reported.v1":
            _count_report(coverage, event)
        for item in getattr(event.data, "items", ()):  # type: ignore[attr-defined]
            coverage["unknown"] += getattr(item, "kind", "") == "unknown"
            coverage["funding"] += getattr(item, "kind", "") == "funded"


def _count_brake(coverage: Coverage, event: Envelope) -> None:
    """What stopped by itself, and what became of positions then."""
    if isinstance(event, EmergencyActivated):
        coverage["breaker"] += all(i.operator == BREAKER for i in event.data.items)
    elif isinstance(event, FlashCrashDetected):
        coverage["flash crash"] += 1
    elif isinstance(event, GovernorLevelChanged):
        coverage[f"governor {event.data.level}"] += event.data.level != event.data.before
        coverage["daily loss"] += "daily_loss" in event.data.holds
    elif isinstance(event, HaltClosed):
        coverage["close by a halt"] += len(event.data.items)
    elif isinstance(event, HaltNoted):
        coverage["flat by a halt"] += event.data.state == "flat"
    elif isinstance(event, HfosModeChanged):
        coverage[f"AI-HFOS {event.data.mode}"] += 1
    elif isinstance(event, OrderDecided):
        for item in event.data.items:
            if item.kind == "order":
                coverage[f"order {item.purpose}"] += 1
                coverage["stop moved"] += item.purpose == "stop" and item.replaces is not None


def _count_report(coverage: Coverage, event: Envelope) -> None:
    data = event.data  # type: ignore[attr-defined]
    if not data.delivered:
        coverage["answer lost" if data.items else "request lost"] += 1
    for item in data.items:
        if item.kind == "ended":
            coverage["refused"] += item.status == "REJECTED"
            part = item.status != "FILLED" and item.filled_quantity != "0"
            coverage["partial fill"] += part


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise BrokenPromise(why)
