"""Calls of the Hub's client: tried again where that helps, every error one clear line.

`huggingface_hub` reads HF_ENDPOINT, HF_HUB_OFFLINE, HF_HUB_DISABLE_XET and HF_HOME when it is
imported, and HF_TOKEN (or the file of `hf auth login`) at every call. No token is ever printed, nor
the query of a URL, which may hold a signature that is as good as one.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import httpx2
from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    XetDownloadError,
)
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from corpus.errors import HubError
from corpus.progress import Reporter

T = TypeVar("T")

# The client itself tries some requests six times in 23 seconds before we see an error.
NUM_TRIES = 4
FIRST_PAUSE_SECONDS = 1.0
# A hub that asks for more than this is told to the user instead.
LONGEST_PAUSE_SECONDS = 300.0
BUSY = (408, 429, 500, 502, 503, 504)
AGAIN = "run the same command again: what was sent is kept"


def check_token() -> None:
    """Raise HubError where nobody is logged in, or the hub is switched off."""
    if constants.is_offline_mode():
        raise explain(OfflineModeIsEnabled(), "")
    if get_token() is None:
        raise HubError("there is no token for the hub; run: hf auth login, or set HF_TOKEN")


def call(
    function: Callable[..., T],
    arguments: Mapping[str, object],
    *,
    name: str,
    reporter: Reporter,
    num_tries: int = NUM_TRIES,
) -> T:
    """Call a function of the client until it answers; `name` is the repository, for messages.

    Tried again after answers that the hub is busy or broken (408, 429, 5xx) and after lost
    connections, with pauses that double, or as long as the hub asks for in Retry-After.

    Raises:
        HubError: it never answered, or refuses for a reason that only the user can remove.
        HfHubHTTPError, EntryNotFoundError: a refusal (404, 409, 412) that the caller knows about.
    """
    pause = FIRST_PAUSE_SECONDS
    for left in reversed(range(num_tries)):
        try:
            return function(**arguments)
        except (
            HfHubHTTPError,
            httpx2.HTTPError,
            EntryNotFoundError,
            XetDownloadError,
            RuntimeError,
            OSError,
        ) as caught:
            error = _cause(caught)
            seconds = max(pause, _asked_pause(error))
            if not _is_passing(error) or not left or seconds > LONGEST_PAUSE_SECONDS:
                if _is_known(error):
                    raise error from None
                raise explain(error, name) from error
            reporter.say(f"hub: {describe(error)}; again in {seconds:.0f} s")
            time.sleep(seconds)
            pause *= 2
    raise AssertionError("the last try returns or raises")


def explain(error: BaseException, name: str) -> HubError:
    """Return what a user can do about an error of the client.

    >>> explain(OfflineModeIsEnabled(), "user/name").args[0]
    'HF_HUB_OFFLINE is set, so the hub is not asked; unset it and run the same command again'
    """
    status = status_of(error)
    if isinstance(error, OfflineModeIsEnabled):
        text = "HF_HUB_OFFLINE is set, so the hub is not asked; unset it and run the same command"
        return HubError(f"{text} again")
    if status == 401:
        return HubError(
            f"{name}: the hub does not accept the token, or there is none; run: hf auth login, or "
            "set HF_TOKEN"
        )
    if status == 403:
        return HubError(
            f"{name}: the token has no right to write here; use one with write access to this "
            "repository"
        )
    if (seconds := _asked_pause(error)) > LONGEST_PAUSE_SECONDS:
        return HubError(f"{name}: {describe(error)}; wait {seconds:,.0f} s as it asks, and {AGAIN}")
    if isinstance(error, httpx2.TransportError):
        return HubError(f"{constants.ENDPOINT}: no connection ({describe(error)}); {AGAIN}")
    return HubError(f"{name}: {describe(error)}; see to that and {AGAIN}")


@contextmanager
def relayed_messages(reporter: Reporter) -> Iterator[None]:
    """Let the client's warnings come as lines of the reporter, and draw no bars of its own."""
    logger = logging.getLogger("huggingface_hub")
    handlers, draws = logger.handlers, not are_progress_bars_disabled()
    logger.handlers = [_Relay(reporter)]
    if draws and constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.handlers = handlers
        if draws and constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
            enable_progress_bars()


class _Relay(logging.Handler):
    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.WARNING)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        # It follows the line that says why.
        if not message.startswith("Retrying in"):
            self._reporter.say(f"hub: {_shorten(message)}")


def _cause(error: BaseException) -> BaseException:
    """Return what the client has wrapped into "error while uploading" or "not in the cache"."""
    while type(error) in (RuntimeError, LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__
    return error


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error of the client is of."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, OfflineModeIsEnabled):
        return False
    if (status := status_of(error)) is not None:
        return status in BUSY
    # RuntimeError is what hf_xet raises, whatever has happened.
    return isinstance(error, httpx2.TransportError | XetDownloadError | RuntimeError)


def _is_known(error: BaseException) -> bool:
    return status_of(error) in (404, 409, 412) or isinstance(error, EntryNotFoundError)


def _asked_pause(error: BaseException) -> float:
    """Return the seconds of Retry-After; a date in it (which the hub does not send) is ignored."""
    if not isinstance(error, HfHubHTTPError):
        return 0.0
    asked = error.response.headers.get("retry-after", "")
    return float(asked) if re.fullmatch(r"\d+", asked) else 0.0


def describe(error: BaseException) -> str:
    """Say on one line what the hub, or the way to it, answered."""
    if (status := status_of(error)) is not None:
        assert isinstance(error, HfHubHTTPError)
        return f"the hub answered {status} ({_shorten(error.server_message or 'no reason given')})"
    return _shorten(f"{type(error).__name__}: {error}")


def _shorten(text: str) -> str:
    """Return the first line without the queries of URLs.

    >>> _shorten("PUT https://store.example/a?signature=secret failed\\nlong story")
    'PUT https://store.example/a failed'
    """
    return re.sub(r"(https?://[^\s?]+)\?\S*", r"\1", text.strip().split("\n")[0])
