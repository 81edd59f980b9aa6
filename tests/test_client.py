"""The client: what an application imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import xqg_qdrant
from tests.tiny import build_encoder
from xqg_qdrant import (
    Client,
    CollectionMismatch,
    CollectionNotFound,
    Encoder,
    GeneratedQuery,
    InputError,
    ModelError,
    Passage,
)
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.server import ServerEngine

PASSAGES = [
    Passage(
        "nile", "The Nile flows north to the sea.", "Nile", "en", {"length": 6650, "big": True}
    ),
    Passage("rhine", "The Rhine flows to the North Sea.", "Rhine", "eng", {"length": 1233}),
    Passage("danube", "Die Donau ist ein Strom.", "Donau", "de", {"tags": ["vienna", "budapest"]}),
]
QUERIES = [
    GeneratedQuery("nile", "sw", "Mto Nile unaelekea wapi?"),
    GeneratedQuery("nile", "ar", "إلى أين يتجه النيل؟"),
    GeneratedQuery("rhine", "sw", "Mto Rhine unaishia bahari gani?", 0.5),
]


@pytest.fixture(scope="module", params=["edge", "local"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("client")
    with EdgeEngine(folder) if request.param == "edge" else ServerEngine.local() as opened:
        yield opened


@pytest.fixture(scope="module")
def client(engine: Engine, tiny_encoder: Encoder) -> Client:
    client = Client(engine, encoder=tiny_encoder)
    client.ingest("rivers", PASSAGES, QUERIES)
    client.ingest("fused", PASSAGES, QUERIES, layout="fused")
    return client


def test_hits_carry_all_that_is_known_of_a_passage(client: Client) -> None:
    hit, *rest = client.search("rivers", "Mto Nile unaelekea wapi?", lang="sw")
    assert hit.id == "nile"
    assert hit.title == "Nile"
    assert hit.text == PASSAGES[0].text
    assert hit.lang == "en"
    assert hit.metadata == {"length": 6650, "big": True}
    assert hit.queries == tuple(QUERIES[:2])
    assert [hit.score, *(each.score for each in rest)] == sorted(
        (hit.score, *(each.score for each in rest)), reverse=True
    )
    assert len(rest) == 2


def test_the_language_decides_which_queries_count(client: Client) -> None:
    question = "إلى أين يتجه النيل؟"
    in_arabic = client.search("rivers", question, lang="ar")
    in_swahili = client.search("rivers", question, lang="sw")
    detected = client.search("rivers", question)
    assert [hit.score for hit in detected] == [hit.score for hit in in_arabic]
    assert [hit.score for hit in in_swahili] != [hit.score for hit in in_arabic]


def test_a_language_without_queries_is_scored_by_the_passages_alone(client: Client) -> None:
    question = "The Rhine"
    plain = client.search("rivers", question, augmented=False)
    assert client.search("rivers", question, lang="fi") == plain
    assert client.search("rivers", question, lang="en") == plain


def test_a_batch_is_the_same_as_one_by_one(client: Client) -> None:
    questions = ["Mto Nile?", "إلى أين", "Rhine", "Donau"]
    languages = ["sw", "ar", None, "de"]
    batch = client.search_batch("rivers", questions, lang=languages, limit=2)
    single = [
        client.search("rivers", question, lang=lang, limit=2)
        for question, lang in zip(questions, languages, strict=True)
    ]
    assert [[hit.id for hit in hits] for hits in batch] == [
        [hit.id for hit in hits] for hits in single
    ]
    assert all(len(hits) == 2 for hits in batch)
    assert client.search_batch("rivers", []) == []


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"filters": {"length": {"gte": 2000}}}, {"nile"}),
        ({"filters": {"length": 1233}}, {"rhine"}),
        ({"filters": {"big": True}}, {"nile"}),
        ({"filters": {"tags": ["vienna", "ulm"]}}, {"danube"}),
        ({"passage_lang": "en"}, {"nile", "rhine"}),
        ({"passage_lang": ["deu", "fr"]}, {"danube"}),
        ({"passage_lang": "en", "filters": {"length": {"lt": 2000}}}, {"rhine"}),
        ({"filters": {"absent": "x"}}, set()),
        ({}, {"nile", "rhine", "danube"}),
    ],
)
def test_filters_on_metadata_and_language(
    client: Client, arguments: dict[str, Any], found: set[str]
) -> None:
    for collection in ("rivers", "fused"):
        assert {hit.id for hit in client.search(collection, "river", **arguments)} == found


@pytest.mark.parametrize(
    ("question", "arguments", "message"),
    [
        ("", {}, "question 0 is empty"),
        ("  \n", {}, "question 0 is empty"),
        ("a\ud800", {}, "lone surrogate"),
        ("x" * 10_000, {}, "characters"),
        ("river", {"lang": "xx"}, "unknown language code 'xx'"),
        ("river", {"limit": 0}, "limit"),
        ("river", {"filters": {"a": None}}, "filter 'a'"),
        ("river", {"filters": {"a": []}}, "no values"),
        ("river", {"filters": {"a": {"above": 1}}}, "bounds"),
        ("river", {"passage_lang": "zz"}, "'zz'"),
    ],
)
def test_bad_arguments_are_named(
    client: Client, question: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        client.search("rivers", question, **arguments)


def test_a_string_is_no_batch(client: Client) -> None:
    with pytest.raises(InputError, match="one string"):
        client.search_batch("rivers", "river")
    with pytest.raises(InputError, match="1 questions but 2 languages"):
        client.search_batch("rivers", ["river"], lang=["en", "de"])


def test_a_fused_collection_has_no_plain_search(client: Client) -> None:
    with pytest.raises(InputError, match="keeps no vector of the passage alone"):
        client.search("fused", "river", augmented=False)


def test_another_encoder_is_refused(client: Client, engine: Engine, tmp_path: Path) -> None:
    other = build_encoder(tmp_path / "other", name="other", seed=9)
    with pytest.raises(CollectionMismatch, match=r"'rivers' was built with encoder 'tiny'"):
        Client(engine, encoder=other).search("rivers", "river")


def test_the_encoder_is_found_by_the_name_in_the_manifest(
    client: Client, engine: Engine, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="built with encoder 'tiny', which is not at hand"):
        Client(engine).search("rivers", "river")
    monkeypatch.setenv("XQG_MODELS", str(tiny_folder.parent))
    assert Client(engine).search("rivers", "river") == client.search("rivers", "river")


def test_unknown_collections_are_named(client: Client) -> None:
    for call in (client.info, client.delete, lambda name: client.search(name, "river")):
        with pytest.raises(CollectionNotFound, match=r"'absent'.*fused, rivers"):
            call("absent")


def test_info_tells_what_a_collection_was_built_with(client: Client) -> None:
    report = client.info("rivers")
    assert (report.points, report.complete, report.loaded, report.total) == (3, True, 3, 3)
    assert report.queries == {"ar": 1, "sw": 2}
    assert report.manifest.encoder == "tiny"
    assert report.manifest.languages == ("ar", "sw")
    # Three queries over three passages in two languages: half a query a vector, at alpha 0.1.
    assert report.query_share == pytest.approx(0.05 / (0.9 + 0.05))
    assert client.info("fused").query_share == pytest.approx(0.01 / (0.99 + 0.01))
    assert report.to_json()["manifest"]["languages"] == ["ar", "sw"]


def test_collections_come_and_go(client: Client) -> None:
    client.ingest("passing", [{"id": "a", "text": "a mapping will do"}])
    assert client.collections() == ["fused", "passing", "rivers"]
    client.delete("passing")
    assert client.collections() == ["fused", "rivers"]


@pytest.mark.parametrize(
    ("passages", "message"),
    [
        ([{"id": "a"}], "passage 1"),
        ([{"id": "a", "text": "b", "url": "c"}], "passage 1.*url"),
        ([Passage("a", "x"), Passage("b", "")], "passage 2: text is empty"),
        ([Passage("a", "x"), "b"], "passage 2: expected a Passage"),
        ([Passage("a", "x", lang="zz")], "passage 1: unknown language"),
        ([Passage("a", "x", metadata={"k": float("nan")})], "passage 1: metadata.k is nan"),
    ],
)
def test_bad_records_are_counted_from_one(
    client: Client, passages: list[Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        client.ingest("bad", passages)
    assert "bad" not in client.collections()


def test_threads_may_share_a_client(client: Client) -> None:
    expected = [hit.id for hit in client.search("rivers", "Mto Nile?", lang="sw")]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda _: client.search("rivers", "Mto Nile?", lang="sw"), range(40))
        assert all([hit.id for hit in hits] == expected for hits in found)


def test_files_are_taken_as_well(tiny_encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"id": "a", "text": "one"}\n{"id": 2, "text": "two"}\n')
    (tmp_path / "q.jsonl").write_text('{"passage_id": 2, "lang": "swa", "text": "mbili"}\n')
    with Client(tmp_path / "data", encoder=tiny_encoder) as client:
        report = client.ingest("c", tmp_path / "p.jsonl", str(tmp_path / "q.jsonl"))
        assert (report.points, report.queries) == (2, {"sw": 1})
        assert client.search("c", "mbili", lang="sw")[0].id == "2"


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = (
        "import sys, xqg_qdrant\n"
        "heavy = {'onnxruntime', 'tokenizers', 'qdrant_client', 'qdrant_edge', 'grpc', 'torch',\n"
        "         'transformers', 'ir_measures', 'py3langid', 'langcodes', 'click', 'tqdm'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_all_that_is_public_is_there_and_documented() -> None:
    for name in xqg_qdrant.__all__:
        assert getattr(xqg_qdrant, name).__doc__, name


def test_the_bundled_encoders_bring_alphas_of_their_own() -> None:
    with Client(":memory:", encoder="mini") as client:
        assert client.default_alpha() == client.default_alpha("tunable") == 0.05
        assert client.default_alpha(hybrid=True) == 0.01
        assert client.default_alpha("fused") == 0.01
        report = client.ingest("c", PASSAGES, QUERIES, dry_run=True)
        assert report.alpha == 0.05
    with pytest.raises(InputError, match="unknown layout"), Client(":memory:") as client:
        client.default_alpha("flat")
