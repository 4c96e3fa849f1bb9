"""`drill`: a rehearsal of the emergency stop on the real services, with a report.

It has a run of its own: a book of 1.5 times equity is built on the prices before the crash of 19
May 2021, a person stops the account in the middle of it, signals go on coming, and everything that
was said is read back from the log. Times are the broker's, from the record of the command.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from commands.console import AsJson, CommandError, ExitCode, data_console, print_json, say
from commands.demo import MARKET
from commands.live import FeedPlan, LiveSystem, own_system
from replay.log import RANK

ACCOUNT = "drill"
OPERATOR = "drill"
EQUITY = Decimal(10_000)
FIRST, LAST = "2021-05-18T12:00", "2021-05-18T18:00"
SPEED = "600"
"""Event seconds a second: slow enough that the stop comes while the book stands."""
SIGNALS = 20
WINDOW_MS = 1000
"""Receive window of the gateway's requests: what left before the stop may land this much later."""
HELD_S, FLAT_S = 120.0, 60.0
POLL_S = 0.05
"""How long a position, and the account being flat again, are waited for at most."""
STEPS = ("activated", "block", "cancel_entries", "close", "confirm", "cancel_protection", "flat")


def drill(as_json: AsJson = False) -> None:
    """Rehearse the emergency stop on the real services: how long each step took, what was blocked.

    \b
    Examples:
      ./quantum drill            about half a minute; touches no running system
      ./quantum drill --json
    """
    from runtime import logs

    details = {"command": "drill", "from": FIRST, "to": LAST}
    with own_system(details) as system:
        logs.configure("supervisor", system.run.logs)
        files = [str(MARKET / f"{s}-1m-20210516-20210522.parquet") for s in ("BTCUSDT", "ETHUSDT")]
        system.start(FeedPlan((*files, "--from", FIRST, "--to", LAST, "--speed", SPEED)))
        result = _rehearse(system)
        result["run"] = system.run.name
    if as_json:
        print_json(result)
    else:
        _print(result)
    if not result["passed"]:
        raise CommandError("the drill failed: " + "; ".join(result["failures"]))


def _rehearse(system: LiveSystem) -> dict[str, Any]:
    """Build the book, stop, go on sending signals, wait for flat, reset; then say what was read."""
    from commands.asking import ask, checked
    from commands.publish import Publisher
    from domain.strategies.book import book_policy, parse_book
    from replay.log import starts
    from replay.tail import Tail
    from schemas.topics import CLOCK, EVENT_TOPICS, MARKET, SIGNAL

    kafka = system.kafka
    book = parse_book("long:1.5")
    opening = {
        "expected_version": 0,
        "operator": OPERATOR,
        "reason": "a rehearsal",
        "changes": {**book_policy(book, EQUITY), "start_equity_usdt": str(EQUITY)},
    }
    topics = [topic for topic in EVENT_TOPICS if topic not in (MARKET, CLOCK)]
    with Tail(kafka, starts(kafka, topics)) as tail, Publisher(kafka) as publisher:
        watch = _Watch(system, tail)
        checked(ask(kafka, _event("policy.set", opening)))
        say("building a book of 1.5 times equity")
        watch.until(lambda log: log.gross > EQUITY, HELD_S, "the book never exceeded its equity")
        held = watch.log.gross
        say("stopping the account, while signals go on coming")
        stop = _event("emergency.stop", {"operator": OPERATOR, "reason": "rehearsal"})
        stopped = checked(ask(kafka, stop))
        for number in range(SIGNALS):
            symbol = ("BTCUSDT", "ETHUSDT")[number % 2]
            item = {"symbol": symbol, "side": "BUY", "confidence": "0.9", "origin": f"d{number}"}
            publisher.send(_event("signal", {"items": [item]}), SIGNAL.name)
        watch.until(lambda log: "flat" in log.at, FLAT_S, "it is not flat")
        # flat is known from results; positions tell of them a little later
        watch.until(
            lambda log: not log.open_positions, FLAT_S, "it is flat, and positions are open"
        )
        watch.until(lambda log: log.refused >= SIGNALS, FLAT_S, "not all signals were judged")
        say("flat; lifting the stop")
        reset = _event("emergency.reset", {"operator": OPERATOR, "reason": "end of the rehearsal"})
        checked(ask(kafka, reset))
        watch.until(lambda log: log.reset is not None, FLAT_S, "the reset was not read")
    gross_pct = float(round(held / EQUITY * 100, 1))
    answered_ms = round(stopped.waited_ms, 1)
    return {**watch.log.report(), "gross_pct": gross_pct, "command_answered_ms": answered_ms}


def _event(kind: str, data: dict[str, Any]) -> Any:
    from commands.publish import build, full_type

    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return build(full_type(kind), ACCOUNT, data, time=moment)


class _Watch:
    """Follows the log of the run from its beginning, each record once; what it says is folded in
    the order of the broker's times, whatever order partitions are read in."""

    def __init__(self, system: LiveSystem, tail: Any) -> None:
        self.system, self.tail = system, tail
        self.log = DrillLog()
        self._records: list[Any] = []

    def until(self, done: Callable[["DrillLog"], bool], timeout_s: float, otherwise: str) -> None:
        """Read on until something holds. CommandError where it does not in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.system.check()
            if self.system.interrupted:
                raise CommandError("interrupted; everything is stopped", ExitCode.INTERRUPTED)
            if found := self.tail.poll(POLL_S):
                self._records += [record for record in found if record.event is not None]
                self._records.sort(key=lambda each: (each.timestamp_ms, RANK[each.topic]))
                self.log = DrillLog()
                for record in self._records:
                    self.log.fold(record.event, record.timestamp_ms)
            if done(self.log):
                return
        raise CommandError(f"{otherwise} within {timeout_s:g} s: see {self.system.run.folder}/logs")


@dataclass(slots=True)
class DrillLog:
    """What the log says of one rehearsal. Times: milliseconds of the broker's clock."""

    commanded: int | None = None
    at: dict[str, int] = field(default_factory=dict)
    """First record of each step."""
    attempts: Counter[str] = field(default_factory=Counter)
    quantities: dict[str, str] = field(default_factory=dict)
    costs: dict[str, Decimal] = field(default_factory=dict)
    entries: set[str] = field(default_factory=set)
    closes: int = 0
    cancels: int = 0
    blocked: Counter[str] = field(default_factory=Counter)
    late_requests: list[int] = field(default_factory=list)
    late_accepts: list[int] = field(default_factory=list)
    approved_after: int = 0
    fills: list[int] = field(default_factory=list)
    reset: int | None = None

    @property
    def refused(self) -> int:
        """Verdicts after the stop that let nothing through."""
        return sum(n for why, n in self.blocked.items() if why.startswith("refused"))

    @property
    def open_positions(self) -> int:
        return sum(quantity != "0" for quantity in self.quantities.values())

    @property
    def gross(self) -> Decimal:
        """What is open, at what it was entered for. USDT."""
        return sum(self.costs.values(), Decimal(0))

    def fold(self, event: Any, at: int) -> None:
        """Fold a valid record of the run."""
        kind = event.type
        if kind == "command.emergency.stop.v1":
            self.commanded = at
        elif kind.startswith("emergency.activated"):
            self._first("activated", at)
        elif kind.startswith("emergency.reset"):
            self.reset = at
        elif kind == "trade.order.decided.v1":
            self._orders(event, at)
        elif kind == "trade.signal.judged.v1" and self._stopped():
            for verdict in event.data.items:
                if verdict.verdict == "approved":
                    self.approved_after += 1
                else:
                    self.blocked[f"refused by risk: {verdict.reason}"] += 1
        elif kind == "trade.execution.reported.v1":
            self._results(event, at)
        elif kind == "trade.position.updated.v1" and self.reset is None:  # later it trades again
            for item in event.data.items:
                if item.kind == "position":
                    self.quantities[item.symbol] = item.quantity
                    self.costs[item.symbol] = abs(Decimal(item.cost))
        elif kind == "venue.requested.v1" and self._stopped():
            request = event.data.request
            if request.kind == "place" and not request.reduce_only and not request.close_position:
                self.late_requests.append(at - self.at["activated"])

    def _stopped(self) -> bool:
        return "activated" in self.at and self.reset is None

    def _first(self, step: str, at: int) -> None:
        self.at.setdefault(step, at)
        self.attempts[step] += 1

    def _orders(self, event: Any, at: int) -> None:
        for item in event.data.items:
            if item.kind == "step":
                self._first(item.name, at)
            elif item.kind == "flat":
                self._first("flat", at)
            elif item.kind == "order" and item.purpose == "entry":
                self.entries.add(item.id)
            elif self._stopped():
                self.closes += item.kind == "order"
                self.cancels += item.kind == "cancel"
                if item.kind == "dropped":
                    self.blocked[f"dropped by execution: {item.why}"] += 1

    def _results(self, event: Any, at: int) -> None:
        if not self._stopped():
            return
        for item in event.data.items:
            if item.kind == "filled":
                self.fills.append(at)
            elif item.kind == "accepted" and item.order_id in self.entries:
                self.late_accepts.append(at - self.at["activated"])
            elif item.kind == "ended" and item.status == "NEVER_SENT":
                self.blocked["held back by the gateway"] += 1

    def report(self) -> dict[str, Any]:
        """What a person wants to know, and whether the rehearsal passed."""
        begin = self.commanded or 0
        steps = [
            {"step": step, "after_ms": self.at[step] - begin, "attempts": self.attempts[step]}
            for step in STEPS
            if step in self.at
        ]
        late = [ms for ms in self.late_requests if ms > 0]
        failures = []
        if "flat" not in self.at:
            failures.append("the account was never recorded flat")
        if self.open_positions:
            failures.append(f"{self.open_positions} positions are open")
        if self.approved_after:
            failures.append(f"{self.approved_after} entries were approved after the stop")
        if any(ms > WINDOW_MS for ms in self.late_accepts):
            failures.append(f"an entry was accepted more than {WINDOW_MS} ms after the stop")
        if not (self.closes and self.fills):
            failures.append("nothing was closed after the stop: the rehearsal showed nothing")
        if self.refused < SIGNALS:
            failures.append(f"not all {SIGNALS} signals after the stop were refused")
        return {
            "passed": not failures,
            "failures": failures,
            "steps": steps,
            "closes": self.closes,
            "cancels": self.cancels,
            "fills": len(self.fills),
            "last_fill_ms": self.fills[-1] - begin if self.fills else None,
            "blocked": dict(self.blocked),
            "entries_sent_after": len(late),
            "entries_sent_last_ms": max(late, default=None),
            "entries_accepted_after": len(self.late_accepts),
        }


def _print(result: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    stdout = data_console()

    table = Table(box=None, pad_edge=False)
    for name in ("step", "after", "attempts"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for step in result["steps"]:
        table.add_row(
            step["step"].replace("_", " "), f"{step['after_ms']} ms", str(step["attempts"])
        )
    stdout.print(Text("Emergency stop, by the broker's clock from the command's record", "bold"))
    stdout.print(table)
    stdout.print(
        f"{result['closes']} closing orders, {result['cancels']} cancels, {result['fills']} fills, "
        f"the last after {result['last_fill_ms']} ms"
    )
    for why, number in result["blocked"].items():
        stdout.print(f"blocked: {number} {why}")
    stdout.print(
        f"got through: {result['entries_sent_after']} entries sent, "
        f"{result['entries_accepted_after']} accepted after the stop was in the log"
    )
    word = "[green]passed[/green]" if result["passed"] else "[red]FAILED[/red]"
    stdout.print(f"{word}; look into it: ./quantum up --run last")
