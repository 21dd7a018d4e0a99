"""A recipe is read strictly, and what is wrong with it is said on one line."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from corpus.errors import RecipeError
from corpus.manifest import digest_json
from corpus.recipe import SPLITS, Recipe, load_recipe

CARD = '[card]\nname = "x"\ntitle = "X"\nsummary = ""\n'
DATACARDS = Path(__file__).parents[2] / "datacards"


def write_recipe(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, "utf-8")
    return path


def load(folder: Path, text: str = "") -> Recipe:
    return load_recipe(write_recipe(folder, CARD + text))


def identity(recipe: Recipe) -> str:
    return digest_json(recipe.model_dump(mode="json"))


# Those of benchmarks and of models are read in their own tests.
CORPORA = sorted(
    path
    for path in DATACARDS.glob("*/recipe.toml")
    if not re.search(
        r"^\[(quality|closed|ner|obsoletion|model)\]", path.read_text("utf-8"), re.MULTILINE
    )
)


@pytest.mark.parametrize("path", CORPORA, ids=lambda p: p.parent.name)
def test_recipes_of_this_repository_load(path: Path) -> None:
    assert load_recipe(path).card.name


def test_there_are_recipes_in_this_repository() -> None:
    assert len(list(DATACARDS.glob("*/recipe.toml"))) >= 3


def test_a_card_is_all_that_a_recipe_needs(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    assert recipe.card.languages == ["en"]
    assert sum(recipe.splits.fractions.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[posts]\nrows = 1", "posts.rows is an unknown key; remove it or check its spelling"),
        ("[post]\nx = 1", "post is an unknown key; remove it or check its spelling"),
        (
            "[splits]\ncuts = { test = 2020-01-01, until = 1 }",
            "splits.cuts.until is an unknown key; remove it or check its spelling",
        ),
        (
            "[posts]\npartition_threads = 0",
            "posts.partition_threads is 0; it must be greater than or equal to 1",
        ),
        (
            "[posts]\npartition_threads = 1.0",
            "posts.partition_threads is 1.0; it must be a whole number",
        ),
        (
            "[posts]\npartition_threads = true",
            "posts.partition_threads is true; it must be a whole number",
        ),
        ('[dedup]\nthreshold = "0.7"', 'dedup.threshold is "0.7"; it must be a number'),
        ("[dedup]\nthreshold = nan", "dedup.threshold is NaN; it must be less than or equal to 1"),
        ("[dedup]\nthreshold = 1.1", "dedup.threshold is 1.1; it must be less than or equal to 1"),
        ("[dedup]\nbands = 7", "dedup.bands is 7; it must divide num_permutations, 120"),
        (
            "[dedup]\nnum_permutations = 100",
            "dedup.bands is 24; it must divide num_permutations, 100",
        ),
        ("[dedup]\nseed = 4294967296", "dedup.seed is 4294967296; it must be less than 4294967296"),
        ("[documents]\nkinds = []", "documents.kinds is []; it must have at least 1 item"),
        ('[documents]\nkinds = "answer"', 'documents.kinds is "answer"; it must be a list'),
        (
            '[documents]\nkinds = ["answer", "qestion"]',
            "documents.kinds.1 is \"qestion\"; it must be 'question', 'answer'",
        ),
        (
            '[splits]\ncuts = { test = "2020-01-01" }',
            'splits.cuts.test is "2020-01-01"; it must be a date, written as 2020-01-31 without',
        ),
        (
            "[splits]\ncuts = { test = 2020-01-01T00:00:00 }",
            'splits.cuts.test is "2020-01-01 00:00:00"; it must be a date',
        ),
        (
            "[splits]\ncuts = { validation = 2021-01-01, test = 2020-01-01 }",
            "splits.cuts.validation is 2021-01-01; it must be before 2020-01-01",
        ),
        ("[splits]\ncuts = {}", "splits.cuts.test is missing"),
        (
            "[splits]\nfractions = { train = 0.9, validation = 0.1 }",
            "splits.fractions name train, validation; they must name train, validation, test",
        ),
        (
            "[splits]\nfractions = { train = 0.9, validation = 0.05, test = 0.0 }",
            "splits.fractions sum to 0.95; they must sum to 1",
        ),
        ("[splits]\nfractions = { tarin = 1 }", 'splits.fractions.tarin is "tarin"; it must be'),
        ("[splits]\nfractions = [1]", "splits.fractions is [1]; it must be a table"),
        (
            '[splits]\nhold_out = ["ai.stackexchange.com"]',
            "splits.hold_out names 'ai.stackexchange.com'; it must be written <site>/<thread id>",
        ),
        (
            '[shards]\nsample = "thraed"',
            "shards.sample is \"thraed\"; it must be 'post' or 'thread'",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_dotted_path(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    assert f"{tmp_path / 'recipe.toml'}: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "card is missing; every recipe must have it"),
        ("card = 3", "card is 3; it must be a table"),
        ('[card]\nname = "a b"\ntitle = "X"\nsummary = ""', 'card.name is "a b"; it must match'),
        ('[card]\nname = "../x"\ntitle = "X"\nsummary = ""', 'card.name is "../x"; it must match'),
        ('[card]\nname = "x\\n"\ntitle = "X"\nsummary = ""', 'card.name is "x\\n"; it must match'),
        ('[card]\nname = "x"\ntitle = 1\nsummary = ""', "card.title is 1; it must be a text in"),
    ],
)
def test_a_bad_card_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write_recipe(tmp_path, text))
    assert message in str(caught.value)


def test_everything_that_is_wrong_is_said_at_once_on_one_line(tmp_path: Path) -> None:
    text = f'[posts]\npartition_threads = "{"x y " * 500}"\n[dedup]\nbands = 0\nwidth = 1\n'
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    assert all(key in message for key in ("posts.partition_threads", "dedup.bands", "dedup.width"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[card", "is not TOML"),
        (b"a = 1\na = 2", "is not TOML"),
        (b"\xff\xfe", "is not UTF-8 text; save it as UTF-8"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_recipe_error(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "recipe.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read: Is a directory"):
        load_recipe(tmp_path)


def test_whole_numbers_are_numbers(tmp_path: Path) -> None:
    whole = load(tmp_path, "[splits]\nfractions = { train = 1, validation = 0, test = 0 }")
    decimal = load(tmp_path, "[splits]\nfractions = { train = 1.0, validation = 0.0, test = 0.0 }")
    assert identity(whole) == identity(decimal)
    assert all(type(value) is float for value in whole.splits.fractions.values())


def test_the_order_of_keys_changes_nothing(tmp_path: Path) -> None:
    one = load(tmp_path, "[splits]\nfractions = { test = 0.1, train = 0.8, validation = 0.1 }")
    assert list(one.splits.fractions) == list(SPLITS)


def test_dates_are_dates(tmp_path: Path) -> None:
    cuts = load(tmp_path, "[splits]\ncuts = { test = 2020-02-29 }").splits.cuts
    assert cuts is not None and (cuts.validation, cuts.test) == (None, date(2020, 2, 29))
    assert cuts.model_dump(mode="json") == {"validation": None, "test": "2020-02-29"}


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(CARD, "utf-8-sig")
    assert load_recipe(path).card.name == "x"


def test_hold_out_files_lie_beside_the_recipe_and_join_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "card"
    folder.mkdir()
    (folder / "ner.txt").write_bytes(
        b"\xef\xbb\xbf# threads of the test split\r\n\r\nb.org/2  # why\r\n b.org/10 \r\na.org/1"
    )
    text = '[splits]\nhold_out = ["c.org/1", "a.org/1"]\nhold_out_files = ["ner.txt"]\n'
    monkeypatch.chdir(tmp_path)
    splits = load(folder, text).splits
    assert splits.hold_out == ["a.org/1", "b.org/10", "b.org/2", "c.org/1"]
    assert splits.hold_out_files == []


def test_what_is_held_out_is_the_identity_and_not_where_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("b.org/2\na.org/1\n")
    in_file = load(tmp_path, '[splits]\nhold_out_files = ["one.txt"]')
    in_recipe = load(tmp_path, '[splits]\nhold_out = ["a.org/1", "b.org/2", "a.org/1"]')
    assert identity(in_file) == identity(in_recipe)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "splits.hold_out_files: .*ner.txt cannot be read: No such file"),
        (b"\xff", "splits.hold_out_files: .*ner.txt is not UTF-8 text"),
        (b"a.org/1\nhttps://a.org/q/1", r"ner.txt, line 2: 'https://a.org/q/1' must be written"),
        (b"a.org/1 a.org/2", "line 1: 'a.org/1 a.org/2' must be written <site>/<thread id>"),
        (b"a.org/9999999999999999999", "line 1: .* must be written <site>/<thread id>"),
    ],
)
def test_a_bad_hold_out_file_is_a_recipe_error(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "ner.txt").write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        load(tmp_path, '[splits]\nhold_out_files = ["ner.txt"]')


def test_a_recipe_cannot_be_changed(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        recipe.posts = recipe.posts  # type: ignore[misc]
