"""The crash tests would notice: each faulty rule put into the real code is caught by some crash."""

from collections.abc import Callable
from typing import Any

import pytest

from domain.source import Source
from gateways.core import GatewayCore
from schemas.codec import encode
from schemas.sources import SourceFenced
from schemas.validity import Validity
from streams import recovery, shell
from streams.log import Log
from streams.recovery import Identity, Recovered
from streams.shell import Shell
from streams.simulated.broker import ignored
from tests.streams.crash_runs import crash, crash_and_stop, reference

Patch = Callable[[pytest.MonkeyPatch], None]


def forget_redo(patch: pytest.MonkeyPatch) -> None:
    """A fact answered for one account of two is not answered for the other after a restart."""

    def recover(*arguments: Any) -> list[Recovered]:
        found = recovery.recover(*arguments)
        for recovered in found:
            recovered.redo = None
        return found

    patch.setattr(shell, "recover", recover)


def start_at_group_offset(patch: pytest.MonkeyPatch) -> None:
    """Inputs up to the ends are taken as decided, as a committed offset would have it."""

    def recover(log: Log, sources: list[Source], own: Any, partitions: int) -> list[Recovered]:
        found = recovery.recover(log, sources, own, partitions)
        for recovered in found:
            source = recovered.source
            for key, position in list(source.positions.items()):
                for record in log.read({key: (position, log.end(key))}):
                    source.fold(key, record.offset, recovery.take(record, partitions))
        return found

    patch.setattr(shell, "recover", recover)


def fence_by_count(patch: pytest.MonkeyPatch) -> None:
    """The epoch is the number of fences seen, and nobody looks whether another came between."""

    def fence(
        log: Log, sources: dict[str, str], identity: Identity, stands: Any, reads: Any, into: Any
    ) -> dict[str, tuple[int, Any]]:
        done = {}
        for name, output in sources.items():
            state = {name: recovery._Own.after(name, stands.get(name), into.get(name, []))}
            recovery._follow(log, {name: output}, state, {name: log.end(output)})
            epoch = state[name].validity.epoch(name) + 1
            opening = SourceFenced.opening(name, epoch, identity.data())
            log.append(output, encode(opening), opening.partitionkey, ignored)
            done[name] = (epoch, state[name].records)
        log.flush()
        return done

    patch.setattr(shell, "fence", fence)


def do_not_read_up_to_the_fence(patch: pytest.MonkeyPatch) -> None:
    """Own records that landed between the first look and the fence are overlooked."""
    follow = recovery._follow

    def fence(
        log: Log, sources: dict[str, str], identity: Identity, stands: Any, reads: Any, into: Any
    ) -> Any:
        before = {
            name: recovery._Own.after(name, stands.get(name), into.get(name, []))
            for name in sources
        }
        follow(log, sources, before, {n: log.end(o) for n, o in sources.items()})
        opened = recovery.fence(log, sources, identity, stands)
        return {name: (epoch, before[name].records) for name, (epoch, _) in opened.items()}

    patch.setattr(shell, "fence", fence)


def everything_is_valid(patch: pytest.MonkeyPatch) -> None:
    """Epochs and sequences are noted but nothing is dropped."""

    def admit(
        self: Validity, source: str, epoch: int | None, sequence: int | None, fence: bool
    ) -> bool:
        current, last = self.sources.get(source, (0, 0))
        if epoch is not None:
            self.sources[source] = (max(epoch, current), max(sequence or 0, last))
        return not fence

    patch.setattr(Validity, "admit_head", admit)


def catch_up_by_key(patch: pytest.MonkeyPatch) -> None:
    """What lies between basis and ends is taken topic by topic, by name, without waiting."""

    def catch_up(self: Shell) -> None:
        for key in sorted(self.inputs(), reverse=True):
            for record in list(self.log.read({key: (self.position(key), self.log.end(key))})):
                self.receive(record)

    patch.setattr(Shell, "_catch_up", catch_up)
    patch.setattr(Shell, "_ready", lambda *_: True)


def own_records_after_publishing(patch: pytest.MonkeyPatch) -> None:
    """A record is published and its effect on the own state is left to a later reading of it: the
    second of two records of one fact does not see the first."""
    fold_own = Source.fold_own

    def decide(self: Source, key: str, cause: Any, *, answered: Any = ()) -> Any:
        late: list[Any] = []
        self.fold_own = late.append  # type: ignore[method-assign,assignment]
        try:
            yield from ORIGINAL(self, key, cause, answered=answered)
        finally:
            del self.fold_own
            for record in late:
                fold_own(self, record)

    patch.setattr(Source, "decide", decide)


ORIGINAL = Source.decide


def gateway_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    """Orders that an earlier process may have sent are taken for never sent."""
    patch.setattr(GatewayCore, "fenced_at", _never_sent)


def _never_sent(
    self: GatewayCore, wall_us: int, ends: dict[str, int] | None = None, epoch: int = 1
) -> None:
    self._fenced = True
    self.epoch = epoch


def watch_from_the_present_end(patch: pytest.MonkeyPatch) -> None:
    """A fence by another that came while this worker was starting is overlooked."""
    patch.setattr(
        Shell, "outputs", lambda s: {x.output: s.log.end(x.output) for x in s.sources.values()}
    )


MUTANTS: tuple[tuple[Patch, tuple[str, ...], tuple[str, ...]], ...] = (
    (start_at_group_offset, ("risk", "execution", "venue"), ("lost",)),
    (fence_by_count, ("risk", "control"), ("double",)),
    (do_not_read_up_to_the_fence, ("execution",), ("ghost",)),
    (everything_is_valid, ("venue", "execution"), ("zombie",)),
    (catch_up_by_key, ("execution", "risk", "venue"), ("lost", "zombie")),
    (own_records_after_publishing, ("venue",), ("lost",)),
    (watch_from_the_present_end, ("gateway", "risk"), ("double",)),
)


@pytest.mark.parametrize(
    ("mutant", "names", "kinds"), MUTANTS, ids=lambda v: getattr(v, "__name__", "")
)
def test_a_faulty_rule_is_caught(
    mutant: Patch, names: tuple[str, ...], kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {name: reference().steps(name) for name in names}
    mutant(monkeypatch)
    for at in range(max(len(found) for found in steps.values())):
        for name in names:
            for kind in kinds:
                if at < len(steps[name]) and _fails(steps[name][at], kind):
                    return
    pytest.fail(f"no crash of {', '.join(names)} shows {mutant.__doc__}")


def test_a_gateway_that_does_not_wait_after_its_fence_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway_does_not_wait(monkeypatch)
    found = [_why(step) for step in reference().steps_of_entry("gateway")]
    assert any("ended with 0 filled, the venue filled" in why for why in found)


def test_a_restart_that_forgets_the_other_account_of_a_fact_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref = reference()
    steps = [s for s in ref.steps("venue") if ref.events[ref.event_at(s)][0] == "market"]
    forget_redo(monkeypatch)
    assert any(_fails(step, "lost") for step in steps), forget_redo.__doc__


def _why(step: int) -> str:
    try:
        crash_and_stop(step, late_ms=600)
    except AssertionError as error:
        return str(error)
    return ""


def _fails(step: int, kind: str) -> bool:
    try:
        crash(step, kind)
    except AssertionError:
        return True
    return False
