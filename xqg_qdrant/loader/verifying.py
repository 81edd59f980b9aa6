"""Whether a collection that was just built holds what went into it, and finds it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xqg_qdrant.collection import CollectionManifest
from xqg_qdrant.corpus.staging import Augmented
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.filters import Condition
from xqg_qdrant.engine.points import Point
from xqg_qdrant.engine.vectors import AnyVector
from xqg_qdrant.errors import EngineError
from xqg_qdrant.lexical import SPARSE_VECTOR, SparseVector
from xqg_qdrant.models.encoder import Encoder, passage_text
from xqg_qdrant.searching import Asking

SAMPLE = 16
"""Passages that are looked for."""

_HITS = 10
_SAME_SCORE = 1e-3
_SAME_VECTOR = 0.95
"""Cosine of a vector and of the same one encoded again; in int8, neighbours in a batch count."""


class Differing(EngineError):
    """A collection does not hold what went into it."""


def verify_sample(
    engine: Engine,
    name: str,
    manifest: CollectionManifest,
    encoder: Encoder,
    sample: Sequence[tuple[Augmented, Point]],
) -> None:
    """Look for passages of the input in the collection, exactly, and compare what is found.

    Each is asked for by its first generated query, or by its own text where it has none. It must
    be stored with the payload and (nearly) the vectors that it should have, score as its stored
    vector does, stand among the best hits unless so many score higher, and, in a hybrid
    collection, share terms with the question.

    Args:
        engine: where the collection is.
        name: of the collection.
        manifest: that it was built with.
        encoder: that it was built with.
        sample: passages, each with the point that it should be.

    Raises:
        Differing: something differs; the message names the passage.
    """
    texts = [
        each.queries[0].text if each.queries else passage_text(each.passage) for each, _ in sample
    ]
    languages = [each.queries[0].lang if each.queries else None for each, _ in sample]
    asking = Asking.of(
        manifest, name, augmented=True, alpha=None, weights=None, hybrid=manifest.hybrid
    )
    vectors, using = asking.dense(manifest, encoder.encode_queries(texts), languages)
    ranked = engine.search(name, vectors, using=using, limit=_HITS, exact=True)
    sparse = asking.sparse(manifest, texts, languages) if manifest.hybrid else []
    for row, (each, point) in enumerate(sample):
        passage = f"passage {each.passage.id!r}"
        stored = _stored(engine, name, point, passage)
        score = _score(vectors[row], stored.vectors[using[row]])
        slack = _SAME_SCORE * max(1.0, abs(score))
        own = [Condition("passage_id", any_of=(each.passage.id,))]
        (alone,) = engine.search(
            name, [vectors[row]], using=[using[row]], limit=_HITS, where=own, exact=True
        )
        if [hit.id for hit in alone] != [point.id] or abs(alone[0].score - score) > slack:
            raise Differing(f"{passage} is not found by its own id, or scores other than stored")
        hits = ranked[row]
        if point.id not in [hit.id for hit in hits] and (
            len(hits) < _HITS or hits[-1].score < score - slack
        ):
            raise Differing(f"{passage} is not among the hits that it scores higher than")
        if manifest.hybrid and len(sparse[row]):
            (lexical,) = engine.search(
                name, [sparse[row]], using=[SPARSE_VECTOR], limit=_HITS, where=own, exact=True
            )
            if [hit.id for hit in lexical] != [point.id]:
                raise Differing(f"{passage} is not found by its own words")


def _stored(engine: Engine, name: str, point: Point, passage: str) -> Point:
    """The point as the collection has it, which must be nearly the one given."""
    found = engine.scroll(name, with_vectors=True, batch_size=1, start=point.id)
    stored = next(iter(found), None)
    if stored is None or stored.id != point.id:
        raise Differing(f"{passage} is missing")
    if dict(stored.payload) != dict(point.payload):
        raise Differing(f"{passage} has another payload than it was loaded with")
    if stored.vectors.keys() != point.vectors.keys():
        raise Differing(f"{passage} has vectors {sorted(stored.vectors)}")
    for vector_name, vector in point.vectors.items():
        if not _alike(vector, stored.vectors[vector_name]):
            raise Differing(f"{passage} has another vector {vector_name!r} than it should")
    return stored


def _alike(one: AnyVector, other: AnyVector) -> bool:
    if isinstance(one, SparseVector) or isinstance(other, SparseVector):
        if not isinstance(one, SparseVector) or not isinstance(other, SparseVector):
            return False
        return bool(np.array_equal(np.sort(one.indices), np.sort(other.indices)))
    if one.shape != other.shape:
        return False
    product = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    if product == 0.0:
        return bool(np.array_equal(one, other))
    return float(np.sum(one * other)) / product >= _SAME_VECTOR


def _score(question: AnyVector, stored: AnyVector) -> float:
    """The dot product; with a multivector, that of its best row."""
    assert isinstance(question, np.ndarray)
    assert isinstance(stored, np.ndarray)
    return float(np.max(stored @ question))
