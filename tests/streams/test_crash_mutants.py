"""The crash tests would notice: each faulty rule put into the real code is caught by some crash."""

from collections.abc import Callable
from typing import Any

import pytest

from domain.source import Source
from schemas.validity import Validity
from streams import recovery, shell
from streams.log import Log
from streams.recovery import Identity
from streams.shell import Shell
from tests.replay.simulator.effects import no_wait_after_fence
from tests.replay.simulator.mutants import (
    catchup_any_order,
    epoch_by_count,
    split_records,
    trust_group_offset,
)
from tests.streams.crash_runs import crash, crash_and_stop, reference

Patch = Callable[[pytest.MonkeyPatch], None]


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


def watch_from_the_present_end(patch: pytest.MonkeyPatch) -> None:
    """A fence by another that came while this worker was starting is overlooked."""
    patch.setattr(
        Shell, "outputs", lambda s: {x.output: s.log.end(x.output) for x in s.sources.values()}
    )


MUTANTS: tuple[tuple[Patch, tuple[str, ...], tuple[str, ...]], ...] = (
    (trust_group_offset, ("risk", "execution", "venue"), ("lost",)),
    (epoch_by_count, ("risk", "control"), ("double",)),
    (do_not_read_up_to_the_fence, ("execution",), ("ghost",)),
    (everything_is_valid, ("venue", "execution"), ("zombie",)),
    (catchup_any_order, ("execution", "risk", "venue"), ("lost", "zombie")),
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
    no_wait_after_fence(monkeypatch)
    found = [_why(step) for step in reference().steps_of_entry("gateway")]
    assert any("ended with 0 filled, the venue filled" in why for why in found)


def test_a_restart_that_forgets_the_other_account_of_a_fact_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref = reference()
    steps = [s for s in ref.steps("venue") if ref.events[ref.event_at(s)][0] == "market"]
    split_records(monkeypatch)
    assert any(_fails(step, "lost") for step in steps), split_records.__doc__


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
