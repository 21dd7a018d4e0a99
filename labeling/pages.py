"""The pages as HTML: what is shown of an item, and around it, filled into templates.

Reads the store, and writes nothing. What another annotator said goes into
adjudicators' pages alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from urllib.parse import quote

import jinja2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from corpus.errors import StoreError
from labeling.annotations import CAUSES, AnnotationStore, Annotator, Draft, Json, StaleJudgement
from labeling.forms import Form, make_form
from labeling.judgements import CONFIDENCES, MAX_NOTE_CHARS
from labeling.sanitise import sanitise_markdown
from labeling.sessions import FailureLimit, Sessions
from labeling.views import View, list_opinions, list_quotes, make_view, mark_opinions
from labeling.wording import format_day, format_seconds, name_confidence, name_of

GUIDELINE_COOKIE = "sobert_guideline"  # "open" or "closed"; says nothing of anybody


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages share; `withdrawn` is what was undone, to be changed and saved again."""

    store: AnnotationStore
    sessions: Sessions
    limit: FailureLimit
    withdrawn: dict[tuple[str, str], Draft] = field(default_factory=dict)


def render_item(
    request: Request,
    site: Site,
    who: Annotator,
    item_id: str,
    *,
    form: Form | None = None,
    notice: str = "",
    status: int = 200,
) -> Response:
    """Show an item, with what was sent, or was undone, or is saved, filled in."""
    view = make_view(item_id, read_item(site, item_id))
    judgement = site.store.current(item_id, who.name)
    expected = judgement.revision if judgement else 0
    opinions = []
    if who.role == "adjudicator":
        opinions = list_opinions(site.store.judgements(item_id), view)
        if len(opinions) < 2:
            raise HTTPException(404, "Nobody disagrees on this item.")
    saved = judgement.draft if judgement else None
    draft = saved or site.withdrawn.get((who.name, item_id))
    adopted = request.query_params.get("adopt", "")
    for opinion in opinions:
        if opinion.letter == adopted:
            draft = replace(opinion.draft, note="")  # a note speaks for who wrote it
    if form is None:
        form = make_form(draft, expected) if draft else Form(expected=expected)
    context: dict[str, Any] = {
        "view": view,
        "form": form,
        "extra": _quote_extra(form, view),
        "opinions": opinions,
        "letters": mark_opinions(opinions, view),
        "is_saved": saved is not None,
        "action": path_of(who, item_id),
        "notice": notice,
    }
    return render(request, who, "item", status=status, **context)


def render_stale(
    request: Request, who: Annotator, view: View, form: Form, error: StaleJudgement
) -> Response:
    """Show what is saved beside what was sent, to choose from."""
    context: dict[str, Any] = {
        "view": view,
        "form": form,
        "saved": error.current,
        "saved_quotes": list_quotes(error.current.draft, view) if error.current.draft else [],
        "given": error.given,
        "given_quotes": list_quotes(error.given, view),
        "action": path_of(who, view.item_id),
    }
    return render(request, who, "stale", status=409, **context)


def render(
    request: Request,
    who: Annotator | None,
    template: str,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **context: Any,
) -> Response:
    """Fill a template; one who is logged in sees their progress and the guideline as well."""
    site: Site = request.app.state.site
    if who is not None:
        progress = site.store.progress(who.name)
        is_new = who.role == "annotator" and not progress.num_done
        shown = request.cookies.get(GUIDELINE_COOKIE, "open" if is_new else "closed")
        context |= {
            "progress": progress,
            "guideline": sanitise_markdown(site.store.guideline),
            "guideline_sha256": site.store.guideline_sha256,
            "is_guideline_open": shown == "open",
        }
    page = _environment().get_template(f"{template}.html.jinja").render(who=who, **context)
    return HTMLResponse(page, status, headers)


def _quote_extra(form: Form, view: View) -> list[tuple[str, str]]:
    """Return the spans of a form that are no whole block: name and words."""
    blocks = {block.name for block in view.blocks}
    extra = []
    for name in form.evidence:
        kind, _, bounds = name.partition(":")
        start, _, end = bounds.partition(":")
        if kind == "span" and name not in blocks and start.isdecimal() and end.isdecimal():
            extra.append((name, view.answer_text[int(start[:9]) : int(end[:9])]))
    return extra


def read_item(site: Site, item_id: str) -> Json:
    """Return an item's content; 404 where there is no such item."""
    try:
        return site.store.read_item(item_id)
    except StoreError as error:
        raise HTTPException(404, str(error)) from error


def path_of(who: Annotator, item_id: str) -> str:
    """Return the link to where somebody works on an item, by role."""
    return quote(f"/{'adjudicate' if who.role == 'adjudicator' else 'item'}/{item_id}")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("labeling", "templates/annotate"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "word": name_of,
        "sure": name_confidence,
        "day": format_day,
        "duration": format_seconds,
    }
    environment.globals |= {
        "CAUSES": CAUSES,
        "CONFIDENCES": CONFIDENCES,
        "MAX_NOTE_CHARS": MAX_NOTE_CHARS,
    }
    return environment
