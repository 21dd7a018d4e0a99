from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, NamedTuple

import html5lib
import pytest

from corpus.plots import draw_bars, draw_columns
from corpus.recipe import Recipe
from corpus.release import sum_files
from corpus.report import SECTIONS, render_report
from corpus.statistics import load_statistics

Json = dict[str, Any]
CHECKOUT = Path(__file__).resolve().parents[2]
HOSTILE = '<script>alert("$x_$")</script>\'"><img src=x onerror=alert(1)>'

SHOWN = (
    *(("totals", name) for name in ("documents", "comments", "threads", "authors", "tokens")),
    *(("totals", name) for name in ("accepted", "closed", "edited", "marked_duplicate")),
    *(("splits", "train", name) for name in ("documents", "comments", "threads", "tokens")),
    *(("splits", "test", "kinds", name) for name in ("question", "answer")),
    ("sites", "gardens.example.org", "documents"),
    ("years", "2013", "question"),
    ("scores", "10 to 19"),
    ("comments_per_document", "1"),
    ("lengths", "histogram", "64 to 127"),
    ("lengths", "over", "512"),
    *(("lengths", "quantiles", name) for name in ("50", "99", "100")),
    ("tokens", "code"),
    ("segments", "comment"),
    ("code_shares", "none"),
    ("tags", "distinct"),
    ("tags", "top", "valves"),
    ("languages", "no_hint"),
    ("languages", "top", "bash"),
    ("duplicates", "clusters"),
    ("duplicates", "removed", "exact"),
    ("duplicates", "removed", "near"),
    ("leakage_groups", "1"),
    ("authors", "accounts"),
    ("authors", "documents", "deleted"),
    ("authors", "comments", "account"),
    ("authors", "document_sources", "row"),
    ("vocabulary", "pieces"),
    ("proof", 0, "num_compared"),
    ("proof", 1, "num_found"),
    ("licences", 0, "count"),
    ("flows", 0, "out"),
    ("flows", 0, "rejected", "bad_date"),
    ("sources", 0, "num_bytes"),
)


@pytest.fixture(scope="module")
def recipe(demo_build: Any) -> Recipe:
    return demo_build.recipe


@pytest.fixture(scope="module")
def parquet(demo_build: Any) -> Json:
    return sum_files(demo_build.artifacts["dataset"])


@pytest.fixture
def numbers(demo_build: Any) -> Json:
    return load_statistics(demo_build.artifacts["statistics"])


@pytest.fixture(scope="module")
def report(demo_build: Any) -> str:
    return demo_build.artifacts["release"].path("report.html").read_text("utf-8")


@pytest.fixture
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, which takes nearly all the time of a page."""
    for name in ("draw_bars", "draw_columns"):
        monkeypatch.setattr(f"corpus.report.{name}", lambda *_, **__: "")


def parse(page: str) -> ET.Element:
    """Parse as a browser does, and refuse what a browser would have to repair."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)


def elements(page: ET.Element, name: str) -> list[ET.Element]:
    return [one for one in page.iter() if str(one.tag).split("}")[-1] == name]


def text_of(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


# The page -----------------------------------------------------------------------------------


def test_the_page_is_well_formed_and_loads_nothing(report: str) -> None:
    page = parse(report)
    names = {str(one.tag).split("}")[-1] for one in page.iter()}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "image", "use"}
    attributes = {name for one in page.iter() for name in one.attrib}
    assert not {name for name in attributes if name.startswith("on") or name.endswith("src")}
    assert not re.search(r"url\(|@import", report)
    for link in elements(page, "a"):
        assert re.match(r"#\w+$|https://", link.attrib["href"])
    assert report.count("http") == sum(
        link.attrib["href"].startswith("http") for link in elements(page, "a")
    ) + report.count("http-equiv")


def test_links_within_the_page_lead_somewhere_and_ids_are_unique(report: str) -> None:
    page = parse(report)
    ids = [one.attrib["id"] for one in page.iter() if "id" in one.attrib]
    assert len(ids) == len(set(ids))
    assert set(SECTIONS) == set(ids)


def test_the_page_shows_all_charts_and_the_example_in_its_kinds(report: str) -> None:
    page = parse(report)
    assert len(elements(page, "svg")) == len(elements(page, "figure")) == 13
    classes = [one.attrib.get("class", "") for one in elements(page, "div")]
    for kind in ("title", "prose", "code", "comment"):
        assert f"segment {kind}" in classes


def test_code_of_the_example_keeps_its_lines_and_is_marked_in_prose(
    numbers: Json, report: str
) -> None:
    example = numbers["example"]
    code = [one for one in example["segments"] if one["kind"] == "code"]
    page = parse(report)
    shown = ["".join(one.itertext()) for one in elements(page, "pre")]
    assert shown == [example["text"][one["start"] : one["end"]] for one in code]
    (segments,) = (one for one in elements(page, "div") if one.attrib.get("class") == "document")
    inline = [one.text for one in elements(segments, "code")]
    assert inline == [example["text"][s["start"] : s["end"]] for s in example["inline_code"]]
    assert inline


@pytest.mark.usefixtures("without_charts")
def test_the_numbers_that_are_shown_are_those_of_the_statistics(
    recipe: Recipe, numbers: Json, parquet: Json
) -> None:
    for row in numbers["licences"][1:]:
        row["count"] = 0  # they are added up
    wanted = []
    for place, path in enumerate(SHOWN):
        *parents, last = path
        parent: Any = numbers
        for key in parents:
            parent = parent[key]
        parent[last] = 987_654_000 + place
        wanted.append(f"{parent[last]:,}")
    text = text_of(parse(render_report(recipe, numbers, parquet)))
    assert [number for number in wanted if number not in text] == []


@pytest.mark.usefixtures("without_charts")
def test_code_that_begins_and_ends_with_blank_lines_keeps_them(
    recipe: Recipe, numbers: Json, parquet: Json
) -> None:
    code = "\n\n\tif (a)\n\t\treturn;\n"
    segment = {"kind": "code", "start": 0, "end": len(code), "language": None, "comment_id": None}
    numbers["example"] |= {"text": code, "segments": [segment], "inline_code": []}
    (shown,) = elements(parse(render_report(recipe, numbers, parquet)), "pre")
    assert shown.text == code


def test_whatever_a_dump_says_is_text(recipe: Recipe, numbers: Json, parquet: Json) -> None:
    card = recipe.card.model_copy(update={"title": HOSTILE, "summary": HOSTILE})
    numbers["sites"] = {HOSTILE: numbers["sites"]["gardens.example.org"]}
    numbers["tags"]["top"] = {HOSTILE: 3}
    numbers["languages"]["top"] = {HOSTILE: 3}
    numbers["licences"][0]["licence"] = HOSTILE
    example = numbers["example"]
    example |= {"author_name": HOSTILE, "tags": [HOSTILE], "text": HOSTILE, "inline_code": []}
    example["segments"] = [
        {"kind": kind, "start": 0, "end": len(HOSTILE), "language": HOSTILE, "comment_id": None}
        for kind in ("title", "code")
    ]
    page = parse(render_report(recipe.model_copy(update={"card": card}), numbers, parquet))
    assert not elements(page, "script")
    assert not elements(page, "img")
    assert text_of(page).count(HOSTILE) >= 10


def test_empty_categories_say_so_and_draw_nothing(
    recipe: Recipe, numbers: Json, parquet: Json
) -> None:
    numbers["duplicates"] = {
        "clusters": 0,
        "cluster_documents": {},
        "removed": {"exact": 0, "near": 0},
        "jaccard": {},
    }
    numbers["languages"] = {"no_hint": 0, "distinct": 0, "top": {}, "other": 0}
    numbers["tags"] = {"distinct": 0, "top": {}, "other": 0}
    numbers["segments"]["code"] = numbers["tokens"]["code"] = 0
    numbers["code_shares"] = dict.fromkeys(numbers["code_shares"], 0) | {"none": 61}
    numbers["comments_per_document"] = {"0": numbers["totals"]["documents"]}
    numbers["example"] |= {"comments": [], "tags": [], "author_link": None}
    numbers["flows"] = [flow | {"rejected": {}} for flow in numbers["flows"]]
    page = parse(render_report(recipe, numbers, parquet))
    said = [text_of(one) for one in page.iter() if one.attrib.get("class") == "none"]
    assert len(elements(page, "svg")) == 13 - 6
    assert "No cluster: no two documents say the same." in said
    assert "No document has code." in said
    assert "No code segment has a hint." in said
    assert "Nothing was left out." in said
    assert said.count("none") >= 4


@pytest.mark.usefixtures("without_charts")
def test_a_dump_without_comments_still_has_its_line(
    recipe: Recipe, numbers: Json, parquet: Json
) -> None:
    numbers["flows"] = [flow for flow in numbers["flows"] if flow["kind"] != "Comments"]
    for flow in numbers["flows"]:
        if flow["kind"] == "comments":
            flow |= {"in": 0, "out": 0, "rejected": {}}
    page = parse(render_report(recipe, numbers, parquet))
    lanes = [text_of(one) for one in page.iter() if one.attrib.get("class") == "line"]
    assert lanes[1] == "joined to documents 0 published 0"


@pytest.mark.usefixtures("without_charts")
def test_hundreds_of_sites_are_named_but_a_few_and_listed_in_full(
    recipe: Recipe, numbers: Json, parquet: Json
) -> None:
    site = {"documents": 1, "comments": 1, "xml_bytes": 1}
    numbers["sites"] = {f"s{place}.org": site | {"documents": place} for place in range(1, 361)}
    numbers["totals"]["sites"] = 360
    page = parse(render_report(recipe, numbers, parquet))
    assert "s360.org, s359.org" in text_of(elements(page, "header")[0])
    assert "and 354 more sites" in text_of(elements(page, "header")[0])
    assert "s1.org" not in text_of(elements(page, "header")[0])
    assert "s1.org" in text_of(elements(page, "details")[0])


@pytest.mark.usefixtures("without_charts")
def test_the_width_of_a_bar_is_its_share_of_the_dump(
    recipe: Recipe, numbers: Json, parquet: Json
) -> None:
    flow = next(
        one for one in numbers["flows"] if one["stage"] == "rows" and one["kind"] == "Posts"
    )
    flow |= {"in": 400, "out": 300, "rejected": {"bad_date": 100}}
    page = parse(render_report(recipe, numbers, parquet))
    bars = [one for one in elements(page, "i") if one.attrib["class"] in ("kept", "lost")]
    assert [one.attrib["style"] for one in bars[:2]] == ["width:75.00%", "width:25.00%"]


def test_a_year_without_documents_has_its_place_in_the_chart(
    recipe: Recipe, numbers: Json, parquet: Json
) -> None:
    numbers["years"] = {"2012": {"question": 1}, "2014": {"question": 1}}
    page = parse(render_report(recipe, numbers, parquet))
    assert text_of(elements(page, "svg")[0]).startswith("2012 2013 2014 year")


def test_a_wrong_year_does_not_make_a_chart_of_centuries(
    recipe: Recipe, numbers: Json, parquet: Json, report: str
) -> None:
    numbers["years"]["1"] = {"question": 1}
    assert len(render_report(recipe, numbers, parquet)) < len(report) + 10_000


def test_the_same_statistics_give_the_same_bytes_in_another_process(
    recipe: Recipe, numbers: Json, parquet: Json, report: str, tmp_path: Path
) -> None:
    code = (
        "import hashlib, json, sys\n"
        "from corpus.recipe import Recipe\n"
        "from corpus.report import render_report\n"
        "recipe, numbers, parquet = json.load(sys.stdin)\n"
        "recipe = Recipe.model_validate_json(json.dumps(recipe))\n"
        "page = render_report(recipe, numbers, parquet)\n"
        "print(hashlib.sha256(page.encode()).hexdigest())\n"
    )
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\n")
    environment = os.environ | {
        "PYTHONHASHSEED": "1",
        "TZ": "Asia/Kathmandu",
        "MATPLOTLIBRC": str(tmp_path),
    }
    found = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([recipe.model_dump(mode="json"), numbers, parquet]),
        capture_output=True,
        check=True,
        text=True,
        cwd=CHECKOUT,
        env=environment,
    )
    assert found.stdout.strip() == hashlib.sha256(report.encode()).hexdigest()
    assert render_report(recipe, copy.deepcopy(numbers), parquet) == report


# Charts -------------------------------------------------------------------------------------


class Box(NamedTuple):
    """A rectangle; `top` and `bottom` count downwards."""

    left: float
    right: float
    top: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top


def boxes(svg: str, colour: str) -> list[Box]:
    """Return the rectangles of a colour, in order."""
    found = []
    for path in re.findall(rf'<path d="([^"]*)" style="fill: {colour}"', svg.replace("\n", " ")):
        numbers = [float(one) for one in re.findall(r"-?\d+(?:\.\d+)?", path)]
        x, y = numbers[::2], numbers[1::2]
        found.append(Box(min(x), max(x), min(y), max(y)))
    return found


def test_bars_are_as_long_as_their_counts_and_go_down() -> None:
    svg = draw_bars({"": {"a": 100, "b": 50, "c": 0}}, x_label="texts")
    a, b, c = boxes(svg, "#0072b2")
    assert a.right - a.left == pytest.approx(2 * (b.right - b.left))
    assert c.right == c.left
    assert a.bottom < b.top < b.bottom < c.top


def test_columns_stack_without_hiding_each_other() -> None:
    series = {"one": {"2016": 10, "2017": 20}, "other": {"2017": 40}}
    svg = draw_columns(series, x_label="year", y_label="documents")
    of_2016, of_2017, *legend = boxes(svg, "#0072b2")
    nothing, other, *_ = boxes(svg, "#e69f00")
    assert len(legend) == 1
    assert of_2017.height == pytest.approx(2 * of_2016.height)
    assert other.height == pytest.approx(4 * of_2016.height)
    assert nothing.height == 0
    assert other.bottom == of_2017.top
    assert (other.left, other.right) == (of_2017.left, of_2017.right)


@pytest.mark.parametrize(
    "draw", [draw_bars, lambda s, x_label: draw_columns(s, x_label=x_label, y_label="n")]
)
@pytest.mark.parametrize(
    "name", ["$\\frac{", "漢字", "<b>&", "x" * 1000, 'a id="b" clip-path="url(#p)"']
)
def test_any_name_can_label_a_chart(draw: Any, name: str) -> None:
    svg = draw({"": {name: 3, "other": 1}}, x_label="texts")
    labels = ["".join(text.itertext()) for text in ET.fromstring(svg).iter("text")]
    assert name in labels or any(
        len(name) > len(one) and name.startswith(one[:-1]) for one in labels
    )


def test_a_chart_of_nothing_is_no_chart() -> None:
    assert draw_bars({"": {"a": 0}}, x_label="texts") == ""
    assert draw_columns({}, x_label="year", y_label="documents") == ""
