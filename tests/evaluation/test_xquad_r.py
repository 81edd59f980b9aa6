from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.xquad import paragraph, write_language
from xqg_qdrant import Client, Encoder
from xqg_qdrant.corpus.xquad_r import XquadR, read_xquad_r
from xqg_qdrant.engine import open_engine
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.server import ServerEngine
from xqg_qdrant.errors import CollectionMismatch, InputError
from xqg_qdrant.evaluation.measures import AVERAGE, Row
from xqg_qdrant.evaluation.xquad_r import evaluate_xquad_r
from xqg_qdrant.records import Hit

LETTERS = "acegi"
"""One letter a paragraph: its German questions are made of it, and of nothing else."""


def write_folder(folder: Path, letters: str = LETTERS, *, reverse_german: bool = False) -> Path:
    """A small XQuAD-R: passages that say nothing, German questions that know their passage.

    The last paragraph has one question, and there is one more without any.
    """
    folder.mkdir(exist_ok=True)
    english, german = [], []
    for number, letter in enumerate(letters):
        count = 1 if letter == letters[-1] else 3
        asked = range(count)
        english.append(
            paragraph(
                f"zy zy {number}. xw {number}.",
                {f"q{number}-{n}": f"what {number} {n}?" for n in asked},
                [f"zy zy {number}.", f"xw {number}."],
            )
        )
        order = reversed(asked) if reverse_german else asked
        german.append(
            paragraph("zy", {f"q{number}-{n}": letter * (5 + n) + "!" * n for n in order})
        )
    write_language(folder, "en", english, [paragraph("nobody asks", {}, ["nobody asks"])])
    write_language(folder, "de", german, [paragraph("niemand fragt", {})])
    return folder


class Recorder(Client):
    """A client that remembers what was asked."""

    def __init__(self, engine: Engine, encoder: Encoder) -> None:
        super().__init__(engine, encoder=encoder)
        self.engine = engine
        self.asked: list[tuple[str, list[str], Any]] = []

    def search_batch(
        self, collection: str, questions: Sequence[str], **options: Any
    ) -> list[list[Hit]]:
        self.asked.append((collection, list(questions), options["lang"]))
        return super().search_batch(collection, questions, **options)

    def stored_queries(self, collection: str) -> set[tuple[str, str, str]]:
        """Passage, language and text of all queries in a collection."""
        return {
            (point.payload["passage_id"], query["lang"], query["text"])
            for point in self.engine.scroll(collection)
            for query in point.payload["queries"]
        }


@pytest.fixture
def client(tiny_encoder: Encoder) -> Iterator[Recorder]:
    with Recorder(ServerEngine.local(), tiny_encoder) as client:
        yield client


@pytest.fixture
def data(tmp_path: Path) -> XquadR:
    return read_xquad_r(write_folder(tmp_path / "xquad-r"))


def value(rows: Sequence[Row], language: str, measure: str = "R@1") -> float:
    return next(row.value for row in rows if (row.language, row.measure) == (language, measure))


def leaks(client: Recorder, data: XquadR) -> int:
    """Questions asked of a collection that holds them, in whatever language.

    Texts that come twice in a language cannot be told apart, and are left out.
    """
    texts = Counter((each.question.lang, each.question.text) for each in data.questions)
    upstream = {
        (each.question.lang, each.question.text): each.question.id.split(":", 1)[1]
        for each in data.questions
        if texts[each.question.lang, each.question.text] == 1
    }
    count = 0
    for collection, questions, languages in client.asked:
        stored = {
            upstream[lang, text]
            for _, lang, text in client.stored_queries(collection)
            if (lang, text) in upstream
        }
        asked = [upstream[key] for key in zip(languages, questions, strict=True) if key in upstream]
        assert asked
        count += sum(each in stored for each in asked)
    return count


def test_every_question_is_asked_once_and_every_paragraph_is_in_the_pool(
    client: Recorder, data: XquadR
) -> None:
    rows = evaluate_xquad_r(client, data)
    assert {(row.language, row.n) for row in rows} == {("de", 13), ("en", 13), (AVERAGE, 13)}
    [(collection, questions, languages)] = client.asked
    assert sorted(questions) == sorted(each.question.text for each in data.questions)
    assert languages == [each.question.lang for each in data.questions]
    assert client.info(collection).points == len(LETTERS) + 1


def test_the_questions_of_other_articles_augment_but_are_not_asked(
    client: Recorder, data: XquadR
) -> None:
    # A paragraph of its own article that nobody but the pool knows of.
    data = replace(
        data,
        questions=tuple(
            replace(each, passage_id="1-0") if each.passage_id == "0-4" else each
            for each in data.questions
        ),
    )
    rows = evaluate_xquad_r(client, data, augment="questions", articles=(2, 2))
    assert {(row.language, row.n) for row in rows} == {("de", 1), ("en", 1), (AVERAGE, 1)}
    asked = [text for _, questions, _ in client.asked for text in questions]
    assert sorted(asked) == sorted(q.question.text for q in data.questions if q.article == 2)
    augmented = {row[0] for name, _, _ in client.asked for row in client.stored_queries(name)}
    assert {"0-0", "0-1", "0-2", "0-3"} <= augmented
    with pytest.raises(InputError, match="articles 3 to 4"):
        evaluate_xquad_r(client, data, articles=(3, 4))


def test_plain_collections_hold_no_queries(client: Recorder, data: XquadR) -> None:
    evaluate_xquad_r(client, data)
    [(collection, _, _)] = client.asked
    assert client.stored_queries(collection) == set()


@pytest.mark.parametrize("layout", ["per-language", "fused"])
@pytest.mark.parametrize("reverse_german", [False, True], ids=["", "German in another order"])
def test_two_folds_leak_no_question_in_any_language(
    client: Recorder, tmp_path: Path, layout: str, reverse_german: bool
) -> None:
    folder = write_folder(tmp_path / "xquad-r", reverse_german=reverse_german)
    data = read_xquad_r(folder)
    rows = evaluate_xquad_r(client, data, augment="questions", layout=layout)
    assert leaks(client, data) == 0
    # Nothing is left out either: each is asked in one fold and stored in the other.
    assert len({collection for collection, _, _ in client.asked}) == 2
    asked = [text for _, questions, _ in client.asked for text in questions]
    assert sorted(asked) == sorted(each.question.text for each in data.questions)
    stored = [client.stored_queries(collection) for collection, _, _ in client.asked]
    assert stored[0].isdisjoint(stored[1])
    assert stored[0] | stored[1] == {
        (each.passage_id, each.question.lang, each.question.text) for each in data.questions
    }
    assert {row.n for row in rows} == {13}


def test_even_questions_are_asked_where_odd_ones_augment(client: Recorder, data: XquadR) -> None:
    evaluate_xquad_r(client, data, augment="questions")
    positions = {each.question.text: each.position % 2 for each in data.questions}
    for collection, questions, _ in client.asked:
        stored = {positions[text] for _, _, text in client.stored_queries(collection)}
        assert len(stored) == 1
        assert {positions[text] for text in questions} == {1 - stored.pop()}


def test_perfect_queries_find_what_passages_alone_do_not(client: Recorder, data: XquadR) -> None:
    plain = evaluate_xquad_r(client, data)
    augmented = evaluate_xquad_r(client, data, augment="questions", alpha=1.0)
    # The paragraph with a single question is never augmented while that question is asked.
    assert value(augmented, "de") >= 12 / 13
    assert value(plain, "de") < 8 / 13
    assert value(augmented, AVERAGE) == value(augmented, "de")


def test_alpha_0_measures_as_no_augmentation(client: Recorder, data: XquadR) -> None:
    plain = evaluate_xquad_r(client, data)
    switched_off = evaluate_xquad_r(client, data, augment="questions", alpha=0.0)
    assert [row.value for row in switched_off] == pytest.approx([row.value for row in plain])


def test_the_control_adds_the_passages_own_sentences_alone(client: Recorder, data: XquadR) -> None:
    rows = evaluate_xquad_r(client, data, augment="sentences")
    [(collection, _, _)] = client.asked
    assert client.stored_queries(collection) == {
        (passage, "en", sentence)
        for passage, sentences in data.sentences.items()
        for sentence in sentences
    }
    assert {row.n for row in rows} == {13}


def test_the_control_splits_passages_that_come_without_sentences(
    client: Recorder, tmp_path: Path
) -> None:
    write_language(tmp_path, "en", [paragraph("Water is wet. Dr. Fire is hot.", {"q": "Wet?"})])
    evaluate_xquad_r(client, read_xquad_r(tmp_path), augment="sentences")
    (collection,) = {collection for collection, _, _ in client.asked}
    assert client.stored_queries(collection) == {
        ("0-0", "en", "Water is wet."),
        ("0-0", "en", "Dr. Fire is hot."),
    }


def test_the_language_can_be_detected_instead_of_told(client: Recorder, data: XquadR) -> None:
    rows = evaluate_xquad_r(client, data, augment="questions", detect_language=True)
    assert [languages for _, _, languages in client.asked] == [None, None]
    assert {row.n for row in rows} == {13}


def test_the_system_says_what_was_measured(client: Recorder, data: XquadR) -> None:
    systems = [
        evaluate_xquad_r(client, data)[0].system,
        evaluate_xquad_r(client, data, augment="questions", alpha=0.3)[0].system,
        evaluate_xquad_r(client, data, augment="questions", layout="fused")[0].system,
    ]
    assert systems == [
        "tiny",
        "tiny + questions, per-language, alpha 0.3",
        "tiny + questions, fused, alpha 0.01",
    ]


def test_measuring_again_at_the_same_place_gives_the_same(client: Recorder, data: XquadR) -> None:
    first = evaluate_xquad_r(client, data, augment="questions")
    assert evaluate_xquad_r(client, data, augment="questions") == first


def test_collections_of_other_data_are_never_measured(
    client: Recorder, data: XquadR, tmp_path: Path
) -> None:
    evaluate_xquad_r(client, data)
    fewer = read_xquad_r(write_folder(tmp_path / "fewer", "ac"))
    with pytest.raises(CollectionMismatch, match="holds 6 passages, this data has 3"):
        evaluate_xquad_r(client, fewer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": "answers"}, "unknown augmentation 'answers'"),
        ({"layout": "other"}, "unknown layout 'other'"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"alpha": "much", "augment": "questions"}, "alpha is 'much'"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_made(
    client: Recorder, data: XquadR, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        evaluate_xquad_r(client, data, **options)
    assert client.collections() == []


def test_the_real_xquad_r(tiny_encoder: Encoder, xquad_r_folder: Path) -> None:
    data = read_xquad_r(xquad_r_folder)
    english = json.loads((xquad_r_folder / "en.json").read_text(encoding="utf-8"))
    paragraphs = [each for article in english["data"] for each in article["paragraphs"]]
    number = sum(len(each["qas"]) for each in paragraphs)
    assert len(data.passages) == len(paragraphs)
    assert Counter(each.question.lang for each in data.questions) == dict.fromkeys(
        data.languages, number
    )
    positions = {(each.question.id.split(":", 1)[1], each.position) for each in data.questions}
    assert len(positions) == number

    two = replace(
        data, questions=tuple(each for each in data.questions if each.question.lang in ("ar", "en"))
    )
    with Recorder(open_engine(":memory:"), tiny_encoder) as client:
        rows = evaluate_xquad_r(client, two, augment="questions")
        assert leaks(client, two) == 0
    assert {(row.language, row.n) for row in rows} == {
        ("ar", number),
        ("en", number),
        (AVERAGE, number),
    }
    assert all(0 <= row.value <= 1 for row in rows)
