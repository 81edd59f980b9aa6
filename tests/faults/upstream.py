"""A small HTTP server that answers from a script, and notes what it was sent.

It is no Qdrant and stores nothing: tests with it are about what travels, how often, and what the
client makes of each answer. The answers have the shapes that Qdrant's API documents
(https://api.qdrant.tech/).
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Script = Callable[["Request"], tuple[int, Any]]


@dataclass(frozen=True, slots=True)
class Request:
    """What came in.

    Attributes:
        method: of HTTP.
        path: without parameters.
        body: the JSON value, None if there is none.
        number: how many with this method and path came before, from 0.
    """

    method: str
    path: str
    body: Any
    number: int


@dataclass(slots=True)
class Upstream:
    """A running server.

    Attributes:
        url: where it listens.
        requests: that came.
    """

    url: str
    requests: list[Request] = field(default_factory=list)

    def of(self, method: str, path: str) -> list[Request]:
        """Requests of a method whose path matches a regular expression."""
        return [
            each
            for each in self.requests
            if each.method == method and re.fullmatch(path, each.path)
        ]


@contextmanager
def upstream(script: Script) -> Iterator[Upstream]:
    """Run a server that answers as the script says, with status and JSON value."""
    counts: Counter[tuple[str, str]] = Counter()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path
            with lock:
                number = counts[self.command, path]
                counts[self.command, path] += 1
                request = Request(self.command, path, json.loads(content or b"null"), number)
                running.requests.append(request)
            status, value = script(request)
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = Upstream(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def shaped(result: Any) -> dict[str, Any]:
    """As every success of Qdrant's is wrapped."""
    return {"status": "ok", "time": 0.0, "result": result}


def described(vectors: dict[str, int], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """An answer that describes a green collection with these vectors, by name their dimension."""
    return shaped(
        {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": 1,
            "points_count": 0,
            "config": {
                "params": {
                    "vectors": {
                        name: {"size": size, "distance": "Dot"} for name, size in vectors.items()
                    }
                },
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000},
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1000,
                    "default_segment_number": 0,
                    "flush_interval_sec": 5,
                },
                "metadata": metadata,
            },
            "payload_schema": {},
        }
    )
