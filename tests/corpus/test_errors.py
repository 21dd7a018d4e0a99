"""The error tree is the one its module draws, and errors pass between processes."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from corpus import errors
from corpus.errors import BadValue, MissingPackage, SobertError

CLASSES = [
    one
    for one in vars(errors).values()
    if inspect.isclass(one) and one.__module__ == "corpus.errors"
]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in errors.__doc__.split("\n"):
        if match := re.match(r"    ([|` -]*)([A-Z]\w+)( |$)", line):
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            drawn[match[2]] = path[depth - 1] if depth else "Exception"
    assert drawn == {one.__name__: one.__bases__[0].__name__ for one in CLASSES}


def test_the_exit_codes_in_the_docstring_are_the_exit_codes() -> None:
    assert errors.__doc__ is not None
    drawn = dict(re.findall(r"([A-Z]\w+) +(\d)$", errors.__doc__, re.MULTILINE))
    assert drawn == {"SobertError": "1", "ProofFailed": "3"}
    expected = {one: 3 if issubclass(one, errors.ProofFailed) else 1 for one in CLASSES}
    assert {one: one.exit_code for one in CLASSES} == expected


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_survives_pickling(error: type[SobertError]) -> None:
    copy = pickle.loads(pickle.dumps(error("a: b; c")))
    assert type(copy) is error
    assert str(copy) == "a: b; c"


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_says_what_it_stands_for(error: type[SobertError]) -> None:
    assert error.__doc__ and error.__doc__.endswith(".")


def test_errors_of_the_standard_library_can_be_caught_as_such() -> None:
    assert issubclass(BadValue, ValueError)
    assert issubclass(MissingPackage, ImportError)
