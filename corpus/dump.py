"""Stage 1, dump: which tables of which sites there are, and a digest of what they were read from.

A dump is given as a folder of XML tables, a `.7z`, or folders of such. The site is the name of the
folder or archive; `SITE=PATH` names it where that is not so. Hidden files are passed over. Writes
`tables.json`: per table its site, name and size, and the SHA-256 of the file it came from (the
XML, or the archive around it). Paths are no part of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from corpus.archive import Member, list_members
from corpus.engine import Engine
from corpus.errors import DumpError
from corpus.manifest import Outcome
from corpus.progress import Reporter, advance
from corpus.store import Artifact, Store, Work
from corpus.tables import describe_file

VERSION = 1

# Without Posts there is nothing; what is unknown without each of the others.
TABLES = {
    "Posts": "",
    "Comments": "documents have no comments",
    "PostHistory": "licences come from dates, and planted posts are known by id alone",
    "PostLinks": "duplicate questions are not kept in one split",
    "Users": "author names come from the rows, where they are",
}
# A site is the name of folders and files in the store, so it is no path and not hidden.
_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DATE_FOLDER = re.compile(r"\d{4}-\d{2}(-\d{2})?")
_ARCHIVE_SUFFIX = re.compile(rf"(-({'|'.join(TABLES)}))?(_\d{{4}}-\d{{2}}(-\d{{2}})?)?$")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class DumpTable:
    """One table of one site, and where it is: a file, or a member of an archive."""

    site: str
    table: str
    num_bytes: int
    path: Path
    member: Member | None = None


def find_tables(dumps: Iterable[str]) -> list[DumpTable]:
    """Find the tables that the given dumps hold, sorted by site and table.

    Args:
        dumps: paths, or `SITE=PATH`.

    Raises:
        DumpError: a path is not there or holds no table, a site has no Posts or is given twice.
    """
    tables: dict[tuple[str, str], DumpTable] = {}
    for dump in dumps:
        site, path = _split_site(dump)
        with _mapped_errors(path):
            found = list(_iter_tables(path, site, ()))
        if not found:
            raise DumpError(
                f"{path} holds no table of a dump; looked for {', '.join(TABLES)}, each a .xml "
                "(so written) or in a .7z, there and in the folders below"
            )
        for table in found:
            other = tables.setdefault((table.site, table.table), table)
            if other is not table:
                raise DumpError(
                    f"{table.table} of {table.site} is given twice, by {other.path} and "
                    f"{table.path}; give one of them, or name the sites with SITE=PATH"
                )
    if not tables:
        raise DumpError("no dump is given; give its place with --dump")
    for site in sorted({site for site, _ in tables}):
        if (site, "Posts") not in tables:
            raise DumpError(f"{site} has no Posts table; it is the one table that must be there")
    return [table for _, table in sorted(tables.items())]


def missing_tables(tables: Sequence[DumpTable]) -> list[str]:
    """Say for each table that a site lacks what is unknown without it."""
    there = {(table.site, table.table) for table in tables}
    return [
        f"{site} has no {table}: {unknown}"
        for site in sorted({table.site for table in tables})
        for table, unknown in TABLES.items()
        if (site, table) not in there
    ]


def build_dump(
    tables: Sequence[DumpTable], store: Store, engine: Engine, reporter: Reporter
) -> Artifact:
    """Digest every file that the tables are read from, and record what there is."""
    digests = _digest_sources(tables, engine, reporter)
    listing = [
        {
            "site": table.site,
            "table": table.table,
            "num_bytes": table.num_bytes,
            "source_sha256": digests[table.path],
        }
        for table in tables
    ]

    def make(work: Work) -> Outcome:
        path = work.folder / "tables.json"
        path.write_text(json.dumps(listing, indent=2) + "\n", "utf-8")
        figures = {
            "sites": len({table.site for table in tables}),
            "tables": len(tables),
            "xml_bytes": sum(table.num_bytes for table in tables),
        }
        return Outcome((describe_file(path, "tables.json"),), {}, figures)

    return store.build("dump", VERSION, {"tables": listing}, {}, make, engine, reporter)


def load_digests(dump: Artifact) -> dict[tuple[str, str], str]:
    """Return the SHA-256 of the file that each table came from, by site and table."""
    listing = json.loads(dump.path("tables.json").read_bytes())
    return {(one["site"], one["table"]): one["source_sha256"] for one in listing}


def _digest_sources(
    tables: Sequence[DumpTable], engine: Engine, reporter: Reporter
) -> dict[Path, str]:
    paths = sorted({table.path for table in tables})
    with _mapped_errors(paths[0]):
        num_bytes = sum(path.stat().st_size for path in paths)
    with reporter.bar("dump", num_bytes, "bytes"):
        return dict(zip(paths, engine.map(_digest_source, paths), strict=True))


def _digest_source(path: Path) -> str:
    digest = hashlib.sha256()
    with _mapped_errors(path), path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


def _split_site(dump: str) -> tuple[str | None, Path]:
    """Split `SITE=PATH`. What is there is a path, whatever is in its name.

    >>> _split_site("ai.stackexchange.com=/dumps/a=b")
    ('ai.stackexchange.com', PosixPath('/dumps/a=b'))
    >>> _split_site("/dumps/a=b")
    (None, PosixPath('/dumps/a=b'))
    """
    site, equals, path = dump.partition("=")
    if equals and _SITE.fullmatch(site) and not Path(dump).exists():
        return site, Path(path)
    return None, Path(dump)


def _iter_tables(path: Path, site: str | None, parents: tuple[Path, ...]) -> Iterator[DumpTable]:
    if path.is_file() and path.suffix == ".7z":
        site = _check_site(site or _ARCHIVE_SUFFIX.sub("", path.stem), path)
        for member in list_members(path):
            if (table := member.name.removesuffix(".xml")) in TABLES:
                yield DumpTable(site, table, member.num_bytes, path, member)
    elif path.is_dir():
        # A link to a folder above would be followed for ever.
        if (real := path.resolve()) not in parents:
            for entry in sorted(path.iterdir()):
                yield from _iter_entry(entry, site, (*parents, real))
    else:
        raise DumpError(f"{path} is neither a folder nor a .7z; give the dump's place with --dump")


def _iter_entry(entry: Path, site: str | None, parents: tuple[Path, ...]) -> Iterator[DumpTable]:
    if entry.name.startswith("."):
        return
    if entry.is_dir() or entry.suffix == ".7z":
        yield from _iter_tables(entry, site, parents)
    elif entry.suffix == ".xml" and entry.stem in TABLES:
        if not entry.is_file():
            raise DumpError(f"{entry} is no file, or a link to nowhere; remove it or mend it")
        site = _check_site(site or _site_of_folder(entry.parent), entry)
        yield DumpTable(site, entry.stem, entry.stat().st_size, entry)


def _site_of_folder(path: Path) -> str:
    """Return the folder's name, or its parent's where it is only a date.

    >>> _site_of_folder(Path("ai.stackexchange.com/2016-12"))
    'ai.stackexchange.com'
    """
    path = Path(os.path.normpath(path.absolute()))
    return path.parent.name if _DATE_FOLDER.fullmatch(path.name) else path.name


def _check_site(site: str, path: Path) -> str:
    if not _SITE.fullmatch(site):
        raise DumpError(f"{path} is of no site: {site!r} is no name of one; give SITE=PATH")
    return site


@contextmanager
def _mapped_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or path
        raise DumpError(
            f"{place} cannot be read: {error.strerror}; check that it is there and yours to read"
        ) from error
