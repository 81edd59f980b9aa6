"""What is kept with a collection as targets: files of the embedded engine, metadata of a server."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.bad_input.fuzz.mutations import dump, spoil_bytes, spoil_json
from tests.bad_input.fuzz.oracle import (
    MISSING,
    Bad,
    Each,
    Object,
    anything,
    conform,
    decode,
    lang,
    parse,
    query_text,
    string,
    whole,
)
from tests.bad_input.fuzz.readers import Target, json_or_bytes
from tests.tiny import build_encoder
from xqg_qdrant import Client, Encoder, GeneratedQuery, Passage
from xqg_qdrant.engine.points import Point
from xqg_qdrant.engine.server import ServerEngine
from xqg_qdrant.loader.documents import read_lengths

_NAME = "c"
_encoders: dict[str, Encoder] = {}


def _encoder() -> Encoder:
    if not _encoders:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            _encoders["tiny"] = Encoder.load(build_encoder(Path(folder) / "tiny"), threads=1)
    return _encoders["tiny"]


_PASSAGES = [Passage("a", "The Nile."), Passage("b", "The Rhine.", metadata={"k": [1]})]
_QUERIES = [GeneratedQuery("a", "sw", "Mto?")]


def _build(client: Client) -> None:
    client.ingest(_NAME, _PASSAGES, _QUERIES, hybrid=True)


def _ways(client: Client) -> None:
    """All that reads what is kept with a collection."""
    client.info(_NAME)
    client.search(_NAME, "Mto?", lang="sw")
    read_lengths(client._engine, _NAME)  # as an ingest that writes does
    client.ingest(_NAME, _PASSAGES, _QUERIES, hybrid=True, dry_run=True)


def _documents() -> dict[str, Any]:
    with ServerEngine.local() as engine:
        client = Client(engine, encoder=_encoder())
        _build(client)
        keys = ("manifest", "journal", "statistics", "lexical")
        return {key: engine.read_document(_NAME, key) for key in keys}


_ORIGINAL = _documents()
_COUNT = whole(0, 2**53)
_unit = lambda v: isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1  # noqa: E731
_SCHEMAS: dict[str, Any] = {
    "manifest": Object(
        {
            "encoder": query_text,
            "encoder_fingerprint": lambda value: (
                value == _ORIGINAL["manifest"]["encoder_fingerprint"]
            ),
            "dimension": whole(16, 16),
            "similarity": lambda value: value == _ORIGINAL["manifest"]["similarity"],
            "layout": lambda value: value == "per-language",
            "alpha": _unit,
            "languages": [lang],
            "generator": lambda value: value in (MISSING, None, "") or query_text(value),
            "schema_version": lambda value: value == 1 and value is not True,
            "lexical": Object(
                {
                    "analyzer": string,
                    "ngram": whole(1, 2**31),
                    "k1": anything,
                    "b": _unit,
                },
                closed=True,
            ),
        },
        closed=True,
    ),
    "journal": Object(
        {
            "input": string,
            "batch_size": whole(1, 2**53),
            "total": _COUNT,
            "done": _COUNT,
            "created": lambda value: isinstance(value, bool),
            "complete": lambda value: isinstance(value, bool),
            "writer": lambda value: value is MISSING or isinstance(value, str),
        },
        closed=True,
    ),
    "statistics": Object({"queries": Each(string, _COUNT)}),
    "lexical": Object({"lengths": Each(string, lambda v: isinstance(v, int | float | str | bool))}),
}


class _Server:
    """One collection for all inputs, in local mode; documents are put back afterwards."""

    def __init__(self) -> None:
        self.engine = ServerEngine.local()
        self.client = Client(self.engine, encoder=_encoder())
        _build(self.client)

    def read(self, key: str) -> Callable[[Path], Iterable[Any]]:
        def read(folder: Path) -> Iterable[Any]:
            try:
                value = json.loads((folder / "document").read_bytes())
            except (ValueError, RecursionError):
                return ["no JSON is kept in metadata"]
            try:
                self._put(key, value)
                self.client._manifests.clear()
                _ways(self.client)
            finally:
                self._put(key, _ORIGINAL[key])
                self.client._manifests.clear()
            return ["read"]

        return read

    def _put(self, key: str, value: Any) -> None:
        # As it lies there: past the checks of write_document.
        self.engine._client.update_collection(_NAME, metadata={f"xqg_{key}": value})


_servers: list[_Server] = []


def _server() -> _Server:
    if not _servers:
        _servers.append(_Server())
    return _servers[0]


def _of_server(key: str) -> Target:
    def check(data: bytes) -> None:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return  # no server keeps it
        if key != "manifest" and not isinstance(value, dict):
            return  # as if it were not there, which is a state that every collection has had
        conform(value, _SCHEMAS[key])
        if key == "journal" and value["done"] > value["total"]:
            raise Bad("more is done than there is")

    def make(rng: random.Random) -> bytes:
        return dump(spoil_json(_ORIGINAL[key], rng))

    return Target(
        f"server: {key}", "document", make, lambda folder: _server().read(key)(folder), check
    )


def _checksum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _prepare_edge(folder: Path) -> None:
    with Client(folder / "kept", encoder=_encoder()) as client:
        _build(client)


def _read_edge(folder: Path) -> Iterable[Any]:
    """Open a copy of the folder, so that nothing an input does lasts."""
    copied = folder / "copy"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(folder / "kept", copied)
    with Client(copied, encoder=_encoder()) as client:
        _ways(client)
    return ["read"]


def _of_edge(key: str) -> Target:
    value = _ORIGINAL[key]
    sealed = dump({"sha256": _checksum(value), "value": value})

    def check(data: bytes) -> None:
        row = parse(decode(data))
        if not isinstance(row, dict) or row.get("value") != value:
            raise Bad("another value, or none")
        if row.get("sha256") != _checksum(row["value"]):
            raise Bad("another checksum")

    return Target(
        f"edge: {key}",
        f"kept/{_NAME}/documents/{key}.json",
        lambda rng: spoil_bytes(sealed, rng),
        _read_edge,
        check,
        _prepare_edge,
    )


_DESCRIPTION = {
    "dimensions": {"passage": 16, "fused-sw": 16},
    "multivectors": [],
    "sparse": ["bm25"],
}


def _check_description(data: bytes) -> None:
    row = parse(decode(data))
    conform(
        row,
        Object(
            {
                "dimensions": Object({"passage": whole(16, 16), "fused-sw": whole(16, 16)}),
                "sparse": lambda value: isinstance(value, list) and "bm25" in value,
            }
        ),
    )


_PAYLOAD = {
    "passage_id": "p",
    "title": "T",
    "text": "The Nile.",
    "lang": "en",
    "queries": [{"lang": "sw", "text": "x", "score": 0.5}],
    "metadata": {"k": 1},
}


def _read_foreign_points(folder: Path) -> Iterable[Any]:
    """Search among points that others have put into a collection of ours."""
    try:
        payload = json.loads((folder / "payload").read_bytes())
    except (ValueError, RecursionError):
        return ["no JSON is a payload"]
    if not isinstance(payload, dict) or not _encodable(payload):
        return ["no payload"]
    server = _server()
    vectors = {
        name: vector
        for point in server.engine.scroll(_NAME, with_vectors=True)
        if point.payload["passage_id"] == "a"
        for name, vector in point.vectors.items()
    }
    point = Point("00000000-0000-0000-0000-000000000009", payload, vectors)
    try:
        server.engine._upsert(_NAME, [point])
        hits = server.client.search(_NAME, "Mto?", lang="sw")
        return [repr(hit) for hit in hits]
    finally:
        server.engine._client.delete(_NAME, points_selector=[point.id])


def _encodable(payload: Any) -> bool:
    """Whether a server could have been sent it at all."""
    try:
        return bool(json.dumps(payload, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return False


def _complete(folder: Path) -> Iterable[Any]:
    """Read a completion of an endpoint."""
    from openai.types.chat import ChatCompletion

    from xqg_qdrant.queries.answers import read_answer

    try:
        value = json.loads((folder / "completion").read_bytes())
    except (ValueError, RecursionError):
        return ["no JSON"]
    answer = read_answer(ChatCompletion.construct(**value) if isinstance(value, dict) else value)
    if answer.queries is not None and not all(isinstance(each, str) for each in answer.queries):
        raise Bad("queries that are none")
    return [answer]


_COMPLETION = {
    "id": "1",
    "choices": [
        {
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": '{"queries": ["a", "b", 5e3, 99]}'},
        }
    ],
    "usage": {"prompt_tokens": 1},
}


def _valid_anyway(data: bytes) -> None:
    """Nothing is promised but that it ends well."""


def _distinct(make: Callable[[Any], bytes], value: Any) -> Callable[[random.Random], bytes]:
    return lambda rng: make(spoil_json(value, rng))


TARGETS = [
    *(_of_server(key) for key in _ORIGINAL),
    *(_of_edge(key) for key in _ORIGINAL),
    Target(
        "edge: description",
        f"kept/{_NAME}/collection.json",
        json_or_bytes(_DESCRIPTION, dump),
        _read_edge,
        _check_description,
        _prepare_edge,
    ),
    Target(
        "points of others",
        "payload",
        _distinct(dump, _PAYLOAD),
        _read_foreign_points,
        _valid_anyway,
    ),
    Target(
        "answers of endpoints", "completion", _distinct(dump, _COMPLETION), _complete, _valid_anyway
    ),
]
