from __future__ import annotations

import json
import random
import statistics
import sys
from pathlib import Path

import pytest

from xqg_qdrant.corpus.xor_tydi import read_answered_questions, read_predictions
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.answers import (
    BUDGETS,
    answer_scores,
    find_answers,
    official_rows,
    span_answers,
)
from xqg_qdrant.evaluation.measures import AVERAGE, Row, rows_of
from xqg_qdrant.evaluation.words import word_tokenizer
from xqg_qdrant.records import AnsweredQuestion, Prediction, Question

WORD = "word " * 20


def asked(question_id: str, *answers: str, lang: str = "ja") -> AnsweredQuestion:
    return AnsweredQuestion(Question(question_id, lang, "?"), answers)


def hits(texts: list[str], *answers: str) -> dict[str, bool]:
    [found] = find_answers([Prediction("q", "ja", tuple(texts))], {"q": answers})
    assert found.hits is not None
    return dict(found.hits)


def test_words_are_those_of_nltk() -> None:
    text = 'Mr. Smith can\'t pay $3.50 (in the U.S.). "Yes," he said.'
    assert word_tokenizer()(text) == [
        *("Mr.", "Smith", "ca", "n't", "pay", "$", "3.50", "(", "in", "the", "U.S.", ")", "."),
        *("``", "Yes", ",", "''", "he", "said", "."),
    ]


@pytest.mark.parametrize(
    ("before", "expected"),
    [(0, (True, True)), (1_999, (True, True)), (2_000, (False, True)), (5_000, (False, False))],
)
def test_the_first_so_many_words_are_looked_at(before: int, expected: tuple[bool, bool]) -> None:
    texts = ["word " * 500] * (before // 500) + ["word " * (before % 500) + "Tokyo"] + [WORD] * 9
    assert tuple(hits(texts, "Tokyo").values()) == expected


def test_answers_are_parts_of_the_joined_words_in_the_same_case() -> None:
    # Words are joined by spaces: what was "Tokyo, Japan" is "Tokyo , Japan".
    assert hits(["It is Tokyo, Japan."], "Tokyo , Japan") == {"R@2kt": True, "R@5kt": True}
    assert not any(hits(["It is Tokyo, Japan."], "Tokyo, Japan").values())
    assert not any(hits(["It is Tokyo."], "tokyo").values())
    assert all(hits(["It is Tokyo."], "oky").values())
    # An answer may stand across two passages, and one answer of several is enough.
    assert all(hits(["in New", "York City"], "nowhere", "New York").values())


def test_yes_and_no_are_no_answers() -> None:
    assert span_answers(["yes", "Tokyo", "no", "No"]) == ("Tokyo", "No")
    [found] = find_answers([Prediction("q", "ja", ("yes",))], {"q": ["yes"]})
    assert found.hits is None


def test_official_figures_are_over_the_predicted_questions() -> None:
    questions = [
        asked("a", "Tokyo"),
        asked("b", "Kyoto"),
        asked("c", "Osaka"),
        asked("d", "yes"),
        asked("e", "Oslo", lang="fi"),
        asked("f", "Oslo", lang="ko"),
    ]
    answers = {each.question.id: each.answers for each in questions}
    predictions = [
        Prediction("a", "ja", ("Tokyo",)),
        Prediction("b", "ja", ("nothing",)),
        Prediction("d", "ja", ("yes",)),
        Prediction("e", "fi", ("Oslo",)),
        Prediction("stranger", "te", ("x",)),
    ]
    found = list(find_answers(predictions, answers))
    rows = official_rows("s", found)
    assert [row for row in rows if row.measure == "official R@2kt"] == [
        Row("s", "ja", "official R@2kt", 0.5, 2),
        Row("s", "fi", "official R@2kt", 1.0, 1),
        Row("s", AVERAGE, "official R@2kt", 0.75, 3),
    ]
    # Beside it: what was not predicted is a miss, in its language, and counted.
    scores = answer_scores("s", found, questions)
    figures = {row.language: (row.value, row.n, row.missing) for row in rows_of(scores)}
    assert figures == {
        "fi": (1, 1, 0),
        "ja": (pytest.approx(1 / 3), 3, 1),
        "ko": (0, 1, 1),
        AVERAGE: (pytest.approx(4 / 9), 5, 2),
    }


def test_predictions_that_come_twice_count_twice_in_the_official_figure_alone() -> None:
    questions = [asked("a", "Tokyo"), asked("b", "Kyoto")]
    twice = [Prediction("a", "ja", (text,)) for text in ("Tokyo", "x")]
    found = list(
        find_answers([*twice, Prediction("b", "ja", ("x",))], {"a": ["Tokyo"], "b": ["K"]})
    )
    assert official_rows("s", found)[0].value == 1 / 3
    assert rows_of(answer_scores("s", found, questions))[0].value == 0.5


def test_nothing_to_count_is_refused() -> None:
    found = list(find_answers([Prediction("x", "ja", ("y",))], {"a": ["Tokyo"]}))
    with pytest.raises(InputError, match="no prediction is of a question with an answer"):
        official_rows("s", found)
    with pytest.raises(InputError, match="no question has an answer but yes or no"):
        answer_scores("s", found, [asked("a", "yes")])


def test_figures_are_those_of_a_plain_count_over_many_predictions(tmp_path: Path) -> None:
    """As the official script counts, written down again: through the files, to the last digit."""
    rng = random.Random(5)
    words = [f"w{n}" for n in range(400)] + ["U.S.", "isn't", "(so)", "Dr.", '"quoted"', "3,000"]
    lines, predictions = [], []
    for number in range(120):
        lang = rng.choice(["ar", "bn", "fi", "te"])
        answers = [rng.choice(words) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.1:
            answers = [rng.choice(["yes", "no"])]
        lines.append({"id": str(number), "question": "?", "lang": lang, "answers": answers})
        if rng.random() < 0.8:
            texts = [" ".join(rng.choices(words, k=rng.randint(1, 90))) + "." for _ in range(99)]
            predictions.append(
                {"id": str(number), "lang": lang, "ctxs": texts[rng.randint(0, 98) :]}
            )
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "p.json").write_text(json.dumps(predictions))
    questions = read_answered_questions(tmp_path / "dev.jsonl")
    found = find_answers(
        read_predictions(tmp_path / "p.json"), {q.question.id: q.answers for q in questions}
    )
    rows = {(row.language, row.measure): row.value for row in official_rows("s", found)}
    cut = word_tokenizer()
    gold = {line["id"]: set(line["answers"]) - {"yes", "no"} for line in lines}
    for name, budget in BUDGETS.items():
        percents = []
        for lang in ("ar", "bn", "fi", "te"):
            mine = [p for p in predictions if p["lang"] == lang and gold[p["id"]]]
            count = 0
            for each in mine:
                all_words = [word for text in each["ctxs"] for word in cut(text)]
                text = " ".join(all_words[:budget])
                count += any(answer in text for answer in gold[each["id"]])
            percents.append(count / len(mine) * 100)
            assert rows[lang, f"official {name}"] * 100 == percents[-1]
        assert rows[AVERAGE, f"official {name}"] * 100 == pytest.approx(
            statistics.mean(percents), abs=1e-12
        )


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    word_tokenizer.cache_clear()
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "nltk", None)
        with pytest.raises(InputError, match=r"pip install 'xqg-qdrant\[eval\]'"):
            word_tokenizer()
    with monkeypatch.context() as patched:
        patched.setattr("nltk.data.path", [])
        patched.setitem(sys.modules, "punkt.data", None)
        with pytest.raises(InputError, match="Punkt's English model"):
            word_tokenizer()
    assert word_tokenizer()("a b") == ["a", "b"]
