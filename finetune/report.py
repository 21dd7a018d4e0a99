"""The report of fine-tuning runs: every number, one HTML page, and the same in Markdown.

    figures.json    all numbers (see `findings`)
    report.html     one page that needs nothing beside it: no script, no request
    report.md       its tables, for a repository

Both pages are made of the numbers alone: the same predictions give the same bytes. What a dump
says is shown as text, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup, escape

from corpus.durable import write_json
from corpus.manifest import Json
from corpus.progress import Reporter
from corpus.rendering import make_environment, quote_markdown
from finetune.charts import Point, Row, draw_curves, draw_intervals
from finetune.findings import collect_findings
from finetune.predictions import read_units
from finetune.wording import NOTHING, explain, list_reasons, name_task, note_task

PAGES = ("report.html", "report.md")
FIGURES = "figures.json"
X_LABELS = {"train_share": "examples in train", "max_tokens": "tokens of a text, at most"}
# Where Markdown would make a link of bare text, a comment that nobody sees keeps it from that.
_LINKS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)


def write_report(
    folders: Sequence[Path], out: Path, *, resamples: int = 1_000, reporter: Reporter
) -> Json:
    """Write the report of one run or more.

    Args:
        folders: of runs, each with finished units.
        out: where the three files are put; made where it is not there.
        resamples: of leakage groups, for intervals and tests.
        reporter: for the terminal.

    Returns:
        The numbers, as `figures.json` holds them.

    Raises:
        StoreError: a folder is no run, or none of its units is finished.
        BadValue: two models of a task did not predict the same examples.
    """
    findings = collect_findings(read_units(folders), resamples=resamples, reporter=reporter)
    write_json(out / FIGURES, findings)
    for name in PAGES:
        (out / name).write_bytes(render_page(name, findings).encode())
    return findings


def render_page(name: str, findings: Json) -> str:
    """Render a page of `PAGES` from the numbers."""
    tasks = [_add_words(task, findings) for task in findings["tasks"]]
    return (
        make_environment("finetune")
        .get_template(f"{name}.jinja")
        .render(
            **{**findings, "tasks": tasks},
            title=_make_title(findings["tasks"]),
            headline=_list_headline(findings["tasks"]),
            overview=lay_out_overview(findings["tasks"]),
            explanation=explain(findings),
            files=_list_files(findings["tasks"]),
            charts={task["id"]: _draw_charts(task, findings["metrics"]) for task in tasks},
            x_labels=X_LABELS,
            show=show_estimate,
            show_p=show_p,
            show_number=show_number,
            plain=plain_markdown,
        )
    )


def show_estimate(estimate: Json) -> str:
    """Write a figure with its interval.

    >>> show_estimate({"value": 0.5, "low": 0.41, "high": 0.6, "reason": None})
    '0.500 [0.410, 0.600]'
    """
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    if value is None or low is None or high is None:
        return show_number(value)
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def show_number(number: float | None, form: str = ".3f") -> str:
    """Write a number; a dash where there is none.

    >>> show_number(0.25), show_number(1234.5, ",.1f"), show_number(None)
    ('0.250', '1,234.5', '–')
    """
    return NOTHING if number is None else format(number, form)


def show_p(number: float | None) -> str:
    """Write a p-value.

    >>> show_p(0.0004), show_p(0.0312), show_p(None)
    ('< 0.001', '0.031', '–')
    """
    return "< 0.001" if number is not None and number < 0.001 else show_number(number)


def plain_markdown(text: str) -> Markup:
    r"""Make Markdown that shows a text as it is, on one line: no markup, no HTML, no link.

    >>> print(plain_markdown("<b>|\n*x* http://a.b"))
    &lt;b&gt;\| \*x\* http:<!-- -->//a.b
    """
    return Markup(_LINKS.sub("<!-- -->", str(escape(quote_markdown(text)))))


def lay_out_overview(tasks: Sequence[Json]) -> list[Json]:
    """Lay out the table of models and tasks.

    Returns:
        A row a model: {"name", "cells": [a task: the models of this name, in all settings]}.
    """
    names = dict.fromkeys(model["name"] for task in tasks for model in task["models"])
    return [
        {
            "name": name,
            "cells": [[one for one in task["models"] if one["name"] == name] for task in tasks],
        }
        for name in names
    ]


def _add_words(task: Json, findings: Json) -> Json:
    return {
        **task,
        "name": name_task(task, findings["tasks"]),
        "notes": note_task(task, findings["tasks"]),
        "reasons": list_reasons(task, findings),
        "chats": [model for model in task["models"] if model["kind"] == "zero_shot"],
        "others": sorted({name for model in task["models"] for name in model["transfer"]}),
    }


def _list_files(tasks: Sequence[Json]) -> list[tuple[str, str]]:
    """List the digests of the models' files, each once."""
    known = {(model["name"], model["files"]) for task in tasks for model in task["models"]}
    return sorted((name, str(files)) for name, files in known if files is not None)


def _make_title(tasks: Sequence[Json]) -> str:
    titles = dict.fromkeys(task["title"] for task in tasks)
    return next(iter(titles)) if len(titles) == 1 else f"Models compared on {len(tasks)} tasks"


def _list_headline(tasks: Sequence[Json]) -> list[tuple[str, str]]:
    names = {model["name"] for task in tasks for model in task["models"]}
    num_units = sum(len(model["seeds"]) for task in tasks for model in task["models"])
    figures = {
        "tasks": len(tasks),
        "models": len(names),
        "trainings or askings": num_units,
        "examples in all tests": sum(task["num_examples"] for task in tasks),
    }
    return [(f"{number:,}", name) for name, number in figures.items()]


def _draw_charts(task: Json, metrics: Mapping[str, Json]) -> Json:
    """Draw the models of a task side by side, and its curves by what they are over."""
    main = metrics[task["main"]]["name"]
    rows = []
    for model in task["models"]:
        value, low, high, _ = model["metrics"][task["main"]].values()
        is_worse = bool(model["versus_best"] and model["versus_best"]["is_worse"])
        rows += [Row(model["label"], value, low, high, is_worse)] if value is not None else []
    curves = {
        curve["over"]: draw_curves(
            {name: _to_points(points) for name, points in curve["lines"].items()},
            x_label=X_LABELS[curve["over"]],
            y_label=main,
        )
        for curve in task["curves"]
    }
    return {
        "models": Markup(draw_intervals(rows, x_label=main) if len(rows) > 1 else ""),
        "curves": {over: Markup(svg) for over, svg in curves.items()},
    }


def _to_points(points: Sequence[Json]) -> list[Point]:
    return [
        Point(point["x"], *list(point["estimate"].values())[:3])
        for point in points
        if point["estimate"]["value"] is not None
    ]
