"""Experiments on collections: what a search of them gives, from vectors read once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.xquad import paragraph, write_language
from xqg_qdrant import Client, Encoder
from xqg_qdrant.corpus.xquad_r import read_xquad_r
from xqg_qdrant.evaluation.bench import Bench, Setting, System, among
from xqg_qdrant.evaluation.experiments import (
    MULTIVECTOR,
    NONE,
    QUERIES,
    SENTENCES,
)
from xqg_qdrant.evaluation.measures import MEASURES, JudgedRun, rows_of, score
from xqg_qdrant.evaluation.trials import open_trial
from xqg_qdrant.evaluation.xquad_r import retrieve_xquad_r
from xqg_qdrant.records import Passage

RIVERS = ("Nile", "Danube", "Volga", "Rhine", "Congo", "Amur", "Niger", "Loire")


@pytest.fixture
def rivers(tmp_path: Path) -> Path:
    """XQuAD-R about rivers, whose names are in the questions of every language."""
    folder = tmp_path / "rivers"
    folder.mkdir()
    words = {"en": "how long is the {}?", "de": "wie lang ist {}?", "ru": "сколько длится {}?"}
    for language, words_of in words.items():
        articles = []
        for number, river in enumerate(RIVERS):
            text = f"The {river} is {number} miles long. It carries sand, report {number % 3}."
            asked = {
                f"{number}-{n}": words_of.format(river) + f" {n}" * n for n in range(2 + number % 3)
            }
            sentences = [part + "." for part in text[:-1].split(". ")]
            articles.append([paragraph(text, asked, sentences)])
        write_language(folder, language, *articles)
    return folder


def hits(run: JudgedRun) -> dict[str, list[tuple[str, float]]]:
    return {
        question: [(hit.id, pytest.approx(hit.score, abs=2e-5)) for hit in found]
        for question, found in run.run.items()
    }


def same(ours: JudgedRun, theirs: JudgedRun) -> None:
    """The same passages with the same scores; where scores are equal, in whatever order."""
    assert ours.run.keys() == theirs.run.keys()
    for question, found in ours.run.items():
        other = theirs.run[question]
        assert [hit.score for hit in found] == pytest.approx(
            [hit.score for hit in other], abs=2e-5
        ), question
        scores = {hit.id: hit.score for hit in other}
        last = other[-1].score
        for hit in found:
            assert scores.get(hit.id, last) == pytest.approx(hit.score, abs=2e-5), question


SYSTEMS: dict[str, tuple[System, str, str]] = {
    "none": (NONE, "none", "per-language"),
    "sentences": (SENTENCES, "sentences", "per-language"),
    "per-language": (QUERIES, "questions", "per-language"),
    "fused": (
        replace(QUERIES, languages=among(["de", "en", "ru"])),
        "questions",
        "fused",
    ),
    "tunable": (QUERIES, "questions", "tunable"),
    "multivector": (MULTIVECTOR, "questions", "multivector"),
}


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("name", list(SYSTEMS))
def test_in_memory_and_in_collections_the_same_is_found(
    rivers: Path, tiny_encoder: Encoder, name: str, hybrid: bool
) -> None:
    """Dense and lexical scores, the idf and the fusion: all hits of all questions."""
    system, augment, layout = SYSTEMS[name]
    alpha = None if name == "multivector" else 0.3
    with Client(":memory:", encoder=tiny_encoder) as client:
        theirs = retrieve_xquad_r(
            client,
            read_xquad_r(rivers),
            augment=augment,  # type: ignore[arg-type]
            layout=layout,
            alpha=alpha,
            hybrid=hybrid,
        )
    bench = Bench(tiny_encoder, open_trial(rivers, sentences=True))
    [ours] = bench.runs(replace(system, hybrid=hybrid), [Setting(alpha or 0.0)], depth=10)
    same(ours, theirs)
    assert [row.value for row in rows_of(score(ours, MEASURES))] == pytest.approx(
        [row.value for row in rows_of(score(theirs, MEASURES))]
    )


def test_passages_without_words_do_not_count_for_the_idf(tiny_encoder: Encoder) -> None:
    """Qdrant's idf is over the points that have a sparse vector with anything in it, or all."""
    passages = [Passage("a", "Danube and Rhine"), Passage("b", "!!"), Passage("c", "the Rhine")]
    from xqg_qdrant.evaluation.lexical_side import LexicalSide

    with Client(":memory:", encoder=tiny_encoder) as client:
        client.ingest("c", passages, hybrid=True)
        engine = client._engine
        from xqg_qdrant.lexical import Lexical, LexicalSettings

        vector = Lexical(LexicalSettings(), {}).question_vector("Danube", {})
        [found] = engine.search("c", [vector], using=["bm25"])
    [scores] = LexicalSide(passages).scores(["Danube"], {})
    assert [hit.payload["passage_id"] for hit in found] == ["a"]
    assert found[0].score == pytest.approx(float(scores[0]), rel=1e-5)
