"""Every error that sobert raises on purpose, and the exit code it ends with.

    SobertError                 1
    |-- RecipeError             the recipe is wrong: unknown key, bad value, not TOML
    |-- DumpError               a dump is missing, broken, or refused
    |   |-- MalformedXml        a table is not whole, or not what dumps are made of
    |   |   `-- DoctypeRefused  a table declares a DOCTYPE; refused before it is parsed
    |   `-- BadArchive          a 7z is broken, encrypted, or expands too far
    |-- SourceError             a published benchmark file is not what it should be
    |-- StoreError              the store is in use, or does not hold what was asked for
    |-- HubError                the Hugging Face Hub cannot be reached, or refuses
    |-- BadValue                an argument of a function is out of its range
    |-- MissingPackage          a feature needs an extra that is not installed
    |-- TaskFailed              a worker process died before it gave a result
    `-- ProofFailed             3
        |-- LeakageFound        train shares text or threads with validation or test
        |-- IntegrityError      a file is not what its manifest says
        `-- ConservationError   rows in != rows out + rejected

A message has three parts: what is wrong, where, and what to do. The command line prints it on one
line; usage errors (exit 2) are click's.
"""


class SobertError(Exception):
    """Stop with one clear line; the root of all errors raised on purpose."""

    exit_code = 1


class RecipeError(SobertError):
    """A recipe is not TOML, holds an unknown key, or a value out of its range."""


class DumpError(SobertError):
    """A dump is missing, broken, or refused."""


class MalformedXml(DumpError):
    """A table breaks off or is not written as dumps are; names the file and the byte offset."""


class DoctypeRefused(MalformedXml):
    """A table declares a DOCTYPE, which no dump does and which entity attacks need."""


class BadArchive(DumpError):
    """A 7z archive is broken, encrypted, or expands beyond its limit."""


class SourceError(SobertError):
    """A published benchmark file is broken or not of its kind; names line and column."""


class StoreError(SobertError):
    """The store is in use by another build, or does not hold what was asked for."""


class HubError(SobertError):
    """The Hugging Face Hub cannot be reached, or refuses: no token, no right, no such version."""


class BadValue(SobertError, ValueError):
    """An argument of a public function is out of its range."""


class MissingPackage(SobertError, ImportError):
    """A feature needs an optional package; the message says which extra to install."""


class TaskFailed(SobertError):
    """A worker process died (killed, out of memory) before it gave its result."""


class ProofFailed(SobertError):
    """Something that was promised does not hold: the data must not be used."""

    exit_code = 3


class LeakageFound(ProofFailed):
    """Train shares a thread, a duplicate link, a near-duplicate or n-grams with another split."""


class IntegrityError(ProofFailed):
    """A file is missing, or its bytes or rows differ from its manifest."""


class ConservationError(ProofFailed):
    """A stage lost or made up rows: rows in != rows out + rejected."""
