"""`sobert corpus ...`: each command a thin twin of one public function.

What a command needs is imported when it runs: `sobert --help` takes a tenth of a second.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

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
)


@click.group()
def corpus() -> None:
    """Dump -> dataset -> Megatron shards."""


@corpus.command("demo-dump")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--paper", is_flag=True, help="The larger one that `make paper` learns from.")
def demo_dump(folder: Path, paper: bool) -> None:
    """Write a small sample dump of two invented sites into FOLDER."""
    from corpus.demo import write_demo_dump
    from corpus.demo_paper import write_paper_dump

    (write_paper_dump if paper else write_demo_dump)(folder)
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
@click.option(
    "--after",
    metavar="NAME",
    help="The version before: no thread of its test split comes into train.",
)
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep this tokenizer.model, as of an earlier build; else one is trained.",
)
@WORKERS
@ENGINE
@ADDRESS
@click.option("--dry-run", is_flag=True, help="Say what would run and what it needs; run nothing.")
@QUIET
@JSON
def build(
    recipe: Path,
    dumps: tuple[str, ...],
    store: Path,
    after: str | None,
    tokenizer: Path | None,
    workers: int,
    engine_kind: EngineKind,
    address: str | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Build the corpus of RECIPE from dumps, and name the build after the recipe.

    What was built before with the same recipe section and inputs is used again. A build that was
    stopped is simply run again.
    """
    from corpus.build import build_corpus, plan_build
    from corpus.engine import open_engine
    from corpus.inspection import show_run
    from corpus.progress import Reporter
    from corpus.recipe import load_recipe
    from corpus.store import Store

    loaded, opened, reporter = load_recipe(recipe), Store(store), Reporter(quiet=quiet)
    if dry_run:
        plan = plan_build(loaded, dumps, after=after, tokenizer=tokenizer, store=opened)
        click.echo(json.dumps(plan, indent=2) if as_json else _render_plan(plan))
        return
    with open_engine(
        engine_kind, workers=workers, address=address, store=store, reporter=reporter
    ) as engine:
        artifacts = build_corpus(
            loaded,
            dumps,
            after=after,
            tokenizer=tokenizer,
            store=opened,
            engine=engine,
            reporter=reporter,
        )
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
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A CSV of every document that differs: how, why, and in which split.",
)
@STORE
@JSON
def diff(old: str, new: str, out: Path | None, store: Path, as_json: bool) -> None:
    """Compare builds OLD and NEW: stages, recipe keys, documents; exit 3 if test became train."""
    from corpus.difference import write_differences
    from corpus.inspection import check_moves, diff_runs
    from corpus.store import Store

    found, table = diff_runs(Store(store), old, new)
    if out:
        write_differences(table, out)
    click.echo(json.dumps(found, indent=2) if as_json else _render_diff(found))
    check_moves(old, new, table)


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


@corpus.command()
@click.option("--post", "posts", multiple=True, metavar="SITE/ID", help="A post; repeatable.")
@click.option("--comment", "comments", multiple=True, metavar="SITE/ID", help="A comment.")
@click.option("--user", "users", multiple=True, metavar="SITE/ID", help="All that somebody wrote.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A list: `post SITE/ID`, or with comment or user, a line; # for a remark.",
)
@click.option("--reason", required=True, help="Why; it is kept in the record.")
@click.option("--date", help="Of the request, as 2026-01-31; today else.")
@STORE
@WORKERS
@click.option("--dry-run", is_flag=True, help="Say what would go; write nothing.")
@QUIET
@JSON
def remove(
    posts: tuple[str, ...],
    comments: tuple[str, ...],
    users: tuple[str, ...],
    file: Path | None,
    reason: str,
    date: str | None,
    store: Path,
    workers: int,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Take posts, comments or people out of everything in a store, and prove it, or exit 3.

    Every corpus and benchmark is built again without them, with the vocabulary that it has; only
    shards that held them change. Artifacts that no named build uses are deleted. Later builds of
    this store leave them out, too.

    Not reached: the dump files, exports and backups, models that were trained, and what is
    published: publish a new version and delete the old one there.
    """
    from datetime import UTC, datetime

    from corpus.engine import LocalEngine
    from corpus.progress import Reporter
    from corpus.store import Store
    from corpus.takedown import remove as take_down

    # The one crossing: corpus does not know benchmarks, but this command must reach them.
    from labeling.takedown import rebuild_benchmarks

    with LocalEngine(workers) as engine:
        found = take_down(
            posts=posts,
            comments=comments,
            users=users,
            file=file,
            reason=reason,
            date=date or datetime.now(UTC).date().isoformat(),
            dry_run=dry_run,
            store=Store(store),
            engine=engine,
            reporter=Reporter(quiet=quiet),
            derive=rebuild_benchmarks,
        )
    click.echo(json.dumps(found, indent=2) if as_json else _render_removal(found))


def _render_removal(found: dict[str, Any]) -> str:
    lines = [f"asked    {len(found['asked'])}, and {len(found['along'])} that go along"]
    then = "it is recorded" if "proof" in found else "it would be recorded"
    lines += [f"note: {name} is in no build; {then}" for name in found["not_found"]]
    for name, one in found["corpora"].items():
        counts = [
            f"{num:,} {table} {reason}"
            for table, reasons in one["rows"].items()
            for reason, num in reasons.items()
            if num
        ]
        lines.append(f"{name}: {', '.join(counts) or 'no row'}")
        if "shards" in one:
            lines.append(f"{name}: {one['shards_as_before']} of {one['shards']} shards as before")
        else:
            lines.append(f"{name}: {one['documents']} documents, {one['partitions']} partitions")
    if "proof" not in found:
        return "\n".join([*lines, "nothing was written"])
    lines += [f"note: {note}" for note in found["notes"]]
    proof = found["proof"]
    lines += [f"note: not searched, as it cannot be read: {name}" for name in proof["unread"]]
    lines.append(f"deleted  {found['deleted']} artifacts that no build uses")
    lines.append(
        f"searched {proof['files']:,} files, {proof['texts']:,} texts, {proof['bytes']:,} bytes"
    )
    hits = ", ".join(f"{num} by {kind}" for kind, num in proof["hits"].items())
    return "\n".join([*lines, f"hits     {hits}"])


@corpus.command()
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
    """Publish build NAME on the Hugging Face Hub, as the version that its recipe says.

    Everything is read back from a staging branch before the tag is made; a version that is there
    is left as it is, and one that was stopped is gone on with.
    """
    from corpus.progress import Reporter
    from corpus.publishing import publish_build, render_published
    from corpus.store import Store

    found = publish_build(
        Store(store), name, repo, private=private, dry_run=dry_run, reporter=Reporter(quiet=quiet)
    )
    click.echo(json.dumps(found, indent=2) if as_json else render_published(found, repo))


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
    for one in found["recipe"]:
        old, new = (textwrap.shorten(str(one[side]), 60) for side in ("old", "new"))
        lines.append(f"recipe {one['key']}: {old} -> {new}")
    lines += [f"documents {what:<20} {count:>10,}" for what, count in found["documents"].items()]
    lines += [f"moved {what:<24} {count:>10,}" for what, count in found["moved"].items()]
    lines += [f"{one['change']} {one['documents']:,}: {one['why']}" for one in found["why"]]
    return "\n".join(lines)
