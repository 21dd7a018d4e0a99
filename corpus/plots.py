"""Bar charts as SVG that stands in a page: no script, no file, the same bytes on every run.

Text stays text: the page's own font draws it, and it can be selected and read aloud. What would
leak out of an SVG that stands in a page is taken off: a style rule that would hold for the whole
page, and ids that repeat from chart to chart.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

Series = Mapping[str, Mapping[str, int]]

# Okabe and Ito's palette, told apart with any colour vision; in order of use.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
TEXT_COLOUR, LINE_COLOUR = "#24292f", "#d8dee4"
WIDTH_INCHES, HEIGHT_INCHES = 6.0, 2.9
BAR_INCHES, FRAME_INCHES, LEGEND_INCHES = 0.26, 0.3, 0.25
MIN_COLUMNS = 7  # fewer columns are not wider
MAX_LABEL = 32  # characters of one label
MAX_UPRIGHT = 62  # characters of all labels below one chart, before they are turned

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sobert",  # ids, should a chart have any, are not random
    "font.family": "DejaVu Sans",  # comes with matplotlib: a label is as wide on any machine
    "font.size": 9.5,
    "text.color": TEXT_COLOUR,
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "axes.edgecolor": LINE_COLOUR,
    "axes.labelcolor": TEXT_COLOUR,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE_COLOUR,
    "grid.linewidth": 0.6,
    "xtick.color": TEXT_COLOUR,
    "ytick.color": TEXT_COLOUR,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "patch.linewidth": 0,
}

_SVG = re.compile(r"<svg .*</svg>", re.DOTALL)
_NOT_FOR_A_PAGE = re.compile(
    r'(?<=<g) id="[^"]*"'
    r"|\s*<defs>\s*<style.*?</style>\s*</defs>"
    r'|(?<=<svg) xmlns:xlink="[^"]*" width="[^"]*" height="[^"]*"'
    r'| xmlns="[^"]*" version="[^"]*"(?=>)',
    re.DOTALL,
)


def draw_columns(series: Series, *, x_label: str, y_label: str) -> str:
    """Draw one column for each name, stacked where there are several series.

    Args:
        series: by name of the series, a colour each, the counts by name of the column.
        x_label: what the columns are, with the unit.
        y_label: what is counted.

    Returns:
        One `<svg>` element; "" where there is nothing to draw.

    >>> draw_columns({"answers": {}}, x_label="year", y_label="documents")
    ''
    """
    names = _names(series)
    if not names:
        return ""
    with style.context(["default", STYLE]):
        axes = _axes(HEIGHT_INCHES)
        for label, colour, starts, lengths in _iter_stacked(series, names):
            axes.bar(range(len(names)), lengths, 0.8, starts, color=colour, label=label)
        axes.set_xticks(range(len(names)), [_shorten(name) for name in names])
        if sum(map(len, names)) > MAX_UPRIGHT:
            for tick in axes.get_xticklabels():
                tick.set(rotation=40, horizontalalignment="right", rotation_mode="anchor")
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.set_xlim(-0.6, max(len(names), MIN_COLUMNS) - 0.4)
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.grid(True, clip_on=False)
        return _to_svg(axes)


def draw_bars(series: Series, *, x_label: str) -> str:
    """Draw one bar for each name, from the top down, its number beside it; else as columns.

    >>> draw_bars({"segments": {"<python>": 3}}, x_label="segments").count("&lt;python&gt;")
    1
    """
    names = _names(series)
    if not names:
        return ""
    with style.context(["default", STYLE]):
        frame = FRAME_INCHES + LEGEND_INCHES * (len(series) > 1)
        axes = _axes(frame + BAR_INCHES * len(names))
        for label, colour, starts, lengths in _iter_stacked(series, names):
            axes.barh(range(len(names)), lengths, 0.7, starts, color=colour, label=label)
        for place, name in enumerate(names):
            total = sum(counts.get(name, 0) for counts in series.values())
            axes.annotate(
                f"{total:,}",
                (total, place),
                (4, 0),
                textcoords="offset points",
                verticalalignment="center",
            )
        axes.set_yticks(range(len(names)), [_shorten(name) for name in names])
        axes.set(xlabel=x_label, xticks=[], ylim=(len(names) - 0.5, -0.5))
        axes.spines[:].set_visible(False)
        return _to_svg(axes)


def _names(series: Series) -> list[str]:
    """Return the names of all series in order; none where all counts are zero."""
    has_any = any(num for counts in series.values() for num in counts.values())
    return list(dict.fromkeys(name for counts in series.values() for name in counts if has_any))


def _iter_stacked(
    series: Series, names: list[str]
) -> Iterator[tuple[str, str, list[int], list[int]]]:
    """Yield label, colour, starts and lengths of the bars of each series."""
    starts = [0] * len(names)
    for number, (label, counts) in enumerate(series.items()):
        lengths = [counts.get(name, 0) for name in names]
        yield label, COLOURS[number % len(COLOURS)], starts, lengths
        starts = [start + length for start, length in zip(starts, lengths, strict=True)]


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…"


def _axes(height_inches: float) -> Axes:
    return Figure((WIDTH_INCHES, height_inches), layout="constrained").add_subplot()


def _to_svg(axes: Axes) -> str:
    assert isinstance(axes.figure, Figure)
    if len(labels := axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(labels), borderpad=0)
    # A chart that clips nothing needs no clip paths, which are found by id.
    for artist in axes.get_children():
        artist.set_clip_on(False)
    page = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings():
        # Of a character that the font lacks only the width is guessed; the browser draws it.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        axes.figure.savefig(page, format="svg", metadata=nothing)
    found = _SVG.search(page.getvalue())
    assert found
    return _NOT_FOR_A_PAGE.sub("", found.group())
