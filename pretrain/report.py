"""The report of a run: one HTML page with its curves and figures, that needs nothing beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

from corpus.manifest import Json
from corpus.plots import COLOURS, LINE_COLOUR, TEXT_COLOUR
from corpus.rendering import make_environment

WIDTH, HEIGHT = 600, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 28, 40
# A point for every two pixels: more would be one thick line, and a large page.
MAX_POINTS = 260
# By metric as the log names it: caption, and the metrics that share a chart.
CHARTS = {
    "Loss of the masked tokens in training, nats": {"loss": "training"},
    "Loss on the validation split by kind, nats": {
        f"validation/loss/{kind}": kind for kind in ("all", "prose", "code", "title", "comment")
    },
    "Accuracy on the validation split by kind": {
        f"validation/accuracy/{kind}": kind for kind in ("all", "prose", "code", "title", "comment")
    },
    "Norm of the gradient": {"grad_norm": "norm"},
    "Learning rate": {"learning_rate": "rate"},
    "Tokens a second": {"tokens_per_second": "tokens"},
}


class Point(NamedTuple):
    """A number of the log and the tokens after which it was taken."""

    tokens: float
    value: float


def render_run(summary: Json, lines: Sequence[Json]) -> str:
    """Render the report of a run.

    Args:
        summary: as run.json holds it.
        lines: of its log.

    Returns:
        One HTML page.
    """
    curves = collect_curves(lines)
    charts = {
        caption: Markup(
            draw_lines({name: curves[metric] for metric, name in names.items() if metric in curves})
        )
        for caption, names in CHARTS.items()
    }
    return (
        make_environment("pretrain")
        .get_template("run.html.jinja")
        .render(
            run=summary,
            charts={caption: chart for caption, chart in charts.items() if chart},
            skipped=[line for line in lines if line["metric"] == "skipped"],
            headline=list_headline(summary),
        )
    )


def collect_curves(lines: Sequence[Json]) -> dict[str, list[Point]]:
    """Sort the numbers of a log by metric."""
    curves: dict[str, list[Point]] = {}
    for line in lines:
        if line["metric"] != "skipped":
            curves.setdefault(line["metric"], []).append(Point(line["tokens"], line["value"]))
    return curves


def list_headline(summary: Json) -> list[tuple[str, str]]:
    """List the figures that stand large above the page, and what they are."""
    cost, phases = summary["cost"], summary["phases"]
    figures = [
        (f"{summary['num_parameters'] / 1e6:,.1f}M", "parameters"),
        (f"{summary['progress']['step']:,} of {phases['num_steps']:,}", "steps"),
        (f"{cost['tokens'] / 1e6:,.1f}M", "tokens"),
        (f"{cost['device_hours']:,.2f}", "device-hours"),
    ]
    if cost["seconds"]:
        figures.append((f"{cost['tokens'] / cost['seconds']:,.0f}", "tokens a second"))
        figures.append((f"{cost['mfu']:.1%}", "MFU"))
    return figures


def average(points: Sequence[Point], most: int) -> list[Point]:
    """Average neighbours so that at most so many points are left.

    >>> average([Point(1, 4.0), Point(2, 2.0), Point(3, 1.0)], most=2)
    [Point(tokens=1.5, value=3.0), Point(tokens=3.0, value=1.0)]
    """
    width = -(-len(points) // most)
    groups = (points[start : start + width] for start in range(0, len(points), width or 1))
    return [
        Point(*(sum(column) / len(group) for column in zip(*group, strict=True)))
        for group in groups
    ]


def draw_lines(curves: Mapping[str, Sequence[Point]]) -> str:
    """Draw curves over the tokens consumed, a colour each, as one `<svg>`; "" without a point.

    >>> draw_lines({})
    ''
    >>> draw_lines({"a": [Point(0, 1.0), Point(10, 2.0)]}).count("<polyline")
    1
    """
    drawn = {name: average(points, MAX_POINTS) for name, points in curves.items() if points}
    if not drawn:
        return ""
    points = [point for line in drawn.values() for point in line]
    x_ticks = _find_ticks(0.0, max(point.tokens for point in points))
    y_ticks = _find_ticks(*_bounds([point.value for point in points]))
    parts = [*_draw_axes(x_ticks, y_ticks)]
    for number, (name, line) in enumerate(drawn.items()):
        colour = COLOURS[number % len(COLOURS)]
        at = " ".join(
            f"{_scale(point.tokens, x_ticks, LEFT, WIDTH - RIGHT):.1f},"
            f"{_scale(point.value, y_ticks, HEIGHT - BOTTOM, TOP):.1f}"
            for point in line
        )
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.6" points="{at}"/>')
        parts += [_draw_dot(at, colour)] if len(line) == 1 else []
        parts += _draw_key(number, name, colour) if len(drawn) > 1 else []
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12">{"".join(parts)}</svg>'


def _draw_axes(x_ticks: list[float], y_ticks: list[float]) -> Iterator[str]:
    for value in y_ticks:
        y = _scale(value, y_ticks, HEIGHT - BOTTOM, TOP)
        yield (
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="{LINE_COLOUR}" stroke-width="0.7"/>'
        )
        yield _draw_text(LEFT - 7, y + 4, f"{value:,.6g}", "end")
    for value in x_ticks:
        x = _scale(value, x_ticks, LEFT, WIDTH - RIGHT)
        yield _draw_text(x, HEIGHT - BOTTOM + 17, format_tokens(value), "middle")
    yield _draw_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, "tokens", "middle")


def format_tokens(num_tokens: float) -> str:
    """Write a number of tokens shortly.

    >>> format_tokens(0), format_tokens(2_500), format_tokens(27e9)
    ('0', '2.5K', '27B')
    """
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if num_tokens >= size:
            return f"{num_tokens / size:.4g}{letter}"
    return f"{num_tokens:.4g}"


def _draw_key(number: int, name: str, colour: str) -> list[str]:
    x = LEFT + 100 * number
    box = f'<rect x="{x}" y="5" width="11" height="11" fill="{colour}"/>'
    return [box, _draw_text(x + 16, 15, name, "start")]


def _draw_dot(at: str, colour: str) -> str:
    x, y = at.split(",")
    return f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>'


def _draw_text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{TEXT_COLOUR}">'
        f"{escape(text)}</text>"
    )


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low, low + (abs(low) or 1.0) * 0.1)


def _find_ticks(low: float, high: float) -> list[float]:
    locator = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
    return list(map(float, locator.tick_values(low, high if high > low else low + 1)))


def _scale(value: float, ticks: list[float], start: float, end: float) -> float:
    assert math.isfinite(value)
    return start + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (end - start)
