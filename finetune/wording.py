"""What a report says in words: names of tasks, what is to be minded, how its numbers are meant."""

from __future__ import annotations

from collections.abc import Sequence

from corpus.manifest import Json

NOTHING = "–"
LEAKING = (
    "Leaking form: the text as it was published, whose format gives labels away. Read it beside "
    "the canonical text only."
)
INCOMPARABLE = (
    "This benchmark is here with both lists of entity types. They do not ask for the same "
    "entities: F1 under one cannot be compared with F1 under the other."
)
NO_TEST = (
    "The benchmark has no test: its validation stands for it here, and a tenth of train stood for "
    "validation."
)
MEANINGS = {
    "macro_f1": "The mean of the classes' F1, each class counting the same; F1 is the harmonic "
    "mean of precision and recall.",
    "weighted_f1": "The mean of the classes' F1, each by its share of the examples.",
    "weighted_recall": "The mean of the classes' recall, each by its share: the share of examples "
    "that is right.",
    "balanced_accuracy": "The mean of the classes' recall, each class counting the same.",
    "mcc": "Correlation of gold and predicted classes: 1 is all right, 0 no better than chance.",
    "ece": "How far the probability of what was predicted is from how often it is right, over 15 "
    "bins of equal width. Lower is better.",
    "brier": "Squared distance of the probabilities from what is right, 0 to 2. Lower is better.",
    "entity_f1": "The harmonic mean of precision and recall of entities; one counts as found where "
    "start, end and type are right.",
    "entity_precision": "The share of predicted entities that are right.",
    "entity_recall": "The share of entities that were found.",
    "token_accuracy": "The share of tokens whose tag is right; most are outside of any entity.",
}


def name_task(task: Json, tasks: Sequence[Json]) -> str:
    """Name a task so that no other of the report is called the same."""
    words = [task["benchmark"]]
    same = [one for one in tasks if one["benchmark"] == task["benchmark"]]
    if any(one["benchmark_id"] != task["benchmark_id"] for one in same):
        words.append(task["benchmark_id"][:8])
    if task["form"] == "raw_text":
        words.append("raw text (leaking form)")
    if task["target"] == "reason":
        words.append("reasons")
    if task["kind"] == "token":
        words.append(f"{task['types']} types")
    return ", ".join(words)


def note_task(task: Json, tasks: Sequence[Json]) -> list[str]:
    """List what has to be said before a figure of a task is read."""
    lists = {
        one["types"]
        for one in tasks
        if (one["benchmark_id"], one["kind"]) == (task["benchmark_id"], "token")
    }
    notes = {
        LEAKING: task["form"] == "raw_text",
        INCOMPARABLE: task["kind"] == "token" and len(lists) > 1,
        NO_TEST: task["evaluated"] != "test",
    }
    return [note for note, holds in notes.items() if holds]


def explain(findings: Json) -> dict[str, str]:
    """Return what the words of a report mean, by word, for the metrics that it has."""
    used = dict.fromkeys(metric for task in findings["tasks"] for metric in task["metrics"])
    resamples, alpha = findings["resamples"], findings["alpha"]
    return {
        **{findings["metrics"][metric]["name"]: MEANINGS[metric] for metric in used},
        "Interval": "95 % of what resampling gives: leakage groups, which hold all examples that "
        f"may share text, are drawn anew {resamples:,} times, the same for all seeds. It tells of "
        "the choice of examples; how much a training differs from the next is told by the least "
        "and the most of the seeds.",
        "Seeds": "A figure is the mean over the seeds of a model.",
        "p": "The best model and another are scored on the same resampled groups; p is two-sided "
        "and never below 2 / (resamples + 1). It is corrected for the number of comparisons of the "
        f"task (Holm); below {alpha:g} a model is marked as worse. The best was chosen by the same "
        "examples, which favours it a little.",
        "McNemar's p": "Exact, of the first seed of both: whether as many examples are right with "
        "one alone as with the other alone. In tagging, an example is a sentence that is wholly "
        "right.",
        "No answer": "An example for which a model gave no label that could be read counts as "
        "wrong, of no class.",
        NOTHING: "Not defined, or not known; the reason stands below the table where there is one.",
        "Cut texts": "Of a text of more tokens than a model takes, it sees the start, the end, or "
        "half of each, as it says under “keeps”; special tokens count. "
        + _count_cut(findings["tasks"]),
    }


def _count_cut(tasks: Sequence[Json]) -> str:
    cut = [
        f"{model['label']} {model['saw']['num_cut']:,} of {task['num_examples']:,} "
        f"({name_task(task, tasks)})"
        for task in tasks
        for model in task["models"]
        if model["saw"]["num_cut"]
    ]
    return f"Cut were, of {'; of '.join(cut)}." if cut else "No text was cut."


def list_reasons(task: Json, findings: Json) -> dict[str, list[str]]:
    """Return by reason which metric of which model has no value or no interval for it."""
    reasons: dict[str, list[str]] = {}
    for model in task["models"]:
        for metric in task["metrics"]:
            if reason := model["metrics"][metric]["reason"]:
                where = f"{findings['metrics'][metric]['name']} of {model['label']}"
                reasons.setdefault(reason, []).append(where)
    return reasons
