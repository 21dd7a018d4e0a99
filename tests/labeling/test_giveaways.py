"""Which words give an answer away, and which only sound like it."""

from __future__ import annotations

import re

import pytest

from labeling.giveaways import STEMS, find_added_notice, find_giveaway, find_renewal

SAYS_SO = {
    "Outdated since Java 8, which brings its own.": "Outdated",
    "This is now deprecated": "deprecated",
    "mysql_query was obsoleted years ago": "obsoleted",
    "The docs above are a bit out-of-date.": "out-of-date",
    "That method has become obsolete.": "obsolete",
    "This no longer works with gcc.": "no longer works",
    "The option is no longer supported.": "no longer supported",
    "It isn’t available anymore": "n’t available anymore",
    "This does not work any more.": "not work any more",
    "As of version 3 the flag is gone": "As of version 3",
    "Since Python 3.9 one can say `list[int]`": "Since Python 3.9",
    "In newer versions you need `--all`": "In newer versions",
    "This doesn't work in 2.7.1": "doesn't work in 2.7.1",
    "You should now use `pathlib`": "should now use",
    "The link is dead": "link is dead",
    "Broken link!": "Broken link",
    "That page is a 404 for me": "is a 404",
    "your link doesn't work": "link doesn't work",
}
SOUNDS_LIKE_IT = (
    "This is not deprecated.",
    "It isn't really outdated",
    "Recommendations tend to go out of date very quickly.",
    "All data will be one day obsolete",
    "It could become obsolete",
    "Obsolete quickly, but also very opinion-based.",
    "Many of the above comments are obsolete.",
    "please flag as obsolete once you've seen it",
    "If you've some dead link, try the archive.",
    "you're no longer working with beer",
    "Do you have any more information?",
    "the Pi does not run the PC version of it",
    "Use a smaller glass instead.",
    "http://example.org/q/1404/75",
    "beer production since 2010",
    "I used to live there.",
    "",
)


@pytest.mark.parametrize(("text", "words"), SAYS_SO.items())
def test_words_that_say_so_are_found_and_quoted(text: str, words: str) -> None:
    assert find_giveaway(text) == words
    assert re.search(STEMS, text), "the filter on columns would lose it"


@pytest.mark.parametrize("text", SOUNDS_LIKE_IT)
def test_words_that_sound_like_it_say_nothing(text: str) -> None:
    assert find_giveaway(text) is None


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("Use a.", "Use a.\n\n**UPDATE**: use b.", "**UPDATE**:"),
        ("Use a.", "Use a.\r\n\r\nEdit (2019): use b.", "Edit (2019):"),
        ("Use a.", "Use a, which is deprecated.", "deprecated"),
        # It stood there before, in a line that was changed for another reason.
        ("a is deprecated, usw b", "a is deprecated, use b", None),
        ("Edit: see b", "Edit: see b.", None),
        ("Use a.\nEdit: b", "Use a!\nEdit: b", None),
        ("Use a.", "Use b.", None),
        ("Use a.", "Use a.\n\nEdit the file and save it.", None),
        # Taken out, not put in.
        ("Use a.\n\nEdit: b", "Use a.", None),
    ],
)
def test_an_edit_says_so_by_what_it_adds(before: str, after: str, words: str | None) -> None:
    assert find_added_notice(before, after) == words


@pytest.mark.parametrize(
    ("comment", "says_so"),
    [
        ("fixed broken link", True),
        ("updated for Swift 3", True),
        ("replaced the old URL", True),
        ("method is deprecated", True),
        ("spelling", False),
        ("added 27 characters in body", False),
        ("", False),
    ],
)
def test_an_editor_says_what_was_brought_up_to_date(comment: str, says_so: bool) -> None:
    assert (find_renewal(comment) is not None) == says_so
