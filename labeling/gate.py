"""What every request passes: host, origin and size are checked, every answer gets its headers.

Pure functions decide; `Gate` is ASGI middleware around them. It refuses

    400  a Host that is not served here: a foreign name that was pointed at this machine
    403  a request that changes something and comes from another site's page
    413  a body of more than MAX_BODY_BYTES
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))  # none of them changes anything here
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
MAX_BODY_BYTES = 256 * 1024  # a note of 4,000 characters and its evidence take a tenth
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}


class BodyTooLarge(Exception):
    """A body without a stated length went on beyond MAX_BODY_BYTES; the app answers too_large()."""


def is_foreign(method: str, fetch_site: str | None, origin: str | None, host: str) -> bool:
    """Tell whether a request would change something here on behalf of another site.

    The session plays no part: a foreign page must not log anyone in either.

    Args:
        method: HTTP method.
        fetch_site: header Sec-Fetch-Site, which pages cannot forge; None where there is none
            (over plain http beyond the loopback, old browsers, programs).
        origin: header Origin; None where there is none.
        host: header Host.

    Returns:
        False for the site's own pages, for what a person typed, and for programs that are not
        browsers: they send neither header and carry nobody's cookies but their own.

    >>> is_foreign("POST", "cross-site", None, "localhost:8000")
    True
    >>> is_foreign("POST", None, "http://localhost:8000", "localhost:8000")
    False
    """
    if method in SAFE_METHODS:
        return False
    if fetch_site is not None:
        # Under Referrer-Policy: no-referrer a page's own form is sent with "Origin: null".
        named_foreign = origin not in (None, "null") and not _is_origin_of(str(origin), host)
        return fetch_site not in ("same-origin", "none") or named_foreign
    return origin is not None and not _is_origin_of(origin, host)


def is_served(host: str | None, hosts: Iterable[str]) -> bool:
    """Tell whether a Host header names one of the hosts, at any port.

    >>> is_served("LOCALHOST:8000", ["localhost"]), is_served("localhost.evil.org", ["localhost"])
    (True, False)
    """
    if host is None:
        return False
    name, colon, port = host.lower().rpartition(":")
    if not colon or port.endswith("]"):  # "[::1]" has colons but no port
        name, port = host.lower(), "0"
    return port.isdecimal() and port.isascii() and name in hosts


def referrer_policy(host: str, scheme: str) -> str:
    """Return `no-referrer`, or `same-origin` where browsers send no Sec-Fetch-Site.

    That is plain http beyond the loopback; there Origin alone tells own forms from foreign ones,
    and under no-referrer browsers blank it. Neither tells any other site anything.

    >>> referrer_policy("127.0.0.1:8000", "http"), referrer_policy("lab:8000", "http")
    ('no-referrer', 'same-origin')
    """
    return "no-referrer" if scheme == "https" or is_served(host, LOOPBACK) else "same-origin"


def _is_origin_of(origin: str, host: str) -> bool:
    """Compare without the scheme: behind a proxy that ends TLS it is not known here."""
    try:
        given = urlsplit(origin.lower())
        port = _DEFAULT_PORTS.get(given.scheme)
        if (
            port is None
            or "@" in given.netloc
            or f"{given.scheme}://{given.netloc}" != origin.lower()
        ):
            return False
        expected = urlsplit(f"{given.scheme}://{host.lower()}")
        same_port = (given.port or port) == (expected.port or port)
    except ValueError:
        return False
    return bool(given.hostname) and given.hostname == expected.hostname and same_port


class Gate:
    """ASGI middleware that lets only proper requests through, and dresses what comes back."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(name.lower() for name in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other protocols than HTTP get no answer."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        policy = referrer_policy(headers.get("host", ""), scope["scheme"])
        refusal = self._refuse(scope["method"], headers)
        num_bytes = 0

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update({**HEADERS, "Referrer-Policy": policy})
            await send(message)

        async def limited() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > MAX_BODY_BYTES:
                raise BodyTooLarge
            return message

        answer: ASGIApp = refusal or self._app
        await answer(scope, limited, dressed)

    def _refuse(self, method: str, headers: Headers) -> PlainTextResponse | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not is_served(hosts[0], self._hosts):
            return PlainTextResponse("This name is not served here.\n", 400)
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if is_foreign(method, site, origin, hosts[0]):
            return PlainTextResponse("Refused: this was sent by another site.\n", 403)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:12]) > MAX_BODY_BYTES:
            return too_large()
        return None


def too_large() -> PlainTextResponse:
    """Return the answer to a body that is not read."""
    return PlainTextResponse(f"More than {MAX_BODY_BYTES} bytes are not read.\n", 413)
