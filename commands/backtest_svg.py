"""Charts as inline SVG: scales, axes, lines. Colours are CSS variables of the page around them.

Every chart is drawn for two widths, and the page shows the one that fits: text keeps its size.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
TIME_STEPS = tuple(HOUR_US * hours for hours in (1, 3, 6, 12, 24, 48, 7 * 24, 14 * 24))
WIDTHS = (("wide", 1000), ("narrow", 372))
LABEL_PX = {"wide": 96, "narrow": 74}
"""Room a label on the time axis wants."""


class Box(NamedTuple):
    """Where a plot lies in its picture, in pixels."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot with linear axes: x is time in microseconds, y anything."""

    box: Box
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1)
        return self.box.left + share * (self.box.right - self.box.left)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / ((self.y_high - self.y_low) or 1)
        return self.box.bottom - share * (self.box.bottom - self.box.top)

    def points(self, xs: Iterable[float], ys: Iterable[float]) -> str:
        return " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(xs, ys, strict=True))

    def line(self, xs: Sequence[float], ys: Sequence[float], kind: str) -> str:
        return f'<polyline class="{kind}" points="{self.points(xs, ys)}"/>'

    def area(self, xs: Sequence[float], ys: Sequence[float], kind: str, base: float = 0.0) -> str:
        """The surface between a line and `base`."""
        if not len(xs):
            return ""
        first, last, ground = self.x(xs[0]), self.x(xs[-1]), self.y(base)
        inside = self.points(xs, ys)
        return (
            f'<polygon class="{kind}" points="{first:.1f},{ground:.1f} {inside} '
            f'{last:.1f},{ground:.1f}"/>'
        )

    def grid(self, shown: Callable[[float], str], count: int = 4) -> str:
        """Horizontal lines at round values, with their labels left of the plot."""
        parts = []
        for value in round_values(self.y_low, self.y_high, count):
            y = self.y(value)
            parts.append(
                f'<line class="grid" x1="{self.box.left}" x2="{self.box.right}" y1="{y:.1f}" '
                f'y2="{y:.1f}"/><text class="tick" x="{self.box.left - 8}" y="{y + 4:.1f}" '
                f'text-anchor="end">{escape(shown(value))}</text>'
            )
        return "".join(parts)

    def times(self, size: str, *, labels: bool = True) -> str:
        """Marks of the time axis at round times, with their labels below the plot."""
        parts = []
        for at, words in round_times(
            self.x_low, self.x_high, (self.box.right - self.box.left) / LABEL_PX[size]
        ):
            x = self.x(at)
            parts.append(
                f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{self.box.top}" '
                f'y2="{self.box.bottom}"/>'
            )
            if labels and self.box.left + 14 < x < self.box.right - 14:
                parts.append(
                    f'<text class="tick" x="{x:.1f}" y="{self.box.bottom + 17}" '
                    f'text-anchor="middle">{words}</text>'
                )
        return "".join(parts)


def both(draw: Callable[[str, int], tuple[int, str]], title: str) -> str:
    """The chart at each width: `draw` gives height and contents for a size's name and width."""
    pictures = []
    for size, width in WIDTHS:
        height, inside = draw(size, width)
        pictures.append(
            f'<svg class="{size}" viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{escape(title)}">{inside}</svg>'
        )
    return "".join(pictures)


def thinned(xs: Ints, ys: Floats, pixels: int) -> tuple[list[float], list[float]]:
    """At most four points a pixel: first, lowest, highest and last of each, in order."""
    if len(xs) <= 4 * pixels:
        return xs.tolist(), ys.tolist()
    edges = np.linspace(0, len(xs), pixels + 1).astype(np.int64)
    kept: set[int] = set()
    for a, b in pairwise(edges):
        if b > a:
            part = ys[a:b]
            kept |= {int(a), int(a + part.argmin()), int(a + part.argmax()), int(b - 1)}
    order = sorted(kept)
    return [float(xs[i]) for i in order], [float(ys[i]) for i in order]


def stepped(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    """The same as steps: a value holds until the next."""
    out_x, out_y = list(xs[:1]), list(ys[:1])
    for x, y in zip(xs[1:], ys[1:], strict=True):
        out_x += [x, x]
        out_y += [out_y[-1], y]
    return out_x, out_y


def round_values(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers within [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def round_times(low: float, high: float, count: float) -> list[tuple[int, str]]:
    """At most `count` round times within [low, high], with their words: hours, days, months."""
    span = high - low
    for step in TIME_STEPS:
        if span / step <= count:
            first = int(-(-low // step) * step)
            times = range(first, int(high) + 1, step)
            return [(at, _words(at, step)) for at in times]
    return _months(int(low), int(high), count)


def _words(at: int, step: int) -> str:
    moment = _moment(at)
    if step < DAY_US and moment.hour:
        return f"{moment:%H:%M}"
    return f"{moment.day} {moment:%b}"


def _months(low: int, high: int, count: float) -> list[tuple[int, str]]:
    first = _moment(low).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    months = []
    while _us(first) <= high:
        if _us(first) >= low:
            months.append(first)
        first = (first + timedelta(days=32)).replace(day=1)
    each = next((n for n in (1, 2, 3, 6, 12) if len(months) / n <= count), 24)
    return [
        (_us(month), f"{month:%b} {month:%Y}" if each < 12 else f"{month:%Y}")
        for month in months
        if (month.year * 12 + month.month - 1) % each == 0
    ]


def _moment(us: float) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)


def _us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000
