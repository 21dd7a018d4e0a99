"""The whole line against the peers' chain, in MB of Posts.xml per CPU second.

Peers: ElementTree + BeautifulSoup(lxml) + datasketch (MinHash and LSH) + HF tokenizers, to one
array of ids: what EleutherAI's and RedPajama's builders and their users do, in one process and
without splits, proof, licences or checksums. Ours: `corpus.build.run_line`, rows to shards, one
worker. Training either tokenizer is not counted. Both read the same file in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from tiling import write_tiled_posts

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = ("beautifulsoup4", "datasketch", "numba", "numpy", "pyarrow", "selectolax")
PACKAGES += ("sentencepiece", "tokenizers")
POSTS_OF_STACK_OVERFLOW = 60_000_000


def run_ours(posts: Path, work: Path) -> dict[str, float]:
    """Build the folder of `posts`; return CPU seconds a stage and the peak memory."""
    sys.path.insert(0, str(CHECKOUT))
    from corpus import build
    from corpus.dump import find_tables
    from corpus.engine import LocalEngine
    from corpus.progress import Reporter
    from corpus.recipe import load_recipe
    from corpus.store import Store

    class Timed(Store):
        """A store that notes the CPU time of each stage."""

        seconds: ClassVar[dict[str, float]] = {}

        def make(self, planned, *rest):  # type: ignore[no-untyped-def]
            started = time.process_time()
            artifact = super().make(planned, *rest)
            self.seconds[planned.stage] = time.process_time() - started
            return artifact

    recipe = load_recipe(CHECKOUT / "datacards/stack-corpus/recipe.toml")
    tables = find_tables([f"bench.example.org={posts.parent}"])
    artifacts = build.run_line(recipe, tables, Timed(work), LocalEngine(), Reporter(quiet=True))
    flow = artifacts["documents"].manifest.outcome.flows["posts"]
    tokens = sum(
        value
        for name, value in artifacts["shards"].manifest.outcome.figures.items()
        if name.endswith("_tokens")
    )
    sizes = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    seconds = {f"seconds_{stage}": round(value, 2) for stage, value in Timed.seconds.items()}
    return seconds | {"documents": flow.num_out, "tokens": tokens, "store_bytes": sizes}


def run_peers(posts: Path, work: Path) -> dict[str, float]:
    """Do what the peers do with the same file; return CPU seconds and the peak memory."""
    import xml.etree.ElementTree as ElementTree

    import numpy as np
    from bs4 import BeautifulSoup
    from datasketch import MinHash, MinHashLSH
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    started = time.process_time()
    texts = []
    for _, row in ElementTree.iterparse(posts):
        if row.tag == "row" and row.get("PostTypeId") in ("1", "2"):
            texts.append(BeautifulSoup(row.get("Body", ""), "lxml").get_text())
        row.clear()
    index, kept = MinHashLSH(threshold=0.7, num_perm=120), []
    for number, text in enumerate(texts):
        words = text.lower().split()
        signature = MinHash(num_perm=120)
        signature.update_batch(
            [" ".join(words[at : at + 5]).encode() for at in range(max(1, len(words) - 4))]
        )
        if not index.query(signature):
            kept.append(text)
        index.insert(number, signature)
    seconds = time.process_time() - started
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=50_048, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(kept[:20_000], trainer)
    started = time.process_time()
    ids = [np.array(one.ids, "u2") for one in tokenizer.encode_batch_fast(kept)]
    np.concatenate(ids).tofile(work.with_suffix(".bin"))
    return {"seconds": seconds + time.process_time() - started, "documents": len(texts)}


def run_apart(variant: str, posts: Path) -> dict[str, float]:
    """Run one variant in a process of its own, on one core."""
    work = posts.parent.parent / f"{variant}-work"
    command = [sys.executable, __file__, "--variant", variant, "--posts", posts, "--work", work]
    environment = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
    done = subprocess.run(
        ["env", *(f"{k}={v}" for k, v in environment.items()), *command],
        stdout=subprocess.PIPE,
        check=True,
    )
    shutil.rmtree(work, ignore_errors=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    """Print one JSON line: both chains' rate, their ratio, and the projection."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--megabytes", type=int, default=120)
    parser.add_argument("--variant", choices=["ours", "peers"])
    parser.add_argument("--posts", type=Path)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    if options.variant:
        run = run_ours if options.variant == "ours" else run_peers
        result = run(options.posts, options.work)
        result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as folder:
        small, large = (Path(folder) / name / "Posts.xml" for name in ("small", "large"))
        megabytes = options.megabytes
        num_rows = write_tiled_posts(options.data, small, megabytes * 1_000_000 // 4)
        peers = run_apart("peers", small)
        quarter = run_apart("ours", small)
        num_rows = write_tiled_posts(options.data, large, megabytes * 1_000_000)
        ours = run_apart("ours", large)
    seconds = sum(
        value
        for name, value in ours.items()
        if name.startswith("seconds_") and name != "seconds_tokenizer"
    )
    ours_rate, peers_rate = megabytes / seconds, megabytes / 4 / peers["seconds"]
    hours = POSTS_OF_STACK_OVERFLOW / (ours["documents"] / seconds) / 3600
    print(
        json.dumps(
            {
                "name": "line",
                "xml_mb": megabytes,
                "rows": num_rows,
                "ours_mb_per_cpu_second": round(ours_rate, 2),
                "peers_mb_per_cpu_second": round(peers_rate, 2),
                "ratio": round(ours_rate / peers_rate, 2),
                "ours_documents_per_cpu_second": round(ours["documents"] / seconds),
                "ours_peak_mb": ours["peak_mb"],
                "ours_peak_mb_at_a_quarter": quarter["peak_mb"],
                "peers_peak_mb_at_a_quarter": peers["peak_mb"],
                "projected_cpu_hours_for_60m_posts": round(hours, 1),
                "store_bytes_per_xml_byte": round(ours["store_bytes"] / megabytes / 1e6, 2),
                **{name: value for name, value in ours.items() if name.startswith("seconds_")},
                "versions": {package: version(package) for package in PACKAGES},
            }
        )
    )


if __name__ == "__main__":
    main()
