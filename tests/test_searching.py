"""Layouts and hybrid search through the client, on every engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.conftest import ENGINES, open_named
from xqg_qdrant import (
    Client,
    CollectionMismatch,
    Encoder,
    GeneratedQuery,
    InputError,
    Passage,
)
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.errors import StorageError
from xqg_qdrant.fusion import fuse
from xqg_qdrant.layouts import LAYOUTS
from xqg_qdrant.lexical import SPARSE_VECTOR
from xqg_qdrant.loader.documents import LEXICAL, MANIFEST, STATISTICS, read_lengths
from xqg_qdrant.searching import Asking

WORDS = ("river", "delta", "mountain", "glacier", "volcano")
WORDS += ("island", "desert", "harbour", "valley", "forest")
NAMES = ("Amazonas", "Copernicus", "Shakespeare", "Mississippi")
NAMES += ("Beethoven", "Marathon", "Vesuvius", "Himalaya")
PASSAGES = [
    Passage(
        f"{name.lower()}-{number}",
        f"{name} and the {WORDS[number]} of its {WORDS[-1 - number]}, as told in {1700 + number}.",
        lang="en" if number % 3 else "de",
        metadata={"number": number},
    )
    for number in range(10)
    for name in NAMES
]
PASSAGES.append(
    Passage("press", "A goldsmith of Mainz, Gutenberg, cast letters.", metadata={"number": 99})
)
QUERIES = [
    GeneratedQuery(passage.id, lang, f"{start} {passage.id.replace('-', ' ')}?")
    for passage in PASSAGES
    for lang, start in (("sw", "Nini kuhusu"), ("de", "Was weiß man über"))
    if passage.id != "press"
]
QUERIES.append(GeneratedQuery("press", "sw", "Nani alibuni uchapishaji wa vitabu?"))


@pytest.fixture(scope="module", params=ENGINES)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    with open_named(request.param, tmp_path_factory.mktemp("searching")) as opened:
        before = set(opened.collections())
        yield opened
        for name in set(opened.collections()) - before:
            opened.delete(name)


@pytest.fixture(scope="module")
def client(engine: Engine, tiny_encoder: Encoder) -> Client:
    client = Client(engine, encoder=tiny_encoder)
    for layout in LAYOUTS:
        client.ingest(f"hybrid-{layout}", PASSAGES, QUERIES, layout=layout, hybrid=True)
    client.ingest("dense", PASSAGES, QUERIES)
    client.ingest("fused", PASSAGES, QUERIES, layout="fused", alpha=0.3)
    client.ingest("no-queries", PASSAGES, hybrid=True)
    return client


def ids(hits: Any) -> list[str]:
    return [hit.id for hit in hits]


def scores(hits: Any) -> list[float]:
    return [hit.score for hit in hits]


@pytest.mark.parametrize("name", ["no-queries", *(f"hybrid-{layout}" for layout in LAYOUTS)])
@pytest.mark.parametrize("question", ["Кто такой Гутенберг?", "गुटेनबर्ग कौन था?"])
def test_a_name_is_found_in_another_script(client: Client, name: str, question: str) -> None:
    """The encoder is random: only the lexical side knows of names."""
    hits = client.search(name, question, lang="ru", limit=10)
    assert hits[0].id == "press"
    assert sorted(scores(hits), reverse=True) == scores(hits)
    assert client.search(name, question, lang="ru", hybrid=False)[0].id != "press"


def test_a_question_that_matches_nothing_is_answered_by_the_encoder(client: Client) -> None:
    question = "¿¡!?"
    hybrid = client.search("no-queries", question, lang="es", limit=20, exact=True)
    dense = client.search("no-queries", question, lang="es", limit=20, hybrid=False, exact=True)
    assert ids(hybrid) == ids(dense)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_askers_own_queries_are_matched_and_no_others(client: Client, layout: str) -> None:
    """The encoder, random, finds all alike; a question that it knows nothing of is the test."""
    manifest = client.info(f"hybrid-{layout}").manifest
    asking = Asking.of(manifest, layout, augmented=True, alpha=None, weights=None, hybrid=True)
    engine = client._engine

    def lexical(lang: str) -> float:
        vector = asking.sparse(manifest, ["Uchapishaji wa vitabu ulibuniwa na nani?"], [lang])
        hits = engine.search(f"hybrid-{layout}", vector, using=[SPARSE_VECTOR], limit=81)[0]
        return next((hit.score for hit in hits if hit.payload["passage_id"] == "press"), 0.0)

    assert lexical("sw") > 5 * lexical("de")


@pytest.mark.parametrize(
    ("layout", "options", "masses"),
    [
        ("per-language", {}, (1.02, 1.0)),
        ("per-language", {"augmented": False}, (1.0, 1.0)),
        ("fused", {}, (1.02, 1.02)),
        ("tunable", {}, (1.02, 1.0)),
        ("tunable", {"alpha": 0.5, "weights": {"sw": 1, "de": 1}}, (3.5, 3.5)),
        ("multivector", {}, (2.0, 2.0)),
        ("multivector", {"augmented": False}, (1.0, 1.0)),
    ],
)
def test_a_perfect_match_scores_as_much_as_what_is_summed(
    client: Client, layout: str, options: dict[str, Any], masses: tuple[float, float]
) -> None:
    manifest = client.info(f"hybrid-{layout}").manifest
    given = {"augmented": True, "alpha": None, "weights": None, "hybrid": None, **options}
    asking = Asking.of(manifest, layout, **given)
    vectors = np.array([[1.0, 0.0], [0.0, 2.0]], dtype=np.float32)
    found = asking.perfect(manifest, vectors, ["sw", "fr"], 3.0)
    assert found == pytest.approx([masses[0], 4 * masses[1]])


def test_left_out_queries_count_on_neither_side(client: Client) -> None:
    question = "Nini kuhusu mississippi 4?"
    for layout in ("per-language", "tunable", "multivector"):
        found = client.search(f"hybrid-{layout}", question, lang="sw", augmented=False, exact=True)
        alone = client.search("no-queries", question, lang="sw", exact=True)
        assert set(ids(found)[:5]) == set(ids(alone)[:5])
        np.testing.assert_allclose(scores(found), scores(alone), atol=0.02)


def test_filters_hold_on_both_sides(client: Client) -> None:
    hits = client.search(
        "hybrid-per-language",
        "Shakespeare",
        lang="sw",
        limit=50,
        filters={"number": {"lt": 5}},
        passage_lang="de",
    )
    assert len(hits) == 2 * len(NAMES)
    assert all(hit.metadata["number"] in (0, 3) and hit.lang == "de" for hit in hits)
    assert {hit.id for hit in hits[:2]} == {"shakespeare-0", "shakespeare-3"}


def test_a_batch_is_as_its_questions_one_by_one(client: Client) -> None:
    questions = ["Nini kuhusu beethoven 7?", "Что сказал Шекспир?", "Was weiß man über Marathon?"]
    langs = ["sw", "ru", "de"]
    for name in ("hybrid-per-language", "hybrid-tunable", "hybrid-multivector"):
        batch = client.search_batch(name, questions, lang=langs, limit=7, exact=True)
        for question, lang, hits in zip(questions, langs, batch, strict=True):
            alone = client.search(name, question, lang=lang, limit=7, exact=True)
            assert ids(hits) == ids(alone)
            np.testing.assert_allclose(scores(hits), scores(alone), atol=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.4, 1.0])
def test_alpha_is_chosen_with_the_question(
    client: Client, tiny_encoder: Encoder, alpha: float
) -> None:
    question = "Was weiß man über Vesuvius?"
    hits = client.search(
        "hybrid-tunable", question, lang="de", alpha=alpha, limit=81, hybrid=False, exact=True
    )
    asked = tiny_encoder.encode_queries([question])[0]
    for hit in hits:
        passage = tiny_encoder.encode_passages([hit.text])[0]
        texts = [query.text for query in hit.queries if query.lang == "de"]
        own = tiny_encoder.encode_queries(texts) if texts else []
        assert hit.score == pytest.approx(float(fuse(passage, own, alpha) @ asked), abs=1e-4)


def test_a_tunable_collection_is_searched_at_its_own_alpha(client: Client) -> None:
    asked = {"lang": "sw", "limit": 81, "hybrid": False, "exact": True}
    own = client.search("hybrid-tunable", "Nini kuhusu marathon?", **asked)
    told = client.search("hybrid-tunable", "Nini kuhusu marathon?", alpha=0.01, **asked)
    assert scores(own) == scores(told)
    per_language = client.search("hybrid-per-language", "Nini kuhusu marathon?", **asked)
    np.testing.assert_allclose(scores(own), scores(per_language), atol=1e-4)


def test_weights_of_all_languages_are_the_papers_sum(client: Client) -> None:
    asked = {"lang": "sw", "limit": 81, "exact": True}
    everyone = {"swa": 1, "de": 1.0}
    tuned = client.search(
        "hybrid-tunable",
        "Nini kuhusu marathon?",
        alpha=0.3,
        language_weights=everyone,
        hybrid=False,
        **asked,
    )
    fused = client.search("fused", "Nini kuhusu marathon?", **asked)
    np.testing.assert_allclose(scores(tuned), scores(fused), atol=1e-4)


def test_the_best_text_decides_in_a_multivector(client: Client, tiny_encoder: Encoder) -> None:
    question = "Was weiß man über beethoven 3?"
    hits = client.search("hybrid-multivector", question, hybrid=False, exact=True)
    assert hits[0].id == "beethoven-3"
    texts = [hits[0].text, *(query.text for query in hits[0].queries)]
    rows = tiny_encoder.encode_passages(texts[:1]), tiny_encoder.encode_queries(texts[1:])
    asked = tiny_encoder.encode_queries([question])[0]
    assert hits[0].score == pytest.approx(float((np.concatenate(rows) @ asked).max()), abs=1e-4)


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "alpha of fused": ("fused", {"alpha": 0.2}, r"layout 'fused', whose alpha.*'tunable'"),
    "alpha of per-language": ("dense", {"alpha": 0.0}, "whose alpha cannot be chosen"),
    "weights of fused": ("fused", {"language_weights": {"sw": 1}}, "whose language_weights"),
    "alpha out of bounds": ("hybrid-tunable", {"alpha": 1.5}, "alpha is 1.5"),
    "alpha without queries": ("hybrid-tunable", {"alpha": 0.1, "augmented": False}, "left out"),
    "unknown language": (
        "hybrid-tunable",
        {"language_weights": {"fr": 1}},
        "the collection has de",
    ),
    "no language": ("hybrid-tunable", {"language_weights": {"x1": 1}}, "unknown language code"),
    "negative": ("hybrid-tunable", {"language_weights": {"sw": -1}}, "0 or more"),
    "not a number": ("hybrid-tunable", {"language_weights": {"sw": "much"}}, "give a number"),
    "hybrid of dense": ("dense", {"hybrid": True}, "no lexical vectors"),
    "plain fused": ("hybrid-fused", {"augmented": False}, "keeps no vector"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_collection_cannot_do_is_refused(client: Client, case: str) -> None:
    name, options, message = BAD[case]
    with pytest.raises(InputError, match=message):
        client.search(name, "Nini?", lang="sw", **options)


def test_info_says_what_a_collection_is(client: Client) -> None:
    info = client.info("hybrid-tunable")
    assert info.manifest.hybrid
    assert info.manifest.alpha == 0.01
    assert info.to_json()["manifest"]["lexical"]["ngram"] == 4
    assert "lexical" not in client.info("dense").to_json()["manifest"]
    assert client.info("hybrid-multivector").query_share == 0.0


def test_a_collection_takes_no_other_settings(client: Client) -> None:
    for name, options, field in (
        ("dense", {"hybrid": True, "alpha": 0.1}, r"hybrid \(False, now True\)"),
        ("hybrid-fused", {"layout": "fused"}, r"hybrid \(True, now False\)"),
        ("hybrid-fused", {"layout": "tunable", "hybrid": True}, r"layout \('fused'"),
    ):
        with pytest.raises(CollectionMismatch, match=field):
            client.ingest(name, PASSAGES, QUERIES, **options)


def test_other_lexical_settings_are_named(client: Client, engine: Engine) -> None:
    client.ingest("changed", PASSAGES[:3], hybrid=True)
    manifest = engine.read_document("changed", MANIFEST)
    assert manifest is not None
    engine.write_document(
        "changed", MANIFEST, {**manifest, "lexical": {**manifest["lexical"], "k1": 2.0}}
    )
    with pytest.raises(CollectionMismatch, match=r"another lexical.k1 \(2.0, now 1.2\)"):
        client.ingest("changed", PASSAGES[:3], hybrid=True)
    engine.write_document(
        "changed", MANIFEST, {**manifest, "lexical": {**manifest["lexical"], "analyzer": "old"}}
    )
    fresh = Client(engine, encoder=client._encoders.chosen)
    with pytest.raises(InputError, match="analyzer 'old'"):
        fresh.search("changed", "Nini?")
    assert fresh.search("changed", "Nini?", hybrid=False)


def test_lengths_stay_as_they_were_when_more_is_ingested(client: Client, engine: Engine) -> None:
    client.ingest("grows", PASSAGES[:10], QUERIES[:10], hybrid=True, languages=["ar"])
    lengths = read_lengths(engine, "grows")
    assert set(lengths) == {"", "de", "sw"}
    longer = [Passage(f"long-{n}", "many more words than before " * 9) for n in range(3)]
    arabic = [GeneratedQuery("long-1", "ar", "ما هذا؟")]
    client.ingest("grows", longer, arabic, hybrid=True)
    later = read_lengths(engine, "grows")
    assert {field: later[field] for field in lengths} == lengths
    assert later["ar"] > 0
    assert client.search("grows", "ما هذا؟", lang="ar", limit=1)[0].id == "long-1"


def test_ingesting_again_changes_no_vector(client: Client, engine: Engine) -> None:
    def vectors() -> list[Any]:
        return [
            (point.id, {name: getattr(v, "values", v) for name, v in point.vectors.items()})
            for point in engine.scroll("again", with_vectors=True)
        ]

    client.ingest("again", PASSAGES[:12], QUERIES[:24], hybrid=True)
    before = vectors()
    client.ingest("again", PASSAGES[:12], QUERIES[:24], hybrid=True)
    for (one, first), (two, second) in zip(before, vectors(), strict=True):
        assert one == two
        for name, vector in first.items():
            np.testing.assert_array_equal(vector, second[name])


def test_too_many_queries_for_a_multivector_are_refused_before_anything_is_written(
    engine: Engine, tiny_encoder: Encoder
) -> None:
    queries = (
        GeneratedQuery(PASSAGES[0].id, "sw", f"swali {n}")
        for n in range(2**20 // tiny_encoder.dimension)
    )
    with Client(engine, encoder=tiny_encoder) as client:
        client._engine = engine
        with pytest.raises(InputError, match="has room for"):
            client.ingest("wide", PASSAGES[:1], queries, layout="multivector")
        assert not engine.exists("wide")
        client.close = lambda: None  # type: ignore[method-assign]


def test_a_multivector_has_no_alpha(client: Client) -> None:
    with pytest.raises(InputError, match="has no alpha"):
        client.ingest("no", PASSAGES, QUERIES, layout="multivector", alpha=0.1)


def test_collections_of_before_there_were_other_vectors_still_open(
    tmp_path: Path, tiny_encoder: Encoder
) -> None:
    with Client(tmp_path, encoder=tiny_encoder) as client:
        client.ingest("old", PASSAGES[:5], QUERIES[:10])
    path = tmp_path / "old" / "collection.json"
    row = json.loads(path.read_text())["value"]
    path.write_text(json.dumps({"dimensions": row["dimensions"]}))
    with EdgeEngine(tmp_path) as engine:
        manifest = engine.read_document("old", MANIFEST)
        assert manifest is not None
        assert set(manifest) == {
            "alpha",
            "dimension",
            "encoder",
            "encoder_fingerprint",
            "generator",
            "languages",
            "layout",
            "schema_version",
            "similarity",
        }
        assert engine.read_document("old", LEXICAL) is None
    with Client(tmp_path, encoder=tiny_encoder) as client:
        assert len(client.search("old", "Nini?", lang="sw")) == 5
        client.ingest("old", PASSAGES[5:8], QUERIES[10:16])
        assert client.info("old").points == 8


@pytest.mark.parametrize("lengths", [5, {"": "long"}, {"": "x" * 10**6}, None])
def test_damaged_lengths_are_told(engine: Engine, tiny_encoder: Encoder, lengths: Any) -> None:
    name = f"damaged-{len(str(lengths))}"
    client = Client(engine, encoder=tiny_encoder)
    client.ingest(name, PASSAGES[:3], hybrid=True)
    engine.write_document(name, LEXICAL, {"lengths": lengths})
    with pytest.raises(StorageError, match="lengths of collection") as caught:
        client.ingest(name, PASSAGES[:3], hybrid=True)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "statistics",
    [
        {},
        {"passages": 3},
        {"passages": 3, "queries": [1]},
        {"passages": 3, "queries": {"sw": "x" * 10**6}},
        *({"passages": value, "queries": {"sw": 1}} for value in ("3", None, [3], -1, 1.5, True)),
    ],
    ids=lambda statistics: str(statistics)[:60],
)
def test_damaged_statistics_are_told(
    engine: Engine, tiny_encoder: Encoder, statistics: dict[str, Any]
) -> None:
    client = Client(engine, encoder=tiny_encoder)
    client.ingest("damaged", PASSAGES[:3], hybrid=True)
    engine.write_document("damaged", STATISTICS, statistics)
    for call in (lambda: client.search("damaged", "Nini?"), lambda: client.info("damaged")):
        with pytest.raises(
            StorageError, match=r"the statistics of .* damaged .*ingest again"
        ) as told:
            call()
        assert len(str(told.value)) < 500
    # As the message says.
    client.ingest("damaged", PASSAGES[:3], hybrid=True)
    assert client.search("damaged", "Nini?")
    assert client.info("damaged").points == 3
    client.delete("damaged")
