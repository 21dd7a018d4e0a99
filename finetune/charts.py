"""Charts of a report as SVG that stands in a page: no script, no file, the same bytes every time.

Text stays text, and is escaped. A line that has no interval has no band, one that has no value at
a place has no point there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from markupsafe import escape
from matplotlib.ticker import MaxNLocator

from corpus.plots import COLOURS, LINE_COLOUR, TEXT_COLOUR

WIDTH, PLOT_HEIGHT = 600, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 10, 40
ROW_HEIGHT, LABEL_WIDTH = 24, 262
MAX_LABEL = 36  # characters
FONT_SIZE = 13
DODGE = 4


class Point(NamedTuple):
    """A value at a place, and its interval where it has one."""

    x: float
    value: float
    low: float | None = None
    high: float | None = None


class Row(NamedTuple):
    """A value by its label; `is_faint`: drawn grey."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    is_faint: bool = False


def draw_curves(lines: Mapping[str, Sequence[Point]], *, x_label: str, y_label: str) -> str:
    """Draw lines with their intervals over a logarithmic axis, a colour each.

    Args:
        lines: by name the points from left to right; `x` above 0.
        x_label: what is along the axis, with the unit.
        y_label: what is measured.

    Returns:
        One `<svg>` element; "" without a point.

    >>> draw_curves({}, x_label="examples", y_label="F1")
    ''
    >>> lines = {"<a>": [Point(10, 0.5, 0.4, 0.6), Point(100, 0.7, 0.6, 0.8)]}
    >>> draw_curves(lines, x_label="examples", y_label="F1").count("&lt;a&gt;")
    1
    """
    drawn = {name: points for name, points in lines.items() if points}
    if not drawn:
        return ""
    points = [point for line in drawn.values() for point in line]
    top = TOP + 20 * (len(drawn) + 1)
    bottom = top + PLOT_HEIGHT
    x_axis = _Axis(*_widen(sorted({math.log(one.x) for one in points})), LEFT + 24, WIDTH - 30)
    ticks = _find_ticks(points)
    y_axis = _Axis(ticks[0], ticks[-1], bottom, top)
    parts = [*_draw_grid(ticks, y_axis), *_draw_places(points, x_axis, bottom)]
    for number, (name, line) in enumerate(drawn.items()):
        # Side by side, so that no interval hides another.
        aside = DODGE * (number - (len(drawn) - 1) / 2)
        shifted = x_axis._replace(start=x_axis.start + aside, end=x_axis.end + aside)
        parts += _draw_line(line, number, shifted, y_axis)
        parts += _draw_key(number, name)
    parts.append(_draw_text(LEFT, top - 8, y_label, "start"))
    parts.append(_draw_text((LEFT + WIDTH - RIGHT) / 2, bottom + BOTTOM - 4, x_label, "middle"))
    return _wrap(parts, bottom + BOTTOM)


def draw_intervals(rows: Sequence[Row], *, x_label: str) -> str:
    """Draw a dot and its interval a row, from the top down, over one axis.

    >>> draw_intervals([], x_label="F1")
    ''
    >>> draw_intervals([Row("a", 0.5, 0.4, 0.6)], x_label="F1").count("<circle")
    1
    """
    if not rows:
        return ""
    ticks = _find_ticks([Point(0, row.value, row.low, row.high) for row in rows])
    axis = _Axis(ticks[0], ticks[-1], LABEL_WIDTH + 12, WIDTH - RIGHT)
    bottom = TOP + ROW_HEIGHT * len(rows)
    parts = [_line(axis.at(tick), TOP, axis.at(tick), bottom, LINE_COLOUR, 0.7) for tick in ticks]
    parts += [
        _draw_text(axis.at(tick), bottom + 16, f"{tick:.6g}", "middle") for tick in ticks[1:-1:2]
    ]
    for number, row in enumerate(rows):
        y = TOP + ROW_HEIGHT * (number + 0.5)
        colour = COLOURS[-1] if row.is_faint else COLOURS[0]
        parts.append(_draw_text(LABEL_WIDTH, y + 4.5, row.label, "end"))
        if row.low is not None and row.high is not None:
            parts.append(_line(axis.at(row.low), y, axis.at(row.high), y, colour, 2.2))
        parts.append(
            f'<circle cx="{axis.at(row.value):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
        )
    parts.append(_draw_text((LABEL_WIDTH + WIDTH) / 2, bottom + 34, x_label, "middle"))
    return _wrap(parts, bottom + BOTTOM)


class _Axis(NamedTuple):
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _draw_line(line: Sequence[Point], number: int, x_axis: _Axis, y_axis: _Axis) -> Iterator[str]:
    colour = COLOURS[number % len(COLOURS)]
    # Past the palette the colours come again, dashed.
    dashes = ' stroke-dasharray="6 4"' if number >= len(COLOURS) else ""
    at = [(x_axis.at(math.log(one.x)), one) for one in line]
    for x, one in at:
        if one.low is not None and one.high is not None:
            yield _line(x, y_axis.at(one.low), x, y_axis.at(one.high), colour, 1.4)
    path = " ".join(f"{x:.1f},{y_axis.at(one.value):.1f}" for x, one in at)
    yield f'<polyline fill="none" stroke="{colour}" stroke-width="1.8"{dashes} points="{path}"/>'
    for x, one in at:
        yield f'<circle cx="{x:.1f}" cy="{y_axis.at(one.value):.1f}" r="3.5" fill="{colour}"/>'


def _draw_grid(ticks: Sequence[float], axis: _Axis) -> Iterator[str]:
    for tick in ticks:
        yield _line(LEFT, axis.at(tick), WIDTH - RIGHT, axis.at(tick), LINE_COLOUR, 0.7)
        yield _draw_text(LEFT - 7, axis.at(tick) + 4, f"{tick:.6g}", "end")


def _draw_places(points: Sequence[Point], axis: _Axis, bottom: float) -> Iterator[str]:
    """Write each x that has a point, where there is room beside the one before."""
    free = -math.inf
    for x in sorted({point.x for point in points}):
        at, text = axis.at(math.log(x)), f"{x:,.0f}"
        if at >= free:
            yield _draw_text(at, bottom + 17, text, "middle")
            free = at + 8 * len(text) + 6


def _draw_key(number: int, name: str) -> list[str]:
    y = TOP + 20 * number
    colour = COLOURS[number % len(COLOURS)]
    box = f'<rect x="{LEFT}" y="{y}" width="12" height="12" fill="{colour}"/>'
    return [box, _draw_text(LEFT + 18, y + 11, name, "start")]


def _draw_text(x: float, y: float, text: str, anchor: str) -> str:
    short = text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{TEXT_COLOUR}">'
        f"{escape(short)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    return (
        f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"/>'
    )


def _find_ticks(points: Sequence[Point]) -> list[float]:
    values = [one for point in points for one in point[1:] if one is not None]
    low, high = min(values), max(values)
    locator = MaxNLocator(8, steps=[1, 2, 2.5, 5, 10])
    return list(map(float, locator.tick_values(low, high if high > low else low + 0.1)))


def _widen(places: Sequence[float]) -> tuple[float, float]:
    low, high = places[0], places[-1]
    return (low, high) if high > low else (low - 1, high + 1)


def _wrap(parts: Sequence[str], height: float) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" font-size="{FONT_SIZE}">{"".join(parts)}</svg>'
