"""The pure processors there are, in the order in which they are listed everywhere.

A decider's module is imported when it is first built, so that a worker process loads only its own.
"""

from importlib import import_module
from typing import Any

from domain.decider import Decider
from domain.venue_faults import FaultPlan

PROCESSORS: dict[str, tuple[str, str]] = {
    "control": ("domain.control", "Control"),
    "signals": ("domain.signals", "Signals"),
    "risk": ("domain.risk", "Risk"),
    "execution": ("domain.execution", "Execution"),
    "venue": ("domain.venue", "Venue"),
    "positions": ("domain.positions", "Positions"),
    "safety": ("domain.safety", "Safety"),
}
REHEARSAL = FaultPlan(lost_answer_every=40, lost_request_every=60)
"""Faults of the simulated venue in every run: one answer in 40 and one request in 60 get lost, so
that the paths that lose money are exercised all the time. Client order ids decide which."""
SINGLE = ("control",)
"""Processors that stand on one partition, 0, whatever the number of account partitions."""


def loaded(name: str) -> Any:
    """The class of processor `name`, its module imported. Raises KeyError for an unknown name."""
    module, noun = PROCESSORS[name]
    return getattr(import_module(module), noun)


def build(name: str, partition: int, partitions: int) -> Decider:
    """The decider of processor `name` on a partition. Raises KeyError for an unknown name."""
    made = loaded(name)
    decider: Decider = (
        made(partition, partitions, faults=REHEARSAL)
        if name == "venue"
        else made(partition, partitions)
    )
    return decider


def partitions_of(name: str, partitions: int) -> range:
    """The partitions a processor has sources on."""
    return range(1) if name in SINGLE else range(partitions)
