"""An HTTP server that speaks the chat completions protocol, and misbehaves when told to."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]
Rule = Callable[["Request"], Reply | None]


@dataclass(frozen=True)
class Request:
    """What came in.

    Attributes:
        number: from 0, of all requests.
        path: of the URL.
        headers: by lower-case name.
        body: the JSON object.
    """

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        text = self.body["messages"][-1]["content"]
        assert isinstance(text, str)
        return text

    @property
    def passage(self) -> str:
        """The passage of a prompt that was made by :data:`PROMPT`."""
        return self.prompt.split("|")[2]

    @property
    def format(self) -> str | None:
        form = self.body.get("response_format")
        return form["type"] if form else None


def completion(content: str | None, **message: Any) -> dict[str, Any]:
    """A chat completion, of the shape that OpenAI documents."""
    finish_reason = message.pop("finish_reason", "stop")
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None, **message},
                "finish_reason": finish_reason,
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }


def queries(*texts: str) -> dict[str, Any]:
    """A completion of queries as asked for."""
    return completion(json.dumps({"queries": list(texts)}, ensure_ascii=False))


def error(message: str, code: str | None = None, kind: str = "invalid_request_error") -> Any:
    """An error body."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def numbered(request: Request) -> Reply:
    """As many queries as asked for, that hang on the prompt alone."""
    language, count, passage = request.prompt.split("|")[:3]
    return 200, queries(*(f"{language} {passage} {number}?" for number in range(int(count))))


PROMPT = "{language}|{count}|{passage}"


class _Server(ThreadingHTTPServer):
    def handle_error(self, *arguments: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # the client went away
            super().handle_error(*arguments)


@dataclass
class EndpointServer:
    """The server.

    Attributes:
        rule: answers a request; the first of the rules that returns something.
        requests: that came in so far.
        running: requests being answered at this moment, and the most there were.
    """

    rule: Rule = numbered
    delay: float = 0
    requests: list[Request] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    def __enter__(self) -> EndpointServer:
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with lock:
                    request = Request(len(outer.requests), self.path, headers, body)
                    outer.requests.append(request)
                    outer.running += 1
                    outer.most_running = max(outer.most_running, outer.running)
                try:
                    time.sleep(outer.delay)
                    reply = outer.rule(request)
                finally:
                    with lock:
                        outer.running -= 1
                if reply is None:
                    self.close_connection = True
                    return
                status, content, *more = reply
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    for name, value in (more[0] if more else {}).items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *arguments: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"
