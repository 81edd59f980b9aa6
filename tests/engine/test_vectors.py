"""Sparse vectors, multivectors and hybrid search: the same on every engine, and as in numpy."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.filters import parse_filters
from xqg_qdrant.engine.points import Point
from xqg_qdrant.engine.vectors import AnyVector, Shape
from xqg_qdrant.errors import InputError
from xqg_qdrant.hybrid import fuse_rankings
from xqg_qdrant.lexical import SparseVector

DIMENSION = 8
POINTS = 240


def sparse(weights: dict[int, float]) -> SparseVector:
    return SparseVector(
        np.array(list(weights), dtype=np.uint32), np.array(list(weights.values()), np.float32)
    )


def _points(seed: int = 5) -> list[Point]:
    rng = np.random.default_rng(seed)
    points = []
    for row in range(POINTS):
        rows = rng.standard_normal((1 + row % 4, DIMENSION)).astype(np.float32)
        terms = rng.choice(60, size=6, replace=False) ** 5 + 7  # far apart, up to 2**30
        vectors: dict[str, AnyVector] = {
            "passage": rows[0],
            "rows": rows,
            "bm25": sparse({int(term): float(rng.uniform(0.2, 2.0)) for term in terms}),
        }
        payload = {"lang": "en" if row % 3 else "de", "n": row}
        points.append(Point(str(uuid.uuid5(uuid.NAMESPACE_URL, f"v{row}")), payload, vectors))
    return points


@pytest.fixture
def name(engine: Engine) -> str:
    engine.create(
        "vectors",
        {"passage": DIMENSION, "rows": DIMENSION},
        ("lang",),
        multivectors=["rows"],
        sparse=["bm25"],
    )
    for start in range(0, POINTS, 50):
        engine.upsert("vectors", _points()[start : start + 50])
    return "vectors"


def _by_terms(points: list[Point], question: SparseVector) -> dict[str, float]:
    """Every value of the question times the idf of its term, as Qdrant's modifier has it."""
    holds: dict[int, int] = {}
    for point in points:
        for index in point.vectors["bm25"].indices.tolist():  # type: ignore[union-attr]
            holds[index] = holds.get(index, 0) + 1
    scores: dict[str, float] = {}
    for point in points:
        vector: Any = point.vectors["bm25"]
        weights = dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))
        for index, value in zip(question.indices.tolist(), question.values.tolist(), strict=True):
            if index in weights:
                n = holds[index]
                idf = math.log(1 + (len(points) - n + 0.5) / (n + 0.5))
                scores[point.id] = scores.get(point.id, 0.0) + value * idf * weights[index]
    return scores


QUESTION = sparse({5**5 + 7: 1.0, 21**5 + 7: 1.0, 40**5 + 7: 0.5, 12: 1.0})


def _ranked(scores: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


@pytest.mark.parametrize("optimized", [False, True])
def test_sparse_scores_are_weighed_by_idf(engine: Engine, name: str, optimized: bool) -> None:
    if optimized:
        engine.optimize(name)
    (hits,) = engine.search(name, [QUESTION], using=["bm25"], limit=POINTS)
    expected = _ranked(_by_terms(_points(), QUESTION))
    assert {hit.id for hit in hits} == {point for point, _ in expected}
    np.testing.assert_allclose(
        [hit.score for hit in hits], [score for _, score in expected], rtol=1e-4
    )


def test_idf_is_that_of_the_collection_after_points_were_replaced(
    engine: Engine, name: str
) -> None:
    replaced = [Point(p.id, p.payload, p.vectors) for p in _points(seed=6)]
    engine.optimize(name)
    engine.upsert(name, replaced)
    engine.optimize(name)
    (hits,) = engine.search(name, [QUESTION], using=["bm25"], limit=POINTS)
    expected = _by_terms(replaced, QUESTION)
    assert {hit.id for hit in hits} == set(expected)
    for hit in hits:
        # Qdrant counts what was replaced until it is swept out of its segments.
        assert hit.score == pytest.approx(expected[hit.id], rel=0.15)


def test_a_multivector_is_scored_by_its_best_row(engine: Engine, name: str) -> None:
    question = np.random.default_rng(1).standard_normal(DIMENSION).astype(np.float32)
    (hits,) = engine.search(name, [question], using=["rows"], limit=20, exact=True)
    scores = {p.id: float((p.vectors["rows"] @ question).max()) for p in _points()}  # type: ignore[operator]
    expected = _ranked(scores)[:20]
    assert [hit.id for hit in hits] == [point for point, _ in expected]
    np.testing.assert_allclose([h.score for h in hits], [s for _, s in expected], rtol=1e-4)


@pytest.mark.parametrize("where", [(), tuple(parse_filters(None, ["de"]))])
def test_hybrid_search_fuses_both_rankings(engine: Engine, name: str, where: Any) -> None:
    questions = list(np.random.default_rng(2).standard_normal((3, DIMENSION)).astype(np.float32))
    nothing = sparse({12: 1.0})
    empty = SparseVector(np.array([], np.uint32), np.array([], np.float32))
    found = engine.search_hybrid(
        name,
        questions,
        [QUESTION, nothing, empty],
        perfect=[float(question @ question) for question in questions],
        using=["passage"] * 3,
        sparse="bm25",
        limit=10,
        where=where,
        exact=True,
    )
    kept = {p.id for p in _points() if not where or p.payload["lang"] == "de"}
    payloads = {p.id: p.payload for p in _points()}
    lexical = [hit for hit in _ranked(_by_terms(_points(), QUESTION)) if hit[0] in kept][:100]
    for question, matches, hits in zip(questions, [lexical, [], []], found, strict=True):
        dense = {p.id: float(p.vectors["passage"] @ question) for p in _points() if p.id in kept}  # type: ignore[operator]
        perfect = float(question @ question)
        expected = fuse_rankings(_ranked(dense)[:100], matches, 10, perfect=perfect)
        assert [hit.id for hit in hits] == [point for point, _ in expected]
        np.testing.assert_allclose([h.score for h in hits], [s for _, s in expected], atol=1e-3)
        assert all(hit.payload == payloads[hit.id] for hit in hits)


def test_points_come_back_with_their_sparse_vectors_and_rows(engine: Engine, name: str) -> None:
    stored = {point.id: point for point in engine.scroll(name, with_vectors=True, batch_size=37)}
    assert len(stored) == POINTS
    for point in _points():
        own: Any = stored[point.id].vectors
        assert own.keys() == point.vectors.keys()
        np.testing.assert_array_equal(own["rows"], point.vectors["rows"])
        wanted: Any = point.vectors["bm25"]
        order, other = np.argsort(wanted.indices), np.argsort(own["bm25"].indices)
        np.testing.assert_array_equal(own["bm25"].indices[other], wanted.indices[order])
        np.testing.assert_allclose(own["bm25"].values[other], wanted.values[order], rtol=1e-6)


def test_a_collection_tells_its_shape(engine: Engine, name: str) -> None:
    assert engine.info(name).shape == Shape(
        {"passage": DIMENSION, "rows": DIMENSION}, frozenset({"rows"}), frozenset({"bm25"})
    )


U, F = np.uint32, np.float32
GOOD: dict[str, AnyVector] = {
    "passage": np.ones(DIMENSION, F),
    "rows": np.ones((2, DIMENSION), F),
    "bm25": sparse({1: 1.0}),
}
BAD: dict[str, tuple[str, Any, str]] = {
    "more indices": ("bm25", SparseVector(np.array([1, 2], U), np.array([1], F)), "2 indices but"),
    "more values": ("bm25", SparseVector(np.array([1], U), np.array([1, 2], F)), "1 indices but"),
    "index twice": ("bm25", SparseVector(np.array([1, 1], U), np.array([1, 2], F)), "twice"),
    "NaN": ("bm25", SparseVector(np.array([1], U), np.array([np.nan], F)), "NaN"),
    "infinity": ("bm25", SparseVector(np.array([1], U), np.array([np.inf], F)), "infinity"),
    "signed": ("bm25", SparseVector(np.array([1], np.int64), np.array([1], F)), "uint32"),  # type: ignore[arg-type]
    "a list": ("bm25", SparseVector([1], [1.0]), "uint32"),  # type: ignore[arg-type]
    "dense for sparse": ("bm25", np.ones(DIMENSION, F), "is sparse"),
    "sparse for dense": ("passage", sparse({1: 1.0}), "float32"),
    "no rows": ("rows", np.ones((0, DIMENSION), F), "1 or more"),
    "one row, flat": ("rows", np.ones(DIMENSION, F), "1 or more"),
    "ragged": ("rows", [[1.0] * DIMENSION, [1.0]], "float32"),
    "rows too short": ("rows", np.ones((2, DIMENSION - 1), F), "1 or more"),
    "too many rows": ("rows", np.ones((2**20 // DIMENSION, DIMENSION), F), "fewer queries"),
    "NaN in a row": ("rows", np.full((2, DIMENSION), np.nan, F), "NaN"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_vector_is_refused_before_the_engine_sees_it(
    engine: Engine, name: str, case: str
) -> None:
    vector, bad, message = BAD[case]
    good = Point(str(uuid.UUID(int=1)), {}, GOOD)
    with pytest.raises(InputError, match=message):
        engine.upsert(name, [good, Point(str(uuid.UUID(int=2)), {}, {**GOOD, vector: bad})])
    assert engine.count(name) == POINTS
    engine.upsert(name, [good])
    assert engine.count(name) == POINTS + 1


def test_malformed_questions_are_refused(engine: Engine, name: str) -> None:
    with pytest.raises(InputError, match="twice"):
        engine.search(name, [BAD["index twice"][1]], using=["bm25"])

    def ask(
        *,
        sparse_vectors: Sequence[SparseVector] = (QUESTION,),
        perfect: Sequence[float] = (1.0,),
        sparse: str = "bm25",
        limit: int = 10,
    ) -> None:
        engine.search_hybrid(
            name,
            [np.ones(DIMENSION, F)],
            sparse_vectors,
            perfect=perfect,
            using=["passage"],
            sparse=sparse,
            limit=limit,
        )

    with pytest.raises(InputError, match="sparse ones"):
        ask(sparse_vectors=())
    with pytest.raises(InputError, match="perfect matches"):
        ask(perfect=())
    with pytest.raises(InputError, match="no vector 'other'"):
        ask(sparse="other")
    with pytest.raises(InputError, match="limit"):
        ask(limit=0)
    assert engine.search_hybrid(name, [], [], perfect=[], using=[], sparse="bm25") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"multivectors": ["w"]}, "give all a dimension"),
        ({"sparse": ["v"]}, "sparse and dense"),
    ],
)
def test_an_impossible_shape_is_refused(
    engine: Engine, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        engine.create("impossible", {"v": 4}, **arguments)
    assert not engine.exists("impossible")
