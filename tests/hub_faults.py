"""What goes wrong on the way to a hub: answers of 4xx and 5xx, lost answers, and killed clients.

A fault is about the nth request that its method and path fit. It may let the hub do what was
asked (`applied`) and lose only the answer, which is the harder case for a client.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

Message = MutableMapping[str, Any]


@dataclass
class Fault:
    """One fault; `times` requests in a row from the `nth` on that fit meet it."""

    method: str
    path: str
    nth: int = 1
    times: int = 1
    # What is answered; 0 closes the connection after `drop_after` bytes of the hub's answer.
    status: int = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    drop_after: int = 0
    # The hub does what was asked before the fault.
    applied: bool = False
    # Done when the request is here, for instance: kill who asks.
    call: Callable[[], object] | None = None
    # The answer waits until this is set.
    until: threading.Event | None = None
    seen: int = field(default=0, init=False)

    def meets(self, method: str, path: str) -> bool:
        """Say whether this request is the one; every request that fits is counted."""
        if not (re.fullmatch(self.method, method) and re.search(self.path, path)):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times


@dataclass
class Request:
    """A line of the log: what was asked, how large it was, and what was answered."""

    method: str
    path: str
    num_bytes: int = 0
    status: int = 0
    fault: bool = False

    @property
    def writes(self) -> bool:
        """Whether it may change the hub; asking for upload modes or about a card does not."""
        harmless = ("/paths-info/", "/api/validate-yaml")
        return self.method not in ("GET", "HEAD") and not any(one in self.path for one in harmless)


class Faults:
    """ASGI middleware: keeps the log and lets faults happen."""

    def __init__(self, app: Any) -> None:
        self.app, self.log, self.faults = app, list[Request](), list[Fault]()
        # Called with each request before anything else is done about it.
        self.watch: Callable[[Request], object] = lambda request: None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"] + ("?" + scope["query_string"].decode()).rstrip("?")
        request = Request(scope["method"], path)
        self.log.append(request)
        self.watch(request)
        matches = [one for one in self.faults if one.meets(request.method, request.path)]
        exchange = _Exchange(request, receive, send)
        if not matches:
            await self.app(scope, exchange.receive, exchange.send)
            return
        request.fault = True
        await self._fail(matches[0], scope, exchange)

    async def _fail(self, fault: Fault, scope: Any, exchange: _Exchange) -> None:
        answer = list[Message]()

        async def keep(message: Message) -> None:
            answer.append(message)

        if fault.applied or fault.drop_after or fault.until:
            await self.app(scope, exchange.receive, keep)
        if fault.call:
            fault.call()
        if fault.until:
            await asyncio.to_thread(fault.until.wait, 60)
            for message in answer:
                await exchange.send(message)
        elif fault.status:
            await exchange.drain()
            await exchange.send(_start(fault))
            await exchange.send({"type": "http.response.body", "body": b'{"error": "a fault"}'})
        else:
            await exchange.break_off(answer, fault.drop_after)


class _Exchange:
    """One request and its answer, counted as they pass."""

    def __init__(self, request: Request, receive: Any, send: Any) -> None:
        self.request, self._receive, self._send = request, receive, send
        self._is_read = False
        # uvicorn's, and not of ASGI: the only way to hang up on a client.
        self._transport = send.__self__.transport

    async def receive(self) -> Any:
        message = await self._receive()
        self._is_read = not message.get("more_body")
        self.request.num_bytes += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.request.status = message["status"]
        await self._send(message)

    async def drain(self) -> None:
        while not self._is_read:
            await self.receive()

    async def break_off(self, answer: list[Message], num_bytes: int) -> None:
        for message in answer if num_bytes else ():
            body = message.get("body", b"")
            await self.send({**message, "body": body[:num_bytes], "more_body": True})
            num_bytes -= len(body)
            if num_bytes <= 0 and body:
                break
        self._transport.abort() if not num_bytes and not answer else self._transport.close()


def _start(fault: Fault) -> Message:
    headers = [(b"content-type", b"application/json"), *fault.headers]
    return {"type": "http.response.start", "status": fault.status, "headers": headers}
