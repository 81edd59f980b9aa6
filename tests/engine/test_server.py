"""The server engine's manners: what it retries, how errors are told, how it connects.

A small HTTP server answers with recorded status codes; no Qdrant is imitated beyond the answers
that connecting needs.
"""

from __future__ import annotations

import json
import socket
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient

from tests.faults.upstream import described
from xqg_qdrant.engine import open_engine, server, server_calls
from xqg_qdrant.engine.points import Point
from xqg_qdrant.engine.server import ServerEngine
from xqg_qdrant.engine.vectors import Shape
from xqg_qdrant.errors import (
    AuthenticationError,
    CollectionExists,
    CollectionLocked,
    CollectionNotFound,
    EngineError,
    EngineUnavailable,
    InputError,
)

OK: dict[str, Any] = {"status": "ok", "time": 0.0}
COLLECTIONS = {**OK, "result": {"collections": [{"name": "b"}, {"name": "a"}]}}
EXISTS = {**OK, "result": {"exists": True}}
ROOT = {"title": "qdrant - vector search engine", "version": "1.20.0"}


Answer = dict[str, Any] | Callable[[], dict[str, Any]]


class Script:
    """Answers to give, first to last, the last one again and again; and what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Answer, dict[str, str]]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.told: list[tuple[tuple[str, str, dict[str, str]], Any]] = []

    def add(self, status: int, body: Answer, **headers: str) -> None:
        self.answers.append((status, body, headers))


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length)
            script.requests.append((self.command, self.path, dict(self.headers)))
            script.told.append((script.requests[-1], json.loads(content or b"null")))
            if self.path in ("", "/"):
                status, body, headers = 200, dict(ROOT), {}
            elif len(script.answers) > 1:
                status, body, headers = script.answers.pop(0)
            else:
                status, body, headers = script.answers[0]
            data = json.dumps(body() if callable(body) else body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{http.server_port}"  # type: ignore[attr-defined]
    yield script
    http.shutdown()
    http.server_close()


@pytest.fixture
def engine(script: Script) -> Iterator[ServerEngine]:
    url: str = script.url  # type: ignore[attr-defined]
    client = QdrantClient(url=url, check_compatibility=False)
    with ServerEngine(client, url) as opened:
        yield opened


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_transient_failures_are_tried_again(
    script: Script, engine: ServerEngine, quick: list[float], status: int
) -> None:
    for _ in range(3):
        script.add(status, {"status": {"error": "busy"}})
    script.add(200, COLLECTIONS)
    assert engine.collections() == ["a", "b"]
    assert len(script.requests) == 4
    assert len(quick) == 3
    # Twice as long each time, and up to a second of jitter.
    for wait, least in zip(quick, (0.25, 0.5, 1.0), strict=True):
        assert least <= wait <= least + 1


def test_retries_are_bounded(script: Script, engine: ServerEngine, quick: list[float]) -> None:
    script.add(503, {"status": {"error": "down for good"}})
    with pytest.raises(EngineUnavailable, match=r"503.*down for good"):
        engine.collections()
    assert len(script.requests) == server_calls.ATTEMPTS
    assert all(0 < wait <= 21 for wait in quick)


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (400, EngineError, "refused"),
        (401, AuthenticationError, "API key"),
        (403, AuthenticationError, "API key"),
        (404, CollectionNotFound, "missing"),
        (413, EngineError, "refused"),
    ],
)
def test_lasting_failures_are_not_tried_again(
    script: Script,
    engine: ServerEngine,
    quick: list[float],
    status: int,
    error: type[Exception],
    message: str,
) -> None:
    script.add(status, {"status": {"error": "missing"}})
    with pytest.raises(error, match=message):
        engine.collections()
    assert len(script.requests) == 1
    assert quick == []


def test_the_server_says_how_long_to_wait(
    script: Script, engine: ServerEngine, quick: list[float]
) -> None:
    script.add(429, {"status": {"error": "rate limit"}}, Retry_After="7")
    script.add(200, COLLECTIONS)
    assert engine.collections() == ["a", "b"]
    assert 7 <= quick[0] < 12


def test_a_connection_cut_off_is_tried_again(quick: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        accepted = []

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                accepted.append(1)
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        client = QdrantClient(url=f"http://127.0.0.1:{port}", check_compatibility=False)
        with (
            ServerEngine(client, "there") as engine,
            pytest.raises(EngineUnavailable, match="no answer"),
        ):
            engine.collections()
    assert len(quick) == server_calls.ATTEMPTS - 1
    assert len(accepted) >= server_calls.ATTEMPTS


def created_as(script: Script) -> dict[str, Any]:
    """A collection as the server would describe it, with the metadata that the last PUT brought."""
    sent = next(body for (method, _, _), body in script.told if method == "PUT")
    return described({}, sent["metadata"])


ABSENT = {**OK, "result": {"exists": False}}
THERE = {"status": {"error": "Wrong input: Collection `c` already exists!"}}
DONE = {**OK, "result": True}


def test_a_creation_that_failed_for_now_is_tried_again(
    script: Script, engine: ServerEngine, quick: list[float]
) -> None:
    script.add(200, ABSENT)
    script.add(503, {"status": {"error": "busy"}})
    script.add(200, DONE)
    engine.create("c", {"v": 4})
    assert [method for method, _, _ in script.requests] == ["GET", "PUT", "PUT"]
    assert len(quick) == 1


@pytest.mark.parametrize("status", [409, 400])
def test_a_creation_whose_answer_was_lost_is_found_to_have_been_carried_out(
    script: Script, engine: ServerEngine, quick: list[float], status: int
) -> None:
    """The first attempt made the collection, and ended in an error all the same."""
    script.add(200, ABSENT)
    script.add(504, {"status": {"error": "timeout"}})
    script.add(status, THERE)
    script.add(200, lambda: created_as(script))
    engine.create("c", {"v": 4}, (), {"journal": {"writer": "me", "done": 0}})
    assert [method for method, _, _ in script.requests] == ["GET", "PUT", "PUT", "GET"]


def test_a_collection_that_another_made_meanwhile_is_not_taken_for_ours(
    script: Script, engine: ServerEngine, quick: list[float]
) -> None:
    def another() -> dict[str, Any]:
        answer = created_as(script)
        answer["result"]["config"]["metadata"] = {"xqg_journal": {"writer": "another", "done": 0}}
        return answer

    script.add(200, ABSENT)
    script.add(504, {"status": {"error": "timeout"}})
    script.add(409, THERE)
    script.add(200, another)
    with pytest.raises(CollectionExists, match="exists already"):
        engine.create("c", {"v": 4}, (), {"journal": {"writer": "me", "done": 0}})


def test_a_collection_that_is_there_at_the_first_attempt_is_not_ours(
    script: Script, engine: ServerEngine, quick: list[float]
) -> None:
    script.add(200, ABSENT)
    script.add(409, THERE)
    with pytest.raises(CollectionExists, match="exists already"):
        engine.create("c", {"v": 4}, (), {"journal": {"writer": "me"}})
    assert quick == []


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 12),
        ("2.5", 2.5, 7),
        ("-3", 0, 5),
        ("soon", 0, 5),
        (timedelta(seconds=20), 5, 25),  # from now on
        (timedelta(days=-1), 0, 5),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_heeded_however_it_is_written(
    script: Script,
    engine: ServerEngine,
    quick: list[float],
    status: int,
    value: str | timedelta,
    least: float,
    most: float,
) -> None:
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(UTC) + value, usegmt=True)
    script.add(status, {"status": {"error": "rate limit"}}, Retry_After=value)
    script.add(200, COLLECTIONS)
    assert engine.collections() == ["a", "b"]
    assert least <= quick[0] <= most


@pytest.mark.parametrize("value", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for(
    script: Script, engine: ServerEngine, quick: list[float], value: str
) -> None:
    script.add(429, {"status": {"error": "rate limit"}}, Retry_After=value)
    with pytest.raises(EngineUnavailable, match=r"429.*(3,600 s|2100)"):
        engine.collections()
    assert len(script.requests) == 1
    assert quick == []


def test_writing_is_waited_for_longer_than_reading(
    script: Script, engine: ServerEngine, quick: list[float]
) -> None:
    script.add(429, {"status": {"error": "rate limit"}}, Retry_After="40")
    script.add(200, DONE)
    engine.write_document("c", "journal", {"done": 1})
    assert 40 <= quick[0] <= 45
    script.answers = []
    script.add(429, {"status": {"error": "rate limit"}}, Retry_After="40")
    with pytest.raises(EngineUnavailable):
        engine.collections()


def test_a_collection_that_the_server_cannot_index_is_an_error(
    script: Script, engine: ServerEngine
) -> None:
    def red() -> dict[str, Any]:
        answer = created_as(script)
        answer["result"] |= {"status": "red", "optimizer_status": {"error": "no space left"}}
        return answer

    script.told.append((("PUT", "", {}), {"metadata": {}}))
    script.add(200, EXISTS)
    script.add(200, lambda: created_as(script))
    script.add(200, EXISTS)
    script.add(200, {**OK, "result": {"count": 1}})
    script.add(200, DONE)
    script.add(200, red)
    with pytest.raises(EngineError, match=r"cannot index 'c'.*no space left"):
        engine.optimize("c")


def test_connecting_is_tried_again_when_the_server_is_busy(
    script: Script, quick: list[float]
) -> None:
    script.add(503, {"status": {"error": "starting"}})
    script.add(200, COLLECTIONS)
    with ServerEngine.connect(script.url, grpc_port=9) as engine:  # type: ignore[attr-defined]
        assert engine.collections() == ["a", "b"]
    assert len(quick) == 1


def test_connecting_is_not_tried_again_when_nothing_listens(quick: list[float]) -> None:
    with pytest.raises(EngineUnavailable):
        ServerEngine.connect("http://127.0.0.1:9")
    assert quick == []


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, AuthenticationError),
        (grpc.StatusCode.PERMISSION_DENIED, AuthenticationError),
        (grpc.StatusCode.NOT_FOUND, CollectionNotFound),
        (grpc.StatusCode.UNAVAILABLE, EngineUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, EngineUnavailable),
        (grpc.StatusCode.INTERNAL, EngineUnavailable),
        (grpc.StatusCode.UNKNOWN, EngineUnavailable),
        (grpc.StatusCode.INVALID_ARGUMENT, EngineError),
    ],
)
def test_failures_over_grpc_become_the_same_errors(
    code: grpc.StatusCode, error: type[Exception]
) -> None:
    """A real gRPC server that fails every call with one code."""
    from concurrent.futures import ThreadPoolExecutor

    class Failing(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: context.abort(code, "the details")
            )

    rpc = grpc.server(ThreadPoolExecutor(2))
    rpc.add_generic_rpc_handlers((Failing(),))
    port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    try:
        client = QdrantClient(
            url="http://127.0.0.1:1", grpc_port=port, prefer_grpc=True, check_compatibility=False
        )
        with pytest.raises(error) as caught:
            server_calls.translated("there", client.get_collections)
        assert type(caught.value) is error
        assert server_calls._is_transient(caught.value.__cause__) == (error is EngineUnavailable)
        client.close()
    finally:
        rpc.stop(None)


def test_an_unreachable_server_is_named_with_a_way_to_start_one() -> None:
    with pytest.raises(EngineUnavailable, match=r"http://127\.0\.0\.1:9.*docker compose up"):
        open_engine("http://127.0.0.1:9")


def test_rest_is_used_where_grpc_does_not_answer(script: Script) -> None:
    script.add(200, COLLECTIONS)
    with ServerEngine.connect(script.url, grpc_port=9) as engine:  # type: ignore[attr-defined]
        assert engine.collections() == ["a", "b"]
        assert not engine._grpc


def test_a_server_that_is_too_old_is_refused(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROOT, "version", "1.15.5")
    script.add(200, COLLECTIONS)
    with pytest.raises(EngineUnavailable, match=r"1\.15\.5.*1\.16 or newer"):
        ServerEngine.connect(script.url)  # type: ignore[attr-defined]


def test_the_api_key_is_sent_and_never_told(script: Script) -> None:
    script.add(401, {"status": {"error": "Must provide an API key"}})
    with warnings.catch_warnings(), pytest.raises(AuthenticationError) as caught:
        warnings.simplefilter("error")  # over plain HTTP, but to this machine
        ServerEngine.connect(script.url, api_key="a-secret-key")  # type: ignore[attr-defined]
    sent = {name.lower(): value for name, value in script.requests[0][2].items()}
    assert sent["api-key"] == "a-secret-key"
    assert "a-secret-key" not in str(caught.value)
    assert "--api-key" in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://host", "qdrant://host", "http://", "http://h:port"])
def test_urls_that_lead_nowhere_are_refused(url: str) -> None:
    with pytest.raises((InputError, EngineUnavailable)):
        open_engine(url)


def test_batches_are_kept_under_the_request_cap(
    script: Script, engine: ServerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_REQUEST_BYTES", 2**20)
    script.add(200, {**OK, "result": {"operation_id": 1, "status": "completed"}})
    engine._shapes["c"] = Shape({"v": 4})
    vector = np.ones(4, np.float32)
    points = [
        Point(str(uuid.UUID(int=n + 1)), {"text": "ü" * 150_000}, {"v": vector}) for n in range(10)
    ]
    engine.upsert("c", points)
    lengths = [int(headers["Content-Length"]) for _, _, headers in script.requests]
    assert len(lengths) == 4  # three points of 300 kB each fit
    assert max(lengths) < 2**20


def test_a_point_that_no_server_takes_is_refused(engine: ServerEngine) -> None:
    engine._shapes["c"] = Shape({"v": 4})
    point = Point(str(uuid.UUID(int=1)), {"text": "x" * 31 * 2**20}, {"v": np.ones(4, np.float32)})
    with pytest.raises(InputError, match="32 MiB"):
        engine.upsert("c", [point])


def test_local_mode_in_a_folder_is_locked_and_keeps_its_documents(tmp_path: Path) -> None:
    with ServerEngine.local(tmp_path / "l") as engine:
        engine.create("c", {"v": 4}, (), {"manifest": {"a": 1}})
        with pytest.raises(CollectionLocked):
            ServerEngine.local(tmp_path / "l")
    with ServerEngine.local(tmp_path / "l") as again:
        assert again.read_document("c", "manifest") == {"a": 1}
