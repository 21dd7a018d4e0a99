"""The page on which people label whether answers are obsolete: a starlette app over the store.

    /                    the next item; for an adjudicator, what is disagreed on
    /item/<id>           one item and what its annotator says of it; POST saves
    /undo                POST: withdraws the newest judgement
    /adjudicate[/<id>]   adjudicators alone: disagreements; one of them with everybody's judgement
    /mine /guideline     own judgements; the guideline that is in force
    /login /logout       a token, given by whoever runs this, against a session; POST: ends it
    /healthz             "ok", where the store answers

Every page is made here and needs no script. An annotator gets nothing of what others said, and no
page has what an item hides. What was typed is never lost: what cannot be saved is shown again.
`labeling.gate` stands before all of it. Writes only by way of the store.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from corpus.errors import BadValue, StoreError
from labeling.annotations import AnnotationStore, Annotator, Role, StaleJudgement
from labeling.forms import make_draft, parse_fields, read_form
from labeling.gate import LOOPBACK, BodyTooLarge, Gate, too_large
from labeling.pages import (
    Site,
    path_of,
    read_item,
    render,
    render_item,
    render_stale,
)
from labeling.sessions import LIFETIME_SECONDS, Clock, FailureLimit, Sessions
from labeling.views import list_opinions, make_view
from labeling.wording import format_seconds

COOKIE = "sobert_session"
HISTORY_LENGTH = 200
Endpoint = Callable[[Request], Awaitable[Response]]
Page = Callable[[Request, Site, Annotator], Awaitable[Response]]


def make_app(
    store: AnnotationStore, *, hosts: Iterable[str] = LOOPBACK, clock: Clock = time.monotonic
) -> Starlette:
    """Return the app.

    Args:
        store: open; stays the caller's.
        hosts: the names, without port, under which the page is served; requests that name another
            in Host are refused.
        clock: seconds of a steady clock, for the ends of sessions and the limit on logins.
    """
    routes = [
        Route("/", _home),
        Route("/login", _login_page, methods=["GET"]),
        Route("/login", _log_in, methods=["POST"]),
        Route("/logout", _log_out, methods=["POST"]),
        Route("/item/{item_id:path}", _show_item, methods=["GET"]),
        Route("/item/{item_id:path}", _save_item, methods=["POST"]),
        Route("/undo", _undo, methods=["POST"]),
        Route("/adjudicate", _list_disagreements, methods=["GET"]),
        Route("/adjudicate/{item_id:path}", _show_disagreement, methods=["GET"]),
        Route("/adjudicate/{item_id:path}", _save_item, methods=["POST"]),
        Route("/mine", _list_mine, methods=["GET"]),
        Route("/guideline", _show_guideline, methods=["GET"]),
        Route("/healthz", _say_healthy, methods=["GET"]),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Gate, hosts=tuple(hosts))],
        exception_handlers={
            HTTPException: _show_problem,
            BadValue: _show_bad_value,
            StoreError: _show_store_error,
            BodyTooLarge: _refuse_body,
        },
    )
    app.state.site = Site(store, Sessions(clock), FailureLimit(clock))
    return app


def serve(
    store: AnnotationStore,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    hosts: Iterable[str] = (),
) -> None:
    """Serve the page until it is interrupted: one process, no access log (tokens stand in links).

    Args:
        store: open; stays the caller's.
        host: the address to listen at; beyond the loopback, a warning goes to stderr.
        port: the port.
        hosts: further names under which the page may be asked for, as of a proxy.
    """
    name = f"[{host}]" if ":" in host else host
    if name not in LOOPBACK:
        print(
            f"warning: {host} can be reached from other machines; tokens and judgements cross the "
            "network as they are unless a proxy with https stands before it",
            file=sys.stderr,
        )
    app = make_app(store, hosts=(*LOOPBACK, name, *hosts))
    uvicorn.run(
        app,
        host=host,
        port=port,
        workers=1,
        access_log=False,
        log_level="warning",
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=5,
    )


def _signed_in(*roles: Role) -> Callable[[Page], Endpoint]:
    """Make an endpoint of a page that needs a session, and one of these roles."""

    def decorate(page: Page) -> Endpoint:
        @wraps(page)
        async def endpoint(request: Request) -> Response:
            site: Site = request.app.state.site
            who = site.sessions.find(request.cookies.get(COOKIE, ""))
            if who is None:
                return await _ask_to_log_in(request)
            if who.role not in roles:
                raise HTTPException(403, "This page is not for your role.")
            return await page(request, site, who)

        return endpoint

    return decorate


# Logging in and out ----------------------------------------------------------------------------


async def _login_page(request: Request) -> Response:
    token = request.query_params.get("token", "")
    # After a click on a foreign page, as in web mail, a strict cookie set now would not be sent
    # with the redirect; and nobody should be logged in by a foreign page. A button does both.
    if token and request.headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return _try_token(request, token, [])
    return render(request, None, "login", token=token, kept=[], notice="")


async def _log_in(request: Request) -> Response:
    fields = parse_fields(await request.body())
    kept = [(name[5:], value) for name, value in fields if name.startswith("kept_")]
    return _try_token(request, dict(fields).get("token", ""), kept)


def _try_token(request: Request, token: str, kept: list[tuple[str, str]]) -> Response:
    site: Site = request.app.state.site
    client = request.client.host if request.client else ""
    wait = site.limit.seconds_to_wait(client)
    if wait:
        notice = f"Too many wrong tokens. Try again in {format_seconds(wait)}."
        context = {"token": "", "kept": kept, "notice": notice}
        headers = {"Retry-After": str(int(wait) + 1)}
        return render(request, None, "login", status=429, headers=headers, **context)
    who = site.store.authenticate(token.strip())
    if who is None or who.role == "machine":
        site.limit.record(client)
        notice = "This token is not known here. Ask whoever invited you for a new link."
        return render(request, None, "login", status=401, token="", kept=kept, notice=notice)
    site.sessions.close(request.cookies.get(COOKIE, ""))
    site.store.record_login(who.name)
    item_id = dict(kept).get("item_id", "")
    response: Response = RedirectResponse("/", 303)
    if item_id:
        notice = "You are logged in again. This is not saved yet: look it over, then save."
        response = render_item(request, site, who, item_id, form=read_form(kept), notice=notice)
    response.set_cookie(
        COOKIE,
        site.sessions.open(who),
        max_age=int(LIFETIME_SECONDS),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


async def _ask_to_log_in(request: Request) -> Response:
    """Send to the login page; what was to be saved waits in that page's form."""
    if request.method != "POST":
        return RedirectResponse("/login", 303)
    kept = parse_fields(await request.body())
    item_id = request.path_params.get("item_id")
    kept = [*kept, ("item_id", item_id)] if item_id else []
    notice = "Your session has ended. Log in again; nothing you typed is lost."
    return render(request, None, "login", status=401, token="", kept=kept, notice=notice)


async def _log_out(request: Request) -> Response:
    site: Site = request.app.state.site
    site.sessions.close(request.cookies.get(COOKIE, ""))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


# Annotating ------------------------------------------------------------------------------------


@_signed_in("annotator", "adjudicator")
async def _home(request: Request, site: Site, who: Annotator) -> Response:
    if who.role == "adjudicator":
        return RedirectResponse("/adjudicate", 303)
    item_id = site.store.next_item(who.name)
    if item_id is None:
        return render(request, who, "done")
    return RedirectResponse(path_of(who, item_id), 303)


@_signed_in("annotator")
async def _show_item(request: Request, site: Site, who: Annotator) -> Response:
    return render_item(request, site, who, request.path_params["item_id"])


@_signed_in("annotator", "adjudicator")
async def _save_item(request: Request, site: Site, who: Annotator) -> Response:
    item_id = request.path_params["item_id"]
    is_settled = request.scope["path"].startswith("/adjudicate/")
    if is_settled is not (who.role == "adjudicator"):
        raise HTTPException(403, "This page is not for your role.")
    form = read_form(parse_fields(await request.body()))
    content = read_item(site, item_id)
    try:
        draft = make_draft(form, content)
        site.store.save(item_id, who.name, draft, expected_revision=form.expected)
    except StaleJudgement as error:
        return render_stale(request, who, make_view(item_id, content), form, error)
    except (BadValue, StoreError) as error:
        status = 422 if isinstance(error, BadValue) else 503
        notice = f"Not saved. {error}"
        return render_item(request, site, who, item_id, form=form, notice=notice, status=status)
    site.withdrawn.pop((who.name, item_id), None)
    if who.role == "adjudicator":
        left = site.store.disagreements()
        return RedirectResponse(path_of(who, left[0]) if left else "/adjudicate", 303)
    following = site.store.next_item(who.name)
    return RedirectResponse(path_of(who, following) if following else "/", 303)


@_signed_in("annotator", "adjudicator")
async def _undo(request: Request, site: Site, who: Annotator) -> Response:
    judgement = site.store.undo(who.name)
    if judgement is None or judgement.draft is None:
        return RedirectResponse("/", 303)
    site.withdrawn[who.name, judgement.item_id] = judgement.draft
    return RedirectResponse(path_of(who, judgement.item_id), 303)


@_signed_in("annotator", "adjudicator")
async def _list_mine(request: Request, site: Site, who: Annotator) -> Response:
    rows = []
    for judgement in site.store.history(who.name, HISTORY_LENGTH):
        view = make_view(judgement.item_id, site.store.read_item(judgement.item_id))
        rows.append((judgement, view.title, path_of(who, judgement.item_id)))
    return render(request, who, "mine", rows=rows, limit=HISTORY_LENGTH)


@_signed_in("annotator", "adjudicator")
async def _show_guideline(request: Request, site: Site, who: Annotator) -> Response:
    return render(request, who, "guideline")


async def _say_healthy(request: Request) -> Response:
    site: Site = request.app.state.site
    return PlainTextResponse("ok\n" if site.store.guideline_sha256 else "")


# Adjudicating ----------------------------------------------------------------------------------


@_signed_in("adjudicator")
async def _list_disagreements(request: Request, site: Site, who: Annotator) -> Response:
    rows = []
    for item_id in site.store.disagreements():
        view = make_view(item_id, site.store.read_item(item_id))
        opinions = list_opinions(site.store.judgements(item_id), view)
        rows.append((path_of(who, item_id), view.title, opinions))
    return render(request, who, "disagreements", rows=rows)


@_signed_in("adjudicator")
async def _show_disagreement(request: Request, site: Site, who: Annotator) -> Response:
    return render_item(request, site, who, request.path_params["item_id"])


# What is not possible --------------------------------------------------------------------------


async def _show_problem(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else str(error)
    return render(request, None, "problem", status=status, detail=detail)


async def _show_bad_value(request: Request, error: Exception) -> Response:
    return render(request, None, "problem", status=400, detail=str(error))


async def _show_store_error(request: Request, error: Exception) -> Response:
    return render(request, None, "problem", status=503, detail=str(error))


async def _refuse_body(request: Request, error: Exception) -> Response:
    return too_large()
