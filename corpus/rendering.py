"""What the card and the report share: templates, and words for numbers and reasons.

Every value is escaped as HTML where a template shows it: a card is Markdown, which is HTML too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import jinja2

from corpus.licences import URL_BY_LICENCE
from corpus.manifest import Json
from corpus.recipe import Recipe

# Why a row is not in the dataset, by reason; `kind:…` is cut at the colon.
WHY_BY_REASON = {
    "missing_attribute": "the row lacks an attribute that every row of its table has",
    "bad_number": "a number in the row is not one",
    "bad_date": "a date in the row is not one",
    "bad_tags": "the tags in the row are not written as tags",
    "not_utf8": "the row is not UTF-8",
    "removed": "taken down on request, or with what was",
    "quotes_removed": "it quotes a text that was taken down",
    "id_out_of_range": "no site gave this id to the row, its post or its parent",
    "repeated_id": "an earlier row of the table has the same id",
    "bot": "written by the network's answer bot",
    "fabricated": "not written by people: planted in the dump",
    "kind": "a kind of post that the recipe does not ask for",
    "score": "its score is below the recipe's least",
    "few_comments": "it has fewer comments than the recipe's least",
    "empty": "it has no text",
    "post_missing": "a comment on a post that is not in the dump",
    "post_rejected": "a comment on a post that became no document",
    "exact": "the same text as a document that is kept",
    "near": "nearly the same text as a document that is kept",
    "after_cut": "newer than its split may be",
    "near_duplicate": "a text for evaluation that is nearly the same as one in a split before it",
    "ngram_overlap": "a text for evaluation that train holds too much of",
    "document_left_out": "a comment on a document that was left out",
}

# What the leakage proof promises, by check, and what it compares to say so.
PROMISE_BY_CHECK = {
    "thread": ("threads", "No thread has documents in two splits."),
    "duplicate_link": (
        "links",
        "No two questions that people marked as the same are in different splits.",
    ),
    "cluster": ("clusters", "No cluster of near-duplicates has documents in two splits."),
    "near_duplicate": (
        "documents",
        "No document of validation is nearly the same as one of train, and none of test as one "
        "of train or validation (Jaccard {limit} or more, all pairs).",
    ),
    "ngram": (
        "documents",
        "No document of validation or test has more than {share} of its "
        "{recipe.leakage.ngram_tokens}-grams in train.",
    ),
    "hold_out": ("threads", "No thread that the recipe holds out is in train or validation."),
    "after_cut": ("documents", "Nothing in a split is newer than the recipe's dates allow."),
}

_MARKUP = re.compile(r"[\\`*_\[\]|~!]")


def load_template(name: str) -> jinja2.Template:
    """Return a template of `corpus/templates`."""
    return make_environment("corpus").get_template(name)


def render_blocks(package: str, name: str, content: Json) -> dict[str, str]:
    """Render each block of a template by itself, as plain text, its lines joined to paragraphs.

    A card says in blocks what a machine-readable description says, too.
    """
    environment = make_environment(package).overlay(autoescape=False)
    template = environment.get_template(name)
    context = template.new_context(content)
    return {block: "".join(render(context)) for block, render in template.blocks.items()}


def format_count(num: int) -> str:
    """Write an integer with its thousands apart.

    >>> format_count(1234567)
    '1,234,567'
    """
    return f"{num:,}"


def format_share(part: int, whole: int) -> str:
    """Write a part of a whole as a percentage.

    >>> format_share(1, 8), format_share(0, 0)
    ('12.5 %', '–')
    """
    return f"{100 * part / whole:.1f} %" if whole else "–"


def format_bytes(num_bytes: int) -> str:
    """Write a size in decimal units, as the Hub does.

    >>> format_bytes(999), format_bytes(1_530_000)
    ('999 B', '1.5 MB')
    """
    size, units = float(num_bytes), iter(("B", "kB", "MB", "GB"))
    for unit in units:
        if size < 1000:
            return f"{size:.1f} {unit}" if num_bytes >= 1000 else f"{num_bytes} B"
        size /= 1000
    return f"{size:,.1f} TB"


def explain_reason(reason: str) -> str:
    """Say in words why a row was left out.

    >>> explain_reason("kind:tag_wiki")
    'a kind of post that the recipe does not ask for'
    """
    return WHY_BY_REASON[reason.split(":")[0]]


def quote_markdown(text: str) -> str:
    r"""Take from what a dump says its power over Markdown.

    >>> print(quote_markdown("![a|b](c)"))
    \!\[a\|b\](c)
    """
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def describe(recipe: Recipe, statistics: Json, parquet: Json) -> Json:
    """Return what both pages say: the statistics, what they sum up to, and words for it.

    Args:
        recipe: what was asked for.
        statistics: as `corpus.statistics` writes them.
        parquet: by split, `num_files` and `num_bytes` of the published files.
    """
    kinds = Counter[str]()
    for split in statistics["splits"].values():
        kinds.update(split["kinds"])
    by_documents = sorted(statistics["sites"].items(), key=lambda item: -item[1]["documents"])
    return {
        **statistics,
        "card": recipe.card,
        "recipe": recipe,
        "parquet": parquet,
        "sites": dict(by_documents),
        "documents_by_kind": dict(kinds.most_common()),
        "checks": list(_iter_checks(recipe, statistics)),
        "rejects": list(_iter_rejects(statistics)),
        "licences": list(_iter_licences(statistics)),
    }


def _iter_checks(recipe: Recipe, statistics: Json) -> Iterator[Json]:
    """Yield each check of the leakage proof with its promise in words."""
    for check in statistics["proof"]:
        unit, promise = PROMISE_BY_CHECK[check["check"]]
        limit = check["limit"]
        words = promise.format(limit=limit, share=f"{100 * limit:g} %", recipe=recipe)
        yield {**check, "unit": unit, "promise": words}


def _iter_rejects(statistics: Json) -> Iterator[Json]:
    """Yield what was left out, in the order of the line."""
    for flow in statistics["flows"]:
        for reason, num in flow["rejected"].items():
            yield {"stage": flow["stage"], "kind": flow["kind"], "reason": reason, "count": num}


def _iter_licences(statistics: Json) -> Iterator[Json]:
    """Yield the texts of each licence by how it is known, over all splits."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for row in statistics["licences"]:
        counts.setdefault((row["licence"], row["source"]), Counter())[row["texts"]] += row["count"]
    for (licence, source), num in sorted(counts.items()):
        yield {
            "licence": licence,
            "url": URL_BY_LICENCE.get(licence),
            "source": source,
            "documents": num["documents"],
            "comments": num["comments"],
        }


@cache
def make_environment(package: str) -> jinja2.Environment:
    """Return what renders the templates of a package, with the filters of the pages."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "num": format_count,
        "size": format_bytes,
        "why": explain_reason,
        "quoted": quote_markdown,
    }
    environment.globals |= {"share": format_share}
    return environment
