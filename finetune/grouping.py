"""Which units are one model, and which models are compared on one task.

    task      benchmark id, form, target and types
    model     name, weights and all that it was asked but the seed; its seeds are one model
    setting   what sets models of one name apart in a task: max_tokens, keep, train_share, ...

A unit that is there twice, from two runs, counts once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from corpus.manifest import Json
from finetune.predictions import Unit

# Not of a model: `others` are only predicted, and the task is above it.
_NOT_OF_A_MODEL = ("benchmark", "others", "seed", "task")
_SHORT = 6


class Model(NamedTuple):
    """One model in one setting; its units differ in nothing but the seed.

    `words` says, by setting, what sets it apart from others of its name in the task.
    """

    name: str
    words: dict[str, str]
    units: tuple[Unit, ...]

    @property
    def label(self) -> str:
        """Its name and what sets it apart."""
        return ", ".join([self.name, *self.words.values()])

    @property
    def result(self) -> Json:
        """What `result.json` of its first seed holds."""
        return self.units[0].result

    def read(self, split: str = "test") -> list[pa.Table]:
        """Return its predictions of a split, a table a seed; none of a seed that has not any."""
        return [table for table in (unit.read(split) for unit in self.units) if len(table)]


class TaskModels(NamedTuple):
    """A task, as `result.json` of its units holds it, and all models that were asked it."""

    asked: Json
    task: Json
    models: list[Model]


def group_units(units: Sequence[Unit]) -> list[TaskModels]:
    """Sort units into tasks and models, both in the order of their first unit."""
    by_task: dict[str, list[Unit]] = {}
    for unit in units:
        asked = unit.result["asked"]
        by_task.setdefault(_to_key([asked["benchmark"], asked["task"]]), []).append(unit)
    names = _name_models(units)
    return [
        TaskModels(some[0].result["asked"], some[0].result["task"], _group_models(some, names))
        for some in by_task.values()
    ]


def split_setting(asked: Json) -> Json:
    """Return what decides what a model says, seed aside, with the settings that curves are over
    by themselves.

    >>> split_setting({"kind": "encoder", "seed": 1, "train_share": 0.5,
    ...                "input": {"max_tokens": 512, "keep": "start", "train_share": 0.5}})
    {'max_tokens': 512, 'keep': 'start', 'train_share': 0.5, 'rest': {'kind': 'encoder'}}
    """
    given = asked.get("input", {})
    left_out = (*_NOT_OF_A_MODEL, "input", "train_share")
    return {
        "max_tokens": given.get("max_tokens"),
        "keep": given.get("keep"),
        "train_share": asked["train_share"],
        "rest": {key: value for key, value in asked.items() if key not in left_out},
    }


def _name_models(units: Sequence[Unit]) -> dict[str, str]:
    """Return by name and weights what a model is called: its name, and what others of it lack."""
    results = {_weights_key(unit): unit.result for unit in units}
    called = {}
    for key, result in results.items():
        same = [one for one in results.values() if one["model"]["name"] == result["model"]["name"]]
        words = [
            word
            for word, others in zip(
                _describe_weights(result),
                zip(*map(_describe_weights, same), strict=True),
                strict=True,
            )
            if any(other != word for other in others)
        ]
        called[key] = ", ".join([result["model"]["name"], *words])
    return called


def _describe_weights(result: Json) -> tuple[str, str]:
    asked = result["asked"]
    digest = str(asked.get("model") or "none")[:_SHORT]
    return f"files {digest}", f"{asked.get('weights', 'no')} weights"


def _group_models(units: Sequence[Unit], names: dict[str, str]) -> list[Model]:
    by_model: dict[str, list[Unit]] = {}
    for unit in units:
        key = _to_key([_weights_key(unit), split_setting(unit.result["asked"])])
        by_model.setdefault(key, []).append(unit)
    grouped = [_pick_seeds(some) for some in by_model.values()]
    found = []
    for some in grouped:
        key = _weights_key(some[0])
        same = [one[0] for one in grouped if _weights_key(one[0]) == key]
        found.append(Model(names[key], _tell_apart(some[0], same), some))
    return found


def _pick_seeds(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """Keep one unit a seed, of several the first that other benchmarks were asked of as well."""
    by_seed: dict[int, Unit] = {}
    for unit in sorted(units, key=lambda one: -len(one.result["asked"]["others"])):
        by_seed.setdefault(unit.result["seed"], unit)
    return tuple(by_seed[seed] for seed in sorted(by_seed))


def _tell_apart(unit: Unit, same: Sequence[Unit]) -> dict[str, str]:
    words = _describe_settings(unit)
    others = [_describe_settings(one) for one in same]
    apart = {key: word for key, word in words.items() if any(one[key] != word for one in others)}
    digest = apart.pop("rest", None)
    # Only what no other setting tells apart needs a digest to do it.
    readable = [{key: one[key] for key in apart} for one in others]
    return apart | {"rest": digest} if digest and readable.count(apart) > 1 else apart


def _describe_settings(unit: Unit) -> dict[str, str]:
    setting = split_setting(unit.result["asked"])
    num_tokens, share = setting["max_tokens"], setting["train_share"]
    return {
        "max_tokens": f"{num_tokens:,} tokens" if num_tokens else "",
        "keep": f"keeps {setting['keep']}" if setting["keep"] else "",
        "train_share": "all of train" if share == 1 else f"{100 * share:g} % of train",
        "rest": f"recipe {_digest(_to_key(setting['rest']))[:_SHORT]}",
    }


def _weights_key(unit: Unit) -> str:
    """Return what a model is before it learns: name, files, and whether they are used.

    Where there are no files it is its name alone.
    """
    result = unit.result
    asked = result["asked"]
    return _to_key([result["model"]["name"], asked.get("model"), asked.get("weights")])


def _to_key(content: object) -> str:
    return json.dumps(content, sort_keys=True)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
