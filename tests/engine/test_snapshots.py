"""A server's own snapshots, and aliases: the requests that are made, and what answers lead to.

A small HTTP server gives recorded answers; no Qdrant is imitated. Where ``QDRANT_URL`` is set,
the same is done on that server.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from xqg_qdrant import Client, Encoder, Passage
from xqg_qdrant.engine import open_engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.server import ServerEngine
from xqg_qdrant.engine.snapshots import Snapshots
from xqg_qdrant.errors import (
    AuthenticationError,
    CollectionExists,
    EngineError,
    EngineUnavailable,
    InputError,
)

KEY = "a-secret-key"
DATA = bytes(range(256)) * 9_000
MADE = {"name": "c-1.snapshot", "size": len(DATA), "checksum": hashlib.sha256(DATA).hexdigest()}
SNAPSHOTS = "/collections/c/snapshots"


class Answers:
    """By method and path; and the requests that came."""

    def __init__(self) -> None:
        self.url = ""
        self.by_request: dict[tuple[str, str], tuple[int, bytes]] = {}
        self.requests: list[tuple[str, str, bytes, str | None]] = []

    def give(self, method: str, path: str, result: Any, status: int = 200) -> None:
        if not isinstance(result, bytes):
            field = {"result": result} if status == 200 else {"status": {"error": result}}
            result = json.dumps({"status": "ok", "time": 0.0, **field}).encode()
        self.by_request[method, path] = (status, result)


@pytest.fixture
def answers() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answers.requests.append((self.command, self.path, body, self.headers.get("api-key")))
            path = self.path.partition("?")[0]
            status, data = answers.by_request.get((self.command, path), (404, b"{}"))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    answers.url = f"http://127.0.0.1:{http.server_port}"
    yield answers
    http.shutdown()
    http.server_close()


@pytest.fixture
def engine(answers: Answers) -> Iterator[ServerEngine]:
    with pytest.warns(UserWarning, match="insecure"):
        client = QdrantClient(url=answers.url, api_key=KEY, check_compatibility=False)
    with ServerEngine(client, answers.url) as opened:
        yield opened


def _snapshot(answers: Answers, **made: Any) -> None:
    answers.give("GET", "/collections/c/cluster", {"remote_shards": []})
    answers.give("POST", SNAPSHOTS, MADE | made)
    answers.give("GET", f"{SNAPSHOTS}/c-1.snapshot", DATA)
    answers.give("DELETE", f"{SNAPSHOTS}/c-1.snapshot", True)


def test_a_snapshot_is_made_fetched_and_removed_again(
    answers: Answers, engine: ServerEngine, tmp_path: Path
) -> None:
    _snapshot(answers)
    path = tmp_path / "c.snapshot"
    told: list[tuple[int, int]] = []
    with Snapshots(engine) as snapshots:
        digest = snapshots.download("c", path, lambda *each: told.append(each))
    assert path.read_bytes() == DATA
    assert digest == MADE["checksum"]
    assert told[-1] == (len(DATA), len(DATA))
    assert [request[:2] for request in answers.requests] == [
        ("GET", "/collections/c/cluster"),
        ("POST", f"{SNAPSHOTS}?wait=true"),
        ("GET", f"{SNAPSHOTS}/c-1.snapshot"),
        ("DELETE", f"{SNAPSHOTS}/c-1.snapshot?wait=true"),
    ]
    assert {request[3] for request in answers.requests} == {KEY}


BAD: dict[str, tuple[Callable[[Answers], None], type[Exception], str]] = {
    "another checksum": (
        lambda answers: _snapshot(answers, checksum="0" * 64),
        EngineError,
        "not what the server",
    ),
    "cut off": (
        lambda answers: _snapshot(answers, size=len(DATA) + 1),
        EngineError,
        "not what the server",
    ),
    "several nodes": (
        lambda answers: answers.give("GET", "/collections/c/cluster", {"remote_shards": [{}]}),
        EngineError,
        "several nodes",
    ),
    "no room": (
        lambda answers: answers.give("POST", SNAPSHOTS, "No space left on device", status=500),
        EngineUnavailable,
        "No space left",
    ),
    "no such file": (
        lambda answers: answers.give("GET", f"{SNAPSHOTS}/c-1.snapshot", "gone", status=404),
        Exception,
        "gone",
    ),
    "wrong key": (
        lambda answers: answers.give("GET", "/collections/c/cluster", "no", status=401),
        AuthenticationError,
        "API key",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_snapshot_that_fails_leaves_no_file(
    answers: Answers, engine: ServerEngine, tmp_path: Path, case: str
) -> None:
    change, kind, message = BAD[case]
    _snapshot(answers)
    change(answers)
    with Snapshots(engine) as snapshots, pytest.raises(kind, match=message) as caught:
        snapshots.download("c", tmp_path / "c.snapshot")
    assert KEY not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_that_cannot_be_removed_is_no_failure(
    answers: Answers, engine: ServerEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _snapshot(answers)
    answers.give("DELETE", f"{SNAPSHOTS}/c-1.snapshot", "busy", status=500)
    with Snapshots(engine) as snapshots:
        snapshots.download("c", tmp_path / "c.snapshot")
    assert "c-1.snapshot is left on the server" in caplog.text


def test_a_snapshot_is_sent_with_its_hash(
    answers: Answers, engine: ServerEngine, tmp_path: Path
) -> None:
    answers.give("POST", f"{SNAPSHOTS}/upload", True)
    path = tmp_path / "c.snapshot"
    path.write_bytes(DATA)
    with Snapshots(engine) as snapshots:
        snapshots.upload(path, "c", hashlib.sha256(DATA).hexdigest())
        ((method, url, body, key),) = answers.requests
        assert (method, key) == ("POST", KEY)
        assert url == (
            f"{SNAPSHOTS}/upload?wait=true&priority=snapshot&checksum={MADE['checksum']}"
        )
        assert DATA in body
        assert b'name="snapshot"; filename="c.snapshot"' in body
        with pytest.raises(InputError, match="cannot be read"):
            snapshots.upload(tmp_path / "absent", "c", MADE["checksum"])


def test_other_engines_have_none(tmp_path: Path) -> None:
    with ServerEngine.local() as local, EdgeEngine(tmp_path / "e") as edge:
        for engine in (local, edge):
            for call in (
                lambda client: client.backup("c", tmp_path / "f", native=True),
                lambda client: client.restore(tmp_path / "f", "c", native=True),
            ):
                with pytest.raises(InputError, match="leave --native"):
                    call(Client(engine))


def test_aliases_change_in_one_request(answers: Answers, engine: ServerEngine) -> None:
    """The new name first, then the one that moves: were the server to stop between, none is lost.

    See https://qdrant.tech/documentation/concepts/collections/#switch-collection.
    """
    held = [
        {"alias_name": "c", "collection_name": "c-1"},
        {"alias_name": "old", "collection_name": "x"},
    ]
    answers.give("GET", "/aliases", {"aliases": held})
    answers.give("POST", "/collections/aliases", True)
    assert engine.resolve("c") == "c-1"
    assert engine.resolve("d") == "d"
    answers.requests.clear()
    engine.change_aliases({"c": "c-2", "c.previous": "c-1", "old": None, "absent": None})
    (body,) = [json.loads(each[2]) for each in answers.requests if each[0] == "POST"]
    assert body == {
        "actions": [
            {"create_alias": {"collection_name": "c-1", "alias_name": "c.previous"}},
            {"delete_alias": {"alias_name": "c"}},
            {"create_alias": {"collection_name": "c-2", "alias_name": "c"}},
            {"delete_alias": {"alias_name": "old"}},
        ]
    }


def test_a_collection_is_deleted_by_its_own_name_not_by_the_alias(
    answers: Answers, engine: ServerEngine
) -> None:
    """A server asked to delete an alias answers that it did nothing."""
    alias = [{"alias_name": "c", "collection_name": "c-1"}]
    answers.give("GET", "/aliases", {"aliases": alias})
    answers.give("GET", "/collections/c/exists", {"exists": True})
    answers.give("DELETE", "/collections/c-1", True)
    engine.delete("c")
    assert "/collections/c-1" in [each[1].partition("?")[0] for each in answers.requests]


def test_a_key_that_may_not_list_aliases_can_search(answers: Answers, engine: ServerEngine) -> None:
    answers.give("GET", "/aliases", "forbidden", status=403)
    assert engine.resolve("c") == "c"


def test_a_round_trip_on_a_real_server(tiny_encoder: Encoder, tmp_path: Path) -> None:
    url = os.environ.get("QDRANT_URL")
    if not url:
        pytest.skip("needs a Qdrant server: set QDRANT_URL, docker-compose.yml starts one")
    name = f"native-{uuid.uuid4().hex[:12]}"
    with open_engine(url, api_key=os.environ.get("QDRANT_API_KEY")) as engine:
        before = set(engine.collections())
        try:
            client = Client(engine, encoder=tiny_encoder)
            client.ingest(name, [Passage(f"p{n}", f"text {n}") for n in range(20)], replace=True)
            hits = client.search(name, "text 3", exact=True)
            client.backup(name, tmp_path, native=True)
            path = tmp_path / f"{name}.snapshot"
            with pytest.raises(CollectionExists):
                client.restore(path, name, native=True)
            assert client.restore(path, f"{name}-r", native=True).points == 20
            assert client.search(f"{name}-r", "text 3", exact=True) == hits
            replaced = client.restore(path, name, native=True, replace=True)
            assert replaced.previous == f"{name}.previous"
            assert client.search(name, "text 3", exact=True) == hits
        finally:
            for each in set(engine.collections()) - before:
                engine.delete(each)
