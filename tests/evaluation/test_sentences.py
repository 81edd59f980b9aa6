from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqg_qdrant import Client, Encoder
from xqg_qdrant.corpus.xquad_r_sentences import read_xquad_r_sentences
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.measures import AVERAGE, rows_of
from xqg_qdrant.evaluation.sentences import (
    CROSS_LINGUAL,
    MONOLINGUAL,
    MULTILINGUAL,
    average_precision,
    sentence_scores,
)
from xqg_qdrant.records import Passage


def write(
    folder: Path, language: str, *paragraphs: tuple[list[str], dict[str, tuple[str, int]]]
) -> None:
    """A file of paragraphs: their sentences, and questions with the sentence that answers."""
    rows = []
    for sentences, questions in paragraphs:
        context, breaks = "", []
        for sentence in sentences:
            breaks.append([len(context), len(context) + len(sentence)])
            context += sentence + " "
        rows.append(
            {
                "context": context.strip(),
                "sentence_breaks": breaks,
                "sentences": sentences,
                "qas": [
                    {
                        "id": name,
                        "question": text,
                        "answers": [{"text": "x", "answer_start": breaks[answer][0] + 1}],
                    }
                    for name, (text, answer) in questions.items()
                ],
            }
        )
    data = {"data": [{"title": "T", "paragraphs": [row]} for row in rows]}
    (folder / f"{language}.json").write_text(json.dumps(data), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two languages of the same letters; German ones are doubled by another letter."""
    write(tmp_path, "en", (["aaaa", "cccc"], {"1": ("aaa", 0)}), (["eeee", "gg"], {"2": ("gg", 1)}))
    write(tmp_path, "de", (["aaab", "cccd"], {"1": ("aa", 0)}), (["eeef", "gh"], {"2": ("ee", 1)}))
    return tmp_path


def test_sentences_and_answers_are_those_of_the_breaks(folder: Path) -> None:
    data = read_xquad_r_sentences(folder)
    texts = [sentence.text for sentence in data.sentences]
    assert texts == ["aaab", "cccd", "eeef", "gh", "aaaa", "cccc", "eeee", "gg"]
    assert data.sentences[3].id == "de:1-0-1"
    assert {name: [texts[place] for place in places] for name, places in data.answers.items()} == {
        "1": ["aaab", "aaaa"],
        "2": ["gh", "gg"],
    }
    second = read_xquad_r_sentences(folder, articles=(2, 2))
    assert [each.question.text for each in second.questions] == ["ee", "gg"]
    assert second.sentences == data.sentences
    with pytest.raises(InputError, match="no questions in articles 3 to 4"):
        read_xquad_r_sentences(folder, articles=(3, 4))


def test_figures_worked_out_by_rankings_of_a_collection(
    folder: Path, tiny_encoder: Encoder
) -> None:
    """The same sentences as passages of a real collection, ranked to their end."""
    data = read_xquad_r_sentences(folder)
    scores = sentence_scores(tiny_encoder, data)
    with Client(":memory:", encoder=tiny_encoder) as client:
        client.ingest("s", [Passage(s.id, s.text, lang=s.lang) for s in data.sentences])
        for number, name in enumerate(scores.questions):
            question = next(each for each in data.questions if each.question.id == name)
            relevant = {data.sentences[place].id for place in data.answers[question.upstream_id]}
            precision = {}
            for pool in ("en", "de", None):
                hits = client.search(
                    "s", question.question.text, limit=8, exact=True, passage_lang=pool
                )
                ranks = [rank for rank, hit in enumerate(hits, 1) if hit.id in relevant]
                precision[pool] = np.mean([n / rank for n, rank in enumerate(ranks, 1)])
            own, other = ("en", "de") if name.startswith("en") else ("de", "en")
            assert scores.values[MONOLINGUAL][number] == pytest.approx(precision[own])
            assert scores.values[CROSS_LINGUAL][number] == pytest.approx(precision[other])
            assert scores.values[MULTILINGUAL][number] == pytest.approx(precision[None])
    average = [row for row in rows_of(scores) if row.language == AVERAGE]
    assert {row.n for row in average} == {4}  # English too


@given(st.data())
def test_average_precision_is_that_of_ir_measures(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 30))
    scores = np.array(data.draw(st.permutations(range(n))), dtype=np.float32)
    relevant = data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True))
    qrels = [ir_measures.Qrel("q", str(place), 1) for place in relevant]
    run = [ir_measures.ScoredDoc("q", str(place), float(s)) for place, s in enumerate(scores)]
    expected = ir_measures.calc_aggregate([ir_measures.AP], qrels, run)[ir_measures.AP]
    assert average_precision(scores, np.array(relevant)) == pytest.approx(expected)


def test_ties_do_not_inflate() -> None:
    same = np.full(4, 0.5, dtype=np.float32)
    assert average_precision(same, np.array([0])) == 0.25
    assert average_precision(same, np.array([1, 3])) == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_one_language_has_one_setting(tmp_path: Path, tiny_encoder: Encoder) -> None:
    write(tmp_path, "sw", (["aaaa", "cccc"], {"1": ("aaa", 0)}))
    scores = sentence_scores(tiny_encoder, read_xquad_r_sentences(tmp_path))
    assert list(scores.values) == [MONOLINGUAL]


def spoil(folder: Path, **change: Any) -> None:
    path = folder / "en.json"
    data = json.loads(path.read_text())
    paragraph = data["data"][1]["paragraphs"][0]
    for field, value in change.items():
        paragraph[field] = value
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sentence_breaks": None}, r"data\[1\].paragraphs\[0\]: no field 'sentence_breaks'"),
        ({"sentence_breaks": [[0, 99]]}, r"sentence_breaks\[0\]: expected \[start, end\]"),
        ({"qas": [{"id": "2", "question": "?", "answers": []}]}, r"qas\[0\]: no answers"),
        (
            {"qas": [{"id": "2", "question": "?", "answers": [{"answer_start": 4}]}]},
            "begins at 4, which is in no sentence",
        ),
        ({"qas": [{"id": "2", "question": "?", "answers": [{}]}]}, "a whole number 'answer_start'"),
        (
            {"qas": [{"id": "1", "question": "?", "answers": [{"answer_start": 0}]}]},
            "'1' comes twice in this file",
        ),
    ],
)
def test_what_is_wrong_is_named(folder: Path, change: dict[str, Any], message: str) -> None:
    spoil(folder, **change)
    with pytest.raises(InputError, match=message):
        read_xquad_r_sentences(folder)


def test_a_question_without_a_translation(folder: Path, tiny_encoder: Encoder) -> None:
    spoil(folder, qas=[])
    with pytest.raises(InputError, match="'de:2' is in no other language"):
        sentence_scores(tiny_encoder, read_xquad_r_sentences(folder))


def test_the_real_sentences(xquad_r_folder: Path) -> None:
    data = read_xquad_r_sentences(xquad_r_folder)
    languages = {sentence.lang for sentence in data.sentences}
    for places in data.answers.values():
        assert {data.sentences[place].lang for place in places} == languages
