from __future__ import annotations

import json
import math
import re
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.corpus.test_checks import JSON, STORABLE_TEXT
from xqg_qdrant.collection import (
    CollectionManifest,
    build_payload,
    hit_from_payload,
    point_id,
)
from xqg_qdrant.errors import CollectionMismatch
from xqg_qdrant.lexical import LexicalSettings
from xqg_qdrant.records import GeneratedQuery, Hit, Passage

MANIFEST = CollectionManifest(
    encoder="tiny",
    encoder_fingerprint="f" * 64,
    dimension=16,
    similarity="cosine",
    layout="per-language",
    alpha=0.2,
    languages=("de", "sw"),
    generator="by hand",
)
LEXICAL = LexicalSettings().to_json()


def refuses(message: str) -> Any:
    return pytest.raises(CollectionMismatch, match=re.escape(message))


@pytest.mark.parametrize(
    ("passage_id", "expected"),
    [
        ("p1", "6391ab52-93cf-5df5-a529-27780623d557"),
        ("Ελλάδα", "951f2a4c-a9a4-5922-ae79-bdf87a66f3ba"),
    ],
)
def test_point_ids_never_change_between_releases(passage_id: str, expected: str) -> None:
    assert point_id(passage_id) == expected


@given(ids=st.lists(STORABLE_TEXT, unique=True, max_size=20))
def test_each_passage_has_a_point_of_its_own(ids: list[str]) -> None:
    points = {point_id(each) for each in ids}
    assert len(points) == len(ids)
    assert all(uuid.UUID(each).version == 5 for each in points)


@given(
    passage=st.builds(
        Passage,
        id=STORABLE_TEXT,
        text=STORABLE_TEXT,
        title=STORABLE_TEXT,
        lang=st.sampled_from([None, "en"]),
        metadata=st.dictionaries(STORABLE_TEXT, JSON, max_size=3),
    ),
    queries=st.lists(
        st.tuples(st.sampled_from(["de", "sw"]), STORABLE_TEXT, st.none() | st.floats(-1, 1)),
        max_size=3,
    ),
)
def test_a_hit_gives_back_the_passage_and_its_queries(
    passage: Passage, queries: list[tuple[str, str, float | None]]
) -> None:
    own = tuple(GeneratedQuery(passage.id, *each) for each in queries)
    payload = json.loads(json.dumps(build_payload(passage, own)))
    assert hit_from_payload(payload, 0.5) == Hit(
        passage.id, 0.5, passage.title, passage.text, passage.lang, passage.metadata, own
    )


def test_the_users_fields_never_mix_with_ours() -> None:
    payload = build_payload(Passage("p1", "Water", metadata={"text": "theirs", "lang": "xx"}), [])
    assert payload["text"] == "Water"
    assert payload["lang"] is None
    assert payload["metadata"] == {"text": "theirs", "lang": "xx"}
    assert set(payload) == {"passage_id", "title", "text", "lang", "queries", "metadata"}


def test_a_bare_payload_makes_a_hit() -> None:
    assert hit_from_payload({"passage_id": "p1", "text": "Water"}, 1.0) == Hit(
        "p1", 1.0, "", "Water", None, {}, ()
    )


def test_a_manifest_survives_json() -> None:
    row = json.loads(json.dumps(MANIFEST.to_json()))
    assert CollectionManifest.from_json(row, "news") == MANIFEST


def test_whole_alphas_and_float_dimensions_from_json_are_taken() -> None:
    read = CollectionManifest.from_json({**MANIFEST.to_json(), "alpha": 0, "dimension": 16.0}, "n")
    assert (type(read.alpha), type(read.dimension)) == (float, int)


@pytest.mark.parametrize("version", [None, 0, 2, "1", True])
def test_a_manifest_of_another_version_is_refused(version: object) -> None:
    with refuses(f"collection 'news' has schema version {version!r}, this release reads 1"):
        CollectionManifest.from_json({**MANIFEST.to_json(), "schema_version": version}, "news")


@pytest.mark.parametrize(
    "change",
    [
        {"languages": None},
        {"languages": 5},
        {"unknown": 1},
        {"alpha": "much"},
        {"alpha": None},
        {"dimension": "many"},
        {"dimension": []},
        {"layout": "other"},
        {"lexical": 5},
        {"lexical": {"analyzer": "a", "unknown": 1}},
        {"lexical": {**LEXICAL, "unknown": 1}},
        *({"lexical": {**LEXICAL, "analyzer": value}} for value in (None, 1, ["a"])),
        *({"lexical": {**LEXICAL, "ngram": value}} for value in ("four", 0, True, 10**9, None)),
        *({"lexical": {**LEXICAL, "k1": value}} for value in ("1", -1, math.inf, True, 10**400)),
        *({"lexical": {**LEXICAL, "b": value}} for value in (1.1, math.nan, [], "x" * 10**6)),
        {"layout": ["fused"]},
    ],
    ids=lambda change: str(change)[:80],
)
def test_a_damaged_manifest_is_refused(change: dict[str, Any]) -> None:
    assert CollectionManifest.from_json({**MANIFEST.to_json(), "lexical": LEXICAL}, "news").hybrid
    with refuses("the manifest of collection 'news' is damaged") as caught:
        CollectionManifest.from_json({**MANIFEST.to_json(), **change}, "news")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("field", ["encoder", "layout", "languages", "dimension", "alpha"])
def test_a_manifest_that_lacks_a_field_is_refused(field: str) -> None:
    row = MANIFEST.to_json()
    del row[field]
    with refuses("the manifest of collection 'news' is damaged"):
        CollectionManifest.from_json(row, "news")


@pytest.mark.parametrize("row", [[], "text", None, 5])
def test_what_is_no_manifest_is_refused(row: Any) -> None:
    with refuses("collection 'news'"):
        CollectionManifest.from_json(row, "news")


def test_points_made_alike_may_join() -> None:
    MANIFEST.require_same(replace(MANIFEST), "news")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "other"}, "encoder ('tiny', now 'other')"),
        ({"encoder_fingerprint": "0" * 64}, "encoder_fingerprint ("),
        ({"dimension": 8}, "dimension (16, now 8)"),
        ({"similarity": "dot"}, "similarity ('cosine', now 'dot')"),
        ({"layout": "fused"}, "layout ('per-language', now 'fused')"),
        ({"alpha": 0.3}, "alpha (0.2, now 0.3)"),
        ({"languages": ("ja",)}, "languages (['de', 'sw'], now ['de', 'ja', 'sw'])"),
    ],
)
def test_points_made_otherwise_may_not_join_and_the_field_is_named(
    change: dict[str, Any], message: str
) -> None:
    with refuses(message) as error:
        MANIFEST.require_same(replace(MANIFEST, **change), "news")
    assert "collection 'news'" in str(error.value)


def test_all_differing_fields_are_named_at_once() -> None:
    with refuses("alpha (0.2, now 0.5)") as error:
        MANIFEST.require_same(replace(MANIFEST, alpha=0.5, dimension=8), "news")
    assert "dimension (16, now 8)" in str(error.value)


@pytest.mark.parametrize("languages", [(), ("de",), ("sw", "de")])
def test_points_with_fewer_languages_may_join(languages: tuple[str, ...]) -> None:
    MANIFEST.require_same(replace(MANIFEST, languages=languages), "news")


def test_points_in_new_languages_may_join_where_one_vector_holds_them_all() -> None:
    fused = replace(MANIFEST, layout="fused")
    fused.require_same(replace(fused, languages=("ja",)), "news")


@pytest.mark.parametrize("generator", [None, "mT5"])
def test_another_generator_is_no_obstacle(generator: str | None) -> None:
    MANIFEST.require_same(replace(MANIFEST, generator=generator), "news")


def test_languages_are_added_sorted_and_once() -> None:
    assert MANIFEST.with_languages(["sw", "ar"]).languages == ("ar", "de", "sw")
    assert MANIFEST.with_languages([]) == MANIFEST


def test_a_collection_has_the_vectors_of_its_layout() -> None:
    assert MANIFEST.vector_names == ["passage", "fused-de", "fused-sw"]
    assert replace(MANIFEST, layout="fused").vector_names == ["fused"]
