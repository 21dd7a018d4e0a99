"""How the judging of a benchmark stands: what is done, what it says of all answers, and how far
the labelling functions that chose the items were right. For those who run it, never for annotators:
it shows what is hidden from them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np

from corpus.manifest import Json
from corpus.store import Artifact
from labeling.annotations import AnnotationStore
from labeling.items import LF_REPORT, POPULATION
from labeling.sampling import estimate_rate
from labeling.weak import ABSTAIN, NAMES, VOTES, analyse


def describe_standing(annotations: AnnotationStore, items: Artifact) -> Json:
    """Return how the judging stands.

    Returns:
        `items`, their number by what became of them (settled labels by name, else the reason);
        `strata`, for each `size`, `drawn`, `settled`; `rate`, as `sampling.estimate_rate`
        returns it, of all answers that could have been drawn; `functions`, coverage, overlap and
        conflict over all answers and `accuracy` on the settled items.
    """
    item_ids = annotations.item_ids()
    hidden = [annotations.read_hidden(item_id) for item_id in item_ids]
    settled = [annotations.adjudicated_label(item_id) for item_id in item_ids]
    reasons = {"none": "not_judged"}
    outcomes = Counter(one.label or reasons.get(one.reason, one.reason) for one in settled)
    population = json.loads(items.path(POPULATION).read_bytes())["strata"]
    strata = {
        stratum: one
        | {
            "settled": sum(
                bool(label.label) and about["stratum"] == stratum
                for label, about in zip(settled, hidden, strict=True)
            )
        }
        for stratum, one in population.items()
    }
    known = [
        (label.label, about) for label, about in zip(settled, hidden, strict=True) if label.label
    ]
    rate = estimate_rate(
        [label for label, _ in known],
        [about["stratum"] for _, about in known],
        {stratum: one["size"] for stratum, one in population.items()},
    )
    return {
        "items": dict(sorted(outcomes.items())),
        "strata": strata,
        "rate": rate,
        "functions": _describe_functions(items, known),
    }


def _describe_functions(items: Artifact, known: Sequence[tuple[str, Json]]) -> list[Json]:
    functions: list[Json] = json.loads(items.path(LF_REPORT).read_bytes())["functions"]
    if not known:
        return [one | {"accuracy": None} for one in functions]
    votes = np.array([[about["votes"][name] for name in NAMES] for _, about in known], np.int8)
    gold = np.array([VOTES.get(label, ABSTAIN) for label, _ in known], np.int8)
    measured = analyse(votes, NAMES, gold)["functions"]
    accuracy = {one["name"]: one.get("accuracy") for one in measured}
    return [one | {"accuracy": accuracy[one["name"]]} for one in functions]


def render_standing(found: Json) -> str:
    """Render it as tables for the terminal."""
    lines = [f"items: {', '.join(f'{num:,} {name}' for name, num in found['items'].items())}", ""]
    lines.append(f"{'stratum':<28} {'answers':>9} {'drawn':>7} {'settled':>8}")
    for stratum, one in found["strata"].items():
        lines.append(f"{stratum:<28} {one['size']:>9,} {one['drawn']:>7,} {one['settled']:>8,}")
    rate = found["rate"]["obsolete"]
    if rate["rate"] is not None:
        share = f"{rate['rate']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"
        lines += ["", f"obsolete among the {found['rate']['num_population']:,} answers: {share}"]
    head = f"{'labelling function':<28} {'coverage':>9} {'overlap':>8} {'conflict':>9}"
    lines += ["", f"{head} {'accuracy':>9}"]
    for one in found["functions"]:
        shares = (_format(one[name]) for name in ("overlap", "conflict", "accuracy"))
        overlap, conflict, accuracy = shares
        name, coverage = one["name"], _format(one["coverage"])
        lines.append(f"{name:<28} {coverage:>9} {overlap:>8} {conflict:>9} {accuracy:>9}")
    return "\n".join(lines)


def _format(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
