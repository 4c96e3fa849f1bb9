"""A step of the host's clock is seen, a slewed clock and a busy machine are none."""

import pytest

from runtime.host_clock import StepWatch


class Clocks:
    """Wall and monotonic time; each reading of the second takes `reading_s`."""

    def __init__(self) -> None:
        self.wall, self.monotonic, self.reading_s = 1_800_000_000.0, 1_000.0, 0.0

    def pass_s(self, seconds: float, *, wall: float | None = None) -> None:
        self.monotonic += seconds
        self.wall += seconds if wall is None else wall

    def read_monotonic(self) -> float:
        now = self.monotonic
        self.pass_s(self.reading_s)
        return now

    def watch(self) -> StepWatch:
        return StepWatch(lambda: self.wall, self.read_monotonic)


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 0.3, -0.3])
def test_a_clock_that_is_set_is_seen_once(step_s: float) -> None:
    clocks = Clocks()
    watch = clocks.watch()
    clocks.pass_s(5)
    assert watch.stepped_s() == 0.0
    clocks.pass_s(5, wall=5 + step_s)
    assert watch.stepped_s() == pytest.approx(step_s)
    clocks.pass_s(5)
    assert watch.stepped_s() == 0.0


def test_a_slewed_clock_is_no_step() -> None:
    clocks = Clocks()
    watch = clocks.watch()
    clocks.pass_s(100, wall=100.05)
    assert watch.stepped_s() == 0.0


def test_a_reading_that_takes_long_is_no_step() -> None:
    clocks = Clocks()
    watch = clocks.watch()
    clocks.reading_s = 2.0
    assert watch.stepped_s() == 0.0
