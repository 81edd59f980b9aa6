"""Our shapes, points, vectors and conditions in Qdrant Edge's own classes, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import qdrant_edge as edge

from xqg_qdrant.corpus.checks import check_whole
from xqg_qdrant.engine.filters import Condition, Scalar
from xqg_qdrant.engine.points import Point, ScoredPoint
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.engine.vectors import MAX_DIMENSION, AnyVector, Shape
from xqg_qdrant.lexical import SparseVector

_FULL_SCAN_KB = 10_000


def to_config(shape: Shape, storage: Storage, *, quantized: bool) -> edge.EdgeConfig:
    """The configuration of a shard; Edge keeps it, and takes on another one when loading."""
    memory = edge.Memory.Cold if storage.on_disk else None
    scalar = edge.ScalarQuantizationConfig(
        edge.ScalarType.Int8, memory=edge.Memory.Pinned if storage.on_disk else None
    )
    rows = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
    return edge.EdgeConfig(
        vectors={
            name: edge.EdgeVectorParams(
                size=size,
                distance=edge.Distance.Dot,
                multivector_config=rows if name in shape.multivectors else None,
                quantization_config=scalar if quantized else None,
                memory=memory,
            )
            for name, size in shape.dimensions.items()
        },
        sparse_vectors={
            name: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf) for name in shape.sparse
        },
        hnsw_config=edge.HnswIndexConfig(
            m=storage.hnsw_m or 0,
            ef_construct=storage.hnsw_ef_construct or 0,
            full_scan_threshold=_FULL_SCAN_KB,
        ),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=storage.indexing_threshold),
    )


def to_point(point: Point) -> edge.Point:
    """A point to write."""
    vectors: dict[str, Any] = {name: _to_vector(each) for name, each in point.vectors.items()}
    return edge.Point(point.id, vectors, dict(point.payload))


def from_record(record: Any) -> Point:
    """A point that was read."""
    named = record.vector if isinstance(record.vector, dict) else {}
    vectors: dict[str, AnyVector] = {}
    for name, vector in named.items():
        if isinstance(vector, edge.SparseVector):
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
    where: edge.Filter | None,
    params: edge.SearchParams,
    payload: bool,
) -> edge.QueryRequest:
    """One question."""
    return edge.QueryRequest(
        query=edge.Query.Nearest(_to_vector(vector), using=using),
        limit=limit,
        filter=where,
        params=params,
        with_payload=payload,
    )


def to_params(storage: Storage, *, exact: bool) -> edge.SearchParams:
    """How to search; with quantised vectors only to find what the vectors themselves score."""
    return edge.SearchParams(
        hnsw_ef=storage.hnsw_ef,
        exact=exact,
        quantization=edge.QuantizationSearchParams(
            ignore=exact or storage.rescoring is None,
            rescore=True,
            oversampling=storage.rescoring,
        ),
    )


def from_scored(point: Any) -> ScoredPoint:
    """A point found."""
    return ScoredPoint(str(point.id), point.score, point.payload or {})


def to_filter(where: Sequence[Condition]) -> edge.Filter | None:
    """Conditions that all must hold."""
    if not where:
        return None
    must: list[Any] = []
    for condition in where:
        if condition.any_of:
            must.append(edge.Filter(should=[_equal(condition.key, v) for v in condition.any_of]))
        else:
            bounds = edge.RangeFloat(**dict(condition.bounds))
            must.append(edge.FieldCondition(condition.key, range=bounds))
    return edge.Filter(must=must)


def to_description(shape: Shape) -> dict[str, Any]:
    """A shape as JSON."""
    return {
        "dimensions": dict(shape.dimensions),
        "multivectors": sorted(shape.multivectors),
        "sparse": sorted(shape.sparse),
    }


def from_description(row: Mapping[str, Any]) -> Shape:
    """A shape from JSON; collections of before there were others have dense vectors alone.

    Raises:
        KeyError, AttributeError, TypeError, ValueError, InputError: it is none.
    """
    sizes = row["dimensions"]
    shape = Shape(
        {str(name): check_whole(size, name, 1, MAX_DIMENSION) for name, size in sizes.items()},
        frozenset(_names(row, "multivectors")),
        frozenset(_names(row, "sparse")),
    )
    shape.check()
    return shape


def _names(row: Mapping[str, Any], field: str) -> list[str]:
    names = row.get(field, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{field} is no list of names")
    return names


def _to_vector(vector: AnyVector) -> Any:
    if isinstance(vector, SparseVector):
        return edge.SparseVector(vector.indices.tolist(), vector.values.tolist())
    # Edge reads a buffer three times as fast as an array, number by number.
    array: Any = vector
    return memoryview(array) if array.ndim == 1 else [memoryview(row) for row in array]


def _equal(key: str, value: Scalar) -> edge.FieldCondition:
    if isinstance(value, bool):
        # A Python bool becomes the integer 1 and matches nothing; numpy's stays a bool.
        return edge.FieldCondition(key, match=edge.MatchValue(np.bool_(value)))  # type: ignore[arg-type]
    if isinstance(value, float):
        return edge.FieldCondition(key, range=edge.RangeFloat(gte=value, lte=value))
    return edge.FieldCondition(key, match=edge.MatchValue(value))
