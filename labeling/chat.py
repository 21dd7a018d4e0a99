"""One request to a server that speaks OpenAI's chat completions, with waiting where it asks for it.

The key comes from an environment variable alone, goes to the endpoint alone (redirects are not
followed), and is in no message and no log.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any, NamedTuple

from corpus.errors import BadValue, StoreError
from labeling.judgements import Json, is_whole

MAX_TRIES = 6
MAX_WAIT_SECONDS = 120.0
MAX_REPLY_BYTES = 4_000_000
# Answers to one request that say nothing of the next: too long, or not to the server's taste.
REFUSED = (400, 413, 422)


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A model behind an endpoint, such as "http://localhost:8000/v1"; prices per million tokens."""

    endpoint: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    price_in: float = 0.0
    price_out: float = 0.0
    seed: int = 1
    timeout_seconds: float = 120.0
    max_tokens: int | None = None  # of an answer; None: what the server allows


class Reply(NamedTuple):
    """What a server answered; `problem` says why there is no text, if there is none."""

    text: str | None
    problem: str | None
    model: str | None = None  # as the server names it
    tokens_in: int = 0
    tokens_out: int = 0
    is_refused: bool = False  # the request, not what came of it


def request_chat(
    model: ChatModel, messages: Sequence[Json], sleep: Callable[[float], None]
) -> Reply:
    """Send messages and return the reply; wait and try again where the server is busy.

    Raises:
        BadValue: the endpoint is no URL, or the key cannot be a key.
        StoreError: the server cannot be reached, denies access, or stays busy.
    """
    request = _make_request(model, messages)
    wait = 1.0
    for number in range(1, MAX_TRIES + 1):
        try:
            with _OPENER.open(request, timeout=model.timeout_seconds) as response:
                return parse_reply(response.read(MAX_REPLY_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                said = _shorten(error.read(MAX_REPLY_BYTES), request)
                asked = error.headers.get("Retry-After", "")
            if error.code in REFUSED:
                return Reply(None, f"refused with {error.code}: {said}", is_refused=True)
            what = f"answered {error.code}: {said}"
            if error.code not in (408, 409, 429) and error.code < 500:
                raise _stop(model, f"{what}; check endpoint, model and key") from error
            if number == MAX_TRIES:
                raise _stop(model, f"{what}; tried {number} times, run again later") from error
            wait = min(float(asked) if asked.isdecimal() else wait * 2, MAX_WAIT_SECONDS)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise _stop(model, f"cannot be reached: {reason}; is it running?") from error
        sleep(wait)
    raise AssertionError("the last try returns or raises")


def parse_reply(body: bytes) -> Reply:
    """Return what the body of an answer says.

    >>> parse_reply(b'{"choices": [{"message": {"content": "so"}}], "model": "m"}')
    Reply(text='so', problem=None, model='m', tokens_in=0, tokens_out=0, is_refused=False)
    >>> parse_reply(b"<html>").problem
    'the answer is not JSON'
    """
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        return Reply(None, "the answer is not JSON")
    if not isinstance(content, dict):
        return Reply(None, "the answer is not an object")
    usage = content.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    model = content.get("model")
    found = Reply(
        None,
        "the answer has no choices[0].message.content",
        model if isinstance(model, str) else None,
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
    )
    try:
        text = content["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return found
    return found._replace(text=text, problem=None) if isinstance(text, str) else found


def _make_request(model: ChatModel, messages: Sequence[Json]) -> urllib.request.Request:
    if not model.endpoint.startswith(("http://", "https://")):
        raise BadValue(f"endpoint is {model.endpoint!r}; it must begin with http:// or https://")
    body: Json = {"model": model.model, "messages": messages, "temperature": 0, "seed": model.seed}
    if model.max_tokens is not None:
        body["max_tokens"] = model.max_tokens
    headers = {"Content-Type": "application/json"}
    key = os.environ.get(model.key_variable, "")
    if key:
        if not key.isascii() or not key.isprintable():
            raise BadValue(f"the key in {model.key_variable} has characters that no key has")
        headers["Authorization"] = f"Bearer {key}"
    url = f"{model.endpoint.rstrip('/')}/chat/completions"
    try:
        return urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    except ValueError as error:
        raise BadValue(f"endpoint is {model.endpoint!r}, which is no URL: {error}") from error


def _shorten(body: bytes, request: urllib.request.Request) -> str:
    """Return the beginning of what a server said, on one line, without the key it may repeat."""
    text = " ".join(body.decode("utf-8", "replace").split())
    key = (request.get_header("Authorization") or "").removeprefix("Bearer ")
    return (text.replace(key, "[key]") if key else text)[:200]


def _stop(model: ChatModel, what: str) -> StoreError:
    return StoreError(f"the server at {model.endpoint} {what}")


def _count(value: object) -> int:
    return value if isinstance(value, int) and is_whole(value) and value > 0 else 0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)
