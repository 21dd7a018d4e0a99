"""Stage 11, statistics: every number that the card and the report say.

Writes `statistics.json`, one object. Counts are integers, in dictionaries whose order is the order
to show them in; ranges are named as they read (`5 to 9`, `1000 or more`).

    totals            of the corpus: sites, documents, comments, threads, authors, tokens, …
    splits            by split: the same, and documents by kind
    sites             by site: documents, comments, bytes of XML
    sources           the dump's tables and the digests of the files they came from
    flows             by stage and kind of row: in, out, rejected by reason
    years             by year of creation: documents by kind
    scores, comments_per_document, code_shares         histograms of documents
    lengths           tokens a document: histogram, quantiles, how many are over a window
    tokens, segments  by kind of segment
    languages, tags   the most frequent, and how many others
    scrubbed          documents changed, and secrets replaced by kind, removed documents included
    duplicates        cluster sizes, removals, their Jaccard similarity
    leakage_groups    groups by number of threads
    licences          texts by split, licence and how it is known
    authors           texts by whom they credit, documents by where the name comes from
    proof             what the leakage proof compared and found
    vocabulary        pieces of the tokenizer
    example           one whole document
    manifests         the id of every artifact these numbers are of

Only what follows from rows is in here: the size of a Parquet file also follows from the version of
its writer, so the release takes it from the manifest.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow.compute as pc

from corpus.engine import Engine
from corpus.histograms import count_over, histogram, powers_of_two, quantiles, take_top
from corpus.manifest import Flow, Json, Outcome
from corpus.progress import Reporter
from corpus.recipe import SECRET_KINDS
from corpus.store import Artifact, Store, Work
from corpus.tables import describe_file, read_table
from corpus.tally import CREDITS, Counts, Key, Tally, count_rows, tally_dataset, tally_groups

VERSION = 1
STATISTICS = "statistics.json"

# Lowest values of the bins of each histogram.
SCORES = (-9, -4, -1, 0, 1, 2, 3, 4, 5, 10, 20, 50, 100, 1000)
COMMENTS = (0, 1, 2, 3, 4, 5, 10, 20)
CLUSTER_DOCUMENTS = (2, 3, 4, 5, 10, 20, 100)
GROUP_THREADS = (1, 2, 3, 4, 5, 10, 100, 1000)
# By tenths, as counted.
CODE_SHARES = ("none", "up to 10 %", *(f"{low} to {low + 10} %" for low in range(10, 100, 10)))
JACCARD_BINS = 20
KINDS = ("title", "prose", "code", "comment")
SUMMED = ("documents", "comments", "threads", "tokens", "text_bytes", "arrow_bytes")
STATES = ("accepted", "closed", "edited", "marked_duplicate")
TOP_LANGUAGES, TOP_TAGS = 20, 30
# What encoders of this kind read at once: BERT's window and SOBert's.
WINDOWS_TOKENS = (512, 2048)


def build_statistics(
    artifacts: Mapping[str, Artifact], store: Store, engine: Engine, reporter: Reporter
) -> Artifact:
    """Count everything that the card and the report say.

    Args:
        artifacts: by stage, those from dump to shards.
        store: where artifacts lie.
        engine: where the shards are counted.
        reporter: what the person at the terminal sees.
    """

    def make(work: Work) -> Outcome:
        dataset = artifacts["dataset"]
        tally = tally_dataset(work, dataset, artifacts["shards"])
        groups = tally_groups(work, artifacts["documents"], artifacts["splits"])
        content = _describe(artifacts, tally, groups)
        path = work.folder / STATISTICS
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
        num_documents = sum(entry.num_rows for entry in dataset.files("data/"))
        flow = Flow(num_documents, content["totals"]["documents"])
        return Outcome((describe_file(path, STATISTICS),), {"documents": flow})

    return store.build("statistics", VERSION, {}, artifacts, make, engine, reporter)


def load_statistics(statistics: Artifact) -> Json:
    """Read the statistics of an artifact."""
    content: Json = json.loads(statistics.path(STATISTICS).read_bytes())
    return content


def _describe(artifacts: Mapping[str, Artifact], tally: Tally, groups: Counter[int]) -> Json:
    sources = _read_json(artifacts["dump"], "tables.json")
    checks = _read_json(artifacts["leakage"], "proof.json")["checks"]
    splits = {
        split: _describe_split(artifacts, split, one) for split, one in tally.by_split.items()
    }
    return {
        "totals": _describe_totals(artifacts, tally, splits),
        "splits": splits,
        "sites": _describe_sites(sources, tally.total),
        "sources": sources,
        "flows": list(_iter_flows(artifacts, tally.total["totals"][("comments",)])),
        **_describe_documents(tally.total),
        "scrubbed": _describe_scrubbed(artifacts["scrub"]),
        "duplicates": _describe_duplicates(artifacts["dedup"]),
        "leakage_groups": histogram(groups, GROUP_THREADS),
        "licences": list(_iter_licences(tally)),
        "authors": _describe_authors(tally),
        "proof": [
            {key: check[key] for key in ("check", "num_compared", "num_found", "limit")}
            for check in checks
        ],
        "vocabulary": {
            "pieces": artifacts["tokenizer"].manifest.outcome.figures["vocabulary_size"]
        },
        "example": tally.example,
        "manifests": {stage: artifact.manifest.id for stage, artifact in artifacts.items()},
    }


def _describe_documents(total: Counts) -> Json:
    languages = _without_none(total["languages"])
    return {
        "years": _describe_years(total["years"]),
        "scores": _describe_scores(total["scores"]),
        "comments_per_document": histogram(_by_value(total["comments"]), COMMENTS),
        "lengths": _describe_lengths(_by_value(total["lengths"])),
        "code_shares": {
            name: total["code_tenths"][(tenths,)] for tenths, name in enumerate(CODE_SHARES)
        },
        "tokens": {kind: total["tokens"][(kind,)] for kind in KINDS},
        "segments": {kind: total["segments"][(kind,)] for kind in KINDS},
        "languages": {
            "no_hint": total["languages"][(None,)],
            **take_top(_by_value(languages), TOP_LANGUAGES),
        },
        "tags": take_top(_by_value(total["tags"]), TOP_TAGS),
    }


def _describe_authors(tally: Tally) -> Json:
    total = tally.total
    return {
        "accounts": tally.num_authors,
        "documents": {credit: total["document_credits"][(credit,)] for credit in CREDITS},
        "comments": {credit: total["comment_credits"][(credit,)] for credit in CREDITS},
        "document_sources": _by_frequency(total["author_sources"]),
    }


def _describe_totals(artifacts: Mapping[str, Artifact], tally: Tally, splits: Json) -> Json:
    dump = artifacts["dump"].manifest.outcome.figures
    return {
        "sites": dump["sites"],
        "xml_bytes": dump["xml_bytes"],
        "first_created_at": tally.first_created_at,
        "last_created_at": tally.last_created_at,
        "authors": tally.num_authors,
        **{name: sum(split[name] for split in splits.values()) for name in SUMMED},
        **{name: tally.total["totals"][(name,)] for name in STATES},
    }


def _describe_split(artifacts: Mapping[str, Artifact], split: str, counts: Counts) -> Json:
    tokens = artifacts["shards"].manifest.outcome.figures
    return {
        "documents": counts["documents"].total(),
        "kinds": _by_frequency(counts["documents"]),
        **{name: counts["totals"][(name,)] for name in ("comments", "threads", "arrow_bytes")},
        "text_bytes": artifacts["dataset"].manifest.outcome.figures[f"text_bytes_{split}"],
        **{name: tokens[f"{split}_{name}"] for name in ("tokens", "sequences", "samples")},
    }


def _describe_sites(sources: list[Json], total: Counts) -> Json:
    num_bytes: Counter[str] = Counter()
    for table in sources:
        num_bytes[table["site"]] += table["num_bytes"]
    return {
        site: {
            "documents": total["site_documents"][(site,)],
            "comments": total["site_comments"][(site,)],
            "xml_bytes": num_bytes[site],
        }
        for site in sorted(num_bytes)
    }


def _iter_flows(artifacts: Mapping[str, Artifact], num_comments: int) -> Iterator[Json]:
    """Yield the flows of all stages, so told that every rejected row is in exactly one."""
    for stage, artifact in artifacts.items():
        for kind, flow in sorted(artifact.manifest.outcome.flows.items()):
            rejected = {reason: num for reason, num in sorted(flow.rejected.items()) if num}
            # The splits stage is given every document; dedup has counted the duplicates.
            known = rejected.pop("duplicate", 0) if stage == "splits" else 0
            yield _flow(stage, kind, flow.num_in - known, flow.num_out, rejected)
    before = artifacts["documents"].manifest.outcome.flows["comments"].num_out
    gone = before - num_comments
    rejected = {"document_left_out": gone} if gone else {}
    yield _flow("dataset", "comments", before, num_comments, rejected)


def _flow(stage: str, kind: str, num_in: int, num_out: int, rejected: Mapping[str, int]) -> Json:
    return {"stage": stage, "kind": kind, "in": num_in, "out": num_out, "rejected": dict(rejected)}


def _describe_years(counts: Counter[Key]) -> Json:
    years: Json = {}
    for (year, kind), num in sorted(counts.items()):
        years.setdefault(str(year), {})[kind] = num
    return years


def _describe_scores(counts: Counter[Key]) -> Json:
    """Return the histogram of scores; a row of a dump may lack its score.

    >>> _describe_scores(Counter({(3,): 2, (None,): 1}))
    {'3': 2, 'unknown': 1}
    """
    unknown = {"unknown": counts[(None,)]} if counts[(None,)] else {}
    return histogram(_by_value(_without_none(counts)), SCORES) | unknown


def _describe_lengths(counts: dict[int, int]) -> Json:
    return {
        "histogram": histogram(counts, powers_of_two(max(counts))),
        "quantiles": quantiles(counts),
        "over": count_over(counts, WINDOWS_TOKENS),
    }


def _describe_scrubbed(scrub: Artifact) -> Json:
    """Describe what was replaced, by each kind that the recipe does not keep."""
    manifest = scrub.manifest
    figures = manifest.outcome.figures
    kinds = [kind for kind in SECRET_KINDS if kind not in manifest.recipe["keep"]]
    return {
        "documents": figures.get("changed_documents", 0),
        "replaced": {kind: figures.get(f"replaced_{kind}", 0) for kind in kinds},
    }


def _describe_duplicates(dedup: Artifact) -> Json:
    """Describe the clusters, and the documents that were removed from them."""
    ledger = read_table(dedup.path("clusters.parquet"))
    removed = ledger.filter(pc.not_equal(ledger["doc_id"], ledger["representative"]))
    shared, total = removed["shared"].to_numpy(), removed["total"].to_numpy()
    sizes = Counter(count_rows(ledger["cluster"]).values())
    # Removed is removed for a pair of shingle sets, so the total is not 0.
    jaccard = Counter((shared * JACCARD_BINS // total).tolist())
    num_exact = int((shared == total).sum())
    return {
        "clusters": sizes.total(),
        "cluster_documents": histogram(sizes, CLUSTER_DOCUMENTS),
        "removed": {"exact": num_exact, "near": len(removed) - num_exact},
        "jaccard": {
            _jaccard_bin(place): jaccard[place]
            for place in range(min(jaccard, default=JACCARD_BINS + 1), JACCARD_BINS + 1)
        },
    }


def _jaccard_bin(place: int) -> str:
    low, high = place / JACCARD_BINS, (place + 1) / JACCARD_BINS
    return "1" if place == JACCARD_BINS else f"{low:.2f} to {high:.2f}"


def _iter_licences(tally: Tally) -> Iterator[Json]:
    for split, counts in tally.by_split.items():
        for texts in ("document", "comment"):
            for (licence, source), num in sorted(counts[f"{texts}_licences"].items()):
                yield {
                    "split": split,
                    "texts": f"{texts}s",
                    "licence": licence,
                    "source": source,
                    "count": num,
                }


def _without_none(counts: Counter[Key]) -> Counter[Key]:
    return Counter({key: num for key, num in counts.items() if key != (None,)})


def _by_value(counts: Counter[Key]) -> dict[Any, int]:
    return {key[0]: num for key, num in sorted(counts.items())}


def _by_frequency(counts: Counter[Key]) -> dict[Any, int]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {key[0]: num for key, num in ranked}


def _read_json(artifact: Artifact, name: str) -> Any:
    return json.loads(artifact.path(name).read_bytes())
