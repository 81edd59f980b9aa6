"""The same calls on every engine: the same ids, scores, counts and errors."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.conftest import ENGINES, open_named
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.filters import parse_filters
from xqg_qdrant.engine.points import Point
from xqg_qdrant.errors import CollectionExists, CollectionNotFound, InputError

DIMENSIONS = {"passage": 24, "fused-sw": 24}
POINTS = 300
INDEXES = ("passage_id", "lang", "queries[].lang")


def _points(number: int = POINTS) -> list[Point]:
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((12, 24))
    points = []
    for row in range(number):
        near = centres[row % 12] + 0.3 * rng.standard_normal(24)
        vectors = {
            "passage": near.astype(np.float32),
            "fused-sw": (near + 0.5 * rng.standard_normal(24)).astype(np.float32),
        }
        payload = {
            "passage_id": f"p{row}",
            "lang": "en" if row % 3 else "de",
            "queries": [{"lang": "sw", "text": f"swali {row}", "score": None}] * (row % 2),
            "metadata": {
                "year": 1900 + row % 50,
                "share": (row % 8) / 4,
                "checked": row % 2 == 0,
                "topic": ["rivers", "music", "rivers & seas"][row % 3],
                "tags": ["a", "b", "c"][: row % 4],
                "author": {"full name": f"Name {row % 5}"},
            },
        }
        points.append(Point(str(uuid.uuid5(uuid.NAMESPACE_URL, str(row))), payload, vectors))
    return points


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    """The same collection on every engine at hand."""
    engines: dict[str, Engine] = {}
    name = f"congruence-{uuid.uuid4().hex}"
    for kind in ENGINES:
        try:
            engine = open_named(kind, Path(tmp_path_factory.mktemp(kind)))
        except pytest.skip.Exception:
            continue
        engine.create(name, DIMENSIONS, INDEXES, {"manifest": {"name": name}})
        for start in range(0, POINTS, 64):
            engine.upsert(name, _points()[start : start + 64])
        engine.optimize(name)
        engines[kind] = engine
    engines["name"] = name  # type: ignore[assignment]
    yield engines
    engines.pop("name")
    for engine in engines.values():
        engine.delete(name)
        engine.close()


def _each(loaded: dict[str, Engine]) -> tuple[str, dict[str, Engine]]:
    name: Any = loaded["name"]
    return name, {kind: engine for kind, engine in loaded.items() if kind != "name"}


FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "equal string": {"metadata": {"topic": "rivers"}},
    "string with a blank and a sign": {"metadata": {"topic": "rivers & seas"}},
    "equal integer": {"metadata": {"year": 1913}},
    "equal float": {"metadata": {"share": 0.25}},
    "true": {"metadata": {"checked": True}},
    "false": {"metadata": {"checked": False}},
    "one of": {"metadata": {"topic": ["rivers", "music"]}},
    "one of integers": {"metadata": {"year": [1900, 1901, 1999]}},
    "in a list": {"metadata": {"tags": "b"}},
    "bounds": {"metadata": {"year": {"gte": 1910, "lt": 1915}}},
    "open bounds": {"metadata": {"share": {"gt": 0.5}}},
    "nested key with a blank": {"metadata": {"author.full name": "Name 3"}},
    "language": {"passage_languages": ["de"]},
    "several": {"metadata": {"checked": True, "year": {"gt": 1920}}, "passage_languages": "eng"},
    "no such field": {"metadata": {"nothing": "there"}},
    "no such value": {"metadata": {"topic": "astronomy"}},
}


@pytest.mark.parametrize("case", FILTERS)
def test_engines_agree_on_counts_and_hits(loaded: dict[str, Engine], case: str) -> None:
    name, engines = _each(loaded)
    where = parse_filters(**FILTERS[case])
    rng = np.random.default_rng(3)
    vectors = list(rng.standard_normal((5, 24)).astype(np.float32))
    using = ["passage", "fused-sw", "passage", "fused-sw", "passage"]
    expected_ids, expected_scores = _brute_force(vectors, using, FILTERS[case])
    for kind, engine in engines.items():
        assert engine.count(name, where) == len(expected_ids[0]), kind
        found = engine.search(name, vectors, using=using, limit=10, where=where, exact=True)
        for hits, ids, scores in zip(found, expected_ids, expected_scores, strict=True):
            assert [hit.id for hit in hits] == ids[:10], kind
            np.testing.assert_allclose([hit.score for hit in hits], scores[:10], atol=1e-4)


def _brute_force(
    vectors: list[np.ndarray[Any, Any]], using: list[str], case: dict[str, Any]
) -> tuple[list[list[str]], list[list[float]]]:
    """Numpy and plain Python, as the judge over all engines."""
    kept = [point for point in _points() if _fulfils(point.payload, case)]
    ids, scores = [], []
    for vector, vector_name in zip(vectors, using, strict=True):
        scored = sorted((-float(p.vectors[vector_name] @ vector), p.id) for p in kept)
        ids.append([point_id for _, point_id in scored])
        scores.append([-score for score, _ in scored])
    return ids, scores


def _fulfils(payload: Any, case: dict[str, Any]) -> bool:
    languages = {"eng": "en"}
    given = case.get("passage_languages") or ()
    codes = [given] if isinstance(given, str) else list(given)
    if codes and payload["lang"] not in [languages.get(code, code) for code in codes]:
        return False
    for key, wanted in (case.get("metadata") or {}).items():
        value = payload["metadata"]
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        held = value if isinstance(value, list) else [value]
        if isinstance(wanted, dict):
            tests = {
                "gt": lambda v, b: v > b,
                "gte": lambda v, b: v >= b,
                "lt": lambda v, b: v < b,
                "lte": lambda v, b: v <= b,
            }
            if value is None or not all(tests[sign](value, b) for sign, b in wanted.items()):
                return False
        elif not any(each in (wanted if isinstance(wanted, list) else [wanted]) for each in held):
            return False
    return True


def test_engines_give_back_the_same_points_in_the_order_of_their_ids(
    loaded: dict[str, Engine],
) -> None:
    name, engines = _each(loaded)
    expected = sorted(_points(), key=lambda point: point.id)
    for kind, engine in engines.items():
        found = list(engine.scroll(name, with_vectors=True, batch_size=37))
        assert [point.id for point in found] == [point.id for point in expected], kind
        for point, wanted in zip(found, expected, strict=True):
            assert point.payload == wanted.payload, kind
            assert point.vectors.keys() == wanted.vectors.keys()
            for vector_name, vector in wanted.vectors.items():
                np.testing.assert_array_equal(point.vectors[vector_name], vector)
        assert all(not point.vectors for point in engine.scroll(name)), kind


def test_engines_agree_on_the_shape_of_a_collection(loaded: dict[str, Engine]) -> None:
    name, engines = _each(loaded)
    for engine in engines.values():
        info = engine.info(name)
        assert info.points == POINTS
        assert info.dimensions == DIMENSIONS
        assert name in engine.collections()


def test_writing_the_same_points_again_changes_nothing(engine: Engine) -> None:
    engine.create("again", DIMENSIONS, INDEXES)
    points = _points(50)
    for _ in range(3):
        engine.upsert("again", points)
    assert engine.count("again") == 50
    moved = Point(points[0].id, {"passage_id": "moved"}, points[1].vectors)
    engine.upsert("again", [moved])
    assert engine.count("again") == 50
    stored = {point.id: point for point in engine.scroll("again", with_vectors=True)}
    assert stored[moved.id].payload == {"passage_id": "moved"}


def test_documents_are_kept_with_the_collection_and_replaced_as_a_whole(engine: Engine) -> None:
    manifest = {"alpha": 0.25, "languages": ["sw", "ar"], "generator": None, "n": 2**40}
    engine.create("documents", DIMENSIONS, (), {"manifest": manifest})
    assert engine.read_document("documents", "manifest") == manifest
    assert engine.read_document("documents", "journal") is None
    engine.write_document("documents", "journal", {"done": 1, "input": "x"})
    engine.write_document("documents", "journal", {"done": 2})
    assert engine.read_document("documents", "journal") == {"done": 2}
    assert engine.read_document("documents", "manifest") == manifest


def test_a_collection_is_made_once_and_gone_when_deleted(engine: Engine) -> None:
    engine.create("once", {"v": 4})
    with pytest.raises(CollectionExists, match="once"):
        engine.create("once", {"v": 4})
    engine.delete("once")
    assert not engine.exists("once")
    with pytest.raises(CollectionNotFound, match="once"):
        engine.delete("once")
    engine.create("once", {"v": 8})
    assert engine.info("once").dimensions == {"v": 8}
    assert engine.count("once") == 0


@pytest.mark.parametrize("call", ["info", "count", "optimize", "read", "search", "scroll"])
def test_an_unknown_collection_is_named_with_those_there_are(engine: Engine, call: str) -> None:
    engine.create("present", {"v": 4})
    calls: dict[str, Any] = {
        "info": lambda: engine.info("absent"),
        "count": lambda: engine.count("absent"),
        "optimize": lambda: engine.optimize("absent"),
        "read": lambda: engine.read_document("absent", "manifest"),
        "scroll": lambda: list(engine.scroll("absent")),
        "search": lambda: engine.search("absent", [np.ones(4, np.float32)], using=["v"]),
    }
    with pytest.raises(CollectionNotFound, match=r"absent.*present"):
        calls[call]()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../up", ".hidden", "a b", "x" * 200, "ü"])
def test_names_that_are_no_folder_are_refused(engine: Engine, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a collection"):
        engine.create(name, {"v": 4})


GOOD = np.ones(4, dtype=np.float32)
ID = str(uuid.UUID(int=7))


def _deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"k": value}
    return value


BAD_POINTS: dict[str, tuple[Point, str]] = {
    "id no UUID": (Point("7", {}, {"v": GOOD}), "no UUID"),
    "id a boolean": (Point(True, {}, {"v": GOOD}), "no string"),  # type: ignore[arg-type]
    "id in capitals": (Point(str(uuid.UUID(int=2**120)).upper() + "", {}, {"v": GOOD}), "UUID|has"),
    "wrong dimension": (Point(ID, {}, {"v": np.ones(3, np.float32)}), r"shape \(3,\)"),
    "two rows": (Point(ID, {}, {"v": np.ones((2, 4), np.float32)}), r"shape \(2, 4\)"),
    "float64": (Point(ID, {}, {"v": np.ones(4)}), "float32"),
    "a list": (Point(ID, {}, {"v": [1.0] * 4}), "float32"),  # type: ignore[dict-item]
    "NaN": (Point(ID, {}, {"v": np.array([1, np.nan, 1, 1], np.float32)}), "NaN or infinity"),
    "infinity": (Point(ID, {}, {"v": np.array([1, np.inf, 1, 1], np.float32)}), "NaN or infinity"),
    "vector missing": (Point(ID, {}, {}), "wants"),
    "unknown vector": (Point(ID, {}, {"v": GOOD, "w": GOOD}), "wants"),
    "payload nested 130 deep": (Point(ID, _deep(130), {"v": GOOD}), "deep"),
    "payload with NaN": (Point(ID, {"x": float("nan")}, {"v": GOOD}), "nan"),
    "payload with a set": (Point(ID, {"x": {1}}, {"v": GOOD}), "a set"),
    "payload with bytes": (Point(ID, {"x": b"a"}, {"v": GOOD}), "a bytes"),
    "payload with 2**70": (Point(ID, {"x": 2**70}, {"v": GOOD}), "64 bits"),
    "payload with a surrogate": (Point(ID, {"x": "\ud800"}, {"v": GOOD}), "surrogate"),
    "payload with a surrogate key": (Point(ID, {"\udfff": 1}, {"v": GOOD}), "surrogate"),
    "payload with NUL": (Point(ID, {"x": "a\x00b"}, {"v": GOOD}), "NUL"),
    "payload with a number as key": (Point(ID, {"m": {1: 2}}, {"v": GOOD}), "keys must be"),
}


@pytest.mark.parametrize("case", BAD_POINTS)
def test_a_malformed_point_is_refused_and_nothing_of_its_batch_written(
    engine: Engine, case: str
) -> None:
    bad, message = BAD_POINTS[case]
    engine.create("bad", {"v": 4})
    good = Point(str(uuid.UUID(int=1)), {"ok": True}, {"v": GOOD})
    if case == "id in capitals":
        bad = Point("ABCDEF00-0000-4000-8000-000000000000", {}, {"v": GOOD})
        message = "write it as"
    with pytest.raises(InputError, match=message):
        engine.upsert("bad", [good, bad])
    assert engine.count("bad") == 0
    engine.upsert("bad", [good])
    assert [point.id for point in engine.scroll("bad")] == [good.id]


def test_the_same_point_twice_in_a_batch_is_refused(engine: Engine) -> None:
    engine.create("twice", {"v": 4})
    point = Point(ID, {}, {"v": GOOD})
    with pytest.raises(InputError, match="twice"):
        engine.upsert("twice", [point, point])
    assert engine.count("twice") == 0


@pytest.mark.parametrize(
    ("vector", "using", "limit", "message"),
    [
        (np.full(4, np.nan, np.float32), "v", 10, "NaN"),
        (np.ones(5, np.float32), "v", 10, "shape"),
        (np.ones(4, np.float32), "other", 10, "no vector 'other'"),
        (np.ones(4, np.float64), "v", 10, "float32"),
        (GOOD, "v", 0, "limit"),
        (GOOD, "v", 10**9, "limit"),
        (GOOD, "v", True, "limit"),
    ],
)
def test_a_malformed_search_is_refused(
    engine: Engine, vector: Any, using: str, limit: int, message: str
) -> None:
    engine.create("searched", {"v": 4})
    with pytest.raises(InputError, match=message):
        engine.search("searched", [vector], using=[using], limit=limit)


def test_an_empty_collection_has_no_hits(engine: Engine) -> None:
    engine.create("empty", {"v": 4}, INDEXES)
    assert engine.search("empty", [GOOD, GOOD], using=["v", "v"]) == [[], []]
    assert engine.search("empty", [], using=[]) == []
    assert list(engine.scroll("empty")) == []
    engine.upsert("empty", [])
    assert engine.count("empty") == 0


def test_ties_are_in_the_order_of_ids(engine: Engine) -> None:
    engine.create("ties", {"v": 4})
    ids = [str(uuid.UUID(int=n + 1)) for n in (5, 3, 8, 1)]
    engine.upsert("ties", [Point(point_id, {}, {"v": GOOD}) for point_id in ids])
    (hits,) = engine.search("ties", [GOOD], using=["v"])
    assert [hit.id for hit in hits] == sorted(ids)


def test_threads_may_share_an_engine(engine: Engine) -> None:
    from concurrent.futures import ThreadPoolExecutor

    engine.create("shared", {"v": 4})
    points = [
        Point(str(uuid.UUID(int=n + 1)), {"n": n}, {"v": np.eye(4, dtype=np.float32)[n % 4]})
        for n in range(200)
    ]

    def work(part: int) -> int:
        engine.upsert("shared", points[part * 25 : (part + 1) * 25])
        return len(engine.search("shared", [GOOD], using=["v"], limit=5)[0])

    with ThreadPoolExecutor(8) as pool:
        assert all(found == 5 for found in pool.map(work, range(8)))
    assert engine.count("shared") == 200
