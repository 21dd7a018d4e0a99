"""The statistics report: one HTML page that needs nothing beside it.

No script, no request, no time of making: the same statistics give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from markupsafe import Markup

from corpus.manifest import Json
from corpus.plots import Series, draw_bars, draw_columns
from corpus.recipe import Recipe
from corpus.rendering import describe, format_bytes, format_count, load_template

SECTIONS = {
    "line": "Line",
    "documents": "Documents",
    "text": "Text and code",
    "duplicates": "Duplicates",
    "splits": "Splits and proof",
    "rejects": "Left out",
    "licences": "Licences",
    "scrubbed": "Personal data",
    "example": "Example",
    "identity": "Identity",
}
# The way of posts, and of comments: stage, kind of its rows, and what it does.
LANES = {
    "Posts": (
        ("rows", "Posts", "read"),
        ("posts", "Posts", "sorted into threads"),
        ("documents", "posts", "made into documents"),
        ("dedup", "documents", "deduplicated"),
        ("splits", "documents", "split"),
    ),
    "Comments": (
        ("rows", "Comments", "read"),
        ("posts", "Comments", "sorted to their posts"),
        ("documents", "comments", "joined to documents"),
        ("dataset", "comments", "published"),
    ),
}
MAX_SITES_NAMED = 6
MAX_YEARS = 60


def render_report(recipe: Recipe, statistics: Json, parquet: Json) -> str:
    """Render the report of a dataset.

    Args:
        recipe: what was asked for.
        statistics: as `corpus.statistics` writes them.
        parquet: by split, `num_files` and `num_bytes` of the published files.

    Returns:
        One HTML page.
    """
    content = describe(recipe, statistics, parquet)
    charts = _draw_charts(content)
    return load_template("report.html.jinja").render(
        **content,
        sections=SECTIONS,
        headline=_list_headline(content["totals"]),
        sites_named=list(content["sites"])[:MAX_SITES_NAMED],
        lanes=list(_iter_lanes(content)),
        charts={name: Markup(svg) for name, svg in charts.items()},
        example_segments=list(_iter_segments(content["example"])),
    )


def _list_headline(totals: Json) -> list[tuple[str, str]]:
    return [
        (format_count(totals["documents"]), "documents"),
        (format_count(totals["comments"]), "comments"),
        (format_count(totals["threads"]), "threads"),
        (format_count(totals["tokens"]), "tokens"),
        (format_bytes(totals["text_bytes"]), "of text"),
        (format_count(totals["authors"]), "authors"),
    ]


def _iter_lanes(content: Json) -> Iterator[Json]:
    """Yield the way of posts and of comments: what each stage was given, kept and rejected."""
    flows = {(flow["stage"], flow["kind"]): flow for flow in content["flows"]}
    for name, steps in LANES.items():
        there = [
            (flows[stage, kind], what) for stage, kind, what in steps if (stage, kind) in flows
        ]
        widest = max(1, *(flow["in"] for flow, _ in there))
        yield {
            "name": name,
            "steps": [_describe_step(*step, widest, content["splits"]) for step in there],
        }


def _describe_step(flow: Json, what: str, widest: int, splits: Json) -> Json:
    kept = {"kept": flow["out"]}
    if flow["stage"] == "splits":
        kept = {split: one["documents"] for split, one in splits.items()}
    lost = sum(flow["rejected"].values())
    parts = [
        {"name": name, "count": num, "width": f"{100 * num / widest:.2f}"}
        for name, num in {**kept, "lost": lost}.items()
    ]
    return {"name": what, "out": flow["out"], "rejected": lost, "parts": parts}


def _draw_charts(content: Json) -> dict[str, str]:
    """Draw every chart of the page, by the name of what it shows."""
    columns = {
        "scores": (content["scores"], "score"),
        "comments": (content["comments_per_document"], "comments"),
        "lengths": (content["lengths"]["histogram"], "tokens"),
        "code_shares": (
            {share: num for share, num in content["code_shares"].items() if share != "none"},
            "share of code",
        ),
    }
    bars = {
        "tags": (content["tags"]["top"], "documents"),
        "tokens": (content["tokens"], "tokens"),
        "languages": (content["languages"]["top"], "code segments"),
        "cluster_documents": (content["duplicates"]["cluster_documents"], "clusters"),
        "jaccard": (content["duplicates"]["jaccard"], "removed documents"),
        "leakage_groups": (content["leakage_groups"], "groups"),
        "rejects": (_name_rejects(content["rejects"]), "rows"),
    }
    years = _series_by_kind(content["years"], content["documents_by_kind"])
    return {
        "years": draw_columns(years, x_label="year", y_label="documents"),
        "licences": draw_bars(_series_by_texts(content["licences"]), x_label="texts"),
        **{
            name: draw_columns({"": counts}, x_label=label, y_label="documents")
            for name, (counts, label) in columns.items()
        },
        **{name: draw_bars({"": counts}, x_label=label) for name, (counts, label) in bars.items()},
    }


def _series_by_kind(years: Json, kinds: Iterable[str]) -> Series:
    """Turn kinds by year into years by kind, with the years that have no document."""
    present = sorted(map(int, years))
    every = range(present[0], present[-1] + 1)
    # A wrong date in a dump must not make a chart of centuries.
    shown = [str(year) for year in (every if len(every) <= MAX_YEARS else present)]
    return {kind: {year: years.get(year, {}).get(kind, 0) for year in shown} for kind in kinds}


def _series_by_texts(licences: list[Json]) -> Series:
    series: dict[str, Counter[str]] = {"documents": Counter(), "comments": Counter()}
    for texts, counts in series.items():
        for row in licences:
            counts[row["licence"]] += row[texts]
    return series


def _name_rejects(rejects: list[Json]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for one in rejects:
        counts[f"{one['kind']}: {one['reason']}"] += one["count"]
    return counts


def _iter_segments(document: Json) -> Iterator[Json]:
    """Yield the segments of a document: kind, text, pieces of prose and inline code, comment."""
    text = document["text"]
    comments = {comment["comment_id"]: comment for comment in document["comments"]}
    for segment in document["segments"]:
        start, end = segment["start"], segment["end"]
        spans = [one for one in document["inline_code"] if start <= one["start"] < end]
        yield {
            **segment,
            "text": text[start:end],
            "pieces": list(_iter_pieces(text, start, end, spans)),
            "comment": comments.get(segment["comment_id"]),
        }


def _iter_pieces(text: str, start: int, end: int, spans: list[Json]) -> Iterator[tuple[str, bool]]:
    """Cut a segment at its inline code; yield each piece and whether it is code."""
    for span in spans:
        yield text[start : span["start"]], False
        yield text[span["start"] : span["end"]], True
        start = span["end"]
    yield text[start:end], False
