"""Publication: the folder that goes to the Hub, and what its Croissant file says of a corpus.

    README.md          the card, with the repository and the version that it is published as
    croissant.json     the same for machines (`corpus.croissant`)
    …                  all other files of the release, by hard link

The artifact's own `manifest.json` is published as it is, since it names every file with its
digests; `provenance.json` stays at home. Nothing in here follows from a clock or an endpoint: the
day of publication is the recipe's `card.published`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from corpus.croissant import CROISSANT, Described, make_croissant
from corpus.croissant_check import check_croissant
from corpus.datacard import MEANING_BY_COLUMN, TAGS, render_card
from corpus.dataset import DATASET_SCHEMA
from corpus.durable import write_json
from corpus.engine import Engine
from corpus.errors import BadValue
from corpus.location import Location, locate
from corpus.manifest import Json, Outcome
from corpus.progress import Reporter
from corpus.recipe import CardSection, Recipe
from corpus.release import link_file, sum_files
from corpus.rendering import describe, explain_reason, render_blocks
from corpus.statistics import load_statistics
from corpus.store import Artifact, Store, Work
from corpus.tables import describe_file

VERSION = 1
README = "README.md"
# Sites of these names are nobody's (RFC 2606): what they say was invented.
_INVENTED = re.compile(r"(?:.+\.)?example(?:\.(?:com|net|org))?")


class Page(NamedTuple):
    """What is written anew for a publication: the card, and what croissant.json describes."""

    readme: str
    described: Described


def build_publication(
    run: Mapping[str, Artifact], repo: str, *, store: Store, engine: Engine, reporter: Reporter
) -> Artifact:
    """Put together what is published of a corpus; the caller holds the store's lock.

    Args:
        run: the artifacts of the build, by stage.
        repo: where it will be, `user/name`.
        store: where artifacts lie.
        engine: not asked for anything; stages share their arguments.
        reporter: what the person at the terminal sees.

    Returns:
        The artifact of the folder; its manifest's `recipe` says version, repo, revision and url.

    Raises:
        BadValue: `run` is a benchmark; the recipe lacks what only a publication needs; `repo` is
            no name of a repository.
    """
    if "dataset" not in run:
        raise BadValue("this build is a benchmark; publish it with `sobert labeling publish`")
    release = run["release"]
    # A manifest keeps dates as text.
    recipe = Recipe.model_validate_json(json.dumps(release.manifest.recipe))

    def make_page(location: Location) -> Page:
        numbers, parquet = load_statistics(release), sum_files(release)
        readme = render_card(recipe, numbers, parquet, location)
        return Page(readme, _describe(recipe, release, location))

    return publish_release(release, recipe.card, repo, make_page, store, engine, reporter)


def publish_release(
    release: Artifact,
    card: CardSection,
    repo: str,
    make_page: Callable[[Location], Page],
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Put together what is published of a release of any kind; see `build_publication`."""
    check_card(card)
    location = locate(repo, card.version)

    def make(work: Work) -> Outcome:
        page = make_page(location)
        content = make_croissant(page.described)
        check_croissant(content)
        (work.folder / README).write_text(page.readme, "utf-8")
        write_json(work.folder / CROISSANT, content)
        written = [describe_file(work.folder / name, name) for name in (README, CROISSANT)]
        others = [entry for entry in release.files() if entry.name != README]
        return Outcome((*written, *(link_file(work.folder, release, entry) for entry in others)))

    section = {
        "repo": location.repo,
        "revision": location.revision,
        "url": location.url,
        "version": location.version,
    }
    inputs = {"release": release}
    return store.build("publication", VERSION, section, inputs, make, engine, reporter)


def check_card(card: CardSection) -> None:
    """Raise BadValue where the recipe does not say who publishes, and when.

    >>> check_card(CardSection(name="x", title="X", summary="", creators=["Ada"]))
    Traceback (most recent call last):
    corpus.errors.BadValue: the recipe lacks card.published; give what a publication names, as in \
creators = ["Ada Lovelace"] and published = 2026-01-31, and build again
    """
    given = {
        "title": card.title.strip(),
        "creators": card.creators and all(name.strip() for name in card.creators),
        "published": card.published,
    }
    if missing := [f"card.{name}" for name, value in given.items() if not value]:
        raise BadValue(
            f"the recipe lacks {', '.join(missing)}; give what a publication names, as in "
            'creators = ["Ada Lovelace"] and published = 2026-01-31, and build again'
        )


def render_statements(package: str, content: Json) -> Json:
    """Render what `rai.jinja` of a package says: texts, or lists where a block has items.

    A block that says nothing, since it is not true of this dataset, is left out.
    """
    blocks = render_blocks(package, "rai.jinja", content)
    return {name: to_statement(text) for name, text in blocks.items() if text.strip()}


def to_statement(text: str) -> Any:
    r"""Return a paragraph on one line, or the items of a list.

    >>> to_statement("one\ntwo\n"), to_statement("- one\n- two\n")
    ('one two', ['one', 'two'])
    """
    if text.lstrip().startswith("- "):
        return [line[2:].strip() for line in text.splitlines() if line.startswith("- ")]
    return " ".join(text.split())


def is_invented(site: str) -> bool:
    """Whether a site is one that cannot be, as those of the sample dump.

    >>> is_invented("gardens.example.org"), is_invented("stackoverflow.com")
    (True, False)
    """
    return _INVENTED.fullmatch(site) is not None


def name_origin(id: str, label: str, digests: Sequence[str]) -> Json:
    """Describe what data was derived from, as PROV does; digests are SHA-256, of bytes or rows."""
    identifiers = [f"sha256:{digest}" for digest in digests]
    return {"@type": "prov:Entity", "@id": id, "prov:label": label, "identifier": identifiers}


def name_activity(command: str, id: str) -> Json:
    """Describe the command that made an artifact, as PROV does."""
    meaning = f"Made as recipe.json says; the rows are the artifact {id}."
    return {
        "@type": "prov:Activity",
        "@id": "build",
        "prov:label": command,
        "description": meaning,
    }


def _describe(recipe: Recipe, release: Artifact, location: Location) -> Described:
    numbers = load_statistics(release)
    content = {**describe(recipe, numbers, sum_files(release)), "location": location}
    content["left_out"] = Counter[str]()
    for reject in content["rejects"]:
        words = f"{reject['kind']}, {explain_reason(reject['reason'])}"
        content["left_out"][words] += reject["count"]
    told = render_statements("corpus", content)
    return Described(
        card=recipe.card,
        location=location,
        description=f"{recipe.card.summary} {told.pop('description')}".strip(),
        keywords=(*TAGS, "fill-mask"),
        files=release.files("data/"),
        schema=DATASET_SCHEMA,
        meanings=MEANING_BY_COLUMN,
        record="documents",
        key="doc_id",
        statements={**_make_rai(recipe, numbers, told, content), **_make_lineage(numbers)},
    )


def _make_rai(recipe: Recipe, numbers: Json, told: Json, content: Json) -> Json:
    """Join what only croissant.json says with what the card says, too."""
    blocks = render_blocks("corpus", "card.md.jinja", content)
    said = {name: to_statement(text) for name, text in blocks.items()}
    totals = numbers["totals"]
    machine_made = {"bot", "fabricated"} - set(recipe.documents.keep_out)
    proof = told.pop("proof")
    statements = {
        **told,
        "dataCollectionTimeframe": [totals["first_created_at"], totals["last_created_at"]],
        "dataPreprocessingProtocol": [said["deduplication"], f"{said['dealing']} {proof}"],
        "personalSensitiveInformation": said["personal_data"],
        "dataBiases": [*said["selection"], *said["population"]],
        "dataLimitations": said["limits"],
        "dataReleaseMaintenancePlan": f"{told['dataReleaseMaintenancePlan']} {said['removal']}",
        "hasSyntheticData": bool(machine_made) or any(map(is_invented, numbers["sites"])),
    }
    return {f"rai:{name}": statement for name, statement in sorted(statements.items())}


def _make_lineage(numbers: Json) -> Json:
    digests: dict[str, set[str]] = {}
    for table in numbers["sources"]:
        digests.setdefault(table["site"], set()).add(table["source_sha256"])
    id = numbers["manifests"]["dataset"]
    return {
        "identifier": id,
        "prov:wasDerivedFrom": [
            name_origin(f"https://{site}", f"public dump of {site}", sorted(some))
            for site, some in sorted(digests.items())
        ],
        "prov:wasGeneratedBy": [name_activity("sobert corpus build", id)],
    }
