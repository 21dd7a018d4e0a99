"""The recipe: what a corpus is made of, read strictly from one TOML file.

A recipe has one section a stage. A stage's identity holds its own section and nothing else, so
changing a key reruns the stages that read it and those that follow, and no other. Unknown keys,
wrong types and values out of range are errors that name the dotted path.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import pydantic
from pydantic import Field

from corpus.errors import RecipeError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
DocumentKind = Literal["question", "answer", "tag_wiki_excerpt", "tag_wiki", "moderator_nomination"]
SecretKind = Literal[
    "email",
    "ipv4",
    "ipv6",
    "phone",
    "private_key",
    "aws_key",
    "azure_key",
    "github_token",
    "gitlab_token",
    "google_key",
    "slack_token",
    "stripe_key",
    "jwt",
    "api_token",
    "url_password",
    "connection_password",
    "assigned_secret",
]
SECRET_KINDS: tuple[SecretKind, ...] = get_args(SecretKind)
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, lt=2**31)]

_THREAD_NAME = re.compile(r"[^/\s#]+/[0-9]{1,18}")
_WANTED = {
    "date_type": "be a date, written as 2020-01-31 without quotes",
    "dict_type": "be a table",
    "float_type": "be a number",
    "int_type": "be a whole number",
    "list_type": "be a list",
    "model_type": "be a table",
    "string_type": "be a text in quotes",
}


class Section(pydantic.BaseModel):
    """One frozen, strictly read table of a recipe."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


Kind = TypeVar("Kind", bound=Section)


class CardSection(Section):
    """What the dataset card says that no manifest knows.

    A published version never changes, so whoever publishes gives it a number; `creators` and the
    day it is `published` are asked for then.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    summary: str
    languages: list[str] = ["en"]
    version: Annotated[str, Field(pattern=r"^(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}$")] = "0.1.0"
    creators: list[str] = []
    published: date | None = None


class PostsSection(Section):
    """How typed rows are cut into partitions.

    `partition_threads` is the width of a partition as a range of thread ids. It follows from the
    recipe alone, never from workers, so a partition means the same in the next dump of the site.
    65,536 ids are about 80 MB of Posts.xml on Stack Overflow.
    """

    partition_threads: Count = 65_536


class DocumentsSection(Section):
    """Which posts become documents. `keep_out` names the planted and the bot posts."""

    kinds: Annotated[list[DocumentKind], Field(min_length=1)] = ["question", "answer"]
    keep_out: list[Literal["bot", "fabricated"]] = ["bot", "fabricated"]
    min_score: Annotated[int, Field(gt=-(2**31), lt=2**31)] | None = None
    min_comments: Annotated[int, Field(ge=0, lt=2**31)] = 0


class ScrubSection(Section):
    """Personal data and secrets are replaced in all texts, but for the kinds to `keep`."""

    keep: list[SecretKind] = []


class DedupSection(Section):
    """Near-duplicates: word shingles, MinHash, bands, exact Jaccard.

    24 bands of 5 find a pair at Jaccard 0.7 with probability 0.988, at 0.8 with 0.9999; what they
    find below `threshold` is refused by the exact count, so only speed depends on them.
    """

    shingle_tokens: Count = 5
    num_permutations: Count = 120
    bands: Count = 24
    threshold: Fraction = 0.7
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    max_bucket: Annotated[int, Field(ge=2, lt=2**31)] = 64
    max_cluster: Annotated[int, Field(ge=2, lt=2**31)] = 1_000

    @pydantic.model_validator(mode="after")
    def _bands_divide(self) -> Self:
        if self.num_permutations % self.bands:
            raise ValueError(
                f"bands is {self.bands}; it must divide num_permutations, {self.num_permutations}"
            )
        return self


class CutsSection(Section):
    """Dates (UTC, start of day) from which a leakage group is validation, or test."""

    validation: date | None = None
    test: date

    @pydantic.model_validator(mode="after")
    def _validation_is_older(self) -> Self:
        if self.validation and self.validation >= self.test:
            raise ValueError(f"validation is {self.validation}; it must be before {self.test}")
        return self


class SplitsSection(Section):
    """How leakage groups are dealt out: by digest, or by date where `cuts` is given.

    The groups of `hold_out`, threads or posts written as `site/id`, are test and never train.
    """

    salt: str = "sobert"
    fractions: dict[Split, Fraction] = {"train": 0.98, "validation": 0.01, "test": 0.01}
    cuts: CutsSection | None = None
    hold_out: list[str] = []
    hold_out_files: list[str] = []
    largest_evaluation_group: Count = 1_000

    @pydantic.field_validator("fractions")
    @classmethod
    def _in_order(cls, fractions: dict[Split, float]) -> dict[Split, float]:
        return {split: fractions[split] for split in SPLITS if split in fractions}

    @pydantic.model_validator(mode="after")
    def _fractions_sum_to_1(self) -> Self:
        if set(self.fractions) != set(SPLITS):
            named = ", ".join(self.fractions) or "no split"
            raise ValueError(f"fractions name {named}; they must name {', '.join(SPLITS)}")
        total = math.fsum(self.fractions.values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"fractions sum to {total:g}; they must sum to 1")
        return self

    @pydantic.model_validator(mode="after")
    def _hold_out_names_threads(self) -> Self:
        for name in self.hold_out:
            if not _THREAD_NAME.fullmatch(name):
                raise ValueError(f"hold_out names {name!r}; it must be written <site>/<thread id>")
        return self


class LeakageSection(Section):
    """What may be shared between train and the rest: at most this share of a text's n-grams."""

    ngram_tokens: Annotated[int, Field(ge=2, lt=2**31)] = 13
    max_overlap: Fraction = 0.5


class TokenizerSection(Section):
    """SentencePiece BPE. `vocabulary_size` is an upper bound: a small text has fewer pieces."""

    vocabulary_size: Annotated[int, Field(ge=300, lt=2**31)] = 50_048
    sample_bytes: Annotated[int, Field(ge=1, lt=2**63)] = 200_000_000


class ShardsSection(Section):
    """What a Megatron document is: one post with its comments, or a whole thread."""

    sample: Literal["post", "thread"] = "post"


class Recipe(Section):
    """A whole recipe file."""

    card: CardSection
    posts: PostsSection = PostsSection()
    documents: DocumentsSection = DocumentsSection()
    scrub: ScrubSection = ScrubSection()
    dedup: DedupSection = DedupSection()
    splits: SplitsSection = SplitsSection()
    leakage: LeakageSection = LeakageSection()
    tokenizer: TokenizerSection = TokenizerSection()
    shards: ShardsSection = ShardsSection()


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file, with its hold-out lists read in.

    `splits.hold_out_files` are paths beside the recipe, one `site/thread_id` a line, `#` for a
    remark. Their lines join `splits.hold_out`, sorted: what is held out is part of the identity,
    the name of the file is not.

    Raises:
        RecipeError: not readable, not TOML, an unknown key, a value out of range.
    """
    recipe = read_recipe(path, Recipe)
    held_out = set(recipe.splits.hold_out)
    for name in recipe.splits.hold_out_files:
        held_out.update(_read_thread_names(path.parent / name))
    splits = recipe.splits.model_copy(update={"hold_out": sorted(held_out), "hold_out_files": []})
    return recipe.model_copy(update={"splits": splits})


def parse_recipe(content: dict[str, Any], where: str = "recipe") -> Recipe:
    """Check parsed TOML against the schema.

    Raises:
        RecipeError: names the dotted path of every key that is wrong, on one line.

    >>> card = {"name": "x", "title": "X", "summary": ""}
    >>> parse_recipe({"card": card, "posts": {"rows": 1}}, "x")
    Traceback (most recent call last):
    corpus.errors.RecipeError: x: posts.rows is an unknown key; remove it or check its spelling
    """
    return check_recipe(content, Recipe, where)


def read_recipe(path: Path, kind: type[Kind]) -> Kind:
    """Read a recipe file of any kind.

    Raises:
        RecipeError: not readable, not TOML, an unknown key, a value out of range.
    """
    try:
        content = tomllib.loads(_read_text(path, "recipe"))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {path} is not TOML: {error}") from error
    return check_recipe(content, kind, str(path))


def check_recipe(content: dict[str, Any], kind: type[Kind], where: str = "recipe") -> Kind:
    """Check parsed TOML against the schema of its kind.

    Raises:
        RecipeError: names the dotted path of every key that is wrong, on one line.
    """
    try:
        return kind.model_validate(content)
    except pydantic.ValidationError as error:
        raise RecipeError(describe_problems(error, where)) from error


def describe_problems(error: pydantic.ValidationError, where: str) -> str:
    """Say on one line what is wrong with a recipe, naming the dotted path of each key."""
    return f"{where}: " + ". ".join(map(_describe, error.errors()))


def _describe(problem: Any) -> str:
    dotted = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    match problem["type"]:
        case "extra_forbidden":
            return f"{dotted} is an unknown key; remove it or check its spelling"
        case "missing":
            return f"{dotted} is missing; every recipe must have it"
        case "value_error":
            return f"{dotted}.{problem['ctx']['error']}"
    wanted = _WANTED.get(problem["type"]) or problem["msg"].partition(" should ")[2]
    given = textwrap.shorten(json.dumps(problem["input"], default=str, ensure_ascii=False), 60)
    return f"{dotted} is {given}; it must {wanted}"


def _read_thread_names(path: Path) -> list[str]:
    names = []
    for number, line in enumerate(_read_text(path, "splits.hold_out_files:").split("\n"), 1):
        if name := line.partition("#")[0].strip():
            if not _THREAD_NAME.fullmatch(name):
                raise RecipeError(
                    f"{path}, line {number}: {name!r} must be written <site>/<thread id>"
                )
            names.append(name)
    return names


def _read_text(path: Path, what: str) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{what} {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{what} {path} is not UTF-8 text; save it as UTF-8") from error
