from __future__ import annotations

import pytest

from xqg_qdrant import Passage
from xqg_qdrant.errors import InputError
from xqg_qdrant.queries.sentences import SentenceSource, split_sentences


@pytest.mark.parametrize(
    ("lang", "sentences"),
    [
        ("en", ["Dr. Amo taught in Halle.", "Was he the first?", "He was!"]),
        ("ja", ["日本の首都は東京です。", "人口は？", "多い！"]),
        ("zh", ["北京在北方。", "它很大！"]),
        ("ar", ["ما هي أكبر مدينة؟", "هي القاهرة."]),
        ("hi", ["गंगा एक नदी है।", "वह लंबी है।"]),
        ("am", ["ይህ ወንዝ ነው።", "ረጅም ነው።"]),
        ("ur", ["یہ دریا ہے۔", "کیا یہ لمبا ہے؟"]),
        (None, ["The Nile is long.", "It is in Africa."]),
        ("bem", ["Umumana ukalamba.", "Uli mu Zambia."]),
    ],
)
def test_sentences_of_many_scripts_are_split(lang: str | None, sentences: list[str]) -> None:
    glue = "" if lang in ("ja", "zh") else " "
    assert split_sentences(glue.join(sentences), lang) == sentences


def test_a_passage_in_paragraphs_has_no_empty_sentences() -> None:
    assert split_sentences("One.\n\n\n Two.\n") == ["One.", "Two."]


def test_each_sentence_comes_once_under_the_passages_own_language() -> None:
    passage = Passage("p", "Es regnet. Es schneit. ES REGNET.", lang="de")
    ((queries, tally),) = SentenceSource().write([passage])
    assert [(query.lang, query.text) for query in queries] == [
        ("de", "Es regnet."),
        ("de", "Es schneit."),
    ]
    assert (tally.duplicates, tally.missing) == (1, {})


def test_the_first_sentences_under_another_language() -> None:
    passage = Passage("p", "One. Two. Three.")
    ((queries, _),) = SentenceSource(lang="swa", per_passage=2).write([passage])
    assert [(query.lang, query.text) for query in queries] == [("sw", "One."), ("sw", "Two.")]


def test_a_passage_that_does_not_say_its_language_is_named() -> None:
    with pytest.raises(InputError, match="passage 'p' has no 'lang'"):
        list(SentenceSource().write([Passage("p", "One.")]))
    with pytest.raises(InputError, match="0 sentences a passage"):
        SentenceSource(per_passage=0)
