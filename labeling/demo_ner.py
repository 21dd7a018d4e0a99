"""Invented sentences in the form of StackOverflowNER, whose files are not ours to give away.

    train.txt, dev.txt, test.txt    as `labeling.conll` says; questions of five sentences, each with
                                    one answer of five

A sentence is a template with slots. `[Language]` is a word of that type, tagged; `<Language>` is a
word of the same list that is no entity there: the name of a dog or of a boat, or a word that is
spoken of as a word. So a list of words alone is right about half of the time, and what stands
around a word decides. All of it is made up; the ids are larger than any of Stack Overflow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from corpus.demo_paper import pick

NUM_SENTENCES = {"train": 400, "dev": 80, "test": 80}
SENTENCES_PER_POST = 5
FIRST_QUESTION = 900_000_000_001
WORDS_BY_TYPE = {
    "Application": (
        *("Blender", "Excel", "Chrome", "Postman", "Word", "Eclipse", "Visual Studio"),
        *("Access", "Outlook", "Safari"),
    ),
    "Data_Structure": ("list", "table", "tree", "queue", "array", "heap", "stack", "linked list"),
    "Data_Type": ("string", "float", "double", "long", "char", "character", "byte"),
    "File_Type": ("pdf", "csv", "jar", "png", "zip", "xml"),
    "Function_Name": ("sort()", "open()", "map()", "print()", "call()", "join()", "pop()"),
    "Language": ("Java", "Python", "Ruby", "Swift", "Go", "Rust", "Scala", "Perl"),
    "Library": ("Flask", "Spring", "Pandas", "React", "Requests", "Bootstrap", "Spring Boot"),
    "Operating_System": ("Windows", "Leopard", "Android", "Lion", "Ubuntu", "Windows Vista"),
    "User_Interface_Element": ("button", "menu", "window", "panel", "tab", "drop down"),
    "Version": ("2.1", "3.5", "7", "10", "4.0.1", "1.8"),
}
# Each type with its context; what is not in brackets is no entity.
TEMPLATES = (
    "How do I read a [File_Type] file with [Library] [Version] ?",
    "My code in [Language] [Version] runs on [Operating_System] but not on [Operating_System] .",
    "The [User_Interface_Element] of [Application] does not react when I press it twice .",
    "I store each [Data_Type] in a [Data_Structure] and call [Function_Name] at the end .",
    "After the update to [Version] the method [Function_Name] returns a [Data_Type] .",
    "Is there a [Data_Structure] in [Language] that keeps its order ?",
    "I export the rows from [Application] as [File_Type] and parse them with [Library] .",
    "Install [Library] on [Operating_System] before you compile anything in [Language] .",
    "In [Application] [Version] the [User_Interface_Element] is hidden below another one .",
    "You can pass the [Data_Type] to [Function_Name] and cast the result .",
    "We wrote it in [Language] , with [Library] for the pages .",
    "Loop over the [Data_Structure] and append each [Data_Type] by [Function_Name] .",
)
# The same words where they are none.
DECOYS = (
    "My dog <Language> barks whenever I open [Application] .",
    "The boat is called <Application> and its owner writes [Language] .",
    "The word <Data_Structure> has no plural in my dialect , unlike [Data_Type] in the manual .",
    "We met in the room <Library> on floor <Version> and spoke of [Operating_System] .",
    "Our team <Operating_System> lost <Version> games in a row to the team <Library> .",
    "In the crossword I wrote <User_Interface_Element> where <Data_Type> would have been right .",
    "At the zoo we saw <Operating_System> , the oldest of <Version> animals .",
    "She sings in the band <Library> and builds a [User_Interface_Element] in [Language] .",
    "A friend named <Language> lent me <Version> books about [Library] .",
    "The noun <File_Type> rhymes with nothing , says the poet <Application> .",
    "Nobody says <Data_Type> at dinner , and nobody puts a <Data_Structure> on it .",
    "The café <Application> serves <Version> sorts of tea and has a [File_Type] menu .",
)


def write_demo_ner(folder: Path) -> None:
    """Write train.txt, dev.txt and test.txt into `folder`: UTF-8, LF.

    Args:
        folder: made if it is not there; files of the same names are overwritten.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     write_demo_ner(Path(name))
    ...     Path(name, "dev.txt").read_text("utf-8").split()[:4]
    ['Question_ID', 'O', 'Question_ID', 'O']
    """
    folder.mkdir(parents=True, exist_ok=True)
    question_id = FIRST_QUESTION
    for name, num_sentences in NUM_SENTENCES.items():
        blocks: list[str] = []
        for start in range(0, num_sentences, 2 * SENTENCES_PER_POST):
            for place, kind in enumerate(("Question_ID", "Answer_to_Question_ID")):
                blocks += _headers(kind, question_id)
                first = start + place * SENTENCES_PER_POST
                numbers = range(first, min(first + SENTENCES_PER_POST, num_sentences))
                blocks += [_sentence(f"{name} {number}") for number in numbers]
            question_id += 1
        text = "".join(f"{block}\n\n" for block in blocks)
        (folder / f"{name}.txt").write_bytes(text.encode())


def _headers(kind: str, question_id: int) -> Iterator[str]:
    url = f"https://stackoverflow.com/questions/{question_id}/"
    for words in ((kind, ":", str(question_id)), ("Question_URL", ":", url)):
        yield "\n".join(_line(word) for word in words)


def _sentence(name: str) -> str:
    """Return the lines of a sentence, drawn as often from DECOYS as from TEMPLATES."""
    template = pick(f"{name} template", pick(f"{name} source", (TEMPLATES, DECOYS)))
    lines = []
    for place, part in enumerate(template.split()):
        slot = re.fullmatch(r"(\[|<)(\w+)[\]>]", part)
        if slot is None:
            lines.append(_line(part))
            continue
        kind = slot[2]
        words = pick(f"{name} {place}", WORDS_BY_TYPE[kind]).split()
        lines += _tagged(words, kind) if slot[1] == "[" else map(_line, words)
    return "\n".join(lines)


def _tagged(words: list[str], kind: str) -> Iterator[str]:
    """Yield the lines of an entity; calls are marked up as code."""
    is_code = kind == "Function_Name"
    for number, word in enumerate(words):
        prefix = "I" if number else "B"
        yield _line(word, f"{prefix}-{kind}", f"{prefix}-Code_Block" if is_code else "O")


def _line(word: str, tag: str = "O", markup: str = "O") -> str:
    return f"{word}\t{tag}\t{word}\t{markup}"
