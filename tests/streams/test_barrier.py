"""The barrier's agreement: never quiet while anything is on its way, whatever the interleaving.

Reports come by Kafka or by lines: in the order in which they were sent, both.
"""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.barrier import Agreement
from streams.progress import Progress, Snapshot

MARKET = "market/0"
READS = {
    "control": (MARKET, "c/0"),
    "risk": (MARKET, "c/0", "b/0"),
    "execution": ("a/0", "b/0", "c/0"),
}
"""Workers of a toy system and what they read; each writes one partition."""
WRITES = {"control": "a/0", "risk": "c/0", "execution": "b/0"}
NAMES = tuple(READS)
ENDS = dict.fromkeys(("a/0", "b/0", "c/0"), 0)


class Worker:
    """Reads records that say how many answers may still follow; its appends are in flight first.
    Once `fenced` it goes on, but what it appends is not valid: nobody answers it."""

    def __init__(self, name: str, system: "System", epoch: int) -> None:
        self.name, self.system, self.epoch = name, system, epoch
        self.fenced = False
        self.at = dict.fromkeys(READS[name], 0)
        self.flight: list[int] = []
        self.ends: dict[str, int] = {}
        self.folded: set[str] = set()
        incarnation = f"{name}-{len(system.made)}"
        self.progress = Progress(
            name, incarnation, system, self, line=Line(system.calls) if system.calling else None
        )

    def take(self, key: str) -> None:
        depth = self.system.log[key][self.at[key]]
        self.at[key] += 1
        self.folded.add("market.prices.observed.v1" if key == MARKET else "other")
        if depth > 0:
            self.flight.append(depth - 1)

    def deliver(self) -> None:
        out = WRITES[self.name]
        depth = self.flight.pop(0)
        self.system.log[out].append(0 if self.fenced else depth)
        self.ends[out] = len(self.system.log[out])

    def snapshot(self) -> Snapshot | None:
        if self.flight and not self.system.careless:
            return None
        folded, self.folded = self.folded, set()
        return Snapshot(dict(self.at), dict(self.ends), folded, 0, "", {0: self.epoch})


class Line:
    """A worker's end of a line: it is found when it is looked for."""

    def __init__(self, calls: list[bytes]) -> None:
        self._calls = calls
        self.open = False

    def connect(self) -> bool:
        before, self.open = self.open, True
        return not before

    def send(self, raw: bytes) -> bool:
        if self.open:
            self._calls.append(raw)
        return self.open


class System:
    """Workers, a log, a topic of reports and the agreement that reads it. `calling` workers tell it
    by lines, and the topic is for others.

    Two mutants: `careless` workers do not wait for deliveries before they report, `silent` ones do
    not say that they take over."""

    def __init__(
        self, *, careless: bool = False, silent: bool = False, calling: bool = False
    ) -> None:
        self.silent = silent
        self.calling = calling
        self.calls: list[bytes] = []
        self.zombies: list[Worker] = []
        self.log: dict[str, list[int]] = {key: [] for key in (MARKET, *ENDS)}
        self.careless = careless
        self.made: list[Worker] = []
        self.reports: list[bytes] = []
        self.agreement = Agreement(dict.fromkeys(NAMES, (0,)), ENDS)
        self.workers = {name: self.make(name) for name in NAMES}

    def make(self, name: str) -> Worker:
        self.made.append(Worker(name, self, len(self.made) + 1))
        return self.made[-1]

    def note(self, _topic: str, raw: bytes, _key: str) -> None:
        self.reports.append(raw)

    def flush(self) -> None:
        """Everything is there at once."""

    def actions(self) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for worker in (*self.workers.values(), *self.zombies):
            found += [(worker.take, k) for k, at in worker.at.items() if at < len(self.log[k])]
            found += [(worker.deliver,)] if worker.flight else []
            found += [(worker.progress.touch,), (self.touch_fully, worker)]
        if self.reports:
            found.append((self.fold,))
        if self.calls:
            found.append((self.fold_call,))
        return found

    def touch_fully(self, worker: Worker) -> None:
        worker.progress.touch(full=True)

    def fold(self) -> None:
        report = orjson.loads(self.reports.pop(0))
        if not self.calling:
            self.agreement.fold(report)

    def fold_call(self) -> None:
        self.agreement.fold(orjson.loads(self.calls.pop(0)))

    def restart(self, name: str, *, killed: bool) -> None:
        """Another process takes over; the old one is dead, or only believed to be."""
        old = self.workers[name]
        if old.flight:
            return
        self.workers[name] = fresh = self.make(name)
        fresh.at, fresh.ends = dict(old.at), dict(old.ends)
        if not self.silent:
            fresh.progress.taking([0])
        old.fenced = True
        if not killed:
            self.zombies.append(old)

    def publish(self, depth: int) -> None:
        """The feed: one outside record, which control and risk have to answer."""
        self.log[MARKET].append(depth)
        self.agreement.require(MARKET, len(self.log[MARKET]), ("control", "risk"))

    def moving(self) -> list[str]:
        """What is on its way."""
        found = [f"{n} has appends in flight" for n, w in self.workers.items() if w.flight]
        for name, worker in self.workers.items():
            found += [
                f"{name} behind in {k}" for k, at in worker.at.items() if at < len(self.log[k])
            ]
        return found

    def run(self, choices: list[int]) -> list[str]:
        """Follow the choices; what was on its way when the agreement said that nothing was."""
        for choice in choices:
            if choice % 11 == 0:
                self.restart(NAMES[choice % 3], killed=choice % 2 == 0)
            if self.agreement.quiet:
                if self.moving():
                    return self.moving()
                self.publish(choice % 4)
            actions = self.actions()
            action = actions[choice % len(actions)]
            action[0](*action[1:])
        return self.moving() if self.agreement.quiet else []


@pytest.mark.parametrize("calling", [False, True])
@settings(max_examples=300, deadline=None)
@given(choices=st.lists(st.integers(0, 10_000), min_size=40, max_size=160))
def test_the_agreement_is_never_quiet_while_something_is_on_its_way(
    choices: list[int], calling: bool
) -> None:
    assert System(calling=calling).run(choices) == []


@pytest.mark.parametrize("calling", [False, True])
def test_positions_reported_before_their_answers_are_delivered_would_break_it(
    calling: bool,
) -> None:
    """The mutant: a snapshot that does not wait for deliveries. Some interleaving shows it."""
    import random

    rnd = random.Random(7)
    runs = ([rnd.randrange(10_000) for _ in range(120)] for _ in range(300))
    assert any(System(careless=True, calling=calling).run(choices) for choices in runs)


@pytest.mark.parametrize("calling", [False, True])
@pytest.mark.parametrize("silent", [False, True])
def test_what_a_fenced_process_reports_before_its_successor_does_is_not_believed(
    silent: bool, calling: bool
) -> None:
    """Silent, the mutant: the market record is taken for handled, and its answer is invalid."""
    system = System(silent=silent, calling=calling)
    for worker in system.workers.values():
        system.touch_fully(worker)
    system.publish(1)
    system.restart("control", killed=False)
    (zombie,) = system.zombies
    zombie.take(MARKET)
    zombie.deliver()
    for worker in (zombie, system.workers["risk"], system.workers["execution"]):
        for key in worker.at:
            while worker.at[key] < len(system.log[key]):
                worker.take(key)
        while worker.flight:
            worker.deliver()
    for worker in (zombie, system.workers["risk"], system.workers["execution"]) * 2:
        for key in worker.at:
            while worker.at[key] < len(system.log[key]):
                worker.take(key)
        worker.progress.touch()
    while system.reports:
        system.fold()
    while system.calls:
        system.fold_call()
    assert system.moving()
    assert system.agreement.quiet == silent


def test_a_system_that_is_let_run_becomes_quiet() -> None:
    system = System()
    system.publish(3)
    for _ in range(40):
        for worker in system.workers.values():
            for key in worker.at:
                while worker.at[key] < len(system.log[key]):
                    worker.take(key)
            while worker.flight:
                worker.deliver()
            worker.progress.touch()
        while system.reports:
            system.fold()
    assert system.agreement.quiet, system.agreement.waiting_for()
    assert not system.moving()


def report(
    worker: str, *, incarnation: str = "1", full: bool = True, **more: Any
) -> dict[str, Any]:
    base: dict[str, Any] = {"positions": {}, "ends": {}, "unresolved": 0, "time": ""}
    base |= {"epochs": {"0": 1} if full else {}}
    return base | {"worker": worker, "incarnation": incarnation, "full": full} | more


@pytest.fixture
def agreement() -> Agreement:
    found = Agreement({"risk": (0,), "execution": (0,)}, {"x/0": 3})
    for worker in ("risk", "execution"):
        found.fold(report(worker, positions={"x/0": 3}))
    assert found.quiet
    return found


def test_it_is_not_quiet_before_every_worker_has_reported() -> None:
    found = Agreement({"risk": (0,), "execution": (0,)}, {})
    found.fold(report("risk"))
    assert not found.quiet
    assert found.waiting_for() == "no report of execution"


def test_an_order_without_answer_keeps_it_from_being_quiet(agreement: Agreement) -> None:
    agreement.fold(report("risk", unresolved=1, positions={"x/0": 3}))
    assert not agreement.quiet
    assert agreement.waiting_for() == "risk: 1 unresolved"


def test_a_new_end_has_to_be_read_by_all_its_readers(agreement: Agreement) -> None:
    agreement.fold(report("risk", full=False, ends={"x/0": 4}))
    assert agreement.waiting_for() == "execution has not read x/0; risk has not read x/0"
    agreement.fold(report("risk", full=False, positions={"x/0": 4}))
    agreement.fold(report("execution", full=False, positions={"x/0": 4}))
    assert agreement.quiet


def test_a_new_process_counts_from_its_first_full_report(agreement: Agreement) -> None:
    agreement.fold(report("risk", incarnation="2", full=False, positions={"x/0": 1}))
    assert agreement.quiet, "not a full one: the old process's report stands"
    agreement.fold(report("risk", incarnation="2", epochs={"0": 2}, positions={"x/0": 1}))
    assert agreement.waiting_for() == "risk has not read x/0"


def test_a_fenced_process_that_goes_on_reporting_is_not_believed(agreement: Agreement) -> None:
    agreement.fold(report("risk", incarnation="2", epochs={"0": 2}, positions={"x/0": 3}))
    agreement.extend("x/0", 4)
    agreement.fold(report("execution", positions={"x/0": 4}))
    agreement.fold(report("risk", incarnation="1", positions={"x/0": 4}))
    assert agreement.waiting_for() == "risk has not read x/0"
    agreement.fold(report("risk", incarnation="2", full=False, positions={"x/0": 4}))
    assert agreement.quiet


def test_a_paced_partition_is_waited_for_by_those_who_can_answer_only(agreement: Agreement) -> None:
    for worker in ("risk", "execution"):
        agreement.fold(report(worker, positions={"x/0": 3, MARKET: 0}))
    agreement.require(MARKET, 1, ("risk",))
    assert agreement.waiting_for() == f"risk has not read {MARKET}"
    agreement.fold(report("risk", full=False, positions={MARKET: 1}))
    assert agreement.quiet


def test_reports_of_workers_that_are_not_waited_for_are_ignored(agreement: Agreement) -> None:
    agreement.fold(report("projector", unresolved=5, ends={"x/0": 99}))
    assert agreement.quiet
