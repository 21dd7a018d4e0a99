"""From a built benchmark to its annotation store and back: what the commands do.

The annotation store of benchmark NAME is `<store>/annotations/NAME.sqlite`: people's work, which no
build can make again, so no build ever touches it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Literal

from corpus.errors import BadValue, StoreError
from corpus.manifest import Json
from corpus.store import Store
from labeling.agreement import agreement, make_matrix
from labeling.annotations import AnnotationStore
from labeling.exchange import export_annotations
from labeling.items import ITEMS
from labeling.judgements import Role
from labeling.label_studio import LABELING_CONFIG, export_label_studio, import_label_studio
from labeling.potato import CONFIG, export_potato, import_potato

Clock = Callable[[], datetime]
Format = Literal["jsonl", "label-studio", "potato"]


def database_path(store: Store, name: str) -> Path:
    """Return where the annotation store of a benchmark lies."""
    return store.folder / "annotations" / f"{name}.sqlite"


def open_annotations(
    store: Store, name: str, *, clock: Clock, judgements_per_item: int = 2, seed: int = 1
) -> AnnotationStore:
    """Open the annotation store of a benchmark; make it of the benchmark's items if it is new.

    Args:
        store: where the benchmark was built.
        name: of the benchmark.
        clock: gives the time, with a time zone.
        judgements_per_item: of a new one, by how many people each item is judged.
        seed: of a new one, of the orders in which items are offered.

    Raises:
        StoreError: no benchmark of this name, or it has no items to judge; or other items than
            those that the annotation store was made of.
    """
    items = list(iter_items(store, name))
    path = database_path(store, name)
    if path.exists():
        opened = AnnotationStore(path, clock=clock)
        if opened.item_ids() != [item["item_id"] for item in items]:
            opened.close()
            raise StoreError(
                f"benchmark {name!r} has other items now than {path} was made of; build it as it "
                "was, or build the new one under another card.name"
            )
        return opened
    path.parent.mkdir(parents=True, exist_ok=True)
    return AnnotationStore.create(
        path,
        items,
        guideline=files("labeling").joinpath("guideline.md").read_text("utf-8"),
        judgements_per_item=judgements_per_item,
        seed=seed,
        clock=clock,
    )


def iter_items(store: Store, name: str) -> Iterator[Json]:
    """Iterate over the items of a benchmark, by item_id.

    Raises:
        StoreError: no benchmark of this name, or one without items.
    """
    run = store.read_run(name)
    if "items" not in run:
        raise StoreError(
            f"{name!r} has no items to judge; `sobert labeling build obsoletion` draws some"
        )
    with run["items"].path(ITEMS).open("rb") as file:
        for line in file:
            yield json.loads(line)


def enrol(annotations: AnnotationStore, names: Sequence[str], role: Role) -> dict[str, str | None]:
    """Add people who are not there yet; return the token of each, None: has one already.

    Raises:
        BadValue: a name that cannot be one, or that somebody of another role has.
    """
    known = {one.name: one.role for one in annotations.annotators()}
    tokens: dict[str, str | None] = {}
    for name in names:
        if known.get(name, role) != role:
            raise BadValue(f"{name!r} is here as {known[name]}; give the {role} another name")
        tokens[name] = None if name in known else annotations.add_annotator(name, role)
    return tokens


def measure_agreement(annotations: AnnotationStore, *, resamples: int = 1_000) -> Json:
    """Measure how far the people agree, overall and by stratum, and each machine with each of them.

    Returns:
        What `labeling.agreement.agreement` returns of the people; and `machines`: by name, what it
        says of the pairs of this machine and a person.
    """
    item_ids = annotations.item_ids()
    strata = [annotations.read_hidden(item_id).get("stratum", "") for item_id in item_ids]
    judgements = list(annotations.iter_judgements())
    names: dict[str, list[str]] = {"annotator": [], "machine": [], "adjudicator": []}
    for one in annotations.annotators():
        names[one.role].append(one.name)

    def measure(annotators: list[str]) -> Json:
        labels = make_matrix(judgements, item_ids, annotators)
        return agreement(labels, strata, annotators, resamples=resamples)

    found = measure(names["annotator"])
    machines = {
        machine: [
            pair
            for pair in measure([*names["annotator"], machine])["overall"]["pairs"]
            if machine in pair["annotators"]
        ]
        for machine in names["machine"]
    }
    return found | {"machines": machines}


def render_agreement(found: Json) -> str:
    """Render what was measured as a table for the terminal."""
    lines = [f"{'stratum':<24} {'items':>6}  {'measure':<26} value [95 %]"]
    for stratum, one in {"all": found["overall"], **found["strata"]}.items():
        for place, (measure, value) in enumerate(_iter_measures(one)):
            head = f"{stratum:<24} {one['num_items']:>6}" if not place else " " * 31
            lines.append(f"{head}  {measure:<26} {_format_measure(value)}")
    for machine, pairs in found["machines"].items():
        for pair in pairs:
            names = " / ".join(pair["annotators"])
            head = f"{machine:<24} {pair['num_items']:>6}"
            lines.append(f"{head}  {f'cohen {names}':<26} {_format_measure(pair['cohen_kappa'])}")
    return "\n".join(lines)


def _iter_measures(one: Json) -> Iterator[tuple[str, Json]]:
    for measure in ("observed_agreement", "krippendorff_alpha", "fleiss_kappa"):
        yield measure, one[measure]
    for pair in one["pairs"]:
        yield f"cohen {' / '.join(pair['annotators'])}", pair["cohen_kappa"]


def _format_measure(value: Json) -> str:
    if value["value"] is None:
        return f"– ({value['reason']})"
    shown = f"{value['value']:.3f}"
    return shown if value["low"] is None else f"{shown} [{value['low']:.3f}, {value['high']:.3f}]"


def export_judgements(annotations: AnnotationStore, to: Format, path: Path) -> Json:
    """Write what was judged, or what is to be, in a format; return what was written.

    Args:
        annotations: open.
        to: `jsonl`, the project's own, which `labeling build obsoletion --source` reads; or that of
            a tool, whose configuration is then written beside it.
        path: of the file.
    """
    if to == "jsonl":
        return {"items": export_annotations(annotations, path), "file": str(path)}
    config = path.with_name(f"{path.name}.{'xml' if to == 'label-studio' else 'yaml'}")
    write = export_label_studio if to == "label-studio" else export_potato
    write(annotations, path)
    config.write_text(LABELING_CONFIG if to == "label-studio" else CONFIG, "utf-8")
    return {"items": len(annotations.item_ids()), "file": str(path), "configuration": str(config)}


def import_judgements(annotations: AnnotationStore, source: Format, path: Path) -> Json:
    """Take in what was judged in another tool, all or nothing; return what was taken.

    Raises:
        SourceError: the file is broken or of other items; with its line.
        BadValue: of the project's own format, which is an export and not taken in.
    """
    if source == "jsonl":
        raise BadValue(
            "the project's own export goes to `sobert labeling build obsoletion --source`; --from "
            "takes label-studio or potato"
        )
    read = import_label_studio if source == "label-studio" else import_potato
    report = read(annotations, path)
    return {
        "judgements": asdict(report.judgements),
        "evidence": asdict(report.evidence),
        "new": report.num_new,
    }
