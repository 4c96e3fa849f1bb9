"""Tables of the live view that cut no word and no number.

A column is as wide as what stands in it. What is left over belongs to the curves, which shrink and
vanish first; then the columns that may be missing go. Only a terminal too narrow for the rest cuts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

CURVE_MIN = 5
"""A shorter curve shows nothing."""
FRAME = 4
"""Border and padding of a panel."""
_GAP = 1


@dataclass(frozen=True, slots=True)
class Column:
    """`rank` 0: always shown; else the column of the highest rank is left out first."""

    name: str
    cells: list[Text]
    rank: int = 0
    justify: Literal["left", "right"] = "right"
    width_min: int = 0

    @property
    def width(self) -> int:
        """Characters, the gap after it included."""
        widest = max(map(cell_len, (self.name, *(cell.plain for cell in self.cells))))
        return max(widest, self.width_min) + _GAP


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns of one panel. `curve(row, width)` draws the curve of a row; it stands after the
    column `curve_after` and is at most `curve_max` characters wide."""

    columns: tuple[Column, ...]
    curve: Callable[[int, int], str] | None = None
    curve_after: str = ""
    curve_max: int = 0

    @property
    def least(self) -> int:
        """Characters that the columns take without the curve, the panel's frame included."""
        return sum(column.width for column in self.columns) + FRAME

    @property
    def wish(self) -> int:
        """Characters that the widest curve adds."""
        return self.curve_max + _GAP if self.curve else 0

    def table(self, width: int) -> Table:
        """The table for a panel of `width` characters."""
        curve = min(width - self.least - _GAP, self.curve_max)
        table = Table(box=None, expand=True, padding=(0, _GAP, 0, 0), header_style="bright_black")
        rows: list[list[Text]] = [[] for _ in self.columns[0].cells]
        for column in self.columns:
            table.add_column(
                column.name,
                justify=column.justify,
                no_wrap=True,
                min_width=column.width - _GAP if width >= self.least else None,
            )
            for row, cell in zip(rows, column.cells, strict=True):
                row.append(cell)
            if self.curve and column.name == self.curve_after and curve >= CURVE_MIN:
                table.add_column("", no_wrap=True, min_width=curve)
                for at, row in enumerate(rows):
                    row.append(Text(self.curve(at, curve), style="cyan"))
        for row in rows:
            table.add_row(*row)
        return table


def fitted(width: int, *grids: Grid) -> tuple[Grid, ...]:
    """The grids side by side in `width` characters, without the columns that find no room."""
    found = list(grids)
    while sum(grid.least for grid in found) > width:
        ranked = [(c.rank, at, c) for at, grid in enumerate(found) for c in grid.columns if c.rank]
        if not ranked:
            break
        _, at, gone = max(ranked, key=lambda each: each[:2])
        kept = tuple(column for column in found[at].columns if column is not gone)
        found[at] = replace(found[at], columns=kept)
    return tuple(found)


def shares(width: int, left: Grid, right: Grid) -> tuple[int, int]:
    """Widths of two panels side by side: what the columns need, then room for the curves (for the
    right one alone where two would be too short), then half of the rest each."""
    spare = width - left.least - right.least
    wishes = left.wish + right.wish
    if spare < 0:
        taken = width * left.least // (left.least + right.least)
    elif spare >= wishes:
        taken = left.least + left.wish + (spare - wishes) // 2
    else:
        more = spare * left.wish // wishes
        taken = left.least + (more if min(more, spare - more) > CURVE_MIN else 0)
    return taken, width - taken
