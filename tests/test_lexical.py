from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqg_qdrant.errors import InputError
from xqg_qdrant.lexical import (
    PASSAGE,
    QUERY_WEIGHT,
    Lexical,
    LexicalSettings,
    SparseVector,
    count_terms,
    sound_terms_of,
    terms_of,
    words_of,
)

SETTINGS = LexicalSettings()


def terms(text: str) -> list[str]:
    return [term for word in words_of(text) for term in terms_of(word)]


def sounds(text: str) -> set[str]:
    return {term for word in words_of(text) for term in sound_terms_of(word)}


def dot(one: SparseVector, other: SparseVector) -> float:
    weights = dict(zip(one.indices.tolist(), one.values.tolist(), strict=True))
    return sum(
        weights.get(index, 0.0) * value
        for index, value in zip(other.indices.tolist(), other.values.tolist(), strict=True)
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The Nile, 6,650 km!", ["the", "nile", "6", "650", "km"]),
        ("ＦＵＬＬ ﬁve", ["full", "five"]),
        ("भारत की राजधानी?", ["भारत", "की", "राजधानी"]),  # vowel signs are marks, and stay
        ("Kraków-Görlitz", ["kraków", "görlitz"]),
        ("می\u200cخواهم", ["میخواهم"]),  # a joiner that is not seen splits no word
        ("", []),
        ("… — ?!", []),
    ],
)
def test_words_are_letters_with_their_marks_and_digits(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("nile", [" nil", "nile", "ile "]),
        ("a", [" a "]),
        ("ab", [" ab "]),
        ("東京", ["東", "京", "東京"]),
        ("서울은", ["서", "울", "은", "서울", "울은"]),
        ("2009年", [" 200", "2009", "009 ", "年"]),
    ],
)
def test_terms_are_ngrams_within_words(word: str, expected: list[str]) -> None:
    assert terms_of(word) == expected


# What these say must stay as it is, or the analyzer's name must change: collections hang on it.
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("copernicus", ["~ kpr", "~kprn", "~prnk", "~rnks", "~nks "]),
        ("коперник", ["~ kpr", "~kprn", "~prnk", "~rnk "]),
        ("shakespeare", ["~ xks", "~xksp", "~kspr", "~spr "]),
        ("تسلا", []),  # three letters without its vowels
        ("2009", []),
        ("tea", []),
        ("北京大学", []),
    ],
)
def test_sounds_are_ngrams_of_the_metaphone_code(word: str, expected: list[str]) -> None:
    assert sound_terms_of(word) == expected


@pytest.mark.parametrize("name", ["Κοπέρνικος", "Коперник", "कोपर्निकस", "كوبرنيكوس", "Kopernikus"])
def test_names_are_found_across_scripts(name: str) -> None:
    others = ["Shakespeare", "Amazonas", "Mississippi", "Beethoven", "Marathon"]
    shared = len(sounds(name) & sounds("Copernicus"))
    assert shared >= 2
    assert all(len(sounds(name) & sounds(other)) < shared for other in others)


@given(text=st.text(max_size=200))
def test_any_text_has_a_vector_that_an_engine_takes(text: str) -> None:
    vector = Lexical(SETTINGS, {}).passage_vector(text, [text], ["sw"])
    assert vector.indices.dtype == np.uint32
    assert vector.values.dtype == np.float32
    assert len(vector.indices) == len(vector.values) == len(set(vector.indices.tolist()))
    assert np.isfinite(vector.values).all()
    assert (vector.values > 0).all()
    assert (np.diff(vector.indices.astype(np.int64)) > 0).all()


def test_a_passage_alone_is_weighed_as_bm25_has_it() -> None:
    text = "to be or not to be"
    settings = LexicalSettings(k1=1.2, b=0.75)
    lengths = {PASSAGE: 20.0}
    vector = Lexical(settings, lengths).passage_vector(text)
    counts = Counter(terms(text))
    length = sum(counts.values())
    for term, count in counts.items():
        question = Lexical(settings, {}).question_vector(term.strip(), {})
        relative = length / lengths[PASSAGE]
        expected = count * 2.2 / (count + 1.2 * (0.25 + 0.75 * relative))
        if terms(term.strip()) == [term]:
            assert dot(vector, question) == pytest.approx(expected, rel=1e-5)


def test_long_passages_are_held_back() -> None:
    lexical = Lexical(SETTINGS, {PASSAGE: 10.0})
    question = lexical.question_vector("nile", {})
    short = lexical.passage_vector("nile")
    long = lexical.passage_vector("nile " + "and other words " * 20)
    assert dot(short, question) > dot(long, question) > 0


def test_the_queries_of_a_language_are_a_field_of_their_own() -> None:
    lexical = Lexical(SETTINGS, {PASSAGE: 5.0, "de": 5.0, "sw": 5.0})
    vector = lexical.passage_vector("River", ["Wohin fließt der Nil?"], ["de"])
    asked = "Wohin fließt der Nil?"
    assert dot(vector, lexical.question_vector(asked, {"de": 1.0})) > 0
    assert dot(vector, lexical.question_vector(asked, {"sw": 1.0})) == 0
    assert dot(vector, lexical.question_vector(asked, {})) == 0
    full, half = (
        dot(vector, lexical.question_vector(asked, {"de": weight})) for weight in (1.0, 0.5)
    )
    assert half == pytest.approx(full / 2)


def test_passage_and_queries_add_up() -> None:
    lexical = Lexical(SETTINGS, {PASSAGE: 5.0, "en": 5.0})
    both = lexical.passage_vector("nile", ["nile"], ["en"])
    question = lexical.question_vector("nile", {"en": 1.0})
    passage = dot(lexical.passage_vector("nile"), question)
    queries = dot(lexical.passage_vector("", ["nile"], ["en"]), question)
    assert dot(both, question) == pytest.approx(passage + queries, rel=1e-6)
    assert queries == pytest.approx(passage * QUERY_WEIGHT, rel=0.3)


@given(queries=st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["de", "sw"])), max_size=6))
def test_the_order_of_queries_does_not_matter(queries: list[tuple[str, str]]) -> None:
    lexical = Lexical(SETTINGS, {PASSAGE: 9.0, "de": 3.0, "sw": 4.0})
    one = lexical.passage_vector("text", [q for q, _ in queries], [lang for _, lang in queries])
    queries = queries[::-1]
    two = lexical.passage_vector("text", [q for q, _ in queries], [lang for _, lang in queries])
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_allclose(one.values, two.values, rtol=1e-6)


def test_terms_are_counted_by_field() -> None:
    counts = count_terms(SETTINGS, "nile", ["nil", "nil", "nil"], ["de", "de", "sw"])
    assert counts == {PASSAGE: 3 + len(sound_terms_of("nile")), "de": 4, "sw": 2}


def test_a_question_of_nothing_has_an_empty_vector() -> None:
    vector = Lexical(SETTINGS, {}).question_vector("?!", {"de": 1.0})
    assert len(vector) == 0
    assert vector.to_json() == {"indices": [], "values": []}


def test_settings_come_back_from_json() -> None:
    settings = LexicalSettings(ngram=3, k1=2.0, b=0.5)
    assert LexicalSettings.from_json(settings.to_json()) == settings


def test_another_analyzer_is_refused_with_a_way_out() -> None:
    LexicalSettings().require_known("wiki")
    with pytest.raises(InputError, match=r"wiki.*'old-1'.*hybrid=False"):
        LexicalSettings(analyzer="old-1").require_known("wiki")


def test_idf_is_left_to_the_engine() -> None:
    lexical = Lexical(SETTINGS, {PASSAGE: 3.0})
    question = lexical.question_vector("nile", {})
    assert set(question.values.tolist()) == {1.0}
    vector = lexical.passage_vector("nile")
    assert math.isclose(vector.values.max(), vector.values.min(), rel_tol=1e-6)
