"""The recipe of a benchmark: one TOML file, read as strictly as a corpus's.

[card]         name, title, summary, languages
[benchmark]    the corpus it is part of, how examples are dealt out, how they are ordered
[quality] | [closed] | [ner] | [obsoletion]    exactly one: the task and its rule
[probes]       how the leak probes are run
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field

from corpus.recipe import (
    SPLITS,
    CardSection,
    Count,
    CutsSection,
    Fraction,
    Section,
    Split,
    check_recipe,
    read_recipe,
)

Task = Literal["quality", "closed", "ner", "obsoletion"]
Reason = Literal["duplicate", "off_topic", "unclear", "too_broad", "opinion_based"]
Days = Annotated[int, Field(ge=0, le=36_500)]
# Keys of `quality` and `closed` that say which label a question of a dump has.
RULE_KEYS = {"high_score", "min_edits", "min_age_days", "keep_duplicates", "reopened"}
TASKS: tuple[Task, ...] = ("quality", "closed", "ner", "obsoletion")


class BenchmarkSection(Section):
    """Where examples come from and how they are dealt out.

    With `corpus`, the name of a build in the same store, an example has the split of its document
    there; with `cuts` as well, only those whose time agrees with it stay. Published files have no
    corpus: their leakage groups are dealt out by `cuts`, or by digest with `salt` and `fractions`,
    or stay where the file has them (`ner`).
    """

    corpus: str | None = None
    cuts: CutsSection | None = None
    fractions: dict[Split, Fraction] = {"train": 0.8, "validation": 0.1, "test": 0.1}
    salt: str = "sobert"
    near_duplicate: Fraction = 0.7
    ngram_tokens: Annotated[int, Field(ge=2, lt=2**31)] = 13
    max_overlap: Fraction = 0.5

    @pydantic.model_validator(mode="after")
    def _fractions_sum_to_1(self) -> Self:
        if set(self.fractions) != set(SPLITS) or abs(sum(self.fractions.values()) - 1) > 1e-9:
            raise ValueError(
                f"fractions are {self.fractions}; they must name {', '.join(SPLITS)} and sum to 1"
            )
        return self


class QualitySection(Section):
    """HQ, LQ_EDIT and LQ_CLOSE by the rule of Annamoradnejad et al. (2022).

    `per_class` caps every class (null: all); the published set has 20,000 of each. Closed as a
    duplicate of another question is LQ_CLOSE there too, unless `keep_duplicates` is false.
    """

    high_score: Annotated[int, Field(gt=-(2**31), lt=2**31)] = 30
    min_edits: Count = 2
    min_age_days: Days = 30
    keep_duplicates: bool = True
    per_class: Count | None = None


class ClosedSection(Section):
    """Closed or not, and why, as Kaggle's 2012 task.

    `rate` is "natural", or "balanced": as many open questions as closed ones. `reopened` says what
    a question is that was closed and is open again; `reasons` are those that count as closed, and
    a question closed for another one is left out.
    """

    rate: Literal["natural", "balanced"] = "balanced"
    reopened: Literal["closed", "open", "leave_out"] = "leave_out"
    reasons: Annotated[list[Reason], Field(min_length=1)] = [
        "off_topic",
        "unclear",
        "too_broad",
        "opinion_based",
    ]
    min_age_days: Days = 30
    max_questions: Count | None = None


class NerSection(Section):
    """Named entities of StackOverflowNER.

    `types` is the list that `tags` are made of: the paper's twenty or the loader's; the raw type of
    every span is kept beside. `splits` keeps the published ones or deals threads out anew.
    """

    types: Literal["loader", "paper"] = "loader"
    splits: Literal["published", "resampled"] = "published"


class ObsoletionSection(Section):
    """Answers that may be obsolete: mined, drawn by stratum, labelled by people.

    `per_stratum` items are drawn of each stratum of signals, and of the answers without any.
    """

    per_stratum: Count = 100
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    min_age_days: Days = 365
    overtaken_by: Count = 2


class ProbesSection(Section):
    """Grouped cross-validation of models that see no meaning; `resamples` of the bootstrap.

    Of a larger benchmark, `max_examples` are drawn by digest of their ids.
    """

    max_examples: Count = 60_000
    num_folds: Annotated[int, Field(ge=2, le=20)] = 5
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1_000
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1


class BenchmarkRecipe(Section):
    """A whole recipe file."""

    card: CardSection
    benchmark: BenchmarkSection = BenchmarkSection()
    quality: QualitySection | None = None
    closed: ClosedSection | None = None
    ner: NerSection | None = None
    obsoletion: ObsoletionSection | None = None
    probes: ProbesSection = ProbesSection()

    @pydantic.model_validator(mode="after")
    def _one_task(self) -> Self:
        present = [task for task in TASKS if getattr(self, task) is not None]
        if len(present) != 1:
            named = ", ".join(present) or "none"
            raise ValueError(f"task sections are: {named}; there must be one of {', '.join(TASKS)}")
        return self

    @pydantic.model_validator(mode="after")
    def _sentences_have_no_time(self) -> Self:
        if self.ner and self.benchmark.cuts:
            raise ValueError("benchmark.cuts is given; the sentences of ner have no time to cut by")
        return self

    @property
    def task(self) -> Task:
        """The task whose section the recipe has."""
        return next(task for task in TASKS if getattr(self, task) is not None)


def load_benchmark_recipe(path: Path) -> BenchmarkRecipe:
    """Read a recipe file.

    Raises:
        RecipeError: not readable, not TOML, an unknown key, a value out of range, no task or two.
    """
    return read_recipe(path, BenchmarkRecipe)


def parse_benchmark_recipe(content: dict[str, Any], where: str = "recipe") -> BenchmarkRecipe:
    """Check parsed TOML against the schema.

    Raises:
        RecipeError: names the dotted path of every key that is wrong, on one line.

    >>> card = {"name": "x", "title": "X", "summary": ""}
    >>> parse_benchmark_recipe({"card": card, "quality": {}}).task
    'quality'
    >>> parse_benchmark_recipe({"card": card, "quality": {"edits": 1}}, "x")
    Traceback (most recent call last):
    corpus.errors.RecipeError: x: quality.edits is an unknown key; remove it or check its spelling
    """
    return check_recipe(content, BenchmarkRecipe, where)


def read_stored_recipe(content: dict[str, Any]) -> BenchmarkRecipe:
    """Return the recipe that a manifest keeps as JSON, where dates are text."""
    return BenchmarkRecipe.model_validate_json(json.dumps(content))
