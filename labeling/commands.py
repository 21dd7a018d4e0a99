"""`sobert labeling ...`: each command a thin twin of one public function."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click

from corpus.options import (
    ADDRESS,
    ENGINE,
    JSON,
    NAME,
    PLAN_PUBLICATION,
    PRIVATE,
    QUIET,
    REPO,
    STORE,
    WORKERS,
    EngineKind,
    missing_extra,
)

Format = Literal["jsonl", "label-studio", "potato"]


@click.group()
def labeling() -> None:
    """Benchmarks from a corpus or from published files; annotation."""


@labeling.command("build")
@click.argument("task", type=click.Choice(["quality", "closed", "ner", "obsoletion"]))
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="[SPLIT=]FILE",
    help="A published file instead of the corpus; of obsoletion, exported judgements.",
)
@STORE
@WORKERS
@ENGINE
@ADDRESS
@QUIET
@JSON
def build_labeling(
    task: Literal["quality", "closed", "ner", "obsoletion"],
    recipe: Path,
    sources: tuple[str, ...],
    store: Path,
    workers: int,
    engine_kind: EngineKind,
    address: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Build the benchmark of RECIPE from the corpus that it names, or from published files.

    What was built before is used again. Exits with 3 where the corpus's train split holds any of
    the benchmark's evaluation examples.
    """
    from corpus.engine import open_engine
    from corpus.inspection import show_run
    from corpus.progress import Reporter
    from corpus.store import Store
    from labeling.build import build_benchmark
    from labeling.recipe import load_benchmark_recipe

    loaded, opened, reporter = load_benchmark_recipe(recipe), Store(store), Reporter(quiet=quiet)
    with open_engine(
        engine_kind, workers=workers, address=address, store=store, reporter=reporter
    ) as engine:
        artifacts = build_benchmark(
            task, loaded, sources, store=opened, engine=engine, reporter=reporter
        )
    name = loaded.card.name
    if as_json:
        click.echo(json.dumps(show_run(opened, name), indent=2))
    elif "release" in artifacts:
        click.echo(f"benchmark {artifacts['release'].folder}")
        click.echo(f"next      sobert labeling probe {name} --store {store}")
    else:
        click.echo(f"items     {artifacts['items'].folder}")
        click.echo(f"next      sobert labeling annotate {name} --store {store} --annotator YOU")


@labeling.command("demo-ner")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def demo_ner(folder: Path) -> None:
    """Write invented sentences with entities, as StackOverflowNER's files are, into FOLDER."""
    from labeling.demo_ner import write_demo_ner

    write_demo_ner(folder)
    click.echo(folder)


@labeling.command("demo-judgements")
@NAME
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file."
)
@STORE
def demo_judgements(name: str, out: Path, store: Path) -> None:
    """Write what two invented people judged of the items NAME of the sample dump `--paper`."""
    from corpus.store import Store
    from labeling.demo_judgements import write_demo_judgements

    write_demo_judgements(Store(store).read_run(name)["items"], out)
    click.echo(out)


@labeling.command()
@NAME
@REPO
@PRIVATE
@PLAN_PUBLICATION
@STORE
@QUIET
@JSON
def publish(
    name: str, repo: str, private: bool, dry_run: bool, store: Path, quiet: bool, as_json: bool
) -> None:
    """Publish benchmark NAME on the Hugging Face Hub; see `sobert corpus publish`."""
    from corpus.progress import Reporter
    from corpus.publishing import publish_build, render_published
    from corpus.store import Store
    from labeling.publication import build_benchmark_publication

    found = publish_build(
        Store(store),
        name,
        repo,
        private=private,
        dry_run=dry_run,
        reporter=Reporter(quiet=quiet),
        build=build_benchmark_publication,
    )
    click.echo(json.dumps(found, indent=2) if as_json else render_published(found, repo))


@labeling.command()
@NAME
@STORE
@JSON
def probe(name: str, store: Path, as_json: bool) -> None:
    """Print what models that see no meaning score on benchmark NAME, beside majority."""
    from corpus.store import Store
    from labeling.probing import read_probes, render

    probes = read_probes(Store(store), name)
    click.echo(json.dumps(probes, indent=2) if as_json else render(probes))


@labeling.command()
@NAME
@click.option("--corpus", required=True, help="A build of this store, whose train split is read.")
@STORE
@WORKERS
@QUIET
@JSON
def contamination(
    name: str, corpus: str, store: Path, workers: int, quiet: bool, as_json: bool
) -> None:
    """Prove that corpus's train split holds no evaluation example of benchmark NAME, or exit 3."""
    from corpus.engine import LocalEngine
    from corpus.progress import Reporter
    from corpus.store import Store
    from labeling.contamination import check_contamination, prove_contamination, read_checks

    with LocalEngine(workers) as engine:
        proof = prove_contamination(
            Store(store), name, corpus, engine=engine, reporter=Reporter(quiet=quiet)
        )
    checks = read_checks(proof)
    click.echo(json.dumps(checks, indent=2) if as_json else _render_checks(checks))
    check_contamination(proof)


@labeling.command()
@NAME
@STORE
@click.option("--annotator", "annotators", multiple=True, help="Let NAME in to judge; repeatable.")
@click.option(
    "--adjudicator", "adjudicators", multiple=True, help="Let NAME in to settle disagreements."
)
@click.option("--new-link", "renewed", multiple=True, help="Give NAME, who lost it, a new link.")
@click.option(
    "--per-item", default=2, show_default=True, help="By how many people each item is judged."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(1, 65_535), help="And its port."
)
def annotate(
    name: str,
    store: Path,
    annotators: tuple[str, ...],
    adjudicators: tuple[str, ...],
    renewed: tuple[str, ...],
    per_item: int,
    host: str,
    port: int,
) -> None:
    """Serve the page on which people judge the items of benchmark NAME.

    Each new person's link is printed once; it logs in whoever has it. Stop with Ctrl-C: what was
    saved is on disk.
    """
    from corpus.store import Store
    from labeling.annotating import enrol, open_annotations

    try:
        from labeling.web import serve
    except ImportError as error:
        raise missing_extra("annotate", error) from error
    opened = Store(store)
    annotations = open_annotations(opened, name, clock=_now, judgements_per_item=per_item)
    shown = f"[{host}]" if ":" in host else host
    tokens = enrol(annotations, annotators, "annotator")
    tokens |= enrol(annotations, adjudicators, "adjudicator")
    tokens |= {name: annotations.renew_token(name) for name in renewed}
    for person, token in tokens.items():
        link = (
            f"http://{shown}:{port}/login?token={token}"
            if token
            else "has a link already; --new-link gives another"
        )
        click.echo(f"{person:<12} {link}")
    click.echo(f"serving at http://{shown}:{port} until Ctrl-C", err=True)
    serve(annotations, host, port)


@labeling.command()
@NAME
@STORE
@JSON
def agreement(name: str, store: Path, as_json: bool) -> None:
    """Print how far the annotators of benchmark NAME agree, with 95 % intervals over items."""
    from corpus.store import Store
    from labeling.annotating import measure_agreement, open_annotations, render_agreement

    annotations = open_annotations(Store(store), name, clock=_now)
    found = measure_agreement(annotations)
    click.echo(json.dumps(found, indent=2) if as_json else render_agreement(found))


FORMAT = click.Choice(["jsonl", "label-studio", "potato"])


@labeling.command()
@NAME
@STORE
@JSON
def standing(name: str, store: Path, as_json: bool) -> None:
    """Print how the judging of benchmark NAME stands, and what it says of all answers.

    Shows the strata and the labelling functions, which annotators should not know.
    """
    from corpus.store import Store
    from labeling.annotating import open_annotations
    from labeling.standing import describe_standing, render_standing

    opened = Store(store)
    annotations = open_annotations(opened, name, clock=_now)
    found = describe_standing(annotations, opened.read_run(name)["items"])
    click.echo(json.dumps(found, indent=2) if as_json else render_standing(found))


@labeling.command("export")
@NAME
@click.option(
    "--to", "to", type=FORMAT, default="jsonl", show_default=True, help="Ours, or a tool's format."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file."
)
@STORE
@JSON
def export_labeling(name: str, to: Format, out: Path, store: Path, as_json: bool) -> None:
    """Write the judgements of benchmark NAME, or its items for another tool, into a file."""
    from corpus.store import Store
    from labeling.annotating import export_judgements, open_annotations

    annotations = open_annotations(Store(store), name, clock=_now)
    written = export_judgements(annotations, to, out)
    click.echo(json.dumps(written) if as_json else f"{written['items']} items in {out}")


@labeling.command("import")
@NAME
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--from", "source", type=FORMAT, required=True, help="The tool it comes from.")
@STORE
@JSON
def import_labeling(name: str, file: Path, source: Format, store: Path, as_json: bool) -> None:
    """Take what was judged in another tool into the annotations of benchmark NAME."""
    from corpus.store import Store
    from labeling.annotating import import_judgements, open_annotations

    annotations = open_annotations(Store(store), name, clock=_now)
    taken = import_judgements(annotations, source, file)
    if as_json:
        click.echo(json.dumps(taken))
        return
    flow = taken["judgements"]
    click.echo(f"{flow['num_in']} judgements read, {flow['num_out']} taken, {taken['new']} new")
    for reason, count in flow["rejected"].items():
        click.echo(f"    {count} {reason}")


@labeling.command()
@NAME
@STORE
@click.option("--endpoint", required=True, help="Such as http://localhost:8000/v1.")
@click.option("--model", required=True, help="The model's name there.")
@click.option("--price-in", default=0.0, show_default=True, help="For a million tokens read.")
@click.option("--price-out", default=0.0, show_default=True, help="For a million tokens written.")
@click.option(
    "--key-variable",
    default="OPENAI_API_KEY",
    show_default=True,
    help="The environment variable that holds the key.",
)
@click.option("--limit", type=click.IntRange(1), help="How many items at most.")
@QUIET
@JSON
def judge(
    name: str,
    store: Path,
    endpoint: str,
    model: str,
    price_in: float,
    price_out: float,
    key_variable: str,
    limit: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Let a language model judge the items of benchmark NAME, marked as a machine.

    Every prompt and reply goes to a log beside the annotations. What it judged before is not asked
    again.
    """
    from corpus.progress import Reporter
    from corpus.store import Store
    from labeling.annotating import database_path, open_annotations
    from labeling.chat import ChatModel
    from labeling.judge import judge_items

    opened = Store(store)
    annotations = open_annotations(opened, name, clock=_now)
    asked = ChatModel(
        endpoint, model, key_variable=key_variable, price_in=price_in, price_out=price_out
    )
    log = database_path(opened, name).with_suffix(".judge.jsonl")
    num_items = min(len(annotations.item_ids()), limit or sys.maxsize)
    with Reporter(quiet=quiet).bar("judge", num_items, "items"):
        report = judge_items(annotations, asked, log, sleep=time.sleep, limit=limit)
    spent = report.spent
    if as_json:
        shown = {"items": asdict(report.items), "spent": spent._asdict(), "log": str(log)}
        click.echo(json.dumps({"annotator": report.annotator, **shown}))
        return
    click.echo(
        f"{report.annotator}: {report.items.num_out} of {report.items.num_in} items judged, "
        f"{report.num_judged_before} before; {spent.tokens_in:,} + {spent.tokens_out:,} tokens, "
        f"{spent.cost:.4f}\nlog {log}"
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _render_checks(checks: list[dict[str, Any]]) -> str:
    lines = []
    for check in checks:
        compared, found = check["num_compared"], check["num_found"]
        lines.append(f"{check['check']:<15} {compared:>10,} compared  {found:>8,} found")
        lines += [f"    {json.dumps(one, ensure_ascii=False)}" for one in check["offenders"]]
    return "\n".join(lines)
