"""The engine that folds outside records in bulk: only those that someone waits for are delivered.

Sources stand where their own inputs are; `market` and `clock` are brought up to date when a source
is about to decide (:attr:`Source.catch_up`), by `skip` instead of fold. Everything else, order of
delivery included, is :class:`Engine`.
"""

from collections.abc import Mapping
from typing import Any, Protocol, cast

from domain.decider import OWN
from domain.positions import Positions
from domain.skipping import Outside
from domain.source import Source
from domain.waits import EVERYTHING, Waiting, Waits
from gateways.feed_records import Scripted
from replay.backtest_course import CLOCK_KEY, MARKET_KEY, STAGES, TICKED, Course
from replay.engine import Engine
from replay.fast_hours import FastHours
from replay.memory_log import Stored
from schemas.topics import CLOCK, MARKET


class Standing(Outside, Protocol):
    """A place with its offsets, that can be moved forward."""

    @property
    def place(self) -> int:
        """Where it stands (:mod:`replay.backtest_course`)."""

    @property
    def market_offset(self) -> int:
        """Next offset of `market`."""

    @property
    def clock_offset(self) -> int:
        """Next offset of `clock`."""

    def go(self, place: int) -> None:
        """Stand at a later place."""


class Search(Protocol):
    """Finds the next place at which a decider is woken."""

    def expect(self, number: int, waits: Waits) -> None:
        """What decider `number` waits for from now on."""

    def next(self, before: int) -> tuple[int, list[int]] | None:
        """The next place and who is woken there; None: nobody before place `before`, which is that
        of an instant's end."""

    def others(self, number: int) -> int:
        """Up to which place nobody but decider `number` is woken, that place not included; one
        that is not ahead where it is not known."""


class BulkEngine(Engine):
    """An engine with a place in the outside records. Feed the listing before :meth:`follow`."""

    def __init__(self, course: Course, outside: Standing, **engine: Any) -> None:
        self.course, self.outside = course, outside
        self._at: dict[str, int] = {}
        """Where each source's market and clock stand."""
        self._gateways_at = -2
        self._dirty: dict[int, Source] = {}
        self._waiting: dict[str, list[tuple[int, Source]]] = {}
        self._following = False
        self._hours = FastHours(course)
        super().__init__(**engine)
        for number, source in enumerate(self.sources):
            self._index(number, source)
        self._tellers = {
            number
            for number, source in enumerate(self.sources)
            if isinstance(source.decider, Positions)
            and all(
                getattr(reader.decider, "equity_last", False)
                for reader in self._readers.get(source.output, ())
            )
        }
        self._heard = {"control/0"}
        for number in self.gateways:
            self._heard |= {f"trade.order/{number}", f"venue.report/{number}"}

    def _index(self, number: int, source: Source) -> None:
        """Note which records may change what a source waits for."""
        topics = getattr(source.decider, "waits_on", None)
        for key in source.positions:
            topic = key.rpartition("/")[0]
            if topic not in (MARKET.name, CLOCK.name) and (topics is None or topic in topics):
                self._waiting.setdefault(key, []).append((number, source))
        if topics is None or OWN in topics:
            self._waiting.setdefault(source.output, []).append((number, source))

    def follow(self, search: Search, script: list[tuple[int, Scripted]]) -> None:
        """Run from the place before the first instant to the end. `script`: events and the places
        they follow, in order."""
        self._following = True
        for source in self.sources:
            source.catch_up = self._catch_up
        self._stand(self.outside.place)
        self._dirty.update(enumerate(self.sources))
        for place, item in (*script, (self.course.end, None)):
            while True:
                self._expect(search)
                woken = search.next(place) if place > self.outside.place else None
                if woken is None:
                    break
                if not self._tell_hours(search, *woken, until=place):
                    self._wake(*woken)
            self._stand(place)
            if item is not None:
                self.feed(item.topic, item.event)

    def _tell_hours(self, search: Search, place: int, numbers: list[int], until: int) -> bool:
        """Let `positions`, if it alone is woken, tell equity hour by hour up to where someone else
        is; False where it cannot be done in one go, and nothing was done."""
        number = numbers[0]
        if number not in self._tellers or len(numbers) > 1:
            return False
        source = self.sources[number]
        hours = self._hours.stretch(place, min(until, search.others(number)))
        offset = self.log.end(source.output)
        last = self._hours.tell(source, hours, self.log)
        if last is None:
            return False
        source.fold_own_last(last, len(hours))
        for reader in self._readers.get(source.output, ()):
            reader.fold_last(source.output, offset, last, len(hours))
        self._stand(self._hours.places[hours[-1]])
        self._dirty[number] = source
        return True

    def _stand(self, place: int) -> None:
        self.outside.go(place)
        self.log.unkept[MARKET_KEY] = self.outside.market_offset
        self.log.unkept[CLOCK_KEY] = self.outside.clock_offset

    def _wake(self, place: int, numbers: list[int]) -> None:
        """Deliver the record at a place to those who wait for it."""
        self._stand(place)
        event = self.course.event(place)
        key = CLOCK_KEY if place % STAGES == TICKED else MARKET_KEY
        for number in numbers:
            source = self.sources[number]
            self._catch_up(source)
            self._dirty[number] = source
            for record in source.decide(key, event):
                self.append(source.output, record)
        self.run()

    def _expect(self, search: Search) -> None:
        """Ask those anew whose state has changed."""
        for number, source in self._dirty.items():
            if not hasattr(source.decider, "waits"):
                search.expect(number, EVERYTHING)
                continue
            decider = cast("Waiting", source.decider)
            if MARKET.name in decider.waits_on:
                self._catch_up(source)
            search.expect(number, decider.waits(source.slices))
        self._dirty.clear()

    def _catch_up(self, source: Source) -> None:
        place = self.outside.place
        if self._at.get(source.name) == place:
            return
        self._at[source.name] = place
        slices, positions = source.slices, source.positions
        own = getattr(source.decider, "skip", None)
        if MARKET_KEY in positions:
            if own is not None:
                own(slices[MARKET.name], self.outside)
            else:
                slices[MARKET.name].skip(self.outside)
            positions[MARKET_KEY] = self.outside.market_offset
        if CLOCK_KEY in positions:
            slices[CLOCK.name].skip(self.outside)
            positions[CLOCK_KEY] = self.outside.clock_offset

    def _deliver(self, stored: Stored) -> None:
        if not self._following:
            super()._deliver(stored)
            return
        key, event = stored.key, stored.event
        for number, source in self._waiting.get(key, ()):
            self._dirty[number] = source
        for source in self._readers.get(key, ()):
            if source.fold(key, stored.offset, event) and (
                source.requests[key] or source.decider.asks(source.slices, event)
            ):
                for record in source.decide(key, event):
                    self.append(source.output, record)
        if key in self._heard:
            if self._gateways_at != self.outside.place:
                self._advance_gateways()
            for gateway in self.gateways.values():
                gateway.deliver(key, stored.offset, event)

    def _advance_gateways(self) -> None:
        outside = self.outside
        self._gateways_at = outside.place
        ends: Mapping[str, int] = {
            MARKET_KEY: outside.market_offset,
            CLOCK_KEY: outside.clock_offset,
        }
        for gateway in self.gateways.values():
            gateway.after.update((key, end) for key, end in ends.items() if end)
            core = gateway.core
            core.now = max(core.now, outside.market_time, outside.clock_time)
