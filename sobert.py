"""The command line: one group a package, each command a thin twin of one public function.

Results go to stdout (`--json`: one object), progress and messages to stderr. Exit: 0 done, 1 data
or recipe error, 2 usage, 3 a proof failed.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

# Packages are imported by the command that needs them: `sobert --help` takes a tenth of a second.

Format = Literal["jsonl", "label-studio", "potato"]
Command = TypeVar("Command", bound=Callable[..., Any])

STORE = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("store"),
    show_default=True,
    help="Folder of everything that is built.",
)
WORKERS = click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Worker processes."
)
QUIET = click.option("--quiet", is_flag=True, help="No progress and no notes on stderr.")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
NAME = click.argument("name")


class Group(click.Group):
    """A group that prints a SobertError on one line and ends with its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        from corpus.errors import SobertError

        try:
            return super().invoke(ctx)
        except SobertError as error:
            click.echo(f"sobert: {error}", err=True)
            sys.exit(error.exit_code)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sobert")
def main() -> None:
    """Turn a Stack Exchange dump into a licensed, deduplicated, leakage-safe corpus.

    \b
    Start here:
      sobert corpus demo-dump demo/dump
      sobert corpus build datacards/demo/recipe.toml --dump demo/dump --store demo/store
      sobert corpus sample demo --store demo/store
    """


@main.group()
def corpus() -> None:
    """Dump -> dataset -> Megatron shards."""


@corpus.command("demo-dump")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def demo_dump(folder: Path) -> None:
    """Write a small sample dump of two invented sites into FOLDER."""
    from corpus.demo import write_demo_dump

    write_demo_dump(folder)
    click.echo(folder)


@corpus.command()
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--dump",
    "dumps",
    multiple=True,
    required=True,
    metavar="[SITE=]PATH",
    help="A folder of XML tables, a .7z, or a folder of such. May be given several times.",
)
@STORE
@WORKERS
@click.option("--dry-run", is_flag=True, help="Say what would run and what it needs; run nothing.")
@QUIET
@JSON
def build(
    recipe: Path,
    dumps: tuple[str, ...],
    store: Path,
    workers: int,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Build the corpus of RECIPE from dumps, and name the build after the recipe.

    What was built before with the same recipe section and inputs is used again. A build that was
    stopped is simply run again.
    """
    from corpus.build import build_corpus, plan_build
    from corpus.engine import LocalEngine
    from corpus.inspection import show_run
    from corpus.progress import Reporter
    from corpus.recipe import load_recipe
    from corpus.store import Store

    loaded, opened, reporter = load_recipe(recipe), Store(store), Reporter(quiet=quiet)
    if dry_run:
        plan = plan_build(loaded, dumps, store=opened)
        click.echo(json.dumps(plan, indent=2) if as_json else _render_plan(plan))
        return
    with LocalEngine(workers) as engine:
        artifacts = build_corpus(loaded, dumps, store=opened, engine=engine, reporter=reporter)
    name = loaded.card.name
    if as_json:
        click.echo(json.dumps(show_run(opened, name), indent=2))
        return
    for label, stage in (("dataset", "release"), ("shards", "shards"), ("report", "release")):
        folder = artifacts[stage].folder
        click.echo(f"{label:<8} {folder / 'report.html' if label == 'report' else folder}")
    click.echo(f"next     sobert corpus sample {name} --store {store}")


@corpus.command()
@click.argument("name", required=False)
@STORE
@JSON
def show(name: str | None, store: Path, as_json: bool) -> None:
    """Show build NAME: rows in and out of every stage, and why not. No NAME: list builds."""
    from corpus.inspection import show_run
    from corpus.store import Store

    if name is None:
        names = Store(store).run_names()
        click.echo(json.dumps(names) if as_json else "\n".join(names))
        return
    shown = show_run(Store(store), name)
    click.echo(json.dumps(shown, indent=2) if as_json else _render_run(shown))


@corpus.command()
@NAME
@STORE
@click.option("--num", "num_documents", default=10, show_default=True, help="How many documents.")
@click.option("--seed", default=0, show_default=True, help="Another seed draws others.")
@JSON
def sample(name: str, store: Path, num_documents: int, seed: int, as_json: bool) -> None:
    """Print documents of build NAME drawn at random, coloured by segment kind."""
    from corpus.inspection import sample_documents
    from corpus.store import Store

    rows = sample_documents(Store(store), name, num_documents=num_documents, seed=seed)
    if as_json:
        click.echo(json.dumps({"documents": rows}, indent=2, ensure_ascii=False, default=str))
        return
    for row in rows:
        click.echo(_render_document(row))


@corpus.command()
@click.argument("old")
@click.argument("new")
@STORE
@JSON
def diff(old: str, new: str, store: Path, as_json: bool) -> None:
    """Compare builds OLD and NEW: stages, recipe keys, documents."""
    from corpus.inspection import diff_runs
    from corpus.store import Store

    found = diff_runs(Store(store), old, new)
    click.echo(json.dumps(found, indent=2) if as_json else _render_diff(found))


@corpus.command()
@NAME
@STORE
@QUIET
@JSON
def verify(name: str, store: Path, quiet: bool, as_json: bool) -> None:
    """Check every byte and row of build NAME, and its leakage proof; exit 3 where one fails."""
    from corpus.inspection import verify_run
    from corpus.progress import Reporter
    from corpus.store import Store

    found = verify_run(Store(store), name, Reporter(quiet=quiet))
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(
            f"{name}: {found['stages']} stages, {found['files']} files, {found['bytes']:,} bytes: "
            "all as their manifests say, and no leakage"
        )


@corpus.command()
@NAME
@STORE
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it; <NAME>-report.html else.",
)
def report(name: str, store: Path, out: Path | None) -> None:
    """Write the statistics report of build NAME: one HTML page with plots."""
    from corpus.inspection import release_report
    from corpus.store import Store

    page = release_report(Store(store), name)
    path = out or Path(f"{name}-report.html")
    path.write_text(page, "utf-8")
    click.echo(path)


@main.group()
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
@QUIET
@JSON
def build_labeling(
    task: Literal["quality", "closed", "ner", "obsoletion"],
    recipe: Path,
    sources: tuple[str, ...],
    store: Path,
    workers: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Build the benchmark of RECIPE from the corpus that it names, or from published files.

    What was built before is used again. Exits with 3 where the corpus's train split holds any of
    the benchmark's evaluation examples.
    """
    from corpus.engine import LocalEngine
    from corpus.inspection import show_run
    from corpus.progress import Reporter
    from corpus.store import Store
    from labeling.build import build_benchmark
    from labeling.recipe import load_benchmark_recipe

    loaded, opened, reporter = load_benchmark_recipe(recipe), Store(store), Reporter(quiet=quiet)
    with LocalEngine(workers) as engine:
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
        raise _missing("annotate", error) from error
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


def _missing(extra: str, error: ImportError) -> Exception:
    from corpus.errors import MissingPackage

    return MissingPackage(f"{error.name} is not installed; run: pip install 'sobert[{extra}]'")


def _render_checks(checks: list[dict[str, Any]]) -> str:
    lines = []
    for check in checks:
        compared, found = check["num_compared"], check["num_found"]
        lines.append(f"{check['check']:<15} {compared:>10,} compared  {found:>8,} found")
        lines += [f"    {json.dumps(one, ensure_ascii=False)}" for one in check["offenders"]]
    return "\n".join(lines)


@main.group()
def pretrain() -> None:
    """Shards -> checkpoints -> a model of transformers."""
    # megatron-core says so on import, a line a module; nothing here needs either.
    warnings.filterwarnings("ignore", message=".*Apex (is|are) not installed")


SHARDS = click.option("--shards", required=True, help="A corpus build of the store.")


@pretrain.command("run")
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@SHARDS
@STORE
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the run: checkpoints, logs, report.",
)
@click.option(
    "--workers", type=click.IntRange(0), default=0, show_default=True, help="That read ahead."
)
@click.option(
    "--init-from",
    type=click.Path(path_type=Path, file_okay=False),
    help="A model of transformers to begin with.",
)
@QUIET
@JSON
def run_pretrain(
    recipe: Path,
    shards: str,
    store: Path,
    out: Path,
    workers: int,
    init_from: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train the model of RECIPE on the shards of a build; run again, it goes on where it stopped.

    The same command under torchrun uses several processes or machines.
    """
    from corpus.progress import Reporter
    from corpus.store import Store

    try:
        from pretrain.finished import read_build, read_initial
        from pretrain.run import run_pretraining
    except ImportError as error:
        raise _missing("train", error) from error
    from pretrain.recipe import load_pretrain_recipe

    loaded, reporter = load_pretrain_recipe(recipe), Reporter(quiet=quiet)
    of_shards, tokenizer = read_build(Store(store), shards)
    initial = read_initial(init_from, loaded.model, tokenizer) if init_from else None
    summary = run_pretraining(
        loaded,
        of_shards,
        tokenizer,
        out,
        reporter=reporter,
        workers=workers,
        initial=initial,
        init_from=init_from.name if init_from else None,
    )
    if as_json:
        click.echo(json.dumps(summary, indent=2))
        return
    click.echo(f"report   {out / 'report.html'}")
    click.echo(f"next     sobert pretrain export {out} --shards {shards} --out MODEL")


@pretrain.command("evaluate")
@click.argument("checkpoint", type=click.Path(path_type=Path, file_okay=False))
@SHARDS
@STORE
@click.option("--rows", type=click.IntRange(1), help="How many rows at most; all else.")
@QUIET
@JSON
def evaluate_pretrain(
    checkpoint: Path, shards: str, store: Path, rows: int | None, quiet: bool, as_json: bool
) -> None:
    """Print loss, accuracy and bits per byte of CHECKPOINT (or a run's newest), by kind of text."""
    from corpus.progress import Reporter
    from corpus.store import Store

    try:
        from pretrain.evaluate import format_evaluation
        from pretrain.finished import evaluate_checkpoint, read_build
    except ImportError as error:
        raise _missing("train", error) from error
    found = evaluate_checkpoint(
        checkpoint,
        *read_build(Store(store), shards),
        num_rows=rows,
        reporter=Reporter(quiet=quiet),
    )
    click.echo(json.dumps(found, indent=2) if as_json else format_evaluation(found))


@pretrain.command("export")
@click.argument("checkpoint", type=click.Path(path_type=Path, file_okay=False))
@SHARDS
@STORE
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="A new folder."
)
def export_pretrain(checkpoint: Path, shards: str, store: Path, out: Path) -> None:
    """Write CHECKPOINT (or a run's newest) as a model of transformers that computes the same."""
    from corpus.store import Store

    try:
        from pretrain.finished import export_checkpoint, read_build
    except ImportError as error:
        raise _missing("train", error) from error
    _, tokenizer = read_build(Store(store), shards)
    export_checkpoint(checkpoint, tokenizer, out)
    click.echo(out)


@pretrain.command("plan")
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--tokens", default=27_000_000_000, show_default=True, help="For how many it is worked out."
)
@click.option("--mfu", default=0.25, show_default=True, help="The share of the peak that is used.")
@click.option("--price", default=3.0, show_default=True, help="Of a device for an hour.")
@JSON
def plan_pretrain(recipe: Path, tokens: int, mfu: float, price: float, as_json: bool) -> None:
    """Print what the model of RECIPE, and every preset, needs: memory, time, cost."""
    try:
        from pretrain.cost import format_plan, plan_cost
    except ImportError as error:
        raise _missing("train", error) from error
    from pretrain.recipe import load_pretrain_recipe

    loaded = load_pretrain_recipe(recipe)
    plan = plan_cost(loaded, num_tokens=tokens, mfu=mfu, dollars_per_hour=price)
    click.echo(json.dumps(plan, indent=2) if as_json else format_plan(plan))


def _render_plan(plan: dict[str, Any]) -> str:
    lines = [
        f"{one['site']:<40} {one['table']:<12} {one['num_bytes']:>16,} bytes"
        for one in plan["tables"]
    ]
    lines += [f"note: {note}" for note in plan["notes"]]
    lines += [f"{stage:<11} {state}" for stage, state in plan["stages"].items()]
    lines.append(
        f"needs about {plan['disk_bytes']:,} bytes of disk; {plan['free_bytes']:,} are free"
    )
    return "\n".join(lines)


def _render_run(shown: dict[str, Any]) -> str:
    lines = []
    for stage, one in shown["stages"].items():
        lines.append(click.style(f"{stage:<11}", bold=True) + f" {one['folder']}")
        lines.append(
            f"    id {one['id'][:16]}, {one['num_files']} files, {one['num_bytes']:,} bytes"
        )
        for kind, flow in one["flows"].items():
            rejected = sum(flow["rejected"].values())
            counts = f"{flow['in']:>12,} in = {flow['out']:>12,} out + {rejected:>9,} rejected"
            lines.append(f"    {kind:<12} {counts}")
            lines += [f"        {count:>9,} {reason}" for reason, count in flow["rejected"].items()]
        lines += [f"    {figure:<24} {value:,}" for figure, value in one["figures"].items()]
    return "\n".join(lines)


COLOUR_BY_KIND = {"title": "yellow", "prose": None, "code": "cyan", "comment": "green"}


def _render_document(row: dict[str, Any]) -> str:
    head = (
        f"{row['doc_id']}  {row['split']}  {row['kind']}  score {row['score']}  "
        f"by {row['author_name']}  {row['licence']}\n{row['link']}"
    )
    parts = [click.style(head, bold=True)]
    for segment in row["segments"]:
        text = row["text"][segment["start"] : segment["end"]]
        label = f"{segment['kind']} {segment['language'] or ''}".strip()
        parts.append(click.style(f"[{label}]", dim=True))
        parts.append(click.style(text, fg=COLOUR_BY_KIND[segment["kind"]]))
    return "\n".join(parts) + "\n"


def _render_diff(found: dict[str, Any]) -> str:
    lines = [f"{stage:<11} {state}" for stage, state in found["stages"].items()]
    lines += [f"recipe {one['key']}: {one['old']} -> {one['new']}" for one in found["recipe"]]
    lines += [f"documents {what:<20} {count:>10,}" for what, count in found["documents"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
