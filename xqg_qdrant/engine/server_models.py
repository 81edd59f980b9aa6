"""Our shapes, points, vectors and conditions in qdrant-client's models, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from xqg_qdrant.engine.filters import Condition, Scalar
from xqg_qdrant.engine.points import Point, ScoredPoint
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.engine.vectors import AnyVector, Shape
from xqg_qdrant.lexical import SparseVector


def to_vectors_config(shape: Shape, storage: Storage) -> dict[str, models.VectorParams]:
    """The dense vectors of a collection to make."""
    rows = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    return {
        name: models.VectorParams(
            size=size,
            distance=models.Distance.DOT,
            multivector_config=rows if name in shape.multivectors else None,
            on_disk=storage.on_disk,
        )
        for name, size in shape.dimensions.items()
    }


def to_sparse_config(shape: Shape) -> dict[str, models.SparseVectorParams]:
    """The sparse vectors of a collection to make."""
    return {name: models.SparseVectorParams(modifier=models.Modifier.IDF) for name in shape.sparse}


def to_quantization(storage: Storage) -> models.ScalarQuantization:
    """Of all dense vectors of a collection; a server never applies it to sparse ones."""
    return models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, always_ram=storage.on_disk
        )
    )


def to_search_params(storage: Storage, *, exact: bool) -> models.SearchParams:
    """How to search; with quantised vectors only to find what the vectors themselves score."""
    return models.SearchParams(
        hnsw_ef=storage.hnsw_ef,
        exact=exact,
        quantization=models.QuantizationSearchParams(
            ignore=exact or storage.rescoring is None,
            rescore=True,
            oversampling=storage.rescoring,
        ),
    )


def from_params(params: Any) -> Shape:
    """The shape of a collection from its parameters."""
    vectors = params.vectors if isinstance(params.vectors, dict) else {}
    return Shape(
        {name: each.size for name, each in vectors.items()},
        frozenset(name for name, each in vectors.items() if each.multivector_config is not None),
        frozenset(params.sparse_vectors or ()),
    )


def to_point(point: Point) -> models.PointStruct:
    """A point to write."""
    vectors: dict[str, Any] = {name: _to_vector(each) for name, each in point.vectors.items()}
    return models.PointStruct(id=point.id, vector=vectors, payload=dict(point.payload))


def from_record(record: models.Record) -> Point:
    """A point that was read."""
    named: dict[str, Any] = record.vector if isinstance(record.vector, dict) else {}
    vectors: dict[str, AnyVector] = {}
    for name, vector in named.items():
        if isinstance(vector, models.SparseVector):
            vectors[name] = SparseVector(
                np.array(vector.indices, dtype=np.uint32), np.array(vector.values, dtype=np.float32)
            )
        else:
            vectors[name] = np.asarray(vector, dtype=np.float32)
    return Point(id=str(record.id), payload=record.payload or {}, vectors=vectors)


def to_query(
    vector: AnyVector,
    using: str,
    *,
    limit: int,
    where: models.Filter | None,
    params: models.SearchParams | None,
    payload: bool,
) -> models.QueryRequest:
    """One question."""
    return models.QueryRequest(
        query=_to_vector(vector),
        using=using,
        limit=limit,
        filter=where,
        params=params,
        with_payload=payload,
    )


def from_scored(point: models.ScoredPoint) -> ScoredPoint:
    """A point found."""
    return ScoredPoint(str(point.id), point.score, point.payload or {})


def to_filter(where: Sequence[Condition]) -> models.Filter | None:
    """Conditions that all must hold."""
    if not where:
        return None
    must: list[Any] = []
    for condition in where:
        if condition.any_of:
            should: list[Any] = [_equal(condition.key, value) for value in condition.any_of]
            must.append(models.Filter(should=should))
        else:
            bounds = models.Range(**dict(condition.bounds))
            must.append(models.FieldCondition(key=condition.key, range=bounds))
    return models.Filter(must=must)


def _to_vector(vector: AnyVector) -> Any:
    if isinstance(vector, SparseVector):
        return models.SparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())
    return vector.tolist()


def _equal(key: str, value: Scalar) -> models.FieldCondition:
    if isinstance(value, float):
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))
