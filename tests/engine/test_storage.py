"""Storage settings: checked, kept with the collection, and searches as good as without them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient

from tests.engine.conftest import open_named
from xqg_qdrant.engine import storage as storage_module
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.points import Point
from xqg_qdrant.engine.server import ServerEngine
from xqg_qdrant.engine.storage import STORAGE, Storage
from xqg_qdrant.errors import CollectionMismatch, InputError, StorageError
from xqg_qdrant.lexical import SparseVector

DIMENSION = 24
POINTS = 300
NAME = f"storage-{uuid.uuid4().hex}"


def _points(number: int = POINTS) -> list[Point]:
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((20, DIMENSION))
    rows = (
        centres[np.arange(number) % 20] + 0.4 * rng.standard_normal((number, DIMENSION))
    ).astype(np.float32)
    many = rng.standard_normal((number, 3, DIMENSION)).astype(np.float32)
    return [
        Point(
            str(uuid.UUID(int=row + 1)),
            {"n": row},
            {
                "passage": rows[row],
                "rows": many[row],
                "bm25": SparseVector(np.uint32([row % 50, 100 + row % 7]), np.float32([1.0, 0.3])),
            },
        )
        for row in range(number)
    ]


def _load(engine: Engine, storage: Storage | None, number: int = POINTS) -> None:
    engine.create(
        NAME,
        {"passage": DIMENSION, "rows": DIMENSION},
        multivectors=["rows"],
        sparse=["bm25"],
        storage=storage,
    )
    points = _points(number)
    for start in range(0, number, 150):
        engine.upsert(NAME, points[start : start + 150])
    engine.optimize(NAME)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quantization", "int4"),
        ("quantization", 8),
        ("oversampling", 1.5),
        ("oversampling", 65),
        ("oversampling", float("nan")),
        ("oversampling", True),
        ("oversampling", "3"),
        ("on_disk", 1),
        ("on_disk", "yes"),
        ("hnsw_m", -1),
        ("hnsw_m", 257),
        ("hnsw_m", 8.0),
        ("hnsw_m", True),
        ("hnsw_ef_construct", 3),
        ("hnsw_ef", 0),
        ("hnsw_ef", 10**30),
        ("indexing_threshold", 0),
        ("shards", 0),
        ("shards", "2"),
        ("replication_factor", 0),
        ("write_consistency_factor", -1),
    ],
)
def test_settings_that_are_not_possible_are_refused(
    tmp_path: Path, field: str, value: object
) -> None:
    wrong = Storage(**{field: value})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=field):
        wrong.check()
    with open_named("local", tmp_path) as engine, pytest.raises(InputError, match=field):
        engine.create(NAME, {"v": 4}, storage=wrong)


def test_more_confirmations_than_copies_are_refused() -> None:
    with pytest.raises(InputError, match="no write could be confirmed"):
        Storage(replication_factor=2, write_consistency_factor=3).check()
    Storage(replication_factor=3, write_consistency_factor=3).check()
    Storage(write_consistency_factor=2).check()  # the server's default may be anything


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Storage(shards=2), "shards: the embedded engine is one shard"),
        (Storage(replication_factor=1), "replication_factor"),
        (Storage(write_consistency_factor=1), "write_consistency_factor"),
    ],
)
def test_the_embedded_engine_has_no_cluster(tmp_path: Path, given: Storage, message: str) -> None:
    with EdgeEngine(tmp_path / "root") as engine:
        with pytest.raises(InputError, match=message):
            engine.create(NAME, {"v": 4}, storage=given)
        assert engine.collections() == []


def test_what_is_left_open_is_as_the_collection_has_it() -> None:
    kept = Storage(quantization="int8", hnsw_m=8).resolved()
    kept.require_same(Storage(), "c")
    kept.require_same(Storage(hnsw_m=8, hnsw_ef=512), "c")
    with pytest.raises(CollectionMismatch, match=r"quantization \('int8', now 'none'\), hnsw_m"):
        kept.require_same(Storage(quantization="none", hnsw_m=16), "c")
    with pytest.raises(CollectionMismatch, match=r"shards \(None, now 3\)"):
        kept.require_same(Storage(shards=3), "c")


@pytest.mark.parametrize("kind", ["edge", "local", "server"])
def test_settings_are_kept_with_the_collection(kind: str, tmp_path: Path) -> None:
    given = Storage(quantization="int8", on_disk=True, hnsw_m=24, oversampling=3.5)
    with open_named(kind, tmp_path) as engine:
        engine.create(NAME, {"v": 4}, storage=given)
        engine.create(f"{NAME}-2", {"v": 4})
        # As a copy of a collection to another engine makes it.
        engine.create(f"{NAME}-3", {"v": 4}, (), {STORAGE: given.to_json()})
        try:
            assert engine.storage(NAME) == given.resolved()
            assert engine.storage(f"{NAME}-2") == Storage().resolved()
            assert engine.storage(f"{NAME}-3") == given.resolved()
        finally:
            for suffix in ("", "-2", "-3"):
                engine.delete(f"{NAME}{suffix}")


def test_a_reopened_collection_has_its_settings(tmp_path: Path) -> None:
    given = Storage(quantization="int8", hnsw_ef=77)
    for open_again in (
        lambda: EdgeEngine(tmp_path / "edge"),
        lambda: ServerEngine.local(tmp_path / "local"),
    ):
        with open_again() as engine:
            engine.create(NAME, {"v": 4}, storage=given)
        with open_again() as engine:
            assert engine.storage(NAME) == given.resolved()


def test_a_collection_of_before_there_were_settings_is_not_quantised(tmp_path: Path) -> None:
    with EdgeEngine(tmp_path) as engine:
        _load(engine, None, 50)
        (tmp_path / NAME / "documents" / f"{STORAGE}.json").unlink()
    with EdgeEngine(tmp_path) as engine:
        assert engine.storage(NAME).quantization == "none"
        assert engine.search(NAME, [np.ones(DIMENSION, np.float32)], using=["passage"])[0]


@pytest.mark.parametrize("value", [{"hnsw_m": -4}, {"colour": "blue"}, {"on_disk": "no"}])
def test_damaged_settings_are_told(tmp_path: Path, value: dict[str, Any]) -> None:
    with EdgeEngine(tmp_path) as engine:
        engine.create(NAME, {"v": 4})
        engine.write_document(NAME, STORAGE, value)
        with pytest.raises(StorageError, match=f"storage settings of collection '{NAME}'"):
            engine.search(NAME, [np.ones(4, np.float32)], using=["v"])


SETTINGS = {
    "plain": Storage(quantization="none", indexing_threshold=1),
    "int8": Storage(quantization="int8", indexing_threshold=1),
    "own graph, on disk": Storage(
        quantization="int8",
        on_disk=True,
        hnsw_m=8,
        hnsw_ef_construct=50,
        hnsw_ef=256,
        indexing_threshold=1,
    ),
    "not indexed": Storage(quantization="int8"),
}


def _quantised(root: Path) -> set[str]:
    """Names of the vectors of which the shard holds quantised copies."""
    return {path.parent.name for path in (root / NAME / "shard").glob("segments/*/*/quantized*")}


@pytest.mark.parametrize("case", SETTINGS)
@pytest.mark.parametrize("kind", ["edge", "local", "server"])
def test_hits_and_scores_are_those_of_the_vectors(kind: str, case: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    points = _points()
    # Close to points, so that candidates differ by less than int8 rounds.
    questions = [
        (points[row].vectors["passage"] + 0.1 * rng.standard_normal(DIMENSION)).astype(np.float32)  # type: ignore[operator]
        for row in range(0, 200, 10)
    ]
    sparse = SparseVector(np.uint32([3, 101]), np.float32([1.0, 1.0]))
    passages = np.stack([point.vectors["passage"] for point in points])  # type: ignore[arg-type]
    rows = np.stack([point.vectors["rows"] for point in points])  # type: ignore[arg-type]
    with open_named(kind, tmp_path) as engine:
        try:
            _load(engine, SETTINGS[case])
            for using, scores in (
                ("passage", passages @ np.stack(questions).T),
                ("rows", (rows @ np.stack(questions).T).max(axis=1)),
            ):
                names = [using] * len(questions)
                exact = engine.search(NAME, questions, using=names, exact=True)
                found = engine.search(NAME, questions, using=names)
                kept = 0
                for number, (hits, truth) in enumerate(zip(found, exact, strict=True)):
                    best = np.sort(scores[:, number])[::-1][:10]
                    np.testing.assert_allclose([hit.score for hit in truth], best, rtol=1e-4)
                    for hit in hits:  # scored by the vector itself, not by its int8 shadow
                        own = scores[hit.payload["n"], number]
                        assert hit.score == pytest.approx(own, rel=1e-4)
                    kept += len({hit.id for hit in hits} & {hit.id for hit in truth})
                assert kept / len(questions) >= 9.5
            (lexical,) = engine.search(NAME, [sparse], using=["bm25"], limit=POINTS)
            expected = sum(point % 50 == 3 or point % 7 == 1 for point in range(POINTS))
            assert len(lexical) == expected
            if isinstance(engine, EdgeEngine):
                indexed = SETTINGS[case].indexing_threshold is not None
                assert (engine.info(NAME).indexed >= 2 * POINTS) == indexed
                names = _quantised(engine.root)
                assert len(names) == (2 if indexed and case != "plain" else 0), names
                assert not any("bm25" in name for name in names)
        finally:
            if engine.exists(NAME):
                engine.delete(NAME)


def test_auto_quantises_above_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "QUANTIZE_FROM", 250)
    with EdgeEngine(tmp_path) as engine:
        _load(engine, Storage(indexing_threshold=1), 249)
        assert not _quantised(tmp_path)
        engine.upsert(NAME, _points()[249:])
        engine.optimize(NAME)
        assert len(_quantised(tmp_path)) == 2
    with EdgeEngine(tmp_path) as engine:  # and stays so
        engine.upsert(NAME, _points()[:50])
        engine.optimize(NAME)
        assert len(_quantised(tmp_path)) == 2
        assert engine.count(NAME) == POINTS


class Recorded:
    """Requests as they leave the client; the answers are those of a server, word for word."""

    def __init__(self, points: int) -> None:
        self.points = points
        self.bodies: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        path = request.url.path
        self.bodies[f"{request.method} {path}"] = body
        result: Any = True
        if path.endswith("/exists"):
            result = {"exists": request.url.path.count("new") == 0}
        elif path.endswith("/points/count"):
            result = {"count": self.points}
        elif path.endswith("/points/query/batch"):
            result = [{"points": []}] * len(body["searches"])
        elif request.method == "GET":
            result = {
                "status": "green",
                "optimizer_status": "ok",
                "points_count": self.points,
                "segments_count": 1,
                "payload_schema": {},
                "config": {
                    "params": {"vectors": {"v": {"size": 4, "distance": "Dot"}}},
                    "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
                    "optimizer_config": {
                        "deleted_threshold": 0.2,
                        "vacuum_min_vector_number": 1000,
                        "default_segment_number": 0,
                        "flush_interval_sec": 5,
                    },
                    "metadata": self.metadata,
                },
            }
        return httpx.Response(200, json={"status": "ok", "time": 0.0, "result": result})


def _recorded(points: int = 0) -> tuple[Recorded, ServerEngine]:
    recorded = Recorded(points)
    client = QdrantClient(
        url="http://recorded:6333",
        check_compatibility=False,
        transport=httpx.MockTransport(recorded),
    )
    return recorded, ServerEngine(client, "http://recorded:6333")


def test_a_server_is_told_all_settings() -> None:
    recorded, engine = _recorded()
    given = Storage(
        quantization="int8",
        on_disk=True,
        hnsw_m=32,
        hnsw_ef_construct=200,
        shards=6,
        replication_factor=2,
        write_consistency_factor=2,
    )
    with engine:
        engine.create("new", {"v": 4, "w": 8}, sparse=["bm25"], storage=given)
    body = recorded.bodies["PUT /collections/new"]
    assert (body["shard_number"], body["replication_factor"]) == (6, 2)
    assert body["write_consistency_factor"] == 2
    assert [vector["on_disk"] for vector in body["vectors"].values()] == [True, True]
    assert body["quantization_config"] == {"scalar": {"type": "int8", "always_ram": True}}
    assert body["hnsw_config"] == {"m": 32, "ef_construct": 200}
    assert body["optimizers_config"] == {"indexing_threshold": 0}  # put off until optimize
    assert body["metadata"]["xqg_storage"] == given.resolved().to_json()
    assert "quantization_config" not in body["sparse_vectors"]["bm25"]


def test_a_server_is_left_its_own_defaults() -> None:
    recorded, engine = _recorded()
    with engine:
        engine.create("new", {"v": 4})
    body = recorded.bodies["PUT /collections/new"]
    for key in ("shard_number", "replication_factor", "write_consistency_factor"):
        assert body.get(key) is None
    assert body.get("quantization_config") is None


@pytest.mark.parametrize(
    ("quantization", "points", "quantised"),
    [
        ("auto", storage_module.QUANTIZE_FROM - 1, False),
        ("auto", storage_module.QUANTIZE_FROM, True),
        ("int8", 1, True),
        ("none", 10**9, False),
    ],
)
def test_a_server_indexes_and_quantises_when_optimised(
    quantization: str, points: int, quantised: bool
) -> None:
    recorded, engine = _recorded(points)
    kept = Storage(quantization=quantization, indexing_threshold=123, hnsw_ef=99, oversampling=4.0)
    recorded.metadata = {"xqg_storage": kept.resolved().to_json()}
    with engine:
        engine.optimize("c")
        body = recorded.bodies["PATCH /collections/c"]
        assert body["optimizers_config"]["indexing_threshold"] == 123
        assert (body.get("quantization_config") is not None) == quantised
        for exact in (False, True):
            engine.search("c", [np.ones(4, np.float32)], using=["v"], exact=exact)
            params = recorded.bodies["POST /collections/c/points/query/batch"]["searches"][0][
                "params"
            ]
            assert (params["hnsw_ef"], params["exact"]) == (99, exact)
            asked = params["quantization"]
            assert asked["ignore"] == (exact or quantization == "none")
            if not asked["ignore"]:
                assert (asked["rescore"], asked["oversampling"]) == (True, 4.0)
