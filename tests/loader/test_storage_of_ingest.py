"""Storage settings on the way in: kept by the first ingest, asked of the later ones."""

from __future__ import annotations

from typing import Any

import pytest

from tests.loader.test_ingestion import passages, queries
from xqg_qdrant import Client, Encoder, Storage
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.errors import (
    CollectionMismatch,
    EngineUnavailable,
    InputError,
    PartialIngest,
    UnfinishedIngest,
)
from xqg_qdrant.loader import IngestReport, ingest

SMALL = Storage(quantization="int8", hnsw_m=8)


def _ingest(engine: Engine, encoder: Encoder, **settings: Any) -> IngestReport:
    return ingest(engine, "c", passages(), queries(), encoder=encoder, **settings)


def test_settings_are_kept_and_need_not_be_said_again(
    engine: Engine, tiny_encoder: Encoder
) -> None:
    _ingest(engine, tiny_encoder, storage=SMALL)
    _ingest(engine, tiny_encoder)
    _ingest(engine, tiny_encoder, storage=Storage(hnsw_m=8))
    assert Client(engine).info("c").storage == SMALL.resolved()


@pytest.mark.parametrize("dry_run", [False, True])
def test_other_settings_are_refused_and_named(
    engine: Engine, tiny_encoder: Encoder, dry_run: bool
) -> None:
    _ingest(engine, tiny_encoder, storage=SMALL)
    other = Storage(quantization="none", hnsw_ef=64)
    with pytest.raises(CollectionMismatch, match=r"quantization \('int8', now 'none'\), hnsw_ef"):
        _ingest(engine, tiny_encoder, storage=other, dry_run=dry_run)
    assert engine.storage("c") == SMALL.resolved()


def test_settings_are_checked_before_the_input_is_read(
    engine: Engine, tiny_encoder: Encoder
) -> None:
    def unread() -> Any:
        raise AssertionError("read")
        yield

    with pytest.raises(InputError, match="hnsw_m"):
        ingest(engine, "c", unread(), encoder=tiny_encoder, storage=Storage(hnsw_m=-1))
    with pytest.raises(InputError, match="give a Storage"):
        ingest(engine, "c", unread(), encoder=tiny_encoder, storage="int8")  # type: ignore[arg-type]
    if isinstance(engine, EdgeEngine):
        with pytest.raises(InputError, match="shards: the embedded engine is one shard"):
            ingest(engine, "c", unread(), encoder=tiny_encoder, storage=Storage(shards=2))
    assert engine.collections() == []


def test_a_run_begun_again_may_have_other_settings(
    engine: Engine, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise EngineUnavailable("cut off")

    with monkeypatch.context() as patched:
        patched.setattr(engine, "optimize", fail)
        with pytest.raises(PartialIngest):
            _ingest(engine, tiny_encoder, storage=SMALL)
    with pytest.raises(UnfinishedIngest, match=r"hnsw_m \(8, now 16\)"):
        _ingest(engine, tiny_encoder, storage=Storage(hnsw_m=16))
    report = _ingest(engine, tiny_encoder, storage=Storage(hnsw_m=16), restart=True)
    assert report.points == 10
    assert engine.storage("c").hnsw_m == 16


def test_dense_vectors_and_multivectors_are_quantised_and_searched(tiny_encoder: Encoder) -> None:
    eager = Storage(quantization="int8", indexing_threshold=1)
    for layout in ("per-language", "multivector"):
        with Client(":memory:", encoder=tiny_encoder) as client:
            client.ingest(
                "c",
                [passage for _, passage in passages(60)],
                [query for _, query in queries(60)],
                layout=layout,
                hybrid=True,
                storage=eager,
            )
            assert client.info("c").indexed, layout
            for hybrid in (False, True):
                found = client.search("c", "sw question 1 of 5", lang="sw", hybrid=hybrid)
                exact = client.search(
                    "c", "sw question 1 of 5", lang="sw", hybrid=hybrid, exact=True
                )
                assert [round(hit.score, 3) for hit in found] == [
                    round(hit.score, 3) for hit in exact
                ], layout
