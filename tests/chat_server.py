"""A server on the loopback that speaks OpenAI's chat completions, for the tests that ask one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

KEY = "sk-very-secret"
Reply = tuple[int, dict[str, str], bytes]


class Request(NamedTuple):
    """What the server was asked."""

    path: str
    headers: dict[str, str]
    body: Any


def chat(text: str, tokens_in: int = 100, tokens_out: int = 10) -> Reply:
    content = {
        "model": "frob-1-2024",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out},
    }
    return 200, {}, json.dumps(content).encode()


class Server:
    """Gives its replies one after the other, the last one for ever, and keeps what it was asked."""

    def __init__(self, reply: Reply) -> None:
        self.replies: list[Reply] = [reply]
        self.requests: list[Request] = []
        self.watch: Callable[[], None] = lambda: None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Request(self.path, dict(self.headers), json.loads(body))
                server.requests.append(request)
                server.watch()
                number = min(len(server.requests), len(server.replies)) - 1
                code, headers, content = server.replies[number]
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))

    def prompts(self) -> list[str]:
        """What was asked, in order."""
        return [request.body["messages"][-1]["content"] for request in self.requests]


@contextmanager
def serve_chat(monkeypatch: pytest.MonkeyPatch, reply: Reply) -> Iterator[Server]:
    """Serve while the block runs, with a key in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server(reply)
    server.thread.start()
    yield server
    server.http.shutdown()
    server.thread.join()
    server.http.server_close()
