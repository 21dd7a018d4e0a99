from __future__ import annotations

import doctest
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus.demo import NEAR_PAIRS, write_demo_dump
from corpus.dump import TABLES, find_tables
from corpus.errors import DumpError
from corpus.minhash import normalise, shingle_sets
from corpus.pairs import jaccard_of_pairs
from tests.bench import scale_fit, scale_tiling, scale_watch
from tests.bench.scale_tiling import Source, read_source, write_tiles

NUM_TILES = 3
Rows = dict[str, list[dict[str, str]]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The sample dump, whose two sites have near-duplicates of each other."""
    folder = tmp_path_factory.mktemp("source")
    write_demo_dump(folder)
    return read_source(find_tables([str(folder)]))


@pytest.fixture(scope="module")
def tiled(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The rows of three tiles, by table."""
    folder = tmp_path_factory.mktemp("tiled")
    write_tiles(source, folder, NUM_TILES)
    return read_rows(folder)


def read_rows(folder: Path) -> Rows:
    """Read a tiled dump by another way than it was written."""
    rows = {}
    for table in TABLES:
        text = (folder / scale_tiling.SITE / f"{table}.xml").read_text("utf-8-sig")
        lines = (line for line in text.split("\n") if line.startswith("  <row "))
        rows[table] = [dict(re.findall(r' (\w+)="([^"]*)"', line)) for line in lines]
    return rows


def bodies(tiled: Rows, tile: int) -> list[str]:
    rows = tiled["Posts"]
    each = len(rows) // NUM_TILES
    return [unescape(row["Body"]) for row in rows[tile * each : (tile + 1) * each]]


def similarities(texts: list[str], others: list[str]) -> Any:
    """Return the Jaccard similarity of each text to its place in the others."""
    sets = shingle_sets([*texts, *others], width=5)
    pairs = [(place, place + len(texts)) for place in range(len(texts))]
    return jaccard_of_pairs(*sets, pairs=np.array(pairs))


def test_the_first_tile_is_the_source_itself(source: Source, tiled: Rows) -> None:
    posts = [block.rows.decode() for block in source.blocks if block.table == "Posts"]
    written = [unescape(body) for rows in posts for body in re.findall(r' Body="([^"]*)"', rows)]
    assert bodies(tiled, 0) == written


def test_a_post_and_its_copy_are_not_alike(tiled: Rows) -> None:
    long = [place for place, body in enumerate(bodies(tiled, 0)) if len(body) > 200]
    assert len(long) > 20
    for one, other in ((0, 1), (1, 2)):
        texts = ([bodies(tiled, tile)[place] for place in long] for tile in (one, other))
        assert similarities(*texts).max() < 0.5


def test_near_duplicates_in_a_tile_stay_as_alike_as_in_the_source(
    source: Source, tiled: Rows
) -> None:
    places = {
        f"{block.site}/{post}": place
        for place, (block, post) in enumerate(
            (block, post)
            for block in source.blocks
            if block.table == "Posts"
            for post in re.findall(r'<row Id="(\d+)"', block.rows.decode())
        )
    }
    first, second = zip(*NEAR_PAIRS, strict=True)
    found = [
        similarities(
            [bodies(tiled, tile)[places[one]] for one in first],
            [bodies(tiled, tile)[places[one]] for one in second],
        ).tolist()
        for tile in range(NUM_TILES)
    ]
    assert found[0] == found[1] == found[2]
    assert min(found[0]) > 0.7


def test_no_word_is_invented(tiled: Rows) -> None:
    words = [set(normalise(" ".join(bodies(tiled, tile))).split()) for tile in range(NUM_TILES)]
    # A word may come from a title or an event, and swap places with one of a body.
    known = {
        word
        for table, column in (("Posts", "Title"), ("PostHistory", "Text"), ("Comments", "Text"))
        for row in tiled[table][: len(tiled[table]) // NUM_TILES]
        for word in normalise(unescape(row.get(column, ""))).split()
    }
    assert words[1] <= words[0] | known
    assert words[2] <= words[0] | known


def test_words_of_one_class_alone_are_swapped(source: Source) -> None:
    changed = scale_tiling.exchange_words(source.letters, 1)
    for shape, words in source.letters.items():
        classes = scale_tiling.frequency_classes(len(words))
        rank_of = {word.tobytes(): rank for rank, word in enumerate(words)}
        ranks = [rank_of[word.tobytes()] for word in changed[shape]]
        assert sorted(ranks) == list(range(len(words)))
        assert (classes[ranks] == classes).all()


def test_no_id_is_given_twice(tiled: Rows) -> None:
    for table, rows in tiled.items():
        # The posts that were planted in real dumps have ten digits, and the Community user is -1.
        ids = [row["Id"] for row in rows if len(row["Id"]) < 10 and row["Id"] != "-1"]
        assert len(ids) == len(set(ids)), table


@pytest.mark.parametrize(
    ("table", "attribute", "other"),
    [
        ("Posts", "ParentId", "Posts"),
        ("Posts", "AcceptedAnswerId", "Posts"),
        ("Posts", "OwnerUserId", "Users"),
        ("Comments", "PostId", "Posts"),
        ("Comments", "UserId", "Users"),
        ("PostHistory", "PostId", "Posts"),
        ("PostLinks", "RelatedPostId", "Posts"),
    ],
)
def test_a_tile_refers_to_the_same_rows_as_the_source(
    tiled: Rows, table: str, attribute: str, other: str
) -> None:
    place_of = {row["Id"]: place for place, row in enumerate(tiled[other])}
    each, num_others = len(tiled[table]) // NUM_TILES, len(tiled[other]) // NUM_TILES
    for tile in range(1, NUM_TILES):
        copies = tiled[table][tile * each : (tile + 1) * each]
        for row, copy in zip(tiled[table][:each], copies, strict=True):
            referred = place_of.get(row.get(attribute, ""))
            # The planted posts and the Community user, -1, are the same in every tile.
            if referred is not None and len(row[attribute]) < 10 and row[attribute] != "-1":
                assert place_of[copy[attribute]] == referred + tile * num_others


def test_the_same_tiles_are_written_again_and_begin_a_larger_dump(
    source: Source, tmp_path: Path
) -> None:
    for name, num_tiles in (("one", 2), ("again", 2), ("more", 3)):
        num_bytes = write_tiles(source, tmp_path / name, num_tiles)
        files = (tmp_path / name / scale_tiling.SITE).iterdir()
        assert num_bytes == sum(file.stat().st_size for file in files)
    for table in TABLES:
        one, again, more = (
            (tmp_path / name / scale_tiling.SITE / f"{table}.xml").read_bytes()
            for name in ("one", "again", "more")
        )
        assert one == again
        assert more.startswith(one.rpartition(b"</")[0])


def test_only_plain_words_and_numbers_are_changed(tmp_path: Path) -> None:
    body = "&lt;pre class=&quot;lang&quot;&gt;getItem a1 &amp;lt; word &#xA;Other THREE café 12"
    content = f'<posts>\n<row Id="1" PostTypeId="1" Body="{body}" />\n</posts>'
    (tmp_path / "Posts.xml").write_text(content, "utf-8")
    (block,) = read_source(find_tables([f"x.org={tmp_path}"])).blocks
    changed = {
        block.rows[start : start + shape[0]].decode()
        for shape, words in block.words.items()
        for start in words.starts.tolist()
    }
    assert changed == {"word", "Other", "THREE", "12"}


def test_an_archive_is_refused_with_what_to_do(shared_data: Path) -> None:
    archive = shared_data / "archives" / "meta.avp.stackexchange.com_2014-09.7z"
    with pytest.raises(DumpError, match=r"is an archive; unpack it"):
        read_source(find_tables([str(archive)]))


def run(factor: int, **measures: float) -> dict[str, Any]:
    """A run of two stages: what it measures, at this factor; the first stage does not grow."""
    grown = dict.fromkeys(("cpu_seconds", "wall_seconds", "kept_bytes", "spill_bytes"), 1.0)
    grown |= {"main_bytes": 1.0, "workers_bytes": 1.0, "disk_bytes": 1.0}
    return {
        "factor": factor,
        "posts": factor * 1_000,
        "xml_bytes": factor * 5_000,
        "documents": 1,
        "duplicates": 0,
        "overlapping": 0,
        "wall_seconds": 1.0,
        "memory_bytes": 1.0,
        "disk_bytes": 1.0,
        "stages": {"dump": dict(grown), "dedup": grown | measures},
    }


def test_exponents_are_those_of_the_law_that_made_the_numbers() -> None:
    runs = [run(n, cpu_seconds=3 * n**1.5, spill_bytes=0, main_bytes=9) for n in (1, 4, 32)]
    fit = scale_fit.fit_stages(runs)["dedup"]
    assert fit["cpu_seconds"] == {"exponent": 1.5, "last_exponent": 1.5}
    assert fit["main_bytes"] == {"exponent": 0, "last_exponent": 0}
    assert fit["spill_bytes"] == {"exponent": None, "last_exponent": None}


def test_what_grows_beside_a_fixed_cost_is_projected_by_its_line() -> None:
    runs = [run(n, main_bytes=500 + 0.05 * n * 1_000, cpu_seconds=60 + n) for n in (1, 4, 16)]
    projected = scale_fit.project(runs, 1_000_000)["stages"]["dedup"]
    assert projected["memory_bytes"] == pytest.approx(500 + 0.05 * 1_000_000 + 1)
    assert projected["cpu_hours"] * 3600 == pytest.approx(60 + 1_000)


def test_what_grows_faster_than_the_dump_is_projected_by_its_exponent() -> None:
    runs = [run(n, cpu_seconds=n**1.5, wall_seconds=n**1.5 / 2) for n in (1, 4, 16)]
    projected = scale_fit.project(runs, 1_000_000)["stages"]["dedup"]
    assert projected["cpu_hours"] * 3600 == pytest.approx(1_000**1.5)
    assert projected["wall_hours"] * 3600 == pytest.approx(1_000**1.5 / 2)


def test_what_is_too_short_to_measure_is_projected_by_its_line() -> None:
    runs = [run(n, cpu_seconds=n**1.5 / 100) for n in (1, 4)]
    projected = scale_fit.project(runs, 16_000)["stages"]["dedup"]
    assert projected["cpu_hours"] * 3600 == pytest.approx(0.08 + (0.08 - 0.01) / 3 * 12)


def test_the_stage_that_breaks_first_is_named_with_its_size() -> None:
    runs = [run(n, main_bytes=100 * n, disk_bytes=50) for n in (1, 4)]
    for one in runs:
        one["stages"]["dump"]["main_bytes"] = one["factor"]
    memory, disk = scale_fit.find_limits(runs, memory_bytes=5_001, disk_bytes=10**9)
    assert (memory["stage"], round(memory["posts"])) == ("dedup", 50_000)
    assert (disk["stage"], disk["posts"]) == (None, None)


def test_workers_that_still_grow_are_named_beside_the_projection() -> None:
    runs = [run(n, workers_bytes=10 * n) for n in (1, 4)]
    projection = scale_fit.project(runs)
    assert projection["still_growing"] == "dedup"
    limits = scale_fit.find_limits(runs, memory_bytes=2**34, disk_bytes=10**12)
    table = scale_fit.render(runs, limits, projection, characters_per_post=940)
    assert "workers still grow with the dump, so more memory than that: dedup" in table


def test_the_examples_of_the_modules_run() -> None:
    for module in (scale_fit, scale_tiling, scale_watch):
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed


def test_a_stage_that_holds_nothing_that_grows_is_projected_level() -> None:
    runs = [run(n, main_bytes=100 * n, workers_bytes=7) for n in (1, 4)]
    for one in runs:
        one["stages"]["tokenizer"] = dict(one["stages"]["dedup"])
    stages = scale_fit.project(runs)["stages"]
    assert stages["tokenizer"]["memory_bytes"] == 407
    assert stages["dedup"]["memory_bytes"] > 10**6
