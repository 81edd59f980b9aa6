"""Answers of a Qdrant server as targets: a real HTTP server that answers with spoilt JSON."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import tenacity
from qdrant_client import QdrantClient

from tests.bad_input.fuzz.mutations import dump
from tests.bad_input.fuzz.readers import Target, json_or_bytes
from xqg_qdrant.engine import server
from xqg_qdrant.engine.server import ServerEngine
from xqg_qdrant.engine.storage import Storage

_VECTOR = np.ones(4, np.float32)


class _Answering:
    """An engine whose server answers whatever stands in ``data``."""

    def __init__(self) -> None:
        self.data = b""
        answering = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answering.data)))
                self.end_headers()
                self.wfile.write(answering.data)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{http.server_port}"
        self.engine = ServerEngine(QdrantClient(url=url, check_compatibility=False), url)


_running: list[_Answering] = []


def _answering(data: bytes) -> ServerEngine:
    if not _running:
        _running.append(_Answering())
    _running[0].data = data
    _running[0].engine._shapes.clear()
    _running[0].engine._storages["c"] = Storage().resolved()  # searches would ask for it
    return _running[0].engine


_RESULTS: dict[str, tuple[Any, Callable[[ServerEngine], object]]] = {
    "collections": ({"collections": [{"name": "a"}, {"name": "b"}]}, lambda e: e.collections()),
    "exists": ({"exists": True}, lambda e: e.exists("c")),
    "count": ({"count": 5}, lambda e: e._call(lambda: e._client.count("c")).count),
    "info": (
        {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": 5,
            "points_count": 5,
            "segments_count": 1,
            "config": {
                "params": {
                    "vectors": {"v": {"size": 4, "distance": "Dot"}},
                    "sparse_vectors": {"s": {}},
                },
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10},
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1000,
                    "default_segment_number": 0,
                    "flush_interval_sec": 5,
                },
                "metadata": {"xqg_manifest": {"a": 1}},
            },
            "payload_schema": {},
        },
        # What exists() and require() ask first would be answered by the same.
        lambda e: server.from_params(e._call(lambda: e._client.get_collection("c")).config.params),
    ),
    "hits": (
        [{"points": [{"id": 5, "version": 1, "score": 0.5, "payload": {"a": [1]}}]}],
        lambda e: e._search("c", [_VECTOR], ["v"], 5, (), False, payload=True),
    ),
    "points": (
        [{"id": "00000000-0000-0000-0000-000000000001", "payload": {"a": 1}}],
        lambda e: e._payloads("c", ["00000000-0000-0000-0000-000000000001"]),
    ),
}


def _once(**_bounds: float) -> tenacity.Retrying:
    """No waiting: what is answered stays the same."""
    return tenacity.Retrying(stop=tenacity.stop_after_attempt(1), reraise=True)


def _value(name: str) -> dict[str, Any]:
    return {"status": "ok", "time": 0.5, "result": _RESULTS[name][0]}


def _target(name: str) -> Target:
    call = _RESULTS[name][1]

    def read(folder: Path) -> Iterable[Any]:
        real = server.retrying
        server.retrying = _once
        try:
            call(_answering((folder / "answer").read_bytes()))
        finally:
            server.retrying = real
        return ["answered"]

    make = json_or_bytes(_value(name), dump)
    return Target(f"answers: {name}", "answer", make, read, lambda data: None)


TARGETS = [_target(name) for name in _RESULTS]
UNSPOILT = [dump(_value(name)) for name in _RESULTS]
"""What each of the targets reads when nothing is wrong."""
